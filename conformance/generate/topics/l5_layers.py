"""
L5: single layers of the whole models that L6 runs, with the same adapters: which of them is the first that is wrong.

Ids are numbered in the order in which a run comes through the layers (text encoder, down, middle, up; in a block a resnet
before its transformer), with gaps; the runner names the first failed one where a run of L6 goes wrong.
"""

import numpy as np

from ..lib.kit import grid, read_st
from ..lib.sd1 import Mod
from ..lib.sources import src
from ..lib.truth import COMPUTATIONS, exact
from .l5_forward import FEATURES, PROFILES, adapters, through, tiny_sd
from .l6_images import shapes_base, trained
from .l1_keys import NOT_KOHYA

SCRIPT = "topics/l5_layers.py"
STRENGTH = 0.8
PAIRS = ((".lora_A.weight", ".lora_B.weight"), (".lora.down.weight", ".lora.up.weight"), (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"), (".lora_down.weight", ".lora_up.weight"))
# The order of a transformer; of a block.
WITHIN = ("conv1", "conv2", "conv_shortcut", "proj_in", "attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0", "ff.net.0.proj", "ff.net.2", "proj_out", "conv")
TEXT = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2")
BLOCKS = ("down_blocks.0", "down_blocks.1", "down_blocks.2", "down_blocks.3", "mid_block", "up_blocks.0", "up_blocks.1", "up_blocks.2", "up_blocks.3")


def wanted(adapter):
    """(component, path): the first resnet and transformer whole, of each other block one layer of each kind."""
    out = [("text_encoder", f"text_model.encoder.layers.0.{t}") for t in (TEXT if adapter == "a" else TEXT[:4])]
    out += [("text_encoder", f"text_model.encoder.layers.1.{t}") for t in ("self_attn.v_proj", "mlp.fc2")]
    for block in BLOCKS:
        first = block == "down_blocks.0"
        parts = ["resnets.0.conv1", "resnets.0.conv2"] if first else ["resnets.0.conv1"]
        inner = WITHIN[3:-1] if first else ("attn1.to_q", "attn1.to_out.0", "attn2.to_v", "ff.net.2")
        parts += [f"attentions.0.{t}" if t.startswith("proj") else f"attentions.0.transformer_blocks.0.{t}" for t in inner]
        parts += [f"{t}.0.conv" for t in ("downsamplers", "upsamplers")] if block in ("down_blocks.0", "up_blocks.1") else []
        out += [("unet", f"{block}.{p}") for p in parts]
    return out


def read(suite, file, base):
    """(component, path) -> (down, up, alpha or None) of an adapter file; flattened names by the base's own."""
    tensors = read_st(suite.files[file][0])[0]
    dotted = {}
    for component, weights in base.items():
        for name in weights:
            if name.endswith(".weight"):
                path = name.removesuffix(".weight")
                dotted[f"{'lora_unet' if component == 'unet' else 'lora_te'}_{path.replace('.', '_')}"] = (component, path)
                dotted[f"{component}.{path}"] = (component, path)
    out = {}
    for key in tensors:
        for down, up in PAIRS:
            if key.endswith(down):
                name = key.removesuffix(down)
                alpha = tensors.get(name + ".alpha")
                out[dotted[name]] = (tensors[key], tensors[name + up], None if alpha is None else float(alpha.value()))
    return out


def make(suite, _sd1):
    lora, shapes = adapters(suite), trained(suite)
    sets = [("a", lora["a"], tiny_sd(suite), FEATURES["a"], PROFILES["a"]), ("b", lora["b"], tiny_sd(suite), FEATURES["b"], PROFILES["b"]), ("c", lora["c"], tiny_sd(suite), FEATURES["c"], PROFILES["c"]),
            ("striped", shapes["striped-lora"], shapes_base(suite), ["diffusers-legacy"], NOT_KOHYA), ("crescent", shapes["crescent-dreambooth"], shapes_base(suite), ["diffusers-legacy"], NOT_KOHYA)]
    for adapter, file, base, features, profiles in sets:
        weights = {c: read_st(suite.files[base["components"][c]][0])[0] for c in ("unet", "text_encoder")}
        there = read(suite, file, weights)
        layers = [key for key in wanted(adapter) if key in there]
        if adapter != "a":
            # Attention alone: the first transformer's self-attention, then one layer of each block.
            layers = [key for key in layers if key[0] == "text_encoder" or ("down_blocks.0" in key[1] and "attn1" in key[1]) or key[1].endswith("attn2.to_v")]
        for at, (component, path) in enumerate(layers):
            down, up, alpha = there[component, path]
            w = weights[component][f"{path}.weight"].value()
            bias = weights[component].get(f"{path}.bias")
            b = bias.value() if bias is not None else np.zeros(w.shape[0])
            rank = down.shape[0]
            mod = Mod(component, path, w.shape, "lora", {"down": down, "up": up}, alpha, None, None)
            delta, magnitude, agree = exact(suite, mod, (rank if alpha is None else alpha) / rank)
            key = f"{'x'.join(map(str, w.shape[1:]))}"
            x = grid(f"layer{key}", (1, w.shape[1], 4, 4) if w.ndim == 4 else (1, 3, w.shape[1]))
            outs, tol, off = through(path, x, w, STRENGTH * delta, b, rank, STRENGTH * magnitude)
            made = "conformance/generate/" + SCRIPT
            where = f"expect/layers/{adapter}-{at:02d}"
            suite.add(
                "forward/layers", f"L5/layer/{adapter}/{10 * at:03d}-{component}.{path}", f"One layer with adapter {adapter} at strength {STRENGTH}: {component}.{path}",
                {"op": "forward", "base": base, "adapters": [{"file": file, "strength": STRENGTH}], "component": component, "module": path, "inputs": suite.expectation(f"inputs/layer-{key}.safetensors", {"input": x.astype(np.float32)}, made)},
                {"outputs": suite.expectation(f"{where}.safetensors", {"output": outs[1]}, made), "without": suite.expectation(f"{where}-without.safetensors", {"output": outs[0]}, made)},
                source=src("comfy#1237", "lora"), rule="y = x W'^T + b with W' = W + strength * alpha / rank * up @ down; a convolution pads by half its kernel. The first of these that is wrong is where a run of L6 with this adapter goes wrong.", script=SCRIPT,
                tags=["forward", "layer"], features=["safetensors", "sd1", *features], profiles=profiles, tolerance=tol, computations=COMPUTATIONS, agreement=max(agree, off), licence="made for this project",
            )
