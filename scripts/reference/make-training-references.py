"""References for training objectives that the shared set does not record: fixtures/training/references/.

    OMP_NUM_THREADS=1 PYTHONPATH=<diffusers>/src python scripts/reference/make-training-references.py [--out DIR] [--only NAME]

torch's autograd through diffusers' UNet2DConditionModel, transformers' CLIPTextModel and PEFT's LoRA layers, torch's AdamW and
clip_grad_norm_, diffusers' DDPMScheduler and EMAModel, on bases of this project. Each scenario runs in float32 and again in
float64 (`f32_vs_f64`). Rules of the public scripts stand beside the functions that follow them, and in manifest.json.
`sd2` needs reference/base/tiny-sd2 (under --shared, default ../shared); it is left out where that is not there.
"""

import argparse
import hashlib
import json
import pathlib
import platform
import re

import diffusers
import numpy
import peft
import torch
import transformers
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import EMAModel, compute_snr
from peft import LoraConfig, inject_adapter_in_model
from reference_parts import ADAMW, ATTENTION, BETAS, TEXT_ATTENTION, TEXT_MLP, Rows, apart, hashed, lora, mean_loss, norm, prior_loss
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures/runtime"
parser = argparse.ArgumentParser()
parser.add_argument("--out", type=pathlib.Path, default=ROOT / "fixtures/training/references")
parser.add_argument("--shared", type=pathlib.Path, default=ROOT / "../shared")
parser.add_argument("--only")
arguments = parser.parse_args()

BASES = {
    "tiny-shapes": FIXTURES / "tiny-shapes",
    "tiny-sdxl": FIXTURES / "tiny-sdxl-weights",
    "tiny-sd2": arguments.shared / "reference/base/tiny-sd2",
}
SEED = 9090
FEED_FORWARD = ["ff.net.0.proj", "ff.net.2"]
CONVOLUTIONS = ["conv1", "conv2", "conv_shortcut", "conv", "proj_in", "proj_out"]

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
# Tag drop-out as sd-scripts' library/train_util.py process_caption: the caption is split at ",", parts are stripped, the first
# keep_tokens stay, of the others each stays whose draw is >= the rate, and they are joined with ", ". The draws are recorded.
TAGGED = {
    "caption": "a large red circle, left, sand background, a drawing of a shape",
    "keep_tokens": 1,
    "rate": 0.4,
    "draws": [0.123, 0.4, 0.399],
}


# ---- values that are drawn or made up --------------------------------------------------------------------------------------


def text_model(folder):
    """Weights by hand: transformers 5 takes the `text_model.` keys of older files for missing ones and makes new weights."""
    model = CLIPTextModel(CLIPTextConfig.from_pretrained(folder))
    stored = {k: v.float() for k, v in load_file(folder / "model.safetensors").items() if not k.endswith("position_ids")}
    names = set(model.state_dict())
    model.load_state_dict({(k if k in names else k.removeprefix("text_model.")): v for k, v in stored.items()}, strict=True)
    return model.eval().requires_grad_(False)


def unet_of(base):
    return UNet2DConditionModel.from_pretrained(BASES[base] / "unet", torch_dtype=torch.float32).eval().requires_grad_(False)


def make_inputs():
    generator = torch.Generator().manual_seed(SEED)
    draw = lambda *shape: torch.randn(shape, generator=generator)
    tokenizer = CLIPTokenizer.from_pretrained(FIXTURES / "tiny-shapes/tokenizer")
    tokenizer.add_tokens(["<new>"])
    ids_of = lambda texts: tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    ids = ids_of(PROMPTS)
    # Of <duo> alone: its two vectors are the ids that <new> would have, and the next.
    other = CLIPTokenizer.from_pretrained(FIXTURES / "tiny-shapes/tokenizer")
    other.add_tokens(["<duo>", "<duo>_1"])
    for row, prompt in enumerate(PROMPTS):
        if "<duo>" in prompt:
            ids[row] = other(prompt, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids[0]
    parts = [part.strip() for part in TAGGED["caption"].split(",")]
    kept = parts[: TAGGED["keep_tokens"]]
    flexible = parts[TAGGED["keep_tokens"] :]
    kept += [part for part, value in zip(flexible, TAGGED["draws"], strict=True) if value >= TAGGED["rate"]]
    TAGGED["result"] = ", ".join(kept)
    tag_ids = ids_of([TAGGED["caption"], TAGGED["result"]])
    plain = torch.cat([ids[:4], tag_ids])
    with torch.no_grad():
        states = text_model(FIXTURES / "tiny-shapes/text_encoder")(plain).last_hidden_state
    latents, noise = draw(6, 4, 8, 8), draw(24, 4, 8, 8)
    pixels = torch.arange(64, dtype=torch.float32)
    disc = (((pixels[:, None] - 40) ** 2 + (pixels[None] - 20) ** 2) < 18**2).float()
    slope = torch.arange(64)[None] * 4 * torch.ones(64, 1)
    masks = torch.stack([disc * 255, slope])[:, None].to(torch.uint8)
    inputs = {
        "latents": latents,
        "noise": noise,
        "ids": torch.cat([ids, tag_ids]),
        "states": states,
        "mask_pixels": masks,
        # sd-scripts resizes the mask to the latents by area.
        "mask": F.interpolate(masks.float() / 255, size=(8, 8), mode="area"),
        "sdxl/states": draw(2, 77, 8),
        "sdxl/text_embeds": draw(2, 4),
        "sdxl/time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64], [80.0, 64, 8, 0, 64, 64]]),
        "sd2/states": draw(2, 77, 8),
    }
    if BASES["tiny-sdxl"].exists():
        seen = {}
        unet = unet_of("tiny-sdxl")
        hook = unet.add_embedding.register_forward_pre_hook(lambda _, args: seen.update(added=args[0].detach().clone()))
        with torch.no_grad():
            condition = {"text_embeds": inputs["sdxl/text_embeds"], "time_ids": inputs["sdxl/time_ids"]}
            unet(latents[:2], torch.tensor([10, 20]), inputs["sdxl/states"], added_cond_kwargs=condition)
        hook.remove()
        inputs["sdxl/added"] = seen["added"]
    return inputs


# ---- the losses ------------------------------------------------------------------------------------------------------------


def min_snr_weight(scheduler, timesteps, gamma, prediction):
    snr = compute_snr(scheduler, timesteps)
    least = torch.stack([snr, gamma * torch.ones_like(timesteps)], dim=1).min(dim=1)[0]
    return least / (snr + 1 if prediction == "v_prediction" else snr)


def sd_scripts_loss(pred, target, batch):
    """sd-scripts' train_network.py: squared error, times the mask (custom_train_functions.apply_masked_loss: the mask multiplies
    the squared error, and the mean is over all entries, those outside of the mask too), mean of each sample, times loss_weights
    (1, or the prior weight of a class picture), times the min-SNR weight, mean over the batch."""
    loss = F.mse_loss(pred, target, reduction="none")
    if "mask_pixels" in batch:
        loss = loss * F.interpolate(batch["mask_pixels"], size=loss.shape[2:], mode="area")
    loss = loss.mean(dim=list(range(1, loss.ndim))) * torch.tensor(batch["loss_weights"], dtype=loss.dtype)
    if batch.get("min_snr_gamma") is not None:
        loss = loss * min_snr_weight(batch["scheduler"], batch["t"], batch["min_snr_gamma"], batch["prediction"])
    return loss.mean()


def prior_min_snr_instance_loss(pred, target, batch):
    """diffusers' train_dreambooth_lora_sd15_advanced.py: the min-SNR weight is of the instance half alone (snr_timesteps)."""
    pred, pred_prior = torch.chunk(pred, 2)
    target, target_prior = torch.chunk(target, 2)
    prior = F.mse_loss(pred_prior, target_prior, reduction="mean")
    timesteps, _ = torch.chunk(batch["t"], 2)
    weights = min_snr_weight(batch["scheduler"], timesteps, batch["min_snr_gamma"], batch["prediction"])
    loss = F.mse_loss(pred, target, reduction="none")
    loss = (loss.mean(dim=list(range(1, loss.ndim))) * weights).mean()
    return loss + batch["prior_weight"] * prior


def sample_snr_loss(pred, target, batch):
    """diffusers' train_unconditional.py for prediction type `sample`: SNR weights (no cap) on each sample's squared error."""
    alpha = batch["scheduler"].alphas_cumprod[batch["t"]].reshape(-1, 1, 1, 1)
    return (alpha / (1 - alpha) * F.mse_loss(pred, target, reduction="none")).mean()


# ---- one run ---------------------------------------------------------------------------------------------------------------


def embeddings_of(model):
    return next(m for m in model.modules() if hasattr(m, "token_embedding"))


def adapt(component, model, config, init):
    """Injects PEFT's LoRA. Returns its parameters by PEFT's names, and rank, alpha and scaling of every module."""
    inject_adapter_in_model(LoraConfig(init_lora_weights=True, **config), model)
    params, modules = {}, []
    for path, module in model.named_modules():
        if not isinstance(module, peft.tuners.lora.LoraLayer):
            continue
        inner = f"text_model.{path.removeprefix('text_model.')}" if component == "text_encoder" else path
        name = f"{component}.{inner}"
        a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
        with torch.no_grad():
            if isinstance(init, dict):
                # diffusers' file of before PEFT: lora.down, lora.up.
                a.copy_(init[f"{name}.lora.down.weight"].to(a.dtype))
                b.copy_(init[f"{name}.lora.up.weight"].to(b.dtype))
            else:
                a.copy_(hashed(f"{name}.lora_A.weight", a.numel(), 1).reshape(a.shape).to(a.dtype))
                if init == "up-too":
                    b.copy_(hashed(f"{name}.lora_B.weight", b.numel(), 0.0625).reshape(b.shape).to(b.dtype))
        params[f"{name}.lora_A.weight"], params[f"{name}.lora_B.weight"] = a, b
        if config.get("use_dora"):
            params[f"{name}.lora_magnitude_vector.weight"] = module.lora_magnitude_vector["default"].weight
        modules.append(
            {
                "module": name,
                "rank": module.r["default"],
                "alpha": module.lora_alpha["default"],
                "scaling": module.scaling["default"],
            }
        )
    for p in params.values():
        p.requires_grad_(True)
    return dict(sorted(params.items())), sorted(modules, key=lambda m: m["module"])


def run(spec, inputs, dtype):
    base = spec.get("base", "tiny-shapes")
    cast = lambda t: t.to(dtype) if t.is_floating_point() else t
    scheduler = DDPMScheduler(**BETAS, **spec.get("scheduler", {}))
    prediction = scheduler.config.prediction_type
    unet = unet_of(base).to(dtype)
    params, modules = {}, []
    if "unet" in spec:
        init = load_file(FIXTURES / spec["init"]) if spec.get("init", "").endswith(".safetensors") else spec.get("init", "down")
        params, modules = adapt("unet", unet, spec["unet"], init)
    text, table = None, None
    if "text" in spec or "rows" in spec:
        text = text_model(BASES[base] / "text_encoder").to(dtype)
        holder = embeddings_of(text)
        if "text" in spec:
            more, also = adapt("text_encoder", text, spec["text"], spec.get("init", "down"))
            params, modules = {**params, **more}, modules + also
        rows = None
        if "rows" in spec:
            rows = cast(initial_rows(spec["rows"]))
            if spec["rows"].get("whole_table"):
                table = torch.nn.Parameter(torch.cat([holder.token_embedding.weight.detach(), rows]))
                holder.token_embedding = torch.nn.Embedding(*table.shape, _weight=table.detach())
                table = holder.token_embedding.weight
                table.requires_grad_(True)
            else:
                holder.token_embedding = Rows(holder.token_embedding.weight, rows)
                params["added_rows"] = holder.token_embedding.rows
    rate = spec.get("lr", 1e-3)
    rates = {"unet": rate, "text_encoder": spec.get("text_lr", rate), "added_rows": spec.get("row_lr", rate)}
    group_of = lambda name: name.split(".")[0]
    groups = [
        {"params": [p for n, p in params.items() if group_of(n) == group], "lr": lr}
        for group, lr in rates.items()
        if any(group_of(n) == group for n in params)
    ]
    if table is not None:
        groups = [{"params": [table], "lr": rates["added_rows"]}]
        original = table.detach().clone()
    optimizer = torch.optim.AdamW(groups, **ADAMW)
    trained = list(params.values())
    averages = {name: EMAModel(trained, **options) for name, options in spec.get("ema", {}).items()}
    accumulate = spec.get("accumulate", 1)
    out = {"losses": [], "norms": [], "ema_decay": {name: [] for name in averages}, "tensors": {}, "modules": modules}
    snapshot = lambda: {n: p.detach().clone() for n, p in params.items()} if table is None else {"added_rows": table.detach()[-len(rows) :].clone()}
    out["init"] = snapshot()
    out["grads"], out["after"], out["ema"] = [], [], {name: [] for name in averages}
    batches = spec["batches"]
    for index, plan in enumerate(batches):
        batch = {**plan, "scheduler": scheduler, "prediction": prediction, "t": torch.tensor(plan["timesteps"])}
        latents, noise = cast(inputs["latents"][plan["latents"]]), cast(inputs["noise"][plan["noise"]])
        if "mask" in plan:
            batch["mask_pixels"] = inputs["mask_pixels"][plan["mask"]].to(dtype) / 255
        noisy = scheduler.add_noise(latents, noise, batch["t"])
        extra = {}
        if text is not None:
            states = text(inputs["ids"][plan["prompts"]]).last_hidden_state
        elif base == "tiny-sdxl":
            states = cast(inputs["sdxl/states"][plan["prompts"]])
            extra = {"added_cond_kwargs": {k: cast(inputs[f"sdxl/{k}"][plan["prompts"]]) for k in ("text_embeds", "time_ids")}}
        else:
            states = cast(inputs["sd2/states" if base == "tiny-sd2" else "states"][plan["prompts"]])
        pred = unet(noisy, batch["t"], states, **extra).sample
        target = {"epsilon": noise, "sample": latents}.get(prediction)
        if prediction == "v_prediction":
            target = scheduler.get_velocity(latents, noise, batch["t"])
        loss = spec.get("loss", mean_loss)(pred, target, batch)
        out["losses"].append(loss.item())
        if index == 0:
            out["tensors"] |= {"step0/noisy": noisy, "step0/target": target, "step0/model_pred": pred.detach()}
            if text is not None:
                out["tensors"]["step0/hidden_first8"] = states[:, :8].detach()
        (loss / accumulate).backward()
        if (index + 1) % accumulate:
            continue
        if table is None:
            out["grads"].append({n: p.grad.detach().clone() for n, p in params.items()})
        else:
            out["grads"].append({"added_rows": table.grad[-len(rows) :].detach().clone()})
        if table is None:
            out["norms"].append(torch.nn.utils.clip_grad_norm_(trained, 1.0).item())
        optimizer.step()
        optimizer.zero_grad()
        if table is not None:
            # diffusers' textual_inversion.py: all other rows are put back.
            with torch.no_grad():
                table[: -len(rows)] = original[: -len(rows)]
        out["after"].append(snapshot())
        for name, average in averages.items():
            average.step(trained)
            out["ema_decay"][name].append(average.cur_decay_value)
            out["ema"][name].append({n: s.clone() for n, s in zip(params, average.shadow_params, strict=True)})
    if spec.get("table"):
        out["tensors"]["alphas_cumprod"] = scheduler.alphas_cumprod
    return out


def initial_rows(rows):
    """The row of a word of the base, once per vector, as diffusers begins; `<word>` ids recorded."""
    tokenizer = CLIPTokenizer.from_pretrained(FIXTURES / "tiny-shapes/tokenizer")
    (word,) = tokenizer.encode(rows["word"], add_special_tokens=False)
    rows["word_id"] = word
    weights = load_file(FIXTURES / "tiny-shapes/text_encoder/model.safetensors")
    (table,) = [v for k, v in weights.items() if k.endswith("token_embedding.weight")]
    return table[word].float().repeat(rows["vectors"], 1)


# ---- scenarios -------------------------------------------------------------------------------------------------------------

TIMESTEPS = [[601, 87, 333, 940], [12, 755, 498, 201], [999, 410, 0, 660], [150, 580, 875, 44], [720, 265, 530, 3], [95, 845, 310, 462]]


def batches(count, size, prompts=(0, 1, 2, 3), **more):
    """Micro-batch i: latents, noise, timesteps and prompts by index, factors of the samples in the loss."""
    made = []
    for i in range(count):
        plan = {
            "latents": [(size * i + j) % 6 for j in range(size)],
            "noise": [(4 * i + j) % 24 for j in range(size)],
            "timesteps": TIMESTEPS[i % 6][:size],
            "prompts": [prompts[(i + j) % len(prompts)] for j in range(size)],
            "weights": [1 / size] * size,
        }
        made.append({**plan, **more})
    return made


def prior_batches(count, half, prior_weight, **more):
    made = batches(count, 2 * half, prior_weight=prior_weight, **more)
    return [{**b, "weights": [1 / half] * half + [prior_weight / half] * half} for b in made]


V = {"prediction_type": "v_prediction"}
ZERO_SNR = {**V, "rescale_betas_zero_snr": True}
SAMPLE = {"prediction_type": "sample"}


def timesteps(plans, lists):
    return [{**plan, "timesteps": ts} for plan, ts in zip(plans, lists, strict=True)]


def sd_scripts(plans, loss_weights, **more):
    size = len(loss_weights)
    return [{**p, "loss_weights": loss_weights, "weights": [w / size for w in loss_weights], **more} for p in plans]


ATTN2 = lora(2, ATTENTION)
SCENARIOS = {
    "sample-prediction": {"unet": ATTN2, "scheduler": SAMPLE, "batches": batches(3, 2), "every": 21},
    "sample-prediction-snr": {"unet": ATTN2, "scheduler": SAMPLE, "batches": timesteps(batches(2, 2), [[601, 87], [212, 755]]), "loss": sample_snr_loss, "every": 29},
    "masked": {"unet": ATTN2, "batches": sd_scripts(batches(3, 2), [1, 1], mask=[0, 1]), "loss": sd_scripts_loss, "every": 21},
    "masked-prior-min-snr": {
        "unet": ATTN2,
        "batches": sd_scripts(batches(2, 2), [1, 0.5], mask=[1, 0], min_snr_gamma=5.0),
        "loss": sd_scripts_loss,
        "every": 27,
    },
    "dora": {"unet": lora(2, ["to_q", "to_out.0", "ff.net.2", "conv1", "conv_shortcut", "proj_in"], 3, use_dora=True), "batches": batches(4, 1), "every": 47},
    "dora-started": {
        "unet": lora(2, ["to_k", "ff.net.0.proj", "conv2", "conv", "proj_out"], 3, use_dora=True),
        "init": "up-too",
        "batches": batches(2, 2),
        "every": 59,
    },
    "dora-text": {"unet": lora(2, ["to_v"], use_dora=True), "text": lora(2, TEXT_ATTENTION + TEXT_MLP, use_dora=True), "text_lr": 5e-4, "batches": batches(2, 1), "every": 35, "text_every": 5},
    "locon": {"unet": lora(2, ATTENTION + CONVOLUTIONS), "batches": batches(4, 1), "every": 41},
    "locon-started": {"unet": lora(2, CONVOLUTIONS, 1), "init": "up-too", "batches": batches(1, 2), "every": 23},
    "attention-feed-forward": {"unet": lora(2, ATTENTION + FEED_FORWARD), "batches": batches(3, 2), "every": 31},
    "rslora-patterns": {
        "unet": lora(4, ATTENTION, 2, use_rslora=True, rank_pattern={"attn2.to_v": 6, "mid_block.*to_q": 1, "up_blocks.1.attentions.[01].*to_k": 3}, alpha_pattern={"attn1.to_q": 8, "up_blocks.3.*": 1}),
        "batches": batches(3, 1),
        "every": 37,
    },
    "patterns": {
        "unet": lora(4, ATTENTION, 2, rank_pattern={"attn2.to_v": 6, "mid_block.*to_q": 1}, alpha_pattern={"attn1.to_q": 8, "up_blocks.3.*": 1}),
        "batches": batches(2, 1),
        "every": 41,
    },
    "pivotal-together": {
        "unet": ATTN2,
        "text": lora(2, TEXT_ATTENTION + TEXT_MLP),
        "rows": {"vectors": 1, "word": "square"},
        "text_lr": 5e-4,
        "row_lr": 2e-4,
        "batches": batches(4, 2, prompts=(4, 5)),
        "every": 47,
        "text_every": 4,
    },
    "text-only": {"text": lora(2, TEXT_ATTENTION + TEXT_MLP, 4), "init": "up-too", "batches": batches(2, 2), "every": 1, "text_every": 5},
    "caption-drop-out": {"unet": ATTN2, "batches": batches(3, 2, prompts=(0, 3, 1)), "every": 29},
    "tag-drop-out": {"unet": ATTN2, "batches": batches(2, 1, prompts=(4, 5)), "every": 33},
    "ema": {
        "unet": lora(2, ["to_q", "to_v"]),
        "batches": batches(5, 1),
        "ema": {"ema": {"decay": 0.9999}, "ema-warmup": {"decay": 0.6, "use_ema_warmup": True, "power": 0.75, "min_decay": 0.1, "update_after_step": 1}},
        "every": 21,
    },
    "v-zero-snr": {"unet": ATTN2, "scheduler": ZERO_SNR, "batches": timesteps(batches(3, 2), [[999, 87], [998, 0], [500, 999]]), "table": True, "every": 31},
    "v-zero-snr-min-snr": {
        "unet": ATTN2,
        "scheduler": ZERO_SNR,
        "batches": sd_scripts(timesteps(batches(2, 2), [[999, 310], [7, 860]]), [1, 1], min_snr_gamma=5.0),
        "loss": sd_scripts_loss,
        "every": 29,
    },
    "min-snr-prior": {"unet": ATTN2, "batches": sd_scripts(batches(3, 4), [1, 1, 0.7, 0.7], min_snr_gamma=5.0), "loss": sd_scripts_loss, "every": 31},
    "min-snr-prior-instance": {"unet": ATTN2, "batches": prior_batches(2, 2, 0.7, min_snr_gamma=5.0), "loss": prior_min_snr_instance_loss, "every": 29},
    "sdxl": {"base": "tiny-sdxl", "unet": lora(2, ATTENTION + FEED_FORWARD + ["proj_in", "proj_out", "conv1"]), "batches": batches(3, 2, prompts=(0, 1)), "every": 29, "keep_f64": True},
    "sd2": {"base": "tiny-sd2", "unet": lora(2, ATTENTION + ["proj_in", "proj_out"]), "scheduler": V, "batches": batches(3, 2, prompts=(0, 1)), "every": 19, "keep_f64": True},
    "accumulate3-prior": {"unet": ATTN2, "batches": prior_batches(6, 1, 0.5), "loss": prior_loss, "accumulate": 3, "every": 27},
    "init-adapter": {"unet": lora(4, ATTENTION), "init": "adapters/striped.safetensors", "batches": batches(1, 2), "every": 23},
    "textual-inversion-2-vectors": {"rows": {"vectors": 2, "word": "circle", "whole_table": True}, "row_lr": 5e-4, "batches": batches(5, 1, prompts=(6, 7)), "every": 1},
}


# Beside every nth, stored whole: kinds of module that n does not meet.
BLOCK = "transformer_blocks.0"
ALSO = {
    "dora": [
        "unet.down_blocks.0.resnets.0.conv1",
        "unet.down_blocks.1.resnets.0.conv_shortcut",
        f"unet.down_blocks.0.attentions.0.{BLOCK}.ff.net.2",
    ],
    "dora-started": [
        "unet.down_blocks.0.resnets.1.conv2",
        "unet.down_blocks.0.downsamplers.0.conv",
        f"unet.up_blocks.3.attentions.0.{BLOCK}.ff.net.0.proj",
    ],
    "locon": [
        "unet.down_blocks.0.downsamplers.0.conv",
        "unet.up_blocks.2.upsamplers.0.conv",
        "unet.down_blocks.0.resnets.0.conv2",
    ],
    "locon-started": [
        "unet.down_blocks.0.downsamplers.0.conv",
        "unet.down_blocks.1.resnets.0.conv_shortcut",
        "unet.down_blocks.0.resnets.0.conv2",
    ],
    "attention-feed-forward": [
        f"unet.mid_block.attentions.0.{BLOCK}.ff.net.0.proj",
        f"unet.up_blocks.3.attentions.2.{BLOCK}.ff.net.2",
    ],
    "rslora-patterns": [
        f"unet.mid_block.attentions.0.{BLOCK}.attn1.to_q",
        f"unet.up_blocks.1.attentions.0.{BLOCK}.attn2.to_k",
        f"unet.up_blocks.3.attentions.1.{BLOCK}.attn2.to_v",
    ],
    "patterns": [
        f"unet.mid_block.attentions.0.{BLOCK}.attn1.to_q",
        f"unet.up_blocks.3.attentions.1.{BLOCK}.attn2.to_v",
    ],
    "pivotal-together": [
        "text_encoder.text_model.encoder.layers.1.mlp.fc2",
    ],
    "dora-text": [
        "text_encoder.text_model.encoder.layers.2.mlp.fc2",
    ],
}


# ---- writing ---------------------------------------------------------------------------------------------------------------


def chosen_names(names, spec, also):
    """Every nth module of each component and those of ALSO, all of their tensors."""
    modules = {}
    for name in names:
        modules.setdefault(re.sub(r"\.(lora_[AB]|lora_magnitude_vector)\.weight$", "", name), []).append(name)
    picked = []
    for component, step in (("unet", spec["every"]), ("text_encoder", spec.get("text_every", 1)), ("added_rows", 1)):
        own = [m for m in sorted(modules) if m.split(".")[0] == component]
        picked += [n for i, m in enumerate(own) if i % step == 0 or m in also for n in modules[m]]
    assert all(m in modules for m in also), also
    return picked


def parameters_of(modules, sets):
    """Modules by the name of a list in parameters.json, what most have, and those that have something else."""
    if not modules:
        return None
    listed = [m["module"] for m in modules]
    key = next((k for k, v in sets.items() if v == listed), None)
    if key is None:
        key = f"{len(sets)}"
        sets[key] = listed
    figures = [{k: m[k] for k in ("rank", "alpha", "scaling")} for m in modules]
    usual = max(figures, key=figures.count)
    return {"list": key, **usual, "others": {m: f for m, f in zip(listed, figures, strict=True) if f != usual}}


def round_figures(value):
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return value


def record(name, spec, inputs, out, sets):
    single, double = (run(spec, inputs, dtype) for dtype in (torch.float32, torch.float64))
    steps = len(single["after"])
    names = list(single["init"])
    picked = chosen_names(names, spec, ALSO.get(name, []))
    # Gradients of the first two steps; factors after the first and the last.
    grads = sorted({0, min(1, steps - 1)})
    afters = sorted({1, steps})
    tensors = {k: v.float() for k, v in single["tensors"].items()}
    loss = {"loss": max(abs(a - b) for a, b in zip(single["losses"], double["losses"], strict=True))}
    if single["norms"]:
        loss["grad_norm"] = max(abs(a - b) for a, b in zip(single["norms"], double["norms"], strict=True))
    loss["step0"] = apart(single["tensors"], double["tensors"])
    zeros = {}
    for i in grads:
        all_zero = [n for n in names if not single["grads"][i][n].any()]
        zeros[f"grad{i}"] = len(all_zero)
        assert all(not double["grads"][i][n].any() for n in all_zero), (name, i)
        tensors |= {f"grad{i}/{n}": single["grads"][i][n] for n in picked if n not in all_zero}
        if spec.get("keep_f64"):
            tensors |= {f"grad{i}_f64/{n}": double["grads"][i][n] for n in picked if n not in all_zero}
        loss[f"grad{i}"] = apart(single["grads"][i], double["grads"][i])
        largest = max(g.abs().max().item() for g in double["grads"][i].values())
        loss[f"grad{i}_relative_to_largest"] = loss[f"grad{i}"] / largest
    for i in afters:
        tensors |= {f"after{i}/{n}": single["after"][i - 1][n] for n in picked}
        loss[f"after{i}"] = apart(single["after"][i - 1], double["after"][i - 1])
    for kind, runs in single["ema"].items():
        for i in range(1, steps + 1):
            few = picked[::3]
            tensors |= {f"{kind}{i}/{n}": runs[i - 1][n] for n in few}
            loss[f"{kind}{i}"] = apart(runs[i - 1], double["ema"][kind][i - 1])
    if spec.get("keep_f64"):
        tensors |= {f"{k}_f64": v for k, v in double["tensors"].items()}
    if "rows" in spec:
        tensors["init/added_rows"] = single["init"]["added_rows"]
    if any(n.endswith("magnitude_vector.weight") for n in names):
        tensors |= {f"init/{n}": single["init"][n] for n in picked if n.endswith("magnitude_vector.weight")}
    update = lambda n: single["after"][-1][n].double() - single["init"][n].double()
    facts = {
        "base": spec.get("base", "tiny-shapes"),
        "prediction_type": spec.get("scheduler", {}).get("prediction_type", "epsilon"),
        "rescale_betas_zero_snr": "rescale_betas_zero_snr" in spec.get("scheduler", {}),
        "loss_rule": spec.get("loss", mean_loss).__name__.removesuffix("_loss"),
        "init": {"down": "A hashed, B zero", "up-too": "A and B hashed"}.get(spec.get("init", "down"), spec.get("init")),
        "adapters": {k: spec[k] for k in ("unet", "text") if k in spec},
        "lr": {"unet": spec.get("lr", 1e-3), "text_encoder": spec.get("text_lr"), "tokens": spec.get("row_lr")},
        "clip": None if not single["norms"] else 1.0,
        "accumulate": spec.get("accumulate", 1),
        "batches": spec["batches"],
        "losses": single["losses"],
        "losses_f64": double["losses"],
        "grad_norms_before_clip": single["norms"],
        "f32_vs_f64": {k: round_figures(v) for k, v in loss.items()},
        "gradients_exactly_zero": zeros,
        "largest_gradient": {f"grad{i}": round_figures(max(g.abs().max().item() for g in single["grads"][i].values())) for i in grads},
        "modules": parameters_of(single["modules"], sets),
        "grad_norms": {f"grad{i}": [norm(single["grads"][i][n]) for n in names] for i in grads},
        f"update_norms_after{steps}": [norm(update(n)) for n in names],
    }
    if "rows" in spec:
        facts["rows"] = spec["rows"]
    if spec.get("ema"):
        facts["ema"] = {kind: {"options": spec["ema"][kind], "decay": single["ema_decay"][kind]} for kind in spec["ema"]}
    # Order of names: as they are written above.
    assert names == [
        n
        for m in single["modules"]
        for n in [f"{m['module']}.{p}.weight" for p in ("lora_A", "lora_B", "lora_magnitude_vector")]
        if n in single["init"]
    ] + [n for n in names if n == "added_rows"], name
    save_file({k: v.contiguous() for k, v in sorted(tensors.items())}, out / f"{name}.safetensors", {"format": "pt"})
    # One line a key, so that a difference can be read.
    lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in facts.items() if v is not None)
    (out / f"{name}.json").write_text(f"{{\n{lines}\n}}\n")
    print(f"{name}: losses {[round(v, 6) for v in single['losses']]}, f32_vs_f64 {facts['f32_vs_f64']}", flush=True)
    return facts


def digest(path):
    return {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def main():
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    inputs = make_inputs()
    inputs = {k: v.contiguous() for k, v in inputs.items()}
    facts, left_out, sets = {}, {}, {}
    for name, spec in SCENARIOS.items():
        if arguments.only not in (None, name):
            continue
        if not BASES[spec.get("base", "tiny-shapes")].exists():
            left_out[name] = f"no base {spec['base']} here"
            continue
        facts[name] = record(name, spec, inputs, out, sets)
    save_file({k: v for k, v in inputs.items() if k != "mask_pixels"}, out / "inputs.safetensors", {"format": "pt"})
    save_file({"mask_pixels": inputs["mask_pixels"]}, out / "mask-pixels.safetensors", {"format": "pt"})
    if arguments.only is not None:
        return
    # Every module once, one a line; a list is indices.
    every = sorted({m for listed in sets.values() for m in listed})
    lines = ",\n".join(f"  {json.dumps(m)}" for m in every)
    lists = ",\n".join(f"  {json.dumps(k)}: {json.dumps([every.index(m) for m in listed], separators=(',', ':'))}" for k, listed in sets.items())
    (out / "parameters.json").write_text(f'{{\n "modules": [\n{lines}\n ],\n "lists": {{\n{lists}\n }}\n}}\n')
    used = {
        name: {file: digest(BASES[name] / file)["sha256"] for file in ("unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors")}
        for name in BASES
        if BASES[name].exists()
    }
    for path in out.iterdir():
        path.chmod(0o644)
    manifest = {
        "made_by": {
            "script": "scripts/reference/make-training-references.py",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "diffusers": f"{diffusers.__version__} (58eb52c)",
            "transformers": transformers.__version__,
            "peft": peft.__version__,
            "numpy": numpy.__version__,
            "threads": 1,
            "device": "cpu",
        },
        "bases": used,
        "prompts": PROMPTS + [TAGGED["caption"], TAGGED["result"]],
        "states_rows": "prompts 0 to 3, then the two of tag_drop_out",
        "tag_drop_out": TAGGED,
        "betas": BETAS,
        "optimizer": {"name": "AdamW", **ADAMW, "clip_grad_norm": 1.0, "note": "clipping over all trained tensors together; none in textual-inversion-2-vectors"},
        "rules": {
            "batches": "micro-batch i of a scenario: latents[latents], noise[noise], ids[prompts] where a text encoder or rows are trained, else states[prompts] (sdxl/…, sd2/… for those bases); mask is mask[mask], which is mask_pixels (mask-pixels.safetensors) / 255 resized by area; weights are what each sample's mean squared error counts in the loss, before min-SNR or SNR weights",
            "hashed": "A (and B): value i of tensor NAME = ((mix(fnv1a(NAME) + i) >>> 8) / 2^24 - 0.5) * scale, scale 1 for lora_A, 0.0625 for lora_B; mix: x ^= x >>> 16; x *= 0x7feb352d; x ^= x >>> 15; x *= 0x846ca68b; x ^= x >>> 16, all of 32 bits; NAME is PEFT's, as in the files",
            "mean": "mean of all squared errors",
            "prior": " ".join(prior_loss.__doc__.split()),
            "sd_scripts": " ".join(sd_scripts_loss.__doc__.split()),
            "prior_min_snr_instance": " ".join(prior_min_snr_instance_loss.__doc__.split()),
            "sample_snr": " ".join(sample_snr_loss.__doc__.split()),
            "ema": "diffusers' EMAModel, one step after each optimizer step; ema1 is after the first",
            "names": "modules.list of a scenario's json is a list in parameters.json (indices of its modules); the norms of a scenario's json go module by module in that order, each lora_A.weight, lora_B.weight, then lora_magnitude_vector.weight where there is one; last added_rows",
            "rows": "added_rows are the embeddings of ids 1988, 1989, …; all begin as the row of the word",
            "scaling": "the delta of a module is scaling * B A; scaling is alpha / rank, alpha / sqrt(rank) with use_rslora",
            "dora": "PEFT: the norm of W + scaling B A by output row is no part of the gradient; the magnitude begins as the norm of W's rows",
            "sdxl, sd2": "random weights that lose much in float32 (see f32_vs_f64): step0/*_f64 and gradI_f64/NAME are of the float64 run, for a float64 engine",
            "alphas_cumprod": "float32 (cumulative product in float32), in the float64 runs too",
        },
        "files_of_a_scenario": "step0/*; gradI/NAME: gradient of optimizer step I (0-based) before clipping, tensors that are exactly zero left out; afterN/NAME: after N optimizer steps; every nth module and a few more, norms of all in the json",
        "tolerance_rule": "as ../../../../shared/reference/training/manifest.json: losses 1e-6 relative at step 0, 2e-5 after; gradients 1e-5 of the largest entry of the whole gradient; factors by relative L2 of the update <= 1e-3, entries within 10 x f32_vs_f64 (AdamW moves an entry whose gradient is near eps by up to the rate)",
        "scenarios": {name: {"loss_rule": f["loss_rule"], "first_loss": f["losses"][0], "last_loss": f["losses"][-1], "f32_vs_f64": f["f32_vs_f64"]} for name, f in facts.items()},
        "left_out": left_out,
        "files": {p.name: digest(p) for p in sorted(out.iterdir()) if p.name != "manifest.json" and p.suffix in (".json", ".safetensors")},
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    print(sum(p.stat().st_size for p in out.iterdir()), "bytes")


main()
