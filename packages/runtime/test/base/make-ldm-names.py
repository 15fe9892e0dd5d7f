"""Writes data/ldm-*.tsv: what diffusers' own converters make of each weight of a diffusers folder.

    python make-ldm-names.py DIFFUSERS_CHECKOUT REFERENCE_BASE_FOLDER

The converters (scripts/convert_diffusers_to_original_stable_diffusion.py and ..._sdxl.py) are run unchanged over tensors of
the folder's names and shapes that are filled with numbers which occur nowhere else, so that every number of the result
says which tensor it came from. A row is one tensor of the checkpoint:

    name <tab> shape <tab> sources <tab> sha256

sources: component:name, joined by + where rows are stacked, with a leading T where the matrix is transposed. sha256: of
the bytes that the converter makes of the folder's real weights (only for tiny-shapes, which is in this repository).
"""

import hashlib
import importlib.util
import os
import sys

import torch
from safetensors.torch import load_file

checkout, base = sys.argv[1:]
here = os.path.dirname(os.path.abspath(__file__))


def module(name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(checkout, "scripts", name + ".py"))
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


SD = module("convert_diffusers_to_original_stable_diffusion")
XL = module("convert_diffusers_to_original_sdxl")


def prefixed(prefix, state):
    return {prefix + k: v for k, v in state.items()}


# What the scripts do under `if __name__ == "__main__"`.
def sd1(w):
    return {
        **prefixed("model.diffusion_model.", SD.convert_unet_state_dict(w["unet"])),
        **prefixed("first_stage_model.", SD.convert_vae_state_dict(w["vae"])),
        **prefixed("cond_stage_model.transformer.", SD.convert_text_enc_state_dict(w["text_encoder"])),
    }


def sd2(w):
    text = SD.convert_text_enc_state_dict_v20(prefixed("transformer.", w["text_encoder"]))
    return {
        **prefixed("model.diffusion_model.", SD.convert_unet_state_dict(w["unet"])),
        **prefixed("first_stage_model.", SD.convert_vae_state_dict(w["vae"])),
        **prefixed("cond_stage_model.model.", text),
    }


def sdxl(w):
    text2 = prefixed("conditioner.embedders.1.model.", XL.convert_openclip_text_enc_state_dict(w["text_encoder_2"]))
    text2["conditioner.embedders.1.model.text_projection"] = text2.pop("conditioner.embedders.1.model.text_projection.weight").T.contiguous()
    return {
        **prefixed("model.diffusion_model.", XL.convert_unet_state_dict(w["unet"])),
        **prefixed("first_stage_model.", XL.convert_vae_state_dict(w["vae"])),
        **prefixed("conditioner.embedders.0.transformer.", XL.convert_openai_text_enc_state_dict(w["text_encoder"])),
        **text2,
    }


def weights(folder):
    out = {}
    for component, file in [("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model"), ("text_encoder", "model"), ("text_encoder_2", "model")]:
        path = os.path.join(base, folder, component, file + ".safetensors")
        if os.path.exists(path):
            out[component] = {k: v for k, v in load_file(path).items() if not k.endswith("position_ids")}
            if component.startswith("text_encoder"):
                # The converters know only the names with the text_model level.
                out[component] = {k if k.startswith("text_") else "text_model." + k: v for k, v in out[component].items()}
    return out


for folder, convert, hashed in [("tiny-shapes", sd1, True), ("tiny-sd2", sd2, False), ("tiny-sdxl", sdxl, False)]:
    real = weights(folder)
    origin, numbered, at = {}, {}, 0
    for component, state in real.items():
        numbered[component] = {}
        for name, tensor in state.items():
            numbered[component][name] = (at + torch.arange(tensor.numel(), dtype=torch.int64)).reshape(tensor.shape)
            origin[at] = (component, name, tensor.shape)
            at += tensor.numel()
    made = convert(numbered)
    hashes = {}
    if hashed:
        hashes = {k: hashlib.sha256(v.contiguous().numpy().tobytes()).hexdigest() for k, v in convert(real).items()}
    rows = []
    for name, tensor in sorted(made.items()):
        parts = tensor.chunk(3) if ".in_proj_" in name else [tensor]
        sources = []
        for part in parts:
            component, source, shape = origin[int(part.flatten()[0])]
            given = numbered[component][source]
            if torch.equal(part.reshape(-1), given.reshape(-1)):
                sources.append(f"{component}:{source}")
            else:
                assert torch.equal(part.T, given), name
                sources.append(f"T{component}:{source}")
        rows.append("\t".join([name, ",".join(map(str, tensor.shape)), "+".join(sources), hashes.get(name, "")]).rstrip("\t"))
    with open(os.path.join(here, "data", f"ldm-{folder}.tsv"), "w") as f:
        f.write("\n".join(rows) + "\n")
    print(folder, len(rows))
