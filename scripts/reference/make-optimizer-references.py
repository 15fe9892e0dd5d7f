#!/usr/bin/env python3
"""Makes fixtures/training/optimizers: what torch, diffusers, prodigyopt and bitsandbytes do to tensors by given gradients.

    OMP_NUM_THREADS=1 PYTHONPATH=DIFFUSERS/src:PRODIGY:BITSANDBYTES python scripts/reference/make-optimizer-references.py

DIFFUSERS, PRODIGY and BITSANDBYTES are checkouts of huggingface/diffusers, konstmish/prodigy and
bitsandbytes-foundation/bitsandbytes (0.50: its CPU optimizer needs no built library; without one it quantises by its own
"default" backend). torch on a CPU with AVX2 or AVX-512: elsewhere its kernels round differently.

Nothing random is stored: initial values and gradients follow a rule both sides compute exactly (`numbers`). cases.json says what
was run and how far torch's float32 came from the same run in float64; optimizers.safetensors holds results.
"""

import contextlib
import io
import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

OUT = Path(__file__).resolve().parents[2] / "fixtures" / "training" / "optimizers"
F32 = np.float32


def numbers(seed: int, count: int, scale: float, cube: bool) -> np.ndarray:
    """float32 numbers in (-scale, scale): a 32-bit LCG's upper 24 bits as a fraction, optionally cubed for a wide range."""
    out = np.empty(count, F32)
    state = seed % 2**32
    for i in range(count):
        state = (1664525 * state + 1013904223) % 2**32
        out[i] = F32((state >> 8) / 2**23 - 1)
    if cube:
        out = (out * out) * out
    return out * F32(scale)


def initial(case: dict, index: int) -> np.ndarray:
    tensor = case["tensors"][index]
    return numbers(case["seed"] * 7919 + index, math.prod(tensor["shape"]), tensor["initial"], False)


def scale_at(tensor: dict, step: int) -> float:
    return tensor["scales"][step % len(tensor["scales"])]


def gradient(case: dict, index: int, step: int, values: torch.Tensor) -> torch.Tensor | None:
    """None where the tensor has none in that step. `target`: the slope of a quadratic, from the values themselves. `drift`: a
    part of that size is the same at every step, so that Prodigy's step size grows."""
    tensor = case["tensors"][index]
    if step in tensor.get("missing", []):
        return None
    count = math.prod(tensor["shape"])
    if "target" in tensor:
        target = torch.from_numpy(numbers(case["seed"] * 104729 + index, count, tensor["target"], False)).to(values.dtype)
        return (values - target.reshape(values.shape)) * scale_at(tensor, step)
    raw = numbers(case["seed"] * 1000003 + step * 1009 + index, count, scale_at(tensor, step), True)
    if "drift" in tensor:
        raw = raw + numbers(case["seed"] * 104729 + index, count, tensor["drift"], False)
    return torch.from_numpy(raw).to(values.dtype).reshape(values.shape)


def parameters(case: dict, dtype: torch.dtype) -> list[torch.nn.Parameter]:
    return [
        torch.nn.Parameter(torch.from_numpy(initial(case, i)).to(dtype).reshape(t["shape"]))
        for i, t in enumerate(case["tensors"])
    ]


def run(case: dict, dtype: torch.dtype, make, watch=None):
    """Steps an optimizer; yields the parameters and the optimizer after the step counts of `record`."""
    params = parameters(case, dtype)
    groups = [
        {"params": [p for p, t in zip(params, case["tensors"]) if t["group"] == g], "name": g}
        for g in dict.fromkeys(t["group"] for t in case["tensors"])
    ]
    optimizer = make(groups)
    recorded = {}
    for step in range(case["steps"]):
        for group in optimizer.param_groups:
            rates = case["rates"][group["name"]]
            group["lr"] = rates[step % len(rates)]
        for i, p in enumerate(params):
            p.grad = gradient(case, i, step, p.detach())
        if watch is not None:
            watch(params, optimizer, step)
        optimizer.step()
        if step + 1 in case["record"]:
            recorded[step + 1] = [p.detach().clone() for p in params]
    return params, optimizer, recorded


def tensors_for(*rows) -> list[dict]:
    keys = ("name", "group", "shape", "initial", "scales")
    return [dict(zip(keys, row[:5])) | (row[5] if len(row) > 5 else {}) for row in rows]


SMALL = tensors_for(
    ("unet.a:down", "unet", [4, 37], 0.5, [0.0, 1.0]),
    ("unet.a:up", "unet", [8, 4, 3, 3], 0.0, [1.0, 0.01]),
    ("unet.tiny:down", "unet", [3, 17], 0.5, [1e-9]),
    ("text_encoder.b:down", "text_encoder", [5], 1.0, [1e4]),
    ("text_encoder.c:up", "text_encoder", [2, 50], 0.1, [1.0, 1e-5, 1e-9], {"missing": [0, 7]}),
    ("added_rows", "tokens", [1, 1], 0.02, [0.1]),
)
BIG = tensors_for(
    ("unet.a:down", "unet", [4, 1025], 0.5, [0.0, 1.0]),
    ("unet.b:up", "unet", [16, 256], 0.0, [1.0, 0.001]),
    ("unet.tiny:up", "unet", [4097], 0.5, [1e-9]),
    ("unet.small:down", "unet", [3, 11], 0.5, [1.0, 1e4]),
)
QUADRATIC = tensors_for(
    ("unet.a:down", "unet", [4, 37], 0.5, [1.0], {"target": 1.0}),
    ("unet.a:up", "unet", [31], 0.0, [0.25], {"target": 0.5}),
    ("text_encoder.c:up", "text_encoder", [2, 50], 0.1, [1.0], {"target": 2.0, "missing": [0]}),
)
DRIFTING = tensors_for(
    ("unet.a:down", "unet", [4, 37], 0.5, [0.5], {"drift": 1.0}),
    ("unet.a:up", "unet", [31], 0.0, [1.0, 0.1], {"drift": 0.25}),
    ("text_encoder.c:up", "text_encoder", [2, 50], 0.1, [1e-3], {"drift": 0.01, "missing": [0, 5]}),
)
RISE = [0.0, 0.25, 0.5, 0.75] + [1.0] * 36
ONE_RATE = {"unet": [1.0], "text_encoder": [1.0], "tokens": [1.0]}
RATES = {"unet": [1e-3], "text_encoder": [5e-5, 1e-4], "tokens": [5e-4]}
WARMUP = {"unet": [0.0, 1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 6e-4, 7e-4, 8e-4, 9e-4, 1e-3, 9e-4, 8e-4], "text_encoder": [0.0, 1e-4], "tokens": [1e-3]}


def case(name, seed, tensors, rates, steps=24, record=(1, 5, 24), **options):
    return {"name": name, "seed": seed, "steps": steps, "record": list(record), "options": options, "rates": rates, "tensors": tensors}


ADAMW = [
    case("adamw-decay", 1, SMALL, RATES, kind="adamw", betas=[0.9, 0.999], eps=1e-8, weight_decay=0.01),
    case("adamw-no-decay", 2, SMALL, WARMUP, kind="adamw", betas=[0.9, 0.999], eps=1e-8, weight_decay=0.0),
    case("adamw-fast-betas", 3, SMALL, RATES, kind="adamw", betas=[0.3, 0.9], eps=1e-6, weight_decay=0.1),
]
ADAMW8 = [
    case("adamw8bit-decay", 4, BIG, {"unet": [1e-3]}, kind="adamw8bit", betas=[0.9, 0.999], eps=1e-8, weight_decay=0.01, min_8bit_size=4096),
    case("adamw8bit-no-decay", 5, BIG, {"unet": [0.0, 1e-3]}, kind="adamw8bit", betas=[0.8, 0.99], eps=1e-8, weight_decay=0.0, min_8bit_size=4096),
]
PRODIGY_BASE = dict(kind="prodigy", betas=[0.9, 0.999], beta3=None, eps=1e-8, weight_decay=0.0, decouple=True, use_bias_correction=False,
                    safeguard_warmup=False, d0=1e-6, d_coef=1.0, growth_rate=None)
PRODIGY = [
    case("prodigy-package-defaults", 6, QUADRATIC, ONE_RATE, 24, (1, 10, 24), **PRODIGY_BASE),
    case("prodigy-diffusers", 7, DRIFTING, {"unet": RISE, "text_encoder": RISE}, 40, (1, 10, 25, 40),
         **(PRODIGY_BASE | dict(weight_decay=0.01, use_bias_correction=True, safeguard_warmup=True))),
    case("prodigy-coupled", 8, DRIFTING, ONE_RATE, 25, (1, 10, 25),
         **(PRODIGY_BASE | dict(weight_decay=0.1, decouple=False, growth_rate=1.5, d_coef=0.5, d0=1e-5, betas=[0.8, 0.99], beta3=0.9))),
    case("prodigy-no-momentum", 9, DRIFTING, ONE_RATE, 25, (1, 10, 25),
         **(PRODIGY_BASE | dict(betas=[0.0, 0.99], weight_decay=0.1, decouple=False, growth_rate=1.2))),
    case("prodigy-random", 10, SMALL, ONE_RATE, 24, (1, 5, 24), **(PRODIGY_BASE | dict(weight_decay=0.01, use_bias_correction=True))),
    case("prodigy-group-held", 11, DRIFTING, {"unet": [1.0], "text_encoder": [1.0, 1.0, 1.0, 0.0]}, 10, (1, 10), **(PRODIGY_BASE | dict(weight_decay=0.01))),
]


def apart(a: list[torch.Tensor], b: list[torch.Tensor]) -> list[float]:
    return [float((x.double() - y.double()).abs().max()) for x, y in zip(a, b)]


def put(out: dict, case: dict, prefix: str, tensors: list) -> None:
    for t, value in zip(case["tensors"], tensors):
        if value is not None:
            out[f"{case['name']}/{prefix}/{t['name']}"] = value.detach().clone().contiguous()


def make_adamw(out: dict) -> None:
    for c in ADAMW:
        o = c["options"]

        def make(groups):
            return torch.optim.AdamW(groups, lr=1.0, betas=tuple(o["betas"]), eps=o["eps"], weight_decay=o["weight_decay"], foreach=False)

        params, optimizer, recorded = run(c, torch.float32, make)
        _, _, exact = run(c, torch.float64, make)
        c["f32_vs_f64"] = {n: apart(recorded[n], exact[n]) for n in recorded}
        for n, values in recorded.items():
            put(out, c, f"values@{n}", values)
        for key in ("exp_avg", "exp_avg_sq"):
            put(out, c, key, [optimizer.state[p][key] for p in params])


def make_adamw8bit(out: dict) -> None:
    import bitsandbytes
    import bitsandbytes.functional as bnb

    out["dynamic-map/signed"] = bnb.create_dynamic_map(signed=True)
    out["dynamic-map/unsigned"] = bnb.create_dynamic_map(signed=False)
    for c in ADAMW8:
        o = c["options"]
        beta1, beta2 = o["betas"]
        wide = {}

        def make(groups):
            return bitsandbytes.optim.AdamW8bit(groups, lr=1.0, betas=(beta1, beta2), eps=o["eps"], weight_decay=o["weight_decay"], min_8bit_size=o["min_8bit_size"])

        def watch(params, optimizer, step):
            """The values once more in float64, from the same (requantised) float32 moments."""
            lr = optimizer.param_groups[0]["lr"]
            for i, p in enumerate(params):
                state = optimizer.state[p]
                if "absmax1" in state:
                    m = torch.ops.bitsandbytes.dequantize_blockwise(state["state1"], state["absmax1"], state["qmap1"], 256, torch.float32)
                    v = torch.ops.bitsandbytes.dequantize_blockwise(state["state2"], state["absmax2"], state["qmap2"], 256, torch.float32)
                elif len(state) > 0:
                    m, v = state["state1"].clone(), state["state2"].clone()
                else:
                    m, v = torch.zeros_like(p), torch.zeros_like(p)
                m, v = m.double() * beta1 + p.grad.double() * (1 - beta1), v.double() * beta2 + p.grad.double() ** 2 * (1 - beta2)
                value = wide.get(i, p.detach().double()) * (1 - lr * o["weight_decay"])
                denominator = v.sqrt() / math.sqrt(1 - beta2 ** (step + 1)) + o["eps"]
                wide[i] = value - lr / (1 - beta1 ** (step + 1)) * m / denominator

        params, optimizer, recorded = run(c, torch.float32, make, watch)
        last = c["steps"]
        c["record"] = [last]
        c["f32_vs_f64"] = {last: apart(recorded[last], list(wide.values()))}
        put(out, c, f"values@{last}", recorded[last])
        for key in ("state1", "state2", "absmax1", "absmax2"):
            put(out, c, key, [optimizer.state[p].get(key) for p in params])


def make_prodigy(out: dict) -> None:
    from prodigyopt import Prodigy

    for c in PRODIGY:
        o = c["options"]

        def make(groups):
            with contextlib.redirect_stdout(io.StringIO()):
                return Prodigy(groups, lr=1.0, betas=tuple(o["betas"]), beta3=o["beta3"], eps=o["eps"], weight_decay=o["weight_decay"],
                               decouple=o["decouple"], use_bias_correction=o["use_bias_correction"], safeguard_warmup=o["safeguard_warmup"],
                               d0=o["d0"], d_coef=o["d_coef"], growth_rate=math.inf if o["growth_rate"] is None else o["growth_rate"])

        rows = {torch.float32: [], torch.float64: []}
        done = {}
        for dtype in rows:
            def watch(_, optimizer, step):
                rows[dtype].append(optimizer.param_groups[0]["d"])

            done[dtype] = run(c, dtype, make, watch)
            rows[dtype].append(done[dtype][1].param_groups[0]["d"])
        recorded, exact = done[torch.float32][2], done[torch.float64][2]
        # before each step, and after the last
        c["d"] = rows[torch.float32]
        c["d_f64"] = rows[torch.float64]
        c["k"] = done[torch.float32][1].param_groups[0]["k"]
        c["f32_vs_f64"] = {n: apart(recorded[n], exact[n]) for n in recorded}
        for n, values in recorded.items():
            put(out, c, f"values@{n}", values)


def make_clipping(out: dict) -> list[dict]:
    rows = []
    for name, scales, max_norm in [("above", [1.0, 0.01, 0.3], 1.0), ("below", [0.001, 0.0, 0.002], 1.0), ("huge", [1e6, 1.0, 1e4], 0.5), ("tiny", [1e-9, 1e-9, 1e-12], 1e-10)]:
        shapes = [[4, 37], [1000], [3]]
        grads = [torch.from_numpy(numbers(70 + i, math.prod(s), scale, True)).reshape(s) for i, (s, scale) in enumerate(zip(shapes, scales))]
        exact = math.sqrt(sum(float((g.double() ** 2).sum()) for g in grads))
        params = [torch.nn.Parameter(torch.zeros(s)) for s in shapes]
        for p, g in zip(params, grads):
            p.grad = g.clone()
        norm = torch.nn.utils.clip_grad_norm_(params, max_norm)
        for i, p in enumerate(params):
            out[f"clip-{name}/{i}"] = p.grad.clone()
        rows.append({"name": name, "shapes": shapes, "scales": scales, "max_norm": max_norm, "norm": float(norm), "norm_f64": exact})
    return rows


def make_accumulation(out: dict) -> dict:
    loss_total, p = 0.0, torch.nn.Parameter(torch.ones(50))
    losses = []
    for i in range(3):
        g = torch.from_numpy(numbers(90 + i, 50, 1.0, True))
        loss = (p * g).sum()
        losses.append(float(loss.detach()))
        (loss / 3).backward()
        loss_total += losses[-1] / 3
    out["accumulated"] = p.grad.clone()
    return {"seeds": [90, 91, 92], "count": 50, "losses": losses, "mean": loss_total}


def make_scaler() -> dict:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_factor=2.0, backoff_factor=0.5, growth_interval=3)
    p = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([p], lr=1.0)
    steps = []
    for raw in [[1.0, 2.0], [3e5, 7.0], [math.inf, 1.0], [1.0, 1e-3], [2.0, 2.0], [3.0, 1.0], [math.nan, 0.0], [math.inf, -math.inf], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]:
        scaler.scale(torch.tensor(1.0))
        before = p.detach().clone()
        p.grad = torch.tensor(raw)
        scale = scaler.get_scale()
        scaler.unscale_(optimizer)
        unscaled = p.grad.tolist()
        scaler.step(optimizer)
        scaler.update()
        state = scaler.state_dict()
        steps.append({"scale": scale, "gradient": [str(x) for x in raw], "unscaled": [str(x) for x in unscaled],
                      "stepped": not torch.equal(before, p.detach()), "next": state["scale"], "growth_tracker": state["_growth_tracker"]})
    return {"options": {"init_scale": 1024, "growth_factor": 2, "backoff_factor": 0.5, "growth_interval": 3}, "steps": steps}


def make_ema(out: dict) -> list[dict]:
    from diffusers.training_utils import EMAModel

    rows = []
    for name, options in [("default", {}), ("warmup", dict(decay=0.9, use_ema_warmup=True, inv_gamma=2.0, power=0.75)),
                          ("late", dict(decay=0.99, min_decay=0.5, update_after_step=3))]:
        p = torch.nn.Parameter(torch.from_numpy(numbers(200, 61, 0.5, False)))
        ema = EMAModel([p], **options)
        decays = []
        for step in range(20):
            p.data.copy_(torch.from_numpy(numbers(201 + step, 61, 0.5, False)))
            ema.step([p])
            decays.append(ema.cur_decay_value)
        out[f"ema-{name}/shadow"] = ema.shadow_params[0].clone()
        rows.append({"name": name, "options": options, "decays": decays, "count": 61, "seed": 200})
    return rows


def make_schedules() -> list[dict]:
    from diffusers.optimization import get_scheduler

    rows = []
    for kind in ["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"]:
        for warmup, total, cycles, power in [(0, 17, 1, 1.0), (4, 17, 3, 2.5), (17, 17, 2, 1.0)]:
            if kind == "polynomial" and warmup == total:
                continue  # diffusers divides by zero there
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
            scheduler = get_scheduler(kind, optimizer, num_warmup_steps=warmup, num_training_steps=total, num_cycles=cycles, power=power)
            rates = []
            for _ in range(total + 4):
                rates.append(scheduler.get_last_lr()[0])
                optimizer.step()
                scheduler.step()
            rows.append({"kind": kind, "warmup": warmup, "total": total, "cycles": cycles, "power": power, "rate": 3e-4, "rates": rates})
    return rows


def main() -> None:
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    out: dict[str, torch.Tensor] = {}
    make_adamw(out)
    make_adamw8bit(out)
    make_prodigy(out)
    import bitsandbytes

    facts = {
        "made_by": "scripts/reference/make-optimizer-references.py",
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "bitsandbytes": f"{bitsandbytes.__version__} (CPU backend, quantised by its default backend)",
        "prodigyopt": "konstmish/prodigy 3efb213ee8af5a6bf76f28726398433a847b38e9",
        "cases": ADAMW + ADAMW8 + PRODIGY,
        "clipping": make_clipping(out),
        "accumulation": make_accumulation(out),
        "scaler": make_scaler(),
        "ema": make_ema(out),
        "schedules": make_schedules(),
    }
    save_file(out, OUT / "optimizers.safetensors")
    (OUT / "cases.json").write_text(json.dumps(facts, indent="\t") + "\n")
    for c in facts["cases"]:
        print(c["name"], "f32 vs f64", {n: max(v) for n, v in c["f32_vs_f64"].items()}, c["d"][-1] if "d" in c else "", file=sys.stderr)
    print(os.path.getsize(OUT / "optimizers.safetensors"), os.path.getsize(OUT / "cases.json"), file=sys.stderr)


if __name__ == "__main__":
    main()
