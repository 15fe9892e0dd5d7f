"""`lora resize` rank 128 -> 16 over SD1.5's attention set against torch's full SVD per module, in one run.

    /opt/lk-venv/bin/python scripts/resize-check/bench.py [FOLDER] [--modules N]

Writes the synthetic file (make_sd15_lora.py) once into FOLDER (default /tmp/lorakit-resize). torch does N modules (spread over
all shapes) as sd-scripts' resize_lora.py does, float32, and is scaled up by m n min(m, n).
"""

import argparse
import pathlib
import subprocess
import sys
import time

import torch
from safetensors.torch import load_file

HERE = pathlib.Path(__file__).resolve().parent
p = argparse.ArgumentParser()
p.add_argument("folder", nargs="?", default="/tmp/lorakit-resize")
p.add_argument("--modules", type=int, default=8)
a = p.parse_args()
folder = pathlib.Path(a.folder)
folder.mkdir(parents=True, exist_ok=True)
source, target = folder / "r128.safetensors", folder / "r16.safetensors"
if not source.exists():
    subprocess.run([sys.executable, HERE / "make_sd15_lora.py", source], check=True)

lora = ["node", HERE.parent.parent / "packages/cli/bin/lora.js", "resize", source, target, "--rank", "16", "--force", "--quiet"]
begun = time.perf_counter()
subprocess.run(lora, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
ours = time.perf_counter() - begun

tensors = load_file(source)
names = sorted(k.removesuffix(".lora_up.weight") for k in tensors if k.endswith(".lora_up.weight"))


def cost(name):
    m, n = tensors[name + ".lora_up.weight"].shape[0], tensors[name + ".lora_down.weight"].flatten(1).shape[1]
    return float(m) * n * min(m, n)


sample = names[:: max(1, len(names) // a.modules)]
done = 0.0
begun = time.perf_counter()
for name in sample:
    w = tensors[name + ".lora_up.weight"].float().flatten(1) @ tensors[name + ".lora_down.weight"].float().flatten(1)
    torch.linalg.svd(w)
    done += cost(name)
seconds = time.perf_counter() - begun
torch_all = seconds * sum(map(cost, names)) / done
print(f"lora resize 128 -> 16, {len(names)} modules, process and files included: {ours:.2f} s (one thread)")
print(f"torch {torch.__version__} full SVD, {torch.get_num_threads()} threads: {seconds:.1f} s for {len(sample)} modules, about {torch_all:.0f} s for all")
print(f"ratio {torch_all / ours:.0f}")
