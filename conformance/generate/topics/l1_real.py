"""L1 and L2 on files that real tools saved: which modules, of which rank, at which scaling."""

from ..lib.real import all_cases
from ..lib.sources import src

SCRIPT = "topics/l1_real.py"

WHY = {
    "clone_new": ("clone#149", "clone-lora"), "clone_legacy_nonzip": ("clone#128", "clone-lora"), "clone_safetensors_embeds": ("clone#191", "clone-lora"), "clone_extended": ("clone#149", "clone-lora"),
    "clone_old_order": ("clone#220", "clone-lora"), "clone_old_order_safetensors": ("clone#220", "clone-lora"), "clone_old_order_extended": ("clone#220", "clone-lora"),
    "diffusers_attn_procs_bin": ("diffusers#2326", "diffusers#2866"), "diffusers_attn_procs_safetensors": ("diffusers#4763", "diffusers#6894"),
    "diffusers_021_safetensors": ("diffusers#6399", "a1111#12276"), "diffusers_peft_alpha": ("comfy#12191", "diffusers#8530"), "diffusers_peft_alpha_fp16": ("comfy#12191", "comfy#15830"),
    "diffusers_peft_alpha_bf16": ("comfy#15830", "simpletuner#1853"), "diffusers_peft_no_metadata": ("diffusers#6087", "diffusers-alpha"), "diffusers_peft_conv": ("diffusers#14005", "diffusers#14409"),
    "diffusers_peft_dora": ("diffusers#7366", "dora"), "peft_unet_rslora_patterns": ("vllm#6909", "peft-layer"), "peft_text_encoder": ("comfy#4347", "peft-layer"),
    "kohya_attn_bf16": ("kohya#1483", "kohya-lora"), "kohya_locon_fp16": ("a1111#8360", "kohya_ss#307"), "kohya_block_dims": ("diffusers#14409", "kohya-lora"), "kohya_torch_pt": ("clone#128", "kohya-lora"),
    "same_kohya": ("addnet#148", "onetrainer#1563"),
}


def profiles(real, scaling):
    """Where runtimes legitimately differ on this file."""
    out = {}
    if real.layout == "diffusers" and any(abs(s - 1) > 1e-12 for s in scaling.values()):
        ones = {k: 1.0 for k in scaling}
        for name in ("comfy", "kohya"):
            out[name] = {"expect": {"scaling": ones}, "why": "alpha stands only in lora_adapter_metadata, which this runtime does not read: alpha = rank, scaling 1", "url": "https://github.com/Comfy-Org/ComfyUI/issues/12191"}
    if real.layout == "peft":
        out["diffusers"] = {"skip": True, "why": "a bare PEFT adapter is loaded with PEFT, not with load_lora_weights"}
        out["comfy"] = {"skip": True, "why": "ComfyUI does not know the prefix base_model.model for SD 1"}
        out["kohya"] = {"skip": True, "why": "sd-scripts reads kohya names only"}
    elif real.layout in ("cloneofsimo-list", "cloneofsimo-safetensors"):
        for name in ("comfy", "peft", "diffusers", "kohya"):
            out[name] = {"skip": True, "why": "only cloneofsimo/lora reads these files"}
    elif real.layout == "kohya":
        out["peft"] = {"skip": True, "why": "PEFT reads its own layout only"}
    else:
        out["peft"] = {"skip": True, "why": "PEFT reads its own layout only"}
        if "kohya" not in out:
            out["kohya"] = {"skip": True, "why": "sd-scripts reads kohya names only"}
        if real.layout == "diffusers-attn-procs":
            out["diffusers"] = {"skip": True, "why": "load_lora_weights of today ignores these names without a prefix, silently"}
    return out


def make(suite, sd1):
    for real in all_cases(suite, sd1):
        why = WHY.get(real.name)
        if why is None:
            why = ("lycoris#270", "lycoris") if "lokr" in real.name else ("diffusers#3087", "lycoris") if "loha" in real.name else ("onetrainer#1563", "comfy#1237")
        ranks = real.ranks()
        scaling = {n: float(m["scaling"]) for n, m in real.modules.items() if m.get("scaling") is not None}
        optional = next((f for f in ("loha", "lokr", "dora") if f in real.families()), None)
        slug = real.name.replace("_", "-")
        differ = profiles(real, scaling)
        keep = {k: v for k, v in differ.items() if v.get("skip")}
        head = "optional" if optional else "L1"
        common = {
            "source": src(*why), "script": SCRIPT, "optional": optional, "features": real.features(), "implementation": f"{real.producer()}: saved and read back ({real.oracle() or 'closed form'})",
            "computations": [f"saved by {real.producer()}", f"read back: {real.oracle() or 'closed form of LAYOUTS.md section 5'}", "described in float64: ../shared/reference/adapters/deltas"],
            "licence": "made for this project",
        }
        suite.add(
            "keys/real-files", f"{head}/real/{slug}{'-keys' if optional else ''}", f"Every module of a file that {real.producer()} saved ({real.name.replace('_', ' ')})",
            {"op": "describe", "adapter": dict(real.adapter), "base": sd1.base()}, {"layout": real.layout, "modules": ranks, "unmatched": []},
            rule="All modules of the file with the rank of their tensors, nothing left over. " + real.entry["notes"][:300], tags=["real-file", real.layout], profiles=keep or None, **common,
        )
        if real.families() != ["dora"] or scaling:
            suite.add(
                "alpha/real-files", f"{'optional' if optional else 'L2'}/real/{slug}{'-scaling' if optional else ''}", f"Scaling of every module of a file that {real.producer()} saved ({real.name.replace('_', ' ')})",
                {"op": "scaling", "adapter": dict(real.adapter), "base": sd1.base()}, {"scaling": scaling},
                rule="alpha / rank where a tensor, the metadata or the configuration gives alpha (alpha / sqrt(rank) with use_rslora), else 1.", tags=["real-file", real.layout], profiles=differ or None,
                tolerance={"f32": {"rel": 1e-6}, "f16": {"rel": 1e-3}, "bf16": {"rel": 8e-3},
                           "derivation": "One division and, for rsLoRA, one root: 3 u of float32 is 1.8e-7; a scaling held in 16 bits is off by u = 2^-11 or 2^-8. Real loaders: equal to float64."},
                **common,
            )
