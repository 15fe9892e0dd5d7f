"""`lora resize` against torch in float64 and float32, on one file: singular values, true errors, time.

    python against_torch.py IN OUT16 REPORT.json [--time N]

IN: the file that was resized; OUT16: what `lora resize IN OUT16 --rank 16 --json > REPORT.json` wrote. Every delta is made
in float64 by torch; nothing of lorakit is used here.
--time N: full float32 torch.linalg.svd of N modules' deltas (as sd-scripts' resize_lora.py does), scaled up by size.
"""

import argparse
import json
import time

import torch
from safetensors.torch import load_file


def delta(tensors, name):
    up = tensors[name + ".lora_up.weight"].double()
    down = tensors[name + ".lora_down.weight"].double()
    rank = down.shape[0]
    alpha = tensors[name + ".alpha"].double().item()
    return (up.flatten(1) @ down.flatten(1)) * (alpha / rank), rank


def main():
    p = argparse.ArgumentParser()
    p.add_argument("inp")
    p.add_argument("out")
    p.add_argument("report")
    p.add_argument("--check", type=int, default=12)
    p.add_argument("--time", type=int, default=0)
    a = p.parse_args()
    old, new = load_file(a.inp), load_file(a.out)
    report = {("lora_" + {"unet": "unet", "text_encoder": "te"}[m["component"]] + "_" + m["path"].replace(".", "_")): m for m in json.load(open(a.report))["modules"]}
    names = sorted(k.removesuffix(".lora_up.weight") for k in old if k.endswith(".lora_up.weight"))
    step = max(1, len(names) // a.check)
    worst_s = worst_e = 0.0
    for name in names[::step]:
        x, _ = delta(old, name)
        y, k = delta(new, name)
        s = torch.linalg.svdvals(x)
        # Rounding to the stored type moves singular values; the truncated spectrum itself is judged through energyKept.
        kept = (s[:k].square().sum() / s.square().sum()).item()
        worst_s = max(worst_s, abs(kept - report[name]["energyKept"]))
        true = ((y - x).norm() / x.norm()).item()
        worst_e = max(worst_e, abs(true - report[name]["error"]))
        best = (s[k:].square().sum() / s.square().sum()).sqrt().item()
        print(f"{name[:70]:70} rank {k}  best {best:.9f}  true {true:.9f}  stated {report[name]['error']:.9f}")
    print(f"largest |energy kept - numpy's| {worst_s:.2e}; largest |true error - stated error| {worst_e:.2e}")
    if a.time:
        total = done = 0.0
        sample = names[:: max(1, len(names) // a.time)]
        cost = lambda n: float(min(old[n + ".lora_up.weight"].shape[0], old[n + ".lora_down.weight"].flatten(1).shape[1]) ** 2 * max(old[n + ".lora_up.weight"].shape[0], old[n + ".lora_down.weight"].flatten(1).shape[1]))
        begun = time.perf_counter()
        for name in sample:
            w, _ = delta(old, name)
            torch.linalg.svd(w.float())
            done += cost(name)
        seconds = time.perf_counter() - begun
        total = sum(map(cost, names))
        print(f"torch float32 full SVD, {torch.get_num_threads()} threads: {seconds:.1f} s for {len(sample)} of {len(names)} modules, about {seconds * total / done:.0f} s for all")


main()
