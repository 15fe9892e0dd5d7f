"""Runs the real implementations once and keeps what they answered.

Needs torch, transformers, PEFT and a checkout of diffusers (DIFFUSERS_SRC, default diffusers/src), and the
project's recordings (REFERENCE, default ../../../shared/reference from here). Writes generate/recorded/*:
tensors that no recording has (the runs without an adapter that gain and cosine are taken against) and measured.json
(how far float16 and bfloat16 alone go). make.py only reads these: float32 sums differ from machine to machine in the
last bits, so a regenerated suite must not depend on them.

Usage: python record.py
"""

import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("REFERENCE", HERE.parents[2] / "shared" / "reference"))
sys.path.insert(0, os.environ.get("DIFFUSERS_SRC", "diffusers/src"))

import torch  # noqa: E402
from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: E402
import diffusers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

torch.set_num_threads(1)
torch.manual_seed(0)
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def text_model(folder):
    """CLIPTextModel of a folder whose file has the names of before transformers 5.6."""
    config = CLIPTextConfig.from_pretrained(folder)
    model = CLIPTextModel(config)
    state = load_file(str(folder / "model.safetensors"))
    own = model.state_dict()
    renamed = {}
    for name, tensor in state.items():
        for candidate in (name, name.removeprefix("text_model.")):
            if candidate in own:
                renamed[candidate] = tensor.float()
    missing = [n for n in own if n not in renamed and "position_ids" not in n]
    assert not missing, missing
    model.load_state_dict(renamed, strict=False)
    return model.eval()


def base(folder):
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).eval()
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()
    return unet, text_model(folder / "text_encoder"), vae


def hand_deltas(path):
    """(component, dotted module, alpha / rank * up @ down in float64) of the adapter files used here."""
    from safetensors import safe_open

    tensors = {}
    with safe_open(str(path), "pt") as f:
        for k in f.keys():
            tensors[k] = f.get_tensor(k)
    groups = {}
    for k, t in tensors.items():
        for down, up in ((".lora_A.weight", ".lora_B.weight"), (".lora.down.weight", ".lora.up.weight"),
                         (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
                         (".lora_down.weight", ".lora_up.weight")):
            if k.endswith(down):
                name = k[: -len(down)]
                groups[name] = (t, tensors[name + up], tensors.get(name + ".alpha"))
    out = []
    for name, (down, up, alpha) in sorted(groups.items()):
        d, u = down.double(), up.double()
        s = 1.0 if alpha is None else float(alpha) / down.shape[0]
        delta = s * (u.flatten(1) @ d.flatten(1))
        out.append((name, delta.reshape(u.shape[0], *d.shape[1:])))
    return out


def module_of(name, unet, text):
    """The torch module that a key names, dotted or flattened."""
    tables = module_of.tables.setdefault(id(unet), None)
    if tables is None:
        tables = {}
        for n, m in unet.named_modules():
            if hasattr(m, "weight") and m.weight is not None:
                tables["unet." + n] = m
                tables["lora_unet_" + n.replace(".", "_")] = m
        for n, m in text.named_modules():
            if hasattr(m, "weight") and m.weight is not None:
                n = n.removeprefix("text_model.")
                tables["text_encoder.text_model." + n] = m
                tables["lora_te_text_model_" + n.replace(".", "_")] = m
        module_of.tables[id(unet)] = tables
    return tables[name]


module_of.tables = {}


class Applied:
    """Adapters added to a pair of models in `merge` precision (weights stay float32), taken back on exit."""

    def __init__(self, unet, text, adapters, merge=torch.float32):
        self.unet, self.text, self.adapters, self.merge = unet, text, adapters, merge

    def __enter__(self):
        self.kept = {}
        if self.merge != torch.float32:
            for m in list(self.unet.modules()) + list(self.text.modules()):
                for p in (getattr(m, "weight", None), getattr(m, "bias", None)):
                    if isinstance(p, torch.nn.Parameter):
                        self.kept[id(p)] = (p, p.data.clone())
                        p.data = p.data.to(self.merge).float()
        for path, scale in self.adapters:
            for name, delta in hand_deltas(path):
                p = module_of(name, self.unet, self.text).weight
                self.kept.setdefault(id(p), (p, p.data.clone()))
                if self.merge == torch.float32:
                    p.data = (p.data.double() + scale * delta.reshape(p.shape)).float()
                else:
                    p.data = (p.data.to(self.merge) + (scale * delta).reshape(p.shape).to(self.merge)).float()
        return self

    def __exit__(self, *_):
        for p, data in self.kept.values():
            p.data = data


@torch.no_grad()
def run(models, ids, initial, scheduler_name, config, steps, guidance, noise=None, compute=torch.float32):
    unet, text, vae = models
    if compute != torch.float32:
        unet, text = unet.to(compute), text.to(compute)
    try:
        cls = getattr(diffusers, scheduler_name)
        scheduler = cls.from_config({k: v for k, v in config.items()})
        states = text(ids)[0]
        scheduler.set_timesteps(steps)
        latents = initial.to(compute) * scheduler.init_noise_sigma
        out = []
        draws = list(noise) if noise is not None else []
        for t in scheduler.timesteps:
            both = torch.cat([latents] * 2) if guidance > 1 else latents
            both = scheduler.scale_model_input(both, t)
            n = latents.shape[0]
            ctx = torch.cat([states[1:2].expand(n, -1, -1), states[0:1].expand(n, -1, -1)]) if guidance > 1 else states[0:1].expand(n, -1, -1)
            eps = unet(both, t, ctx.to(compute)).sample
            if guidance > 1:
                u, c = eps.chunk(2)
                eps = u + guidance * (c - u)
            extra = {}
            if draws:
                queue = draws

                def drawn(*a, **k):
                    return queue.pop(0).to(compute)

                module = sys.modules[cls.__module__]
                kept = module.randn_tensor
                module.randn_tensor = drawn
                try:
                    latents = scheduler.step(eps, t, latents, **extra).prev_sample
                finally:
                    module.randn_tensor = kept
            else:
                latents = scheduler.step(eps, t, latents, **extra).prev_sample
            latents = latents.to(compute)
            out.append(latents.float().clone())
        return torch.stack(out)
    finally:
        if compute != torch.float32:
            unet.float(), text.float()


def rel(a, b):
    """Largest difference of any step, as a share of that step's largest latent: the runner's measure."""
    return max(float((x - y).abs().max() / y.abs().max()) for x, y in zip(a, b))


def main():
    out = HERE / "recorded"
    out.mkdir(exist_ok=True)
    measured = {"environment": {"torch": torch.__version__, "diffusers": diffusers.__version__, "threads": 1}, "check": {}, "forward": {}}

    # --- images -------------------------------------------------------------------------------------------------
    without = {}
    for suite, folder, runs_folder, adapters_folder in (
        ("shapes", SHARED / "base/tiny-shapes", SHARED / "inference-shapes", SHARED / "training/shapes"),
        ("tiny-sd", SHARED / "base/tiny-sd", SHARED / "inference", SHARED / "inference/lora"),
    ):
        models = base(folder)
        clean = {k: v.clone() for m in models for k, v in m.state_dict(prefix=str(id(m))).items()}
        described = json.loads((runs_folder / "pipeline.json").read_text())["runs"]
        tensors = load_file(str(runs_folder / "pipeline.safetensors"))
        texts = load_file(str(SHARED / "inference/text_encoder.safetensors"))["input_ids"]
        named = {"lora_a": "a-full-kohya.safetensors", "lora_b": "b-attn-peft.safetensors", "lora_c": "c-attn-te-peft.safetensors"}
        for name, r in described.items():
            if suite == "shapes":
                ids = tensors[name + "/input_ids"]
                adapters = [(adapters_folder / a["file"], a["scale"]) for a in r["adapters"]]
            else:
                if r["extra"] or name.startswith("base-dpm10-longprompt"):
                    continue
                which = {"a yellow circle on a navy background, watercolor": 0, "portrait of sks dog on the moon": 3}[r["prompt"]]
                ids = torch.stack([texts[which], texts[1 if r["negative"] else 2]])
                adapters = []
                if name.startswith("lora_ab"):
                    adapters = [(adapters_folder / named["lora_a"], 0.7), (adapters_folder / named["lora_b"], 0.4)]
                elif name.startswith("lora_"):
                    scale = r["scale"] if r["scale"] is not None else float(name.split("-s")[1].split("-")[0])
                    adapters = [(adapters_folder / named[name[:6]], scale)]
            config = {k: (float("inf") * -1 if v == "-Infinity" else v) for k, v in r["scheduler_config"].items()}
            args = (ids, tensors[name + "/initial_latents"], r["scheduler"], config, r["steps"], r["guidance"])
            noise = tensors.get(name + "/step_noise")
            if r["scheduler"] == "LMSDiscreteScheduler":
                continue  # diffusers asks for scipy, which is not at hand; no run with an adapter uses it
            bare = run(models, *args, noise=noise)
            truth = tensors[name + "/latents"]
            if adapters:
                without[f"{suite}/{name}"] = bare
                with Applied(models[0], models[1], adapters):
                    mine = run(models, *args, noise=noise)
            else:
                mine = bare
            measured["check"][f"{suite}/{name}"] = rel(mine, truth)
            for m in models:
                for k, v in m.state_dict(prefix=str(id(m))).items():
                    assert torch.equal(v, clean[k]) or v.isnan().any(), k
            print(suite, name, measured["check"][f"{suite}/{name}"], flush=True)
    save_file({k: v.contiguous() for k, v in sorted(without.items())}, str(out / "images-without.safetensors"))

    # --- single forwards ------------------------------------------------------------------------------------------
    unet, text, vae = base(SHARED / "base/tiny-sd")
    f = load_file(str(SHARED / "inference/unet.safetensors"))
    t = load_file(str(SHARED / "inference/text_encoder.safetensors"))
    with torch.no_grad():
        for adapter, file in (("a", "a-full-kohya"), ("b", "b-attn-peft"), ("c", "c-attn-te-peft")):
            for scale in (0.0, 0.5, 1.0, 1.7):
                path = SHARED / f"inference/lora/{file}.safetensors"
                for p, dtype in DTYPES.items():
                    row = {}
                    for how in ("merge", "whole"):
                        with Applied(unet, text, [(path, scale)], merge=dtype):
                            if how == "whole":
                                unet.to(dtype), text.to(dtype)
                            x, tt, ctx = f["probe/x"], f["probe/t"], f["probe/ctx"]
                            c = dtype if how == "whole" else torch.float32
                            got = unet(x.to(c), tt, ctx.to(c)).sample.float()
                            row["unet " + how] = float((got - f[f"lora_{adapter}/scale{scale}"]).abs().max())
                            key = f"lora_{adapter}/scale{scale}"
                            if key in t:
                                ids = t["input_ids"][: t[key].shape[0]]
                                row["text " + how] = float((text(ids)[0].float() - t[key]).abs().max())
                            if how == "whole":
                                unet.float(), text.float()
                    measured["forward"][f"{adapter}/{scale}/{p}"] = row
                    print(adapter, scale, p, row, flush=True)
        for key, xk, tk, ck in (("base/8x8", "x", "t", "ctx"), ("base/16x16", "x16", "t", "ctx"), ("base/8x12", "x2", "t2", "ctx2")):
            for p, dtype in DTYPES.items():
                with Applied(unet, text, [], merge=dtype):
                    unet.to(dtype)
                    got = unet(f[f"probe/{xk}"].to(dtype), f[f"probe/{tk}"], f[f"probe/{ck}"].to(dtype)).sample.float()
                    unet.float()
                measured["forward"][f"{key}/{p}"] = {"unet whole": float((got - f[key]).abs().max())}
    (out / "measured.json").write_text(json.dumps(measured, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
