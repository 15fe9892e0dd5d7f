"""`lora extract` against torch: a base and a tuned UNet of SD1.5's attention set, by seed, then the stored factors judged.

    python extract_check.py make DIR          writes DIR/base and DIR/tuned (float16)
    python extract_check.py judge DIR OUT REPORT.json
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]


def make(folder):
    gen = torch.Generator().manual_seed(3)
    base, tuned = {}, {}
    for path, *shape in json.loads((ROOT / "fixtures/modules/sd15-unet.json").read_text()):
        if len(shape) < 2 or ".attentions." not in path:
            continue
        w = (torch.randn(*shape, generator=gen) * 0.05).half()
        out, inn = shape[0], w[0].numel()
        d = (torch.randn(out, 64, generator=gen) * 0.9 ** torch.arange(64)) @ torch.randn(64, inn, generator=gen) * 1e-3
        base[path + ".weight"] = w
        tuned[path + ".weight"] = (w.float() + d.reshape(shape)).half()
    for name, tensors in (("base", base), ("tuned", tuned)):
        target = pathlib.Path(folder) / name / "unet"
        target.mkdir(parents=True, exist_ok=True)
        save_file(tensors, target / "diffusion_pytorch_model.safetensors")
    print(len(base), "weights", sum(t.numel() for t in base.values()) / 1e6, "M elements")


def judge(folder, out, report):
    base = load_file(pathlib.Path(folder) / "base/unet/diffusion_pytorch_model.safetensors")
    tuned = load_file(pathlib.Path(folder) / "tuned/unet/diffusion_pytorch_model.safetensors")
    got = load_file(out)
    stated = {m["path"]: m for m in json.load(open(report))["modules"]}
    worst = excess = 0.0
    names = sorted(stated)
    for path in names[:: max(1, len(names) // 10)]:
        d = (tuned[path + ".weight"].double() - base[path + ".weight"].double()).flatten(1)
        key = "lora_unet_" + path.replace(".", "_")
        up, down = got[key + ".lora_up.weight"].double().flatten(1), got[key + ".lora_down.weight"].double().flatten(1)
        rank = down.shape[0]
        s = torch.linalg.svdvals(d)
        best = (s[rank:].square().sum() / s.square().sum()).sqrt().item()
        true = ((up @ down * (got[key + ".alpha"].double().item() / rank) - d).norm() / d.norm()).item()
        worst = max(worst, abs(true - stated[path]["error"]))
        excess = max(excess, true / best - 1)
        print(f"{path[:70]:70} best {best:.9f} true {true:.9f} stated {stated[path]['error']:.9f}")
    print(f"largest |true - stated| {worst:.2e}; largest excess over the best possible {excess:.2e}")


make(sys.argv[2]) if sys.argv[1] == "make" else judge(*sys.argv[2:])
