"""Load what lorakit wrote with the real PEFT (and diffusers, where a source tree is given) and compare every delta.

    python scripts/interop/peft_load.py --reference ../shared/reference/adapters --lora "node_modules/.bin/lora" [--diffusers SRC]
    python scripts/interop/peft_load.py --reference ... --files DIR      (DIR/CASE/TARGET/..., already converted)

Each case of the reference manifest is converted to `peft` and `diffusers` (and `diffusers --alpha tensors`), loaded into the tiny
base by the tool itself, and the tool's own get_delta_weight is compared with the recorded float64 delta. A source that carries its own
configuration is converted twice, through kohya where that can hold it, so that generated configurations are tested too.
Exit 0: all equal; 1: a difference; 77: Python lacks torch or peft (said loudly, nothing tested).
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile
import warnings

try:
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
except ImportError as error:
    print(f"SKIPPED, nothing was tested: {error}", file=sys.stderr)
    sys.exit(77)

warnings.filterwarnings("ignore")


def base_unet(reference, diffusers_src):
    """The tiny UNet, from diffusers when it is at hand, else a tree of bare layers with the same names and weights."""
    weights = load_file(reference / "tiny-sd/unet/diffusion_pytorch_model.safetensors")
    if diffusers_src:
        from diffusers import UNet2DConditionModel

        return UNet2DConditionModel.from_pretrained(reference / "tiny-sd/unet")
    return bare(weights)


def bare(weights):
    """Modules by name: Linear for 2-D weights, Conv2d for 4-D, whatever else is left out."""
    root = torch.nn.Module()
    for name, weight in weights.items():
        if not name.endswith(".weight") or weight.ndim not in (2, 4):
            continue
        *parents, leaf = name.removesuffix(".weight").split(".")
        at = root
        for part in parents:
            if not hasattr(at, part):
                at.add_module(part, torch.nn.Module())
            at = getattr(at, part)
        bias = name.removesuffix("weight") + "bias" in weights
        if weight.ndim == 2:
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias)
        else:
            kernel = tuple(weight.shape[2:])
            layer = torch.nn.Conv2d(weight.shape[1], weight.shape[0], kernel, bias=bias, padding=kernel[0] // 2)
        layer.weight.data.copy_(weight)
        at.add_module(leaf, layer)
    return root


def base_text(reference):
    """CLIP's names with the text_model. level, as every file before transformers 5.6 has them."""
    weights = load_file(reference / "tiny-sd/text_encoder/model.safetensors")
    named = {k if k.startswith("text_model.") else f"text_model.{k}": v for k, v in weights.items()}
    return bare({k: v for k, v in named.items() if "embedding" not in k})


def deltas_of(model):
    from peft.tuners.tuners_utils import BaseTunerLayer

    out = {}
    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer):
            adapter = module.active_adapters[0]
            name = name.removeprefix("base_model.model.")
            if getattr(module, "use_dora", {}).get(adapter):
                base = module.get_base_layer().weight.detach().clone()
                module.merge()
                out[name] = (module.get_base_layer().weight - base).detach()
                module.unmerge()
            else:
                out[name] = module.get_delta_weight(adapter).detach()
    return out


def compare(case, target, got, component, reference, tolerance):
    digest = json.loads((reference / f"deltas/{case}.digest.json").read_text())
    wanted = {m["module"]: m for m in digest["modules"].values() if m["component"] == component}
    if set(got) != set(wanted):
        lacking = sorted(set(wanted) - set(got)) + sorted(set(got) - set(wanted))
        return f"{case} -> {target}: {len(got)} modules, expected {len(wanted)} (first: {lacking[:2]})", 0.0
    worst = 0.0
    for name, delta in got.items():
        m = wanted[name]
        flat = delta.double().flatten()
        expected = torch.tensor(m["values"], dtype=torch.float64)
        error = (flat[torch.tensor(m["idx"])] - expected).abs().max().item() / max(1.0, m["absmax"])
        fro = abs(flat.norm().item() - m["fro"]) / max(1.0, m["fro"])
        worst = max(worst, error, fro)
    if worst > tolerance:
        return f"{case} -> {target}: differs by {worst:.3g}, allowed {tolerance:.3g}", worst
    return None, worst


def load_peft(model, folder):
    return PeftModel.from_pretrained(model, folder)


def load_diffusers(unet, text, folder):
    """The UNet through diffusers' own load_lora_adapter; the text encoder needs a transformers model and is left to PEFT's cases."""
    unet.load_lora_adapter(str(folder), prefix="unet", weight_name="pytorch_lora_weights.safetensors")
    return unet


def convert(lora, source, out, *flags):
    out.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([*shlex.split(lora), "convert", str(source), str(out), *flags], capture_output=True, text=True)
    return done.returncode == 0, done.stderr


def make_files(lora, reference, work, cases):
    for case in cases:
        main = reference / case["files"][0]["file"]
        for target, flags in TARGETS.items():
            name = "adapter_model.safetensors" if target == "peft" else "pytorch_lora_weights.safetensors"
            ok, why = convert(lora, main, work / case["case"] / target / name, *flags)
            if not ok:
                print(f"refused  {case['case']} -> {target}: {why.strip().splitlines()[:1]}")


TARGETS = {
    "peft": ("--to", "peft"),
    "diffusers": ("--to", "diffusers"),
    "diffusers-tensors": ("--to", "diffusers", "--alpha", "tensors"),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", type=pathlib.Path, required=True)
    parser.add_argument("--lora", default="node_modules/.bin/lora")
    parser.add_argument("--files", type=pathlib.Path)
    parser.add_argument("--diffusers", help="src folder of a diffusers checkout")
    options = parser.parse_args()
    if options.diffusers:
        sys.path.insert(0, options.diffusers)
    cases = json.loads((options.reference / "manifest.json").read_text())["cases"]
    work = options.files
    if work is None:
        work = pathlib.Path(tempfile.mkdtemp(prefix="lorakit-interop-"))
        make_files(options.lora, options.reference, work, cases)
    passed, failed, worst = 0, [], 0.0
    for case in cases:
        name = case["case"]
        for target in TARGETS:
            folder = work / name / target
            # diffusers' Stable Diffusion loader takes alpha from lora_adapter_metadata alone.
            if not any(folder.glob("*.safetensors")) or (target != "peft" and not options.diffusers) or target == "diffusers-tensors":
                continue
            component = "unet" if case["modules"]["unet"] else "text_encoder"
            if target == "diffusers" and component != "unet":
                continue
            fresh = base_unet(options.reference, options.diffusers) if component == "unet" else base_text(options.reference)
            try:
                model = load_peft(fresh, folder) if target == "peft" else load_diffusers(fresh, None, folder)
                problem, error = compare(name, target, deltas_of(model), component, options.reference, 2e-6)
            except Exception as error_:  # any refusal by the tool is a failure of ours
                problem, error = f"{name} -> {target}: {type(error_).__name__}: {str(error_)[:300]}", 0.0
            worst = max(worst, error)
            if problem:
                failed.append(problem)
                print("FAILED  ", problem)
            else:
                passed += 1
    print(f"{passed} passed, {len(failed)} failed; largest difference {worst:.3g} (float32 arithmetic of the tool)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
