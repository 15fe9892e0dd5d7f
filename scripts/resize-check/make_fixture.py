"""Make fixtures/resize/cases.json: small factors and the singular values of their products by numpy in float64.

    /opt/lk-venv/bin/python scripts/resize-check/make_fixture.py

Nothing of lorakit is used. Factors are float16 numbers (written exactly, as decimal of the double), the product is
made in float64 and decomposed by numpy.linalg.svd. Ranks by kohya's rules are computed from those singular values by
the rules' definitions, written out here once more.
"""

import hashlib
import json
import pathlib

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parent.parent / "fixtures" / "resize"


def f16(rng, *shape, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(np.float16).astype(np.float64)


def kohya_ranks(s, shorter, cap):
    """Counts of the sv_* rules, and one more, as sd-scripts' rank_resize keeps; capped."""
    out = {}
    full = np.zeros(shorter)
    full[: len(s)] = s

    def kept(count):
        return int(min(max(1, min(count, shorter - 1)) + 1, cap))

    for r in (2.0, 10.0, 1000.0):
        out[f"sv-ratio {r:g}"] = kept(int(np.sum(full > full[0] / r)))
    for c in (0.5, 0.9, 0.99):
        share = np.cumsum(full) / np.sum(full)
        out[f"sv-cumulative {c:g}"] = kept(int(np.searchsorted(share, c)) + 1)
        share = np.cumsum(full**2) / np.sum(full**2)
        out[f"sv-fro {c:g}"] = kept(int(np.searchsorted(share, c**2)) + 1)
    return out


def spectrum(delta):
    return np.linalg.svd(delta.reshape(delta.shape[0], -1), compute_uv=False)


def main():
    rng = np.random.default_rng(20251125)
    cases = []

    def add(name, family, factors, delta, rank):
        s = spectrum(delta)[:rank]
        shorter = min(delta.shape[0], int(np.prod(delta.shape[1:])))
        cases.append(
            {
                "name": name,
                "family": family,
                "factors": {k: {"shape": list(v.shape), "data": v.reshape(-1).tolist()} for k, v in factors.items()},
                "shape": list(delta.shape),
                "singularValues": s.tolist(),
                "ranks": kohya_ranks(s, shorter, min(rank, shorter)),
            }
        )

    # Falling singular values, so that the rules choose something between 1 and all.
    up = f16(rng, 24, 8) * (0.5 ** np.arange(8))
    down = f16(rng, 8, 20)
    add("linear", "lora", {"up": up, "down": down}, up @ down, 8)
    up = f16(rng, 12, 6, 1, 1)
    down = f16(rng, 6, 5, 3, 3)
    add("convolution", "lora", {"up": up, "down": down}, (up.reshape(12, 6) @ down.reshape(6, 45)).reshape(12, 5, 3, 3), 6)
    a, b, c, d = f16(rng, 14, 3), f16(rng, 3, 10), f16(rng, 14, 2), f16(rng, 2, 10)
    add("loha", "loha", {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d}, (a @ b) * (c @ d), 6)
    w1, w2a, w2b = f16(rng, 3, 4), f16(rng, 6, 2), f16(rng, 2, 5)
    add("lokr", "lokr", {"lokr_w1": w1, "lokr_w2_a": w2a, "lokr_w2_b": w2b}, np.kron(w1, w2a @ w2b), 6)

    OUT.mkdir(parents=True, exist_ok=True)
    file = OUT / "cases.json"
    file.write_text(json.dumps({"about": "See scripts/resize-check/make_fixture.py.", "numpy": np.__version__, "cases": cases}, indent=1) + "\n")
    manifest = {
        "about": "Singular values and ranks that `lora resize` must find.",
        "files": [
            {
                "file": "cases.json",
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                "source": "scripts/resize-check/make_fixture.py (seed 20251125)",
                "producer": f"numpy {np.__version__}, linalg.svd in float64 of the full product",
            }
        ],
    }
    (OUT / "manifest.json").write_text(json.dumps(manifest, indent="\t") + "\n")


if __name__ == "__main__":
    main()
