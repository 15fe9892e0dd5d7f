"""
Allowances by declared precision, derived (CONFORMANCE.md 5.4; Higham, Accuracy and Stability, chapter 3), with the
error that real implementations were measured to make beside them.

f32: one element of s * B A is a sum of r products: the computed value is off by at most gamma(r + 2) * |s| |B||A|,
gamma(n) = n u / (1 - n u), u = 2^-24 (r for the sum, one for the scaling, one for a factor that was cast).
16 bits: factors are rounded to the precision (2), the sum is kept in float32 and rounded once (1), the scaling rounds once
(1): gamma(4) with u = 2^-11 or 2^-8; families with more products count theirs.
Adding to a weight rounds once more; whoever rounds BA, scales, rounds, adds (PEFT's order) stays under 1.81 units of
ulp(max(|W|, |dW|, |W'|)) (measured, any shape and rank up to 128): 2 for each adapter.
A value of the expectation that is stored in float32 is itself half an ulp off.
"""

U = {"f32": 2.0**-24, "f16": 2.0**-11, "bf16": 2.0**-8}

MEASURED_DELTA = (
    "Measured largest distance of real loaders to float64: sd-scripts 4.3e-8, diffusers 1.2e-7, PEFT 3.4e-7, cloneofsimo 0 "
    "(float32, ../shared/reference/adapters/manifest.json read_back)."
)
MEASURED_MERGE = (
    "Measured in units of ulp(max(|W|, |dW|, |W'|)), fp16 and bf16, 320x320 rank 4 to 1280x1280 rank 128: one rounding (kohya) <= 0.505, round the "
    "difference then add (ComfyUI, cloneofsimo) <= 1.014, PEFT's order <= 1.81 (CONFORMANCE.md 5.4)."
)

# roundings of 16-bit arithmetic per family: factors + products + scaling
SHORT = {"lora": 4, "locon": 6, "loha": 8, "lokr": 8, "glora": 10, "full": 1, "norm": 1, "ia3-out": 3, "ia3-in": 3, "oft": 24, "peft-ia3": 3, "dora-out": 16, "dora-in": 16}


def _n32(family, rank, shape):
    r = rank or 1
    if family == "lora":
        return r + 2
    if family == "locon":
        return 2 * r + 2
    if family in ("loha", "lokr"):
        return 2 * r + 4
    if family == "glora":
        return shape[0] + shape[1] + 2 * r + 2
    if family in ("full", "norm", "ia3-out", "ia3-in", "peft-ia3"):
        return 2
    fan = 1
    for d in shape[1:]:
        fan *= d
    return max(fan, shape[0]) + r + 8  # norms and inverses: a sum over a row or a column, and a root or a solve


def delta(modules):
    """modules: [(family, rank, shape)]. Allowances of L3, and the sentence that derives them."""
    n32 = max(_n32(*m) for m in modules)
    short = max(SHORT[m[0]] for m in modules)
    families = sorted({m[0] for m in modules})
    return {
        "f32": {"gamma": n32, "ulp": 1},
        "f16": {"gamma": short, "ulp": 1, "abs": 2.0**-20},
        "bf16": {"gamma": short, "ulp": 1},
        "derivation": (
            f"f32: gamma({n32}) * magnitude, n = roundings of one element of {'/'.join(families)} (lora: rank + 2), u = 2^-24; plus 1 ulp for the stored expectation and the "
            f"written answer. f16, bf16: gamma({short}) with u = 2^-11, 2^-8 (factors, products and scaling rounded to the precision, sums in float32), 1 ulp for the "
            f"answer, and in f16 2^-20 for subnormal factors (2^-25 each, rank 32). {MEASURED_DELTA}"
        ),
    }


def weights(modules, adapters=1, expectation_f32=False):
    """Allowances of L4."""
    n32 = max(_n32(*m) for m in modules)
    short = max(SHORT[m[0]] for m in modules)
    ulp = 2 * adapters
    return {
        "f32": {"gamma": n32, "ulp": ulp},
        "f16": {"gamma": short, "ulp": ulp, "abs": 2.0**-20},
        "bf16": {"gamma": short, "ulp": ulp},
        "derivation": (
            f"f32: gamma({n32}) * magnitude + {ulp} ulp(max(|W|, |dW|, |W'|)): the dot product dominates, each of {adapters} additions rounds BA, the scaled difference and "
            f"the sum (half an ulp each){', the expectation is stored in float32 (half an ulp)' if expectation_f32 else ''}. f16, bf16: gamma({short}) for factors cast to "
            f"the precision and {ulp} ulp, 2 for each adapter. {MEASURED_MERGE} "
            "Real fused weights against float64: sd-scripts, diffusers, PEFT and cloneofsimo in float32 within 1.2e-7 (../shared/reference/adapters/fused)."
        ),
    }
