"""The exact difference of made modules, by both computations; magnitudes; and their agreement, noted per family."""

import numpy as np

from . import closed_numpy, closed_torch


def exact(suite, mod, scaling, weight=None):
    """(float64 delta, magnitude, agreement)"""
    f = mod.values()
    one = closed_numpy.delta(mod.family, f, mod.shape, weight, scaling)
    two = closed_torch.delta(mod.family, f, mod.shape, weight, scaling)
    assert one.shape == mod.shape and two.shape == mod.shape, (mod.name, one.shape, two.shape)
    scale = max(float(np.abs(one).max()), float(np.abs(weight).max()) if weight is not None else 0.0, 1e-300)
    worst = float(np.abs(one - two).max() / scale)
    assert worst < 1e-12, (mod.family, mod.name, worst)
    suite.agreements[mod.family] = max(suite.agreements.get(mod.family, 0.0), worst)
    return one, closed_numpy.magnitude(mod.family, f, mod.shape, weight, scaling), worst


COMPUTATIONS = ["numpy float64, matrices written out: conformance/generate/lib/closed_numpy.py", "torch float64, adapters run as layers: conformance/generate/lib/closed_torch.py"]


def number(x):
    """A float for JSON with no more digits than it needs, never rounded down."""
    return float(f"{x * (1 + 1e-3):.4g}")
