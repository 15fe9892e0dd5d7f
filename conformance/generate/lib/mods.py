"""Making modules of an adapter: factors on the dyadic grid, per family."""

import json

import numpy as np

from .kit import grid, stored
from .sd1 import Mod

BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"
UP = "up_blocks.1.attentions.2.transformer_blocks.0"
MID = "mid_block.attentions.0.transformer_blocks.0"
TE = "text_model.encoder.layers.0"

ATTN = [f"{b}.{a}.{t}" for b in (BLOCK, MID, UP) for a in ("attn1", "attn2") for t in ("to_q", "to_k", "to_v", "to_out.0")]
FF = [f"{b}.{t}" for b in (BLOCK, MID, UP) for t in ("ff.net.0.proj", "ff.net.2")]
PROJ = ["down_blocks.0.attentions.0.proj_in", "down_blocks.0.attentions.0.proj_out", "mid_block.attentions.0.proj_in", "up_blocks.1.attentions.2.proj_out"]
CONV = ["down_blocks.0.resnets.0.conv1", "down_blocks.1.resnets.0.conv2", "down_blocks.1.resnets.0.conv_shortcut", "mid_block.resnets.0.conv1", "down_blocks.0.downsamplers.0.conv",
        "up_blocks.0.upsamplers.0.conv", "up_blocks.1.upsamplers.0.conv", "up_blocks.3.resnets.2.conv2"]
TIME = ["down_blocks.0.resnets.0.time_emb_proj", "up_blocks.2.resnets.1.time_emb_proj"]
TOP = ["conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"]
TEXT = [f"text_model.encoder.layers.{n}.{t}" for n in (0, 1) for t in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2")]


def values(label, shape, scale=1.0, tile=False):
    if not tile:
        return grid(label, shape, scale)
    some = grid(label, (16,), scale)
    n = int(np.prod(shape))
    return np.resize(some, n).reshape(shape)


def lora(shapes, component, path, rank, label, dtype="F16", alpha=None, alpha_dtype=None, scale=None, tile=False, up=0.125, up_dtype=None, conv2d=None):
    """A plain LoRA pair for a linear layer or a convolution."""
    shape = shapes[(component, path)]
    key = f"{label}|{component}.{path}"
    down_shape = (rank, *shape[1:])
    up_shape = (shape[0], rank) + (1,) * (len(shape) - 2)
    if conv2d == "2d":
        down_shape, up_shape = (rank, int(np.prod(shape[1:]))), (shape[0], rank)
    if conv2d == "4d":
        down_shape, up_shape = (rank, shape[1], 1, 1), (shape[0], rank, 1, 1)
    factors = {
        "down": stored(values(key + "|down", down_shape, 1.0, tile), dtype),
        "up": stored(values(key + "|up", up_shape, up, tile), up_dtype or dtype),
    }
    return Mod(component, path, shape, "lora", factors, alpha, alpha_dtype, scale)


def loras(shapes, component, paths, rank, label, **kw):
    return [lora(shapes, component, p, rank, label, **kw) for p in paths]


class Names:
    """A base that is names and shapes alone: real sizes of SD 2, SDXL, Flux, SD3."""

    def __init__(self, suite, which):
        raw = json.loads(suite.shared(f"field/{which}_modules.json"))
        self.raw = raw
        self.modules = {}
        if which in ("sd15", "sd21", "sdxl"):
            for m in raw["unet"]:
                self.modules[("unet", m["name"])] = (m["out"], m["in"], *(m["kernel"] if m["kind"] == "conv2d" else ()))
            for te in raw["text_encoders"]:
                for m in te["modules"]:
                    self.modules[(te["diffusers_prefix"], m["name"])] = (m["out"], m["in"])
            self.flat = {m["name"]: m for m in raw["unet"]}
        elif which == "flux1":
            for m in raw["modules"]:
                for d in m["diffusers"]:
                    self.modules[("transformer", d["name"])] = (d["rows"][1] - d["rows"][0], m["in"])
        else:
            for m in raw["modules"]:
                self.modules[("transformer", m["diffusers"])] = (m["out"], m["in"])
        components = {}
        for (component, path), shape in self.modules.items():
            components.setdefault(component, []).append([path, list(shape)])
        arch = {"sd15": "sd1", "sd21": "sd2", "sdxl": "sdxl", "flux1": "flux", "sd3_medium": "sd3"}[which]
        self.architecture = arch
        self.file = suite.json(f"bases/names/{which}.json", components, f"from ../shared/field/{which}_modules.json (verified there against the real models)")

    def base(self):
        return {"architecture": self.architecture, "names": self.file}
