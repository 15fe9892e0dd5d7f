"""Write a synthetic kohya LoRA over SD1.5's attention set (UNet attention + CLIP-L text encoder), by seed.

    python make_sd15_lora.py OUT --rank 128 --dtype f16 [--decay 0.97] [--no-text-encoder]

Shapes are those of fixtures/modules/sd15-unet.json. `decay` makes singular values fall as in trained files.
"""

import argparse
import json
import pathlib

import numpy as np
import torch
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]


def modules(text_encoder):
    fixture = json.loads((ROOT / "fixtures/modules/sd15-unet.json").read_text())
    for path, *shape in fixture:
        if ".attentions." in path and len(shape) in (2, 4):
            yield "lora_unet_" + path.replace(".", "_"), shape
    if text_encoder:
        for i in range(12):
            for leaf in ("q_proj", "k_proj", "v_proj", "out_proj"):
                yield f"lora_te_text_model_encoder_layers_{i}_self_attn_{leaf}", [768, 768]
            yield f"lora_te_text_model_encoder_layers_{i}_mlp_fc1", [3072, 768]
            yield f"lora_te_text_model_encoder_layers_{i}_mlp_fc2", [768, 3072]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("--rank", type=int, default=128)
    p.add_argument("--dtype", default="f16", choices=["f16", "bf16", "f32"])
    p.add_argument("--decay", type=float, default=0.97)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--no-text-encoder", action="store_true")
    a = p.parse_args()
    dtype = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}[a.dtype]
    gen = torch.Generator().manual_seed(a.seed)
    tensors = {}
    fall = torch.tensor(a.decay, dtype=torch.float64) ** torch.arange(a.rank)
    count = 0
    for name, shape in sorted(modules(not a.no_text_encoder)):
        out, inn, *kernel = shape
        count += 1
        up = torch.randn(out, a.rank, generator=gen, dtype=torch.float64) * 0.02 * fall
        down = torch.randn(a.rank, inn, *kernel, generator=gen, dtype=torch.float64) * 0.05
        tensors[name + ".lora_up.weight"] = (up.reshape(out, a.rank, *[1 for _ in kernel])).to(dtype).contiguous()
        tensors[name + ".lora_down.weight"] = down.to(dtype).contiguous()
        tensors[name + ".alpha"] = torch.tensor(float(a.rank) / 2).to(dtype)
    save_file(tensors, a.out, {"ss_network_dim": str(a.rank), "ss_network_alpha": str(a.rank / 2), "ss_network_module": "networks.lora", "ss_output_name": "synthetic"})
    print(count, "modules")


main()
