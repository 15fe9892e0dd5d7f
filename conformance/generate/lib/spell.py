"""One adapter in the names and places of each layout. Input: list of Mod. Output: (tensors, metadata, config or None)."""

import json

import numpy as np

from .kit import stored
from .sd1 import LEAVES, flat, ldm


def _alpha(m, default_dtype):
    dtype = m.alpha_dtype or default_dtype
    if isinstance(dtype, tuple):
        return stored(np.full(dtype[1], m.alpha), dtype[0])
    return stored(np.float64(m.alpha), dtype)


def _dtype(m):
    return next(iter(m.factors.values())).dtype


def kohya(mods, te="lora_te", unet="lora_unet", names=flat, alpha_last=True):
    out = {}
    for m in mods:
        prefix = {"unet": unet, "text_encoder": te, "text_encoder_2": "lora_te2"}[m.component]
        key = f"{prefix}_{names(m.path)}"
        for role, t in m.factors.items():
            leaf = LEAVES.get(role, role)
            if m.family == "norm" and role == "diff":
                leaf = "w_norm"
            out[f"{key}.{leaf}"] = t
        if m.scale is not None:
            out[f"{key}.scale"] = stored(np.float64(m.scale), "F32")
        if m.alpha is not None:
            out[f"{key}.alpha"] = _alpha(m, _dtype(m) if _dtype(m) in ("F32", "F16", "BF16") else "F32")
    return out


def kohya_sgm(mods, te="lora_te"):
    return kohya(mods, te=te, names=lambda p: flat(ldm(p)) if not p.startswith("text_model") and not p.startswith("text_projection") else flat(p))


def dotted(mods, down, up, te_down=None, te_up=None, prefix=True, rename=None):
    """diffusers' dotted names with the given leaves."""
    out = {}
    for m in mods:
        path = rename(m) if rename else m.path
        key = f"{m.component}.{path}" if prefix else path
        d, u = (te_down or down, te_up or up) if m.component.startswith("text_encoder") else (down, up)
        out[key + d] = m.factors["down"]
        out[key + u] = m.factors["up"]
        if "magnitude" in m.factors:
            out[key + ".lora_magnitude_vector"] = m.factors["magnitude"]
    return out


def attn_procs(mods, prefix=""):
    out = {}
    for m in mods:
        head, leaf = m.path.rsplit(".", 1)
        if leaf == "0":
            head, leaf = head.rsplit(".", 1)
        for role, end in (("down", "down.weight"), ("up", "up.weight")):
            out[f"{prefix}{head}.processor.{leaf}_lora.{end}"] = m.factors[role]
    return out


def text_old(mods):
    """diffusers 0.17: text_encoder.….self_attn.to_q_lora."""
    out = {}
    for m in mods:
        head, leaf = m.path.rsplit(".", 1)
        name = {"q_proj": "to_q_lora", "k_proj": "to_k_lora", "v_proj": "to_v_lora", "out_proj": "to_out_lora"}[leaf]
        for role in ("down", "up"):
            out[f"text_encoder.{head}.{name}.{role}.weight"] = m.factors[role]
    return out


def adapter_metadata(mods, fields):
    """lora_adapter_metadata as diffusers writes it: the fields that are said, and the configuration's others, for each component of which a field is said."""
    out = {}
    for component in sorted({k.split(".", 1)[0] for k in fields}):
        targets = sorted({m.path for m in mods if m.component == component})
        plain = {"alpha_pattern": {}, "bias": "none", "fan_in_fan_out": False, "init_lora_weights": True, "lora_bias": False, "lora_dropout": 0.0, "peft_type": "LORA", "rank_pattern": {}, "target_modules": targets, "use_dora": False, "use_rslora": False}
        out |= {f"{component}.{k}": v for k, v in plain.items()}
    return json.dumps(out | fields, indent=2, sort_keys=True)


def diffusers_peft(mods, metadata=None):
    meta = {"format": "pt"}
    if metadata is not None:
        meta["lora_adapter_metadata"] = adapter_metadata(mods, metadata)
    return dotted(mods, ".lora_A.weight", ".lora_B.weight"), meta


def peft(mods, adapter=None, config=None, component_prefix=False, root="base_model.model."):
    mid = f".{adapter}" if adapter else ""
    out = {}
    for m in mods:
        path = f"{m.component}.{m.path}" if component_prefix else m.path
        for role, t in m.factors.items():
            leaf = {"down": f"lora_A{mid}.weight", "up": f"lora_B{mid}.weight", "magnitude": f"lora_magnitude_vector{mid}"}.get(role, f"{role}{mid}")
            out[f"{root}{path}.{leaf}"] = t
    return out


def peft_config(r, alpha, targets, **more):
    c = {"peft_type": "LORA", "r": r, "lora_alpha": alpha, "target_modules": sorted(targets), "lora_dropout": 0.0, "bias": "none", "use_rslora": False,
         "use_dora": False, "fan_in_fan_out": False, "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": None, "init_lora_weights": True,
         "inference_mode": True, "base_model_name_or_path": None, "task_type": None}
    c.update(more)
    return c


def omi(mods):
    out = {}
    for m in mods:
        key = f"unet.{ldm(m.path)}" if m.component == "unet" else f"clip_l.{m.path}"
        for role, t in m.factors.items():
            out[f"{key}.{LEAVES.get(role, role)}"] = t
        if m.alpha is not None:
            out[f"{key}.alpha"] = _alpha(m, "F32")
    return out


def onetrainer(mods):
    """Dotted path with kohya's leaves."""
    out = {}
    for m in mods:
        key = f"{m.component}.{m.path}"
        for role, t in m.factors.items():
            out[f"{key}.{LEAVES.get(role, role)}"] = t
        if m.alpha is not None:
            out[f"{key}.alpha"] = _alpha(m, "F32")
    return out


def lycoris_standalone(mods):
    out = {}
    for m in mods:
        key = f"lycoris_{flat(m.path)}"
        for role, t in m.factors.items():
            out[f"{key}.{LEAVES.get(role, role)}"] = t
        if m.alpha is not None:
            out[f"{key}.alpha"] = _alpha(m, "F32")
    return out


def clone_safetensors(unet, text=(), classes=("CrossAttention", "Attention", "GEGLU"), embeddings=None):
    out, meta = {}, {}
    for name, mods in (("unet", unet), ("text_encoder", text)):
        if not mods:
            continue
        meta[name] = json.dumps(list(classes if name == "unet" else ("CLIPAttention",)))
        for i, m in enumerate(mods):
            out[f"{name}:{i}:up"] = m.factors["up"]
            out[f"{name}:{i}:down"] = m.factors["down"]
            meta[f"{name}:{i}:rank"] = str(m.rank)
    for token, t in (embeddings or {}).items():
        out[token] = t
        meta[token] = "<embed>"
    return out, meta
