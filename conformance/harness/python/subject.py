#!/usr/bin/env python3
"""A subject of the LoRA conformance suite in Python (protocol 1): one JSON request a line in, one JSON answer a line out.

    python3 subject.py [--runtime torch|peft|diffusers] [--precision f32|f16|bf16]

This page is the whole protocol; a runtime stands behind it in a file of its own. To test yours, copy this file, write
a `runtime_mine.py` with the functions of `runtime_diffusers.py` (PEFT layers) or your own, and name it in RUNTIMES.

    torch      torch.load and safetensors.torch alone: level L0
    peft       PEFT's folders (adapter_config.json beside the weights), read by PEFT alone: L0 to L4
    diffusers  files that load_lora_weights reads, into a Stable Diffusion model: L0 to L6; needs transformers, peft
"""
import argparse
import hashlib
import importlib
import json
import math
import sys
import traceback

RUNTIMES = {"diffusers": "runtime_diffusers", "peft": "runtime_peft", "torch": "runtime_torch"}  # the richest first


class Skipped(Exception):
    """Something that this runtime does not do: counted apart, never as a failure."""


class Refused(Exception):
    """The input is bad and nothing was done with it."""


# --- the seven requests: a function each, named as the protocol names them ---------------------------------------

def op_open(request):
    """L0: dtype, shape and hash of every tensor. Whatever the reader throws at a file is its refusal."""
    try:
        tensors = {name: runtime.facts(tensor) for name, tensor in runtime.open_file(request["file"]).items()}
    except runtime.Skipped:
        raise
    except Exception as error:  # noqa: BLE001
        raise Refused(f"{type(error).__name__}: {error}") from error
    return {"tensors": {
        name: {"dtype": dtype, "shape": shape, "sha256": hashlib.sha256(data).hexdigest()}
        for name, (dtype, shape, data) in tensors.items()
    }}


def op_describe(request):
    """L1: which modules the file trains, and what of it the runtime says that it left out."""
    session = loaded(request)
    return {"modules": {m.key: m.rank for m in session.modules("x")}, "unmatched": sorted(session.unmatched)}


def op_scaling(request):
    """L2: the number that multiplies each delta, strength included."""
    scaling = {m.key: m.scaling for m in loaded(request).modules("x")}
    return {"scaling": {key: value if math.isfinite(value) else None for key, value in scaling.items()}}


def op_delta(request):
    """L3: what is added to each weight."""
    runtime.save({m.key: m.delta() for m in loaded(request).modules("x")}, request["out"])
    return {}


def op_weights(request):
    """L4: actions in order; each export is the state of all base weights at that moment."""
    session = runtime.Session(request["base"], request.get("dir"))
    for action in request["actions"]:
        do, name = action["do"], action.get("name")
        if do in ("load", "swap"):
            strength = action["adapter"].get("strength", session.strengths.get(name, 1.0))
            if name in session.strengths:
                session.unload(name)
            session.load(name, action["adapter"], strength)
        elif do == "strength":
            session.set_strength(name, action["value"])
        elif do == "unload":
            session.unload(name)
        else:
            runtime.save(session.weights(), action["out"])
    return {}


def op_forward(request):
    """L5: outputs of one module or of a whole component."""
    runtime.save(runtime.forward(several(request), request), request["out"])
    return {}


def op_image(request):
    """L6: latents after every step, and the picture."""
    runtime.save({"latents": runtime.image(several(request), request)}, request["out"])
    return {}


def loaded(request):
    """The adapter of L1, L2 and L3, loaded as `x`."""
    if not (request.get("base") or {}).get("components"):
        raise Skipped(f"{runtime.NAME} reads an adapter into a model: the case has none with weights")
    session = runtime.Session(request["base"], request.get("dir"))
    session.load("x", request["adapter"], request["adapter"].get("strength", 1.0))
    return session


def several(request):
    session = runtime.Session(request["base"], request.get("dir"))
    for i, ref in enumerate(request["adapters"]):
        session.load(f"a{i}", ref, ref.get("strength", 1.0))
    return session


OPS = {
    "open": op_open, "describe": op_describe, "scaling": op_scaling, "delta": op_delta,
    "weights": op_weights, "forward": op_forward, "image": op_image,
}


# --- the loop ----------------------------------------------------------------------------------------------------

def answer_to(request):
    if request["op"] == "start":
        return {
            "protocol": 1, "implementation": {"name": runtime.NAME, "version": runtime.VERSION, "language": "Python"},
            "precision": options.precision, "levels": runtime.LEVELS, "features": runtime.FEATURES, "device": "cpu",
        }
    try:
        return {"ok": True} | OPS[request["op"]](request)
    except (Skipped, runtime.Skipped) as error:
        return {"skipped": True, "message": str(error)}
    except (Refused, *runtime.REFUSALS) as error:
        # Errors by which a library says "this file is bad". A crash (IndexError, TypeError, ...) is none.
        return {"refused": True, "code": type(error).__name__, "message": str(error)[:300]}
    except Exception as error:  # noqa: BLE001
        return {"error": {"message": f"{type(error).__name__}: {error}"[:500], "trace": traceback.format_exc()[-2000:]}}


def find_runtime(name):
    """The runtime of that name, or the first whose libraries are there."""
    for candidate in [name] if name else RUNTIMES:
        try:
            return importlib.import_module(RUNTIMES[candidate])
        except ImportError as error:
            print(f"no {candidate}: {error}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", choices=RUNTIMES, help="default: the first of diffusers, peft, torch that imports")
    parser.add_argument("--precision", choices=("f32", "f16", "bf16"), default="f32", help="of held weights (default f32)")
    options = parser.parse_args()
    # Standard output is for answers alone: whatever a library prints goes to standard error.
    answers, sys.stdout = sys.stdout, sys.stderr
    runtime = find_runtime(options.runtime)
    runtime.use(options.precision)
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "stop":
            break
        print(json.dumps({"id": request["id"]} | answer_to(request)), file=answers, flush=True)
