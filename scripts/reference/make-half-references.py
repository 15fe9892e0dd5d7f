"""How far torch's own float16 training is from float64: fixtures/training/half-precision.json.

    OMP_NUM_THREADS=1 PYTHONPATH=<diffusers>/src python scripts/reference/make-half-references.py

The first step of scenarios of make-training-references.py (same bases, inputs and start), in float64, in float32, and under
torch.autocast("cpu", float16) with the loss times 65536, as accelerate's mixed precision and torch's GradScaler have it. Recorded
are losses and how far the gradients are apart: torch's own loss in float16 is the bar for ours.
"""

import importlib.util
import json
import pathlib
import platform

import torch

HERE = pathlib.Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("references", HERE / "make-training-references.py")
references = importlib.util.module_from_spec(spec)
spec.loader.exec_module(references)

OUT = references.ROOT / "fixtures/training/half-precision.json"
SCALE = 65536.0
NAMES = ["attention-feed-forward", "locon-started", "pivotal-together", "dora-started", "masked-prior-min-snr"]


def first_step(scenario, inputs, dtype):
    return references.run({**scenario, "batches": scenario["batches"][:1]}, inputs, dtype)


def scaled(scenario):
    loss = scenario.get("loss", references.mean_loss)
    return {**scenario, "loss": lambda *parts: loss(*parts) * SCALE}


def distances(gradients, exact):
    """Of all entries together: norm of the difference by the norm, 1 - cosine, largest difference by the largest entry."""
    one = torch.cat([g.double().flatten() for g in gradients.values()])
    two = torch.cat([exact[n].double().flatten() for n in gradients])
    cosine = torch.dot(one, two) / (one.norm() * two.norm())
    figures = {"l2": (one - two).norm() / two.norm(), "one_minus_cosine": 1 - cosine, "largest": (one - two).abs().max() / two.abs().max()}
    return {k: float(f"{v.item():.4g}") for k, v in figures.items()}


def main():
    inputs = references.make_inputs()
    scenarios = {}
    for name in NAMES:
        scenario = references.SCENARIOS[name]
        double, single = (first_step(scenario, inputs, dtype) for dtype in (torch.float64, torch.float32))
        with torch.autocast("cpu", dtype=torch.float16):
            half = first_step(scaled(scenario), inputs, torch.float32)
        gradients = {n: g / SCALE for n, g in half["grads"][0].items()}
        assert all(g.isfinite().all() for g in gradients.values()), name
        zeros = sum(1 for g in gradients.values() if not g.any())
        scenarios[name] = {
            "loss_f64": double["losses"][0],
            "loss_f32": single["losses"][0],
            "loss_f16": half["losses"][0] / SCALE,
            "f16_vs_f64": distances(gradients, double["grads"][0]),
            "f32_vs_f64": distances(single["grads"][0], double["grads"][0]),
            "exactly_zero": zeros,
        }
        print(name, scenarios[name], flush=True)
    made_by = {
        "script": "scripts/reference/make-half-references.py",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": f"{references.diffusers.__version__} (58eb52c)",
        "transformers": references.transformers.__version__,
        "peft": references.peft.__version__,
        "threads": 1,
        "device": "cpu",
    }
    OUT.write_text(json.dumps({"made_by": made_by, "loss_scale": SCALE, "scenarios": scenarios}, indent="\t") + "\n")


main()
