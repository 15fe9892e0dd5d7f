"""Runs every L6 case of diffusers in float16 and bfloat16 and keeps how far each right run is from the float32 one.

Whole runs, nothing scaled. What a precision does to a run depends on how a right runtime rounds, so each case is run
several right ways:
  loaded   harness/python/subject.py: adapters beside the weights (diffusers' loader, PEFT), everything in the precision
  merged   adapters added to the weights in the precision, everything in it
  nudged   as merged, initial latents moved by up to half an ulp of the precision before they are rounded
           (as another rounding would)
Writes recorded/images-precision.json (way -> largest difference of any step, as a share of its largest latent) and
recorded/images-precision.safetensors (the latents of `loaded`: what a test replays). Needs the same as record.py, and
conformance/cases (requests of L6; tolerances there are not read).

Usage: python record_precision.py [ID ...]   (with ids: these cases alone are run again, or for the first time)
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

sys.dont_write_bytecode = True

from record import DTYPES, HERE, SHARED, Applied, base, rel, run  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

CASES = HERE.parent / "cases"
BITS = {"f16": 11, "bf16": 8}
SEED = 1


class Harness:
    """The Python harness as a long-lived process."""

    def __init__(self, precision):
        self.process = subprocess.Popen([sys.executable, str(HERE.parent / "harness/python/subject.py"), "--precision", precision], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=os.environ | {"PYTHONPATH": os.environ.get("DIFFUSERS_SRC", "diffusers/src")})
        self.ask({"id": 0, "op": "start"})

    def ask(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def absolute(value):
    if isinstance(value, dict):
        return {k: absolute(v) for k, v in value.items()}
    if isinstance(value, list):
        return [absolute(v) for v in value]
    return str(CASES / value) if isinstance(value, str) and value.startswith("files/") else value


def nudge(x, bits, seed):
    """x moved by up to half the distance between neighbours of a format with that many significant bits."""
    unit = torch.exp2(torch.floor(torch.log2(x.abs().clamp_min(2.0**-14))) - bits + 1)
    return x + unit * (torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) - 0.5)


def record(group, only=()):
    measured, latents = {}, {}
    cases = json.loads((CASES / f"images/{group}.json").read_text())
    models = base(SHARED / "base" / {"shapes": "tiny-shapes", "tiny-sd": "tiny-sd"}[group])
    harnesses = {p: Harness(p) for p in BITS}
    for case in cases:
        if only and case["id"] not in only:
            continue
        r = absolute(case["request"])
        inputs = load_file(r["inputs"])
        truth = load_file(str(CASES / case["expect"]["latents"]))["latents"]
        ids = torch.cat([inputs["input_ids"], inputs["negative_ids"]])
        adapters = [(a["file"], a["strength"]) for a in r["adapters"]]
        entry = measured[case["id"]] = {}
        for p, bits in BITS.items():
            def mine(initial):
                with Applied(models[0], models[1], adapters, merge=DTYPES[p]):
                    return run(models, ids, initial, r["scheduler"]["name"], r["scheduler"]["config"], r["steps"], r["guidance"], noise=inputs.get("step_noise"), compute=DTYPES[p])

            initial = inputs["initial_latents"]
            with tempfile.TemporaryDirectory() as tmp:
                answer = harnesses[p].ask({"id": 1, "case": case["id"], **r, "out": f"{tmp}/out.safetensors", "png": f"{tmp}/out.png"})
                assert answer.get("ok"), answer
                got = load_file(f"{tmp}/out.safetensors")["latents"]
            latents[f"{p}/{case['id']}"] = got.to(DTYPES[p])
            assert torch.equal(latents[f"{p}/{case['id']}"].float(), got)
            ways = {"loaded": got, "merged": mine(initial), "nudged": mine(nudge(initial, bits, SEED))}
            entry[p] = {way: rel(x, truth) for way, x in ways.items()}
            assert all(map(math.isfinite, entry[p].values()))
        print(case["id"], {p: {w: round(v, 4) for w, v in e.items()} for p, e in entry.items()}, flush=True)
    for h in harnesses.values():
        h.stop()
    return measured, latents


def main():
    out, only = HERE / "recorded", tuple(sys.argv[1:])
    measured = json.loads((out / "images-precision.json").read_text()) if only else {}
    latents = load_file(str(out / "images-precision.safetensors")) if only else {}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for m, t in pool.map(record, ("shapes", "tiny-sd"), (only, only)):
            measured |= m
            latents |= t
    (out / "images-precision.json").write_text(json.dumps(measured, indent=1, sort_keys=True) + "\n")
    save_file({k: v.contiguous() for k, v in sorted(latents.items())}, str(out / "images-precision.safetensors"))


if __name__ == "__main__":
    main()
