"""References for training over SDXL: fixtures/training/sdxl/ (a tiny random base, and what torch makes of it).

    OMP_NUM_THREADS=1 PYTHONPATH=<diffusers>/src python scripts/reference/make-sdxl-training-references.py --examples <diffusers>/examples [--out DIR] [--only NAME]

torch's autograd through diffusers' UNet2DConditionModel, transformers' CLIPTextModel and CLIPTextModelWithProjection and PEFT's LoRA
layers, torch's AdamW and clip_grad_norm_. `encode_prompt`, `compute_time_ids` and `preprocess_train` are those of diffusers'
examples/text_to_image/train_text_to_image_lora_sdxl.py: taken out of the file and run. Each scenario runs in float32 and again in float64
(`f32_vs_f64`). Two runs write the same bytes.
"""

import argparse
import ast
import hashlib
import itertools
import json
import pathlib
import platform
import random
import shutil

import diffusers
import numpy
import peft
import PIL
import torch
import transformers
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from PIL import Image
import reference_parts as parts
from reference_parts import ADAMW, ATTENTION, BETAS, TEXT_ATTENTION, TEXT_MLP, Rows, apart, hashed, lora, mean_loss, norm
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

ROOT = pathlib.Path(__file__).resolve().parents[2]
parser = argparse.ArgumentParser()
parser.add_argument("--out", type=pathlib.Path, default=ROOT / "fixtures/training/sdxl")
parser.add_argument("--examples", type=pathlib.Path, required=True)
parser.add_argument("--only")
arguments = parser.parse_args()
OUT = arguments.out
BASE = OUT / "base"
SCRIPT = "text_to_image/train_text_to_image_lora_sdxl.py"

SEED = 4711
RATES = {"unet": 1e-3, "text_encoder": 5e-4, "added_rows": 2e-4}
PROMPTS = [
    "a red circle on a white background",
    "a large blue star, left, sand background",
    "two green squares",
    "",
    "a <new> on a white background",
    "a large <new>, black background",
    "a <duo> <duo>_1 on a gray background",
    "a small <duo> <duo>_1",
]
ENCODERS = ("text_encoder", "text_encoder_2")


# ---- the public script's own functions -------------------------------------------------------------------------------------


def taken(name, space):
    """A function of the script, however deep it is, in a space of names."""
    tree = ast.parse((arguments.examples / SCRIPT).read_text(encoding="utf-8"))
    node = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == name)
    exec(compile(ast.Module([node], []), SCRIPT, "exec"), space)
    return space[name]


encode_prompt = taken("encode_prompt", {"torch": torch, "tokenize_prompt": None})


# ---- the base --------------------------------------------------------------------------------------------------------------

UNET = {
    "sample_size": 16,
    "block_out_channels": [8, 16, 16],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 20,
    "transformer_layers_per_block": [1, 1, 2],
    "attention_head_dim": [1, 2, 4],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 58,
}
TEXT = {"vocab_size": 1988, "max_position_embeddings": 77, "num_hidden_layers": 3, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
# SDXL's published configurations have this end id too: the pooled state is at the largest id, so at a learned token where there is one.
FIRST = {**TEXT, "hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "projection_dim": 8, "hidden_act": "quick_gelu"}
SECOND = {**TEXT, "hidden_size": 12, "intermediate_size": 24, "num_attention_heads": 3, "projection_dim": 10, "hidden_act": "gelu"}
VAE = {
    "block_out_channels": [4, 4, 8, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 4,
    "sample_size": 128,
    "scaling_factor": 0.13025,
}


def halves(state):
    return {k: v.detach().to(torch.float16).contiguous() for k, v in state.items() if not k.endswith("position_ids")}


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def make_base():
    torch.manual_seed(SEED)
    unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE)
    for name, model, config in (("unet", unet, UNET), ("vae", vae, VAE)):
        write_json(BASE / name / "config.json", {"_class_name": type(model).__name__, **config})
        save_file(halves(model.state_dict()), BASE / name / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    for name, kind, config in (("text_encoder", CLIPTextModel, FIRST), ("text_encoder_2", CLIPTextModelWithProjection, SECOND)):
        model = kind(CLIPTextConfig(**config))
        # transformers' own initial values of such small models hardly let a token tell itself from another.
        for key, value in model.state_dict().items():
            if value.dim() == 2:
                value.normal_(0, 0.5 if "embedding" in key else value.shape[1] ** -0.5)
        state = {k if k.startswith(("text_model.", "text_projection.")) else f"text_model.{k}": v for k, v in halves(model.state_dict()).items()}
        write_json(BASE / name / "config.json", {"architectures": [kind.__name__], "model_type": "clip_text_model", **config})
        save_file(state, BASE / name / "model.safetensors", {"format": "pt"})
    for name, pad in (("tokenizer", "<|endoftext|>"), ("tokenizer_2", "!")):
        (BASE / name).mkdir(parents=True, exist_ok=True)
        for file in ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"):
            shutil.copyfile(ROOT / "fixtures/runtime/tiny-shapes/tokenizer" / file, BASE / name / file)
        for file in ("tokenizer_config.json", "special_tokens_map.json"):
            said = json.loads((BASE / name / file).read_text())
            write_json(BASE / name / file, {**said, "pad_token": pad})
    write_json(BASE / "scheduler/scheduler_config.json", {"_class_name": "EulerDiscreteScheduler", **BETAS, "prediction_type": "epsilon", "timestep_spacing": "leading", "steps_offset": 1})
    library = {"unet": "diffusers", "vae": "diffusers", "scheduler": "diffusers"}
    kinds = {
        "unet": "UNet2DConditionModel",
        "vae": "AutoencoderKL",
        "scheduler": "EulerDiscreteScheduler",
        "text_encoder": "CLIPTextModel",
        "text_encoder_2": "CLIPTextModelWithProjection",
        "tokenizer": "CLIPTokenizer",
        "tokenizer_2": "CLIPTokenizer",
    }
    parts = {name: [library.get(name, "transformers"), kind] for name, kind in kinds.items()}
    write_json(BASE / "model_index.json", {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True, **parts})


def text_model(name):
    """Weights by hand: transformers 5 names them with and without `text_model.`."""
    kind, config = {"text_encoder": (CLIPTextModel, FIRST), "text_encoder_2": (CLIPTextModelWithProjection, SECOND)}[name]
    model = kind(CLIPTextConfig(**config))
    stored = {k: v.float() for k, v in load_file(BASE / name / "model.safetensors").items()}
    names = set(model.state_dict())
    model.load_state_dict({(k if k in names else k.removeprefix("text_model.")): v for k, v in stored.items()}, strict=True)
    return model.eval().requires_grad_(False)


def unet_model():
    model = UNet2DConditionModel(**UNET)
    model.load_state_dict({k: v.float() for k, v in load_file(BASE / "unet/diffusion_pytorch_model.safetensors").items()}, strict=True)
    return model.eval().requires_grad_(False)


# ---- values that are drawn or made up --------------------------------------------------------------------------------------


def make_inputs():
    generator = torch.Generator().manual_seed(SEED)
    draw = lambda *shape: torch.randn(shape, generator=generator)
    inputs = {}
    for folder, name in (("tokenizer", "ids"), ("tokenizer_2", "ids2")):
        one, two = (CLIPTokenizer.from_pretrained(BASE / folder) for _ in range(2))
        one.add_tokens(["<new>"])
        two.add_tokens(["<duo>", "<duo>_1"])
        encode = lambda t, text: t(text, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids[0]
        inputs[name] = torch.stack([encode(two if "<duo>" in prompt else one, prompt) for prompt in PROMPTS])
    assert not torch.equal(inputs["ids"], inputs["ids2"]), "the second tokenizer pads with another token"
    inputs["square/latents"], inputs["square/noise"] = draw(6, 4, 16, 16), draw(12, 4, 16, 16)
    inputs["wide/latents"], inputs["wide/noise"] = draw(3, 4, 12, 20), draw(6, 4, 12, 20)
    # What stands before the UNet where text encoders are frozen, by the script's own function.
    encoders = [text_model(name) for name in ENCODERS]
    with torch.no_grad():
        states, pooled = encode_prompt(encoders, None, None, [inputs["ids"][:4], inputs["ids2"][:4]])
    return {**inputs, "states": states, "pooled": pooled}


# ---- the losses ------------------------------------------------------------------------------------------------------------


def prior_loss(pred, target, batch):
    """diffusers' train_dreambooth_lora_sdxl.py: instance and class halves, the sum of two means."""
    return parts.prior_loss(pred, target, batch)


# ---- one run ---------------------------------------------------------------------------------------------------------------


def adapt(component, model, config, init):
    inject_adapter_in_model(LoraConfig(init_lora_weights=True, **config), model)
    params, modules = {}, []
    for path, module in model.named_modules():
        if not isinstance(module, peft.tuners.lora.LoraLayer):
            continue
        inner = f"text_model.{path.removeprefix('text_model.')}" if component != "unet" else path
        name = f"{component}.{inner}"
        a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
        with torch.no_grad():
            a.copy_(hashed(f"{name}.lora_A.weight", a.numel(), 1).reshape(a.shape).to(a.dtype))
            if init == "up-too":
                b.copy_(hashed(f"{name}.lora_B.weight", b.numel(), 0.125).reshape(b.shape).to(b.dtype))
        params[f"{name}.lora_A.weight"], params[f"{name}.lora_B.weight"] = a, b
        if config.get("use_dora"):
            params[f"{name}.lora_magnitude_vector.weight"] = module.lora_magnitude_vector["default"].weight
        modules.append({"module": name, "rank": module.r["default"], "alpha": module.lora_alpha["default"], "scaling": module.scaling["default"]})
    for p in params.values():
        p.requires_grad_(True)
    return params, modules


def holder_of(model):
    return next(m for m in model.modules() if hasattr(m, "token_embedding"))


def row_name(component):
    return "added_rows" if component == "text_encoder" else f"{component}.added_rows"


def run(spec, inputs, dtype):
    cast = lambda t: t.to(dtype) if t.is_floating_point() else t
    scheduler = DDPMScheduler(**BETAS)
    unet = unet_model().to(dtype)
    params, modules, tables = {}, [], {}
    if "unet" in spec:
        params, modules = adapt("unet", unet, spec["unet"], spec.get("init"))
    encoders = []
    if "text" in spec or "rows" in spec:
        for name in ENCODERS:
            model = text_model(name).to(dtype)
            encoders.append(model)
            if "text" in spec:
                more, also = adapt(name, model, spec["text"], spec.get("init"))
                params, modules = {**params, **more}, modules + also
            if "rows" not in spec:
                continue
            holder = holder_of(model)
            rows = holder.token_embedding.weight[spec["rows"]["word_id"]].detach().repeat(spec["rows"]["vectors"], 1)
            if spec["rows"].get("whole_table"):
                weight = torch.cat([holder.token_embedding.weight.detach(), rows])
                holder.token_embedding = torch.nn.Embedding(*weight.shape, _weight=weight)
                tables[row_name(name)] = holder.token_embedding.weight.requires_grad_(True)
            else:
                holder.token_embedding = Rows(holder.token_embedding.weight, rows)
                params[row_name(name)] = holder.token_embedding.rows
    count = spec["rows"]["vectors"] if "rows" in spec else 0
    params = dict(sorted(params.items()))
    group_of = lambda name: "added_rows" if name.endswith("added_rows") else "unet" if name.startswith("unet.") else "text_encoder"
    groups = [{"params": [p for n, p in params.items() if group_of(n) == group], "lr": rate} for group, rate in RATES.items()]
    if tables:
        groups = [{"params": list(tables.values()), "lr": RATES["added_rows"]}]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], **ADAMW)
    originals = {n: t.detach().clone() for n, t in tables.items()}
    out = {"losses": [], "norms": [], "tensors": {}, "modules": modules, "grads": [], "after": []}
    snapshot = lambda: {**{n: p.detach().clone() for n, p in params.items()}, **{n: t.detach()[-count:].clone() for n, t in tables.items()}}
    out["init"] = snapshot()
    for index, plan in enumerate(spec["batches"]):
        latents = cast(inputs[f"{plan['pool']}/latents"][plan["latents"]])
        noise = cast(inputs[f"{plan['pool']}/noise"][plan["noise"]])
        t = torch.tensor(plan["timesteps"])
        noisy = scheduler.add_noise(latents, noise, t)
        ids = torch.cat([time_ids(*ids, dtype) for ids in plan["time_ids"]])
        if encoders:
            given = [inputs[name][plan["prompts"]] for name in ("ids", "ids2")]
            states, pooled = encode_prompt(encoders, None, None, given)
        else:
            states, pooled = cast(inputs["states"][plan["prompts"]]), cast(inputs["pooled"][plan["prompts"]])
        pred = unet(noisy, t, states, added_cond_kwargs={"text_embeds": pooled, "time_ids": ids}).sample
        loss = spec.get("loss", mean_loss)(pred, noise, plan)
        out["losses"].append(loss.item())
        if index == 0:
            out["tensors"] |= {"step0/model_pred": pred.detach(), "step0/states": states.detach(), "step0/pooled": pooled.detach()}
        loss.backward()
        grads = {n: p.grad for n, p in params.items()} | {n: t.grad[-count:] for n, t in tables.items()}
        out["grads"].append({n: g.detach().clone() for n, g in grads.items() if g is not None})
        if not tables:
            out["norms"].append(torch.nn.utils.clip_grad_norm_(list(params.values()), 1.0).item())
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            # examples/textual_inversion/textual_inversion_sdxl.py: all other rows of both tables are put back.
            for n, table in tables.items():
                table[:-count] = originals[n][:-count]
        out["after"].append(snapshot())
    return out


def time_ids(height, width, top, left, target_height, target_width, dtype):
    """The script's compute_time_ids; it has the resolution for the target, which is the bucket here."""
    space = {"torch": torch, "weight_dtype": dtype}
    space["accelerator"] = type("A", (), {"device": "cpu"})
    # Of a square target, as the script has it, then that of the bucket.
    space["args"] = type("A", (), {"resolution": target_height})
    ids = taken("compute_time_ids", space)((height, width), (top, left))
    ids[0, 5] = target_width
    return ids


# ---- scenarios -------------------------------------------------------------------------------------------------------------

TIMESTEPS = [[601, 87, 333, 940], [12, 755, 498, 201], [999, 410, 0, 660], [150, 580, 875, 44]]
# Original height, width; top, left of the cut; target height, width.
SIZES = {
    "square": [[512, 768, 0, 37, 128, 128], [128, 128, 0, 0, 128, 128], [1080, 1920, 3, 0, 128, 128], [200, 131, 44, 0, 128, 128]],
    "wide": [[768, 1280, 0, 0, 96, 160], [300, 640, 0, 21, 96, 160], [97, 163, 1, 2, 96, 160], [1000, 1600, 2, 0, 96, 160]],
}


def batches(count, size, prompts, pools=("square",), **more):
    made = []
    for i in range(count):
        pool = pools[i % len(pools)]
        total, noises = (6, 12) if pool == "square" else (3, 6)
        made.append(
            {
                "pool": pool,
                "latents": [(size * i + j) % total for j in range(size)],
                "noise": [(3 * i + j) % noises for j in range(size)],
                "timesteps": TIMESTEPS[i % 4][:size],
                "prompts": [prompts[(i + j) % len(prompts)] for j in range(size)],
                "time_ids": [SIZES[pool][(i + j) % 4] for j in range(size)],
                "weights": [1 / size] * size,
                **more,
            }
        )
    return made


def prior_batches(count, half, weight):
    made = batches(count, 2 * half, (0, 0, 2, 2), prior_weight=weight)
    return [{**b, "prompts": [0] * half + [2] * half, "weights": [1 / half] * half + [weight / half] * half} for b in made]


SCENARIOS = {
    "sizes": {"unet": lora(2, ATTENTION), "batches": batches(4, 2, (0, 1, 2, 3), ("square", "wide")), "every": 9},
    "text-encoders": {"unet": lora(2, ATTENTION), "text": lora(2, TEXT_ATTENTION), "batches": batches(4, 2, (0, 1, 2), ("square", "wide")), "every": 11},
    "text-encoders-prior": {"unet": lora(4, ATTENTION, 2), "text": lora(4, TEXT_ATTENTION + TEXT_MLP, 2), "init": "up-too", "batches": prior_batches(3, 1, 0.5), "loss": prior_loss, "every": 13},
    "text-encoders-dora": {"text": lora(2, TEXT_ATTENTION, use_dora=True), "init": "up-too", "batches": batches(2, 2, (0, 1, 3)), "every": 5},
    "text-only": {"text": lora(2, TEXT_ATTENTION + TEXT_MLP, 4), "batches": batches(3, 1, (1, 2, 0)), "every": 3},
    "textual-inversion": {"rows": {"vectors": 1, "word": "square", "whole_table": True}, "batches": batches(4, 2, (4, 5)), "every": 1},
    "textual-inversion-2-vectors": {"rows": {"vectors": 2, "word": "circle", "whole_table": True}, "batches": batches(3, 1, (6, 7), ("square", "wide")), "every": 1},
    "pivotal": {"unet": lora(2, ATTENTION), "text": lora(2, TEXT_ATTENTION), "rows": {"vectors": 1, "word": "square"}, "batches": batches(4, 2, (4, 5)), "every": 11},
    "rows-and-unet": {"unet": lora(2, ATTENTION), "rows": {"vectors": 2, "word": "circle"}, "batches": batches(3, 1, (6, 7)), "every": 11},
}


# ---- sizes and cuts --------------------------------------------------------------------------------------------------------

PICTURES = [(128, 128), (200, 131), (131, 200), (97, 64), (64, 97), (300, 64), (65, 64), (640, 479)]
RESOLUTION = 64


def picture(width, height):
    """(7x + 13y + 29c + xy) mod 256"""
    x, y = numpy.meshgrid(numpy.arange(width), numpy.arange(height))
    return Image.fromarray(numpy.stack([(7 * x + 13 * y + 29 * c + x * y) % 256 for c in range(3)], -1).astype(numpy.uint8))


class Resize:
    """torchvision's Resize(n) of a Pillow picture (transforms/functional.py _compute_resized_output_size), with the script's lanczos."""

    def __call__(self, image):
        short, long = sorted(image.size)
        size = (RESOLUTION, int(RESOLUTION * long / short))
        return image.resize(size if image.width <= image.height else size[::-1], Image.Resampling.LANCZOS)


class RandomCrop:
    """torchvision's, drawn with torch's numbers (transforms/transforms.py RandomCrop.get_params): the top, then the left."""

    def __init__(self, generator):
        self.generator = generator

    def get_params(self, image, size):
        th, tw = size
        if (image.width, image.height) == (tw, th):
            return 0, 0, image.height, image.width
        top = torch.randint(0, image.height - th + 1, size=(1,), generator=self.generator).item()
        left = torch.randint(0, image.width - tw + 1, size=(1,), generator=self.generator).item()
        return top, left, th, tw


def cut(image, top, left, height, width):
    return image.crop((left, top, left + width, top + height))


def center_crop(image):
    top, left = (int(round((side - RESOLUTION) / 2.0)) for side in (image.height, image.width))
    return cut(image, top, left, RESOLUTION, RESOLUTION)


def make_cuts():
    """preprocess_train of the script over stand-ins of torchvision's transforms (it is not installed)."""
    cases = []
    for center, flip, (width, height) in itertools.product((True, False), (False, True), PICTURES):
        seed = 100 + width
        pixels = []
        space = {
            "image_column": "image",
            "random": type("R", (), {"random": staticmethod(lambda flip=flip: 0.0 if flip else 1.0)}),
            "args": type("A", (), {"random_flip": True, "center_crop": center, "resolution": RESOLUTION, "debug_loss": False}),
            "train_resize": Resize(),
            "train_flip": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            "train_crop": center_crop if center else RandomCrop(torch.Generator().manual_seed(seed)),
            "crop": cut,
            "train_transforms": lambda image, pixels=pixels: pixels.append(image.tobytes()),
            "tokenize_captions": lambda _: (None, None),
        }
        made = taken("preprocess_train", space)({"image": [picture(width, height)]})
        (original,), (top_left,) = made["original_sizes"], made["crop_top_lefts"]
        cases.append(
            {
                "size": [width, height],
                "center": center,
                "flip": flip,
                "seed": seed,
                "time_ids": time_ids(*original, *top_left, RESOLUTION, RESOLUTION, torch.float64)[0].int().tolist(),
                "sha256": hashlib.sha256(pixels[0]).hexdigest(),
            }
        )
    return {"resolution": RESOLUTION, "filter": "lanczos", "picture": picture.__doc__, "cases": cases}


# ---- writing ---------------------------------------------------------------------------------------------------------------


def figure(value):
    return float(f"{value:.4g}")


def record(name, spec, inputs):
    if "rows" in spec:
        (spec["rows"]["word_id"],) = CLIPTokenizer.from_pretrained(BASE / "tokenizer").encode(spec["rows"]["word"], add_special_tokens=False)
    single, double = (run(spec, inputs, dtype) for dtype in (torch.float32, torch.float64))
    steps = len(single["after"])
    names = sorted(single["init"])
    modules = sorted(single["modules"], key=lambda m: m["module"])
    parts = ("lora_A", "lora_B", "lora_magnitude_vector")
    of = lambda m: [f"{m['module']}.{p}.weight" for p in parts if f"{m['module']}.{p}.weight" in single["init"]]
    # Every nth module of each component, and all rows.
    picked = [n for n in names if n.endswith("added_rows")]
    for component in ("unet", *ENCODERS):
        own = [m for m in modules if m["module"].split(".")[0] == component]
        picked += [n for i, m in enumerate(own) if i % spec["every"] == 0 for n in of(m)]
    tensors = {k: v.float() for k, v in single["tensors"].items()}
    lost = {"loss": max(abs(a - b) / abs(b) for a, b in zip(single["losses"], double["losses"], strict=True)), "step0": apart(single["tensors"], double["tensors"])}
    largest, norms = {}, {}
    for i in (0, steps - 1):
        key = f"grad{i}"
        grads, exact = single["grads"][i], double["grads"][i]
        assert set(grads) == set(exact)
        tensors |= {f"{key}/{n}": grads[n] for n in picked if n in grads and grads[n].any()}
        lost[key] = apart(grads, exact)
        largest[key] = max(g.abs().max().item() for g in exact.values())
        lost[f"{key}_relative_to_largest"] = lost[key] / largest[key]
        norms[key] = {n: norm(g) for n, g in sorted(exact.items())}
    for i in (1, steps):
        tensors |= {f"after{i}/{n}": single["after"][i - 1][n] for n in picked}
        lost[f"after{i}"] = apart(single["after"][i - 1], double["after"][i - 1])
    tensors |= {f"init/{n}": v for n, v in single["init"].items() if n.endswith(("added_rows", "magnitude_vector.weight")) and n in picked}
    without = sorted(set(names) - set(single["grads"][0]))
    for n in without:
        assert torch.equal(single["init"][n], single["after"][-1][n]), n
    facts = {
        "adapters": {k: spec[k] for k in ("unet", "text") if k in spec},
        "init": "A and B hashed" if spec.get("init") else "A hashed, B zero",
        "rows": spec.get("rows"),
        "loss_rule": spec.get("loss", mean_loss).__name__.removesuffix("_loss"),
        "clip": 1.0 if single["norms"] else None,
        "batches": spec["batches"],
        "losses": single["losses"],
        "losses_f64": double["losses"],
        "grad_norms_before_clip": double["norms"],
        "f32_vs_f64": {k: figure(v) for k, v in lost.items()},
        "largest_gradient": largest,
        "without_gradient": without,
        "modules": modules,
        "grad_norms": norms,
    }
    save_file({k: v.contiguous() for k, v in sorted(tensors.items())}, OUT / f"{name}.safetensors", {"format": "pt"})
    lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in facts.items() if v is not None)
    (OUT / f"{name}.json").write_text(f"{{\n{lines}\n}}\n")
    print(f"{name}: losses {[round(v, 6) for v in single['losses']]}, without gradient {len(without)}, f32_vs_f64 {facts['f32_vs_f64']}", flush=True)
    return facts


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    make_base()
    inputs = make_inputs()
    save_file({k: v.contiguous() for k, v in inputs.items()}, OUT / "inputs.safetensors", {"format": "pt"})
    (OUT / "cuts.json").write_text(json.dumps(make_cuts(), indent=None, separators=(",", ": ")).replace('{"size"', '\n {"size"') + "\n")
    facts = {name: record(name, spec, inputs) for name, spec in SCENARIOS.items() if arguments.only in (None, name)}
    if arguments.only is not None:
        return
    files = sorted(p for p in OUT.rglob("*") if p.is_file() and p.name != "manifest.json")
    for path in files:
        path.chmod(0o644)
    manifest = {
        "made_by": {
            "script": "scripts/reference/make-sdxl-training-references.py",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "diffusers": f"{diffusers.__version__} (58eb52c)",
            "transformers": transformers.__version__,
            "peft": peft.__version__,
            "numpy": numpy.__version__,
            "pillow": PIL.__version__,
            "threads": 1,
            "device": "cpu",
        },
        "prompts": PROMPTS,
        "betas": BETAS,
        "optimizer": {"name": "AdamW", **ADAMW, "rates": RATES, "note": "clip_grad_norm_ 1.0 over all trained tensors together; none in the textual inversions, whose AdamW has both whole tables and whose other rows are put back"},
        "rules": {
            "batches": "micro-batch i: POOL/latents[latents], POOL/noise[noise]; ids[prompts] and ids2[prompts] where a text encoder or rows are trained, else states[prompts] and pooled[prompts]; time_ids as they are; weights are what each sample's mean squared error counts in the loss",
            "hashed": "as references/manifest.json; lora_A scale 1, lora_B 0.125 or zero",
            "rows": "ids 1988, 1989, … of both text encoders; all begin as the row of the word. The pooled state is at the largest id of a row (eos_token_id 2, as SDXL's published configurations have it), so at the learned token",
            "without_gradient": "torch gives these none (the last layer of the first text encoder): AdamW leaves them alone and clipping does not count them",
            "files": "step0/*; gradI/NAME: of optimizer step I before clipping; afterN/NAME; every nth module and the rows, norms (float64) of all in the json",
            "prior": " ".join(prior_loss.__doc__.split()),
        },
        "scenarios": {name: {"first_loss": f["losses"][0], "f32_vs_f64": f["f32_vs_f64"]} for name, f in facts.items()},
        "files": {str(p.relative_to(OUT)): {"bytes": p.stat().st_size, "sha256": hashlib.sha256(p.read_bytes()).hexdigest()} for p in files},
    }
    (OUT / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    print(sum(p.stat().st_size for p in files), "bytes")


main()
