#!/usr/bin/env python3
"""kohya's networks/merge_lora.py as a tool that `subject.sh` can drive: a folder of weights and adapters in, a folder out.

    sd-scripts-merge.py --version
    sd-scripts-merge.py fuse BASE ADAPTER@RATIO... --out FOLDER

SD_SCRIPTS names a checkout of kohya-ss/sd-scripts. SD_SCRIPTS_WAY=model (default) is its `merge_to_sd_model`: ratios go
into the weights at once. SD_SCRIPTS_WAY=lora is its `merge_lora_models` first (adapters into one, at these ratios), and
`merge_to_sd_model` of the result at 1. The functions are the checkout's own; its imports of the training library, which
they do not use, are stubbed, so that nothing but torch and safetensors is needed.
"""
import ast
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import types

import torch
from safetensors.torch import load_file, save_file

CHECKOUT = pathlib.Path(os.environ.get("SD_SCRIPTS", "sd-scripts"))
WAY = os.environ.get("SD_SCRIPTS_WAY", "model")


def merge_lora():
    """The module networks/merge_lora.py, and the lists of module classes from networks/lora.py."""
    library = types.ModuleType("library")
    for name in ("sai_model_spec", "train_util", "model_util", "utils"):
        setattr(library, name, types.ModuleType(f"library.{name}"))
        sys.modules[f"library.{name}"] = getattr(library, name)
    library.utils.setup_logging = lambda *_, **__: None
    library.train_util.SS_METADATA_KEY_V2 = "ss_v2"
    library.train_util.SS_METADATA_KEY_BASE_MODEL_VERSION = "ss_base_model_version"
    library.train_util.load_metadata_from_safetensors = lambda _: {}
    library.train_util.build_minimum_network_metadata = lambda *_: {}
    network = types.SimpleNamespace()
    for node in ast.walk(ast.parse((CHECKOUT / "networks" / "lora.py").read_text())):
        if isinstance(node, ast.ClassDef) and node.name == "LoRANetwork":
            for entry in node.body:
                if isinstance(entry, ast.Assign) and entry.targets[0].id.isupper():
                    try:
                        setattr(network, entry.targets[0].id, ast.literal_eval(entry.value))
                    except ValueError:  # made of other constants: none that we need
                        pass
    lora = types.ModuleType("lora")
    lora.LoRANetwork = network
    sys.modules |= {"library": library, "lora": lora}
    spec = importlib.util.spec_from_file_location("merge_lora", CHECKOUT / "networks" / "merge_lora.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# merge_to_sd_model looks for modules by the names of the classes they are in.
KINDS = [
    (r"(^|\.)attentions\.\d+$", "Transformer2DModel"), (r"(^|\.)resnets\.\d+$", "ResnetBlock2D"),
    (r"(^|\.)downsamplers\.\d+$", "Downsample2D"), (r"(^|\.)upsamplers\.\d+$", "Upsample2D"),
    (r"\.self_attn$", "CLIPAttention"), (r"\.mlp$", "CLIPMLP"),
]


def holder(path):
    name = next((kind for pattern, kind in KINDS if re.search(pattern, path)), "Module")
    return type(name, (torch.nn.Module,), {})()


def model_of(weights):
    """A tree of modules with these weights: Linear and Conv2d where the shapes say so."""
    root = holder("")
    for name in weights:
        *path, last, _ = name.split(".")
        where = root
        for i, part in enumerate(path):
            if part not in where._modules:
                where.add_module(part, holder(".".join(path[: i + 1])))
            where = where._modules[part]
        weight = weights.get(name.rsplit(".", 1)[0] + ".weight")
        if last not in where._modules and weight is not None:
            rank = weight.ndim if "embedding" not in last else 0
            module = holder("")
            if rank == 2:
                module = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            elif rank == 4:
                module = torch.nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), bias=False)
            if rank in (2, 4):
                module.weight = torch.nn.Parameter(weight.float())
            where.add_module(last, module)
    return root


def fuse(base, specs, out):
    tool = merge_lora()
    files, ratios = zip(*((spec.rsplit("@", 1)[0], float(spec.rsplit("@", 1)[1])) for spec in specs))
    parts = {folder.name: load_file(folder / "model.safetensors") for folder in pathlib.Path(base).iterdir()}
    models = {component: model_of(weights) for component, weights in parts.items()}
    with tempfile.TemporaryDirectory(dir=os.path.dirname(out)) as scratch:
        if WAY == "lora":
            state, _, _ = tool.merge_lora_models(files, ratios, torch.float)
            files, ratios = [os.path.join(scratch, "merged.safetensors")], [1.0]
            save_file({name: tensor.contiguous() for name, tensor in state.items()}, files[0])
        none = torch.nn.Module()
        tool.merge_to_sd_model(models.get("text_encoder", none), models.get("unet", none), files, ratios, torch.float)
    for component, weights in parts.items():
        new = {f"{path}.weight": m.weight.detach() for path, m in models[component].named_modules() if hasattr(m, "weight")}
        folder = pathlib.Path(out) / component
        folder.mkdir(parents=True)
        save_file({name: new.get(name, tensor).contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    if sys.argv[1:] == ["--version"]:
        print(os.environ.get("SD_SCRIPTS_VERSION") or subprocess.run(
            ["git", "-C", CHECKOUT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip() or "unknown")
    elif len(sys.argv) > 5 and sys.argv[1] == "fuse" and sys.argv[-2] == "--out":
        try:
            fuse(sys.argv[2], sys.argv[3:-2], sys.argv[-1])
        except Exception as error:  # noqa: BLE001
            sys.exit(f"{type(error).__name__}: {error}")
    else:
        sys.exit(__doc__)
