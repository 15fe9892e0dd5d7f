"""L3 on files that real tools saved: a sample of the recorded deltas, and ten forms of one adapter that are one difference."""

import numpy as np

from ..lib import tolerance
from ..lib.real import all_cases
from ..lib.sources import src
from ..lib.truth import COMPUTATIONS, number
from .l1_real import WHY, profiles

SCRIPT = "topics/l3_real.py"


def make(suite, sd1):
    """
    The answer must hold every module, so the expectation does too; where that is much, the case is left to L1, L2 and L4.
    """
    shared_same = None
    for real in all_cases(suite, sd1):
        deltas = real.recorded_deltas(suite)
        out, magnitudes, worst = {}, {}, 0.0
        total = sum(int(np.prod(m["shape"])) for m in real.modules.values())
        whole = real.families() == ["lora"]
        same = real.name.startswith("same_")
        if not whole:
            continue
        if not same and total > 60_000:
            continue
        for name in real.modules:
            got = real.exact(suite, name)
            if got is None:
                break
            out[name], magnitudes[name], worst = got[0], number(got[1]), max(worst, got[2])
            if name in deltas:
                assert np.array_equal(deltas[name].value(), got[0].astype(np.float32)), (real.name, name)
        if len(out) != len(real.modules):
            continue
        if same:
            path = "expect/real/same-adapter.safetensors"
            if shared_same is None:
                shared_same = out
            assert all(np.array_equal(out[k], shared_same[k]) for k in out), real.name
        else:
            path = f"expect/real/{real.name}.safetensors"
        f32 = {k: v.astype(np.float32) for k, v in out.items()}
        why = WHY.get(real.name, ("onetrainer#1563", "comfy#1237"))
        if same:
            why = ("comfy#1237", "addnet#148") if "kohya" in real.name else ("comfy#1237", "diffusers#3669")
        differ = profiles(real, {k: m["scaling"] for k, m in real.modules.items()})
        differ = {k: (v if v.get("skip") else {"skip": True, "why": v["why"]}) for k, v in differ.items()}
        suite.add(
            "delta/real-files", f"L3/real/{real.name.replace('_', '-')}", ("One adapter in ten forms: " if same else "Deltas of a file that a real tool saved: ") + real.name.replace("_", " "),
            {"op": "delta", "adapter": dict(real.adapter), "base": sd1.base()}, {"file": suite.expectation(path, f32, "conformance/generate/" + SCRIPT), "magnitude": magnitudes},
            source=src(*why), rule="scaling * up @ down for every module; " + ("the same numbers, whatever the layout, whether the scaling stands in alpha, in metadata or in the factors." if same else real.entry["notes"][:200]),
            implementation=f"{real.producer()}: saved and read back ({real.oracle() or 'closed form'})", script=SCRIPT, tags=["delta", "real-file", real.layout], features=real.features(), profiles=differ or None,
            tolerance=tolerance.delta([("lora", m["rank"], tuple(m["shape"])) for m in real.modules.values()]), computations=[f"saved by {real.producer()}; read back: {real.oracle() or 'closed form'}", *COMPUTATIONS], agreement=worst, licence="made for this project",
        )
