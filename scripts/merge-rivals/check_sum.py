"""Merge two kohya files with `lora merge` and compare every module with the sum in float64 (torch), beside what
sd-scripts' merge_lora.py gives for the same files and ratios (its own function, imported from a checkout, or skipped).

Usage: python check_sum.py A B RATIO_A RATIO_B [SD_SCRIPTS]      (npm run build first)
"""

import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import types

try:
    import torch
    from safetensors.torch import load_file
except ImportError as error:
    print(f"SKIPPED: torch and safetensors are needed ({error})")
    sys.exit(0)

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LORA = ROOT / "packages" / "cli" / "bin" / "lora.js"


def deltas(tensors):
    out = {}
    for name in tensors:
        if not name.endswith(".lora_down.weight"):
            continue
        stem = name[: -len(".lora_down.weight")]
        down, up = tensors[name].double(), tensors[f"{stem}.lora_up.weight"].double()
        alpha = tensors.get(f"{stem}.alpha")
        scale = 1.0 if alpha is None else float(alpha.double()) / down.shape[0]
        out[stem] = (up.flatten(1) @ down.flatten(1)) * scale
    return out


def add(parts):
    total = {}
    for one, ratio in parts:
        for name, delta in one.items():
            total[name] = total.get(name, 0) + ratio * delta
    return total


def worst(a, b):
    assert set(a) == set(b), f"modules differ: {sorted(set(a) ^ set(b))[:3]}"
    return max(((a[k] - b[k]).norm() / b[k].norm().clamp(min=1e-300)).item() for k in b)


def kohya(files, ratios, checkout, concat):
    """sd-scripts' own merge_lora_models; its imports of the training library are stubbed, they are not used by it."""
    library = types.ModuleType("library")
    for name in ("sai_model_spec", "train_util", "model_util", "utils"):
        module = types.ModuleType(f"library.{name}")
        setattr(library, name, module)
        sys.modules[f"library.{name}"] = module
    library.utils.setup_logging = lambda *a, **k: None
    library.train_util.SS_METADATA_KEY_V2 = "ss_v2"
    library.train_util.SS_METADATA_KEY_BASE_MODEL_VERSION = "ss_base_model_version"
    library.train_util.load_metadata_from_safetensors = lambda file: {}
    library.train_util.build_minimum_network_metadata = lambda *a: {}
    sys.modules["library"] = library
    sys.modules["lora"] = types.ModuleType("lora")
    spec = importlib.util.spec_from_file_location("merge_lora", os.path.join(checkout, "networks", "merge_lora.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    merged, _, _ = module.merge_lora_models(files, ratios, torch.float, concat=concat)
    return deltas(merged)


if __name__ == "__main__":
    a, b, ra, rb = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    exact = add([(deltas(load_file(a)), ra), (deltas(load_file(b)), rb)])
    with tempfile.TemporaryDirectory() as folder:
        failed = False
        for flags, bound in (([], 2**-23), (["--dtype", "f64"], 1e-12), (["--dtype", "f16"], 2**-10), (["--dtype", "bf16"], 2**-7)):
            out = os.path.join(folder, "out.safetensors")
            subprocess.run(["node", str(LORA), "merge", f"{a}@{ra}", f"{b}@{rb}", "--out", out, "--to", "kohya", "--force", "--quiet", *flags], check=True, stdout=subprocess.DEVNULL)
            error = worst(deltas(load_file(out)), exact)
            failed = failed or error > bound
            print(f"lora merge {' '.join(flags):14} largest error of a module {error:.3g}")
    if len(sys.argv) > 5:
        for concat in (False, True):
            try:
                error = worst(kohya([a, b], [ra, rb], sys.argv[5], concat), exact)
                print(f"merge_lora.py {'--concat' if concat else '':8} largest error of a module {error:.3g}")
            except Exception as problem:  # another tool's failure is a result here
                print(f"merge_lora.py {'--concat' if concat else '':8} failed: {type(problem).__name__}: {problem}")
    else:
        print("SKIPPED merge_lora.py: no checkout of sd-scripts was named")
    sys.exit(1 if failed else 0)
