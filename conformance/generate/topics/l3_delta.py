"""L3: the difference that each family of factors makes, in every shape, rank and dtype."""

import json

import numpy as np

from ..lib import spell, tolerance
from ..lib.kit import grid, safe, st_bytes, stored
from ..lib.mods import ATTN, BLOCK, CONV, FF, PROJ, TE, TEXT, TIME, TOP, UP, lora, loras
from ..lib.sd1 import Mod
from ..lib.sources import src
from ..lib.truth import COMPUTATIONS, exact, number
from .l1_keys import KOHYA_ONLY, NO_TOP, NOT_KOHYA, PEFT_ONLY

SCRIPT = "topics/l3_delta.py"
GOLDEN = "LAYOUTS.md section 5"


class Maker:
    def __init__(self, suite, sd1):
        self.suite, self.sd1, self.shapes = suite, sd1, sd1.modules

    def case(self, group, id, title, mods, tensors, scalings, *, source, rule, features, metadata=None, config=None, strength=None, profiles=None, optional=None, needs_weight=False, or_refuse=None, implementation=None, tags=()):
        suite = self.suite
        stem = safe(id.replace("/", "_"))
        if config is not None:
            config = {**config, "target_modules": sorted({m.path for m in mods})}
        adapter = {"file": suite.put(f"adapters/delta/{stem}.safetensors", st_bytes(tensors, metadata), "conformance/generate/" + SCRIPT)}
        if config is not None:
            adapter["config"] = suite.json(f"adapters/delta/{stem}.config.json", config, "conformance/generate/" + SCRIPT)
        if strength is not None:
            adapter["strength"] = strength
        out, magnitudes, worst = {}, {}, 0.0
        for m, s in zip(mods, scalings):
            w = self.sd1.weight(m.component, m.path) if m.family in ("dora-out", "dora-in", "ia3-out", "ia3-in", "oft", "glora", "peft-ia3") else None
            k = strength if strength is not None else 1.0
            if isinstance(k, dict):
                k = k[m.component]
            d, magnitude, agree = exact(suite, m, s * k if m.family not in ("full", "norm", "ia3-out", "ia3-in", "oft", "dora-out", "dora-in", "peft-ia3") else s, w)
            if m.family in ("full", "norm", "ia3-out", "ia3-in"):
                d, magnitude = d * k, magnitude * abs(k)
            out[m.name], magnitudes[m.name], worst = d, number(magnitude), max(worst, agree)
        expect = {"file": suite.expectation(f"expect/delta/{stem}.safetensors", out, "conformance/generate/" + SCRIPT), "magnitude": magnitudes}
        if or_refuse:
            expect["orRefuse"] = or_refuse
        kinds = {m.family for m in mods}
        suite.add(group, id, title, {"op": "delta", "adapter": adapter, "base": self.sd1.base()}, expect, source=src(*source), rule=rule, script=SCRIPT, features=["safetensors", "sd1", *features], profiles=profiles, optional=optional,
                  tolerance=tolerance.delta([(m.family, m.rank, m.shape) for m in mods]), seed=id, implementation=implementation, tags=["delta", *tags], computations=COMPUTATIONS, agreement=worst, licence="made for this project")


def scaling(m, alpha=True):
    return (float(m.alpha) / m.rank) if m.alpha is not None else 1.0


def plain(m):
    shapes = m.shapes

    def put(slug, title, mods, source, rule="delta = alpha / rank * up @ down, in the weight's shape.", features=(), tensors=None, profiles=KOHYA_ONLY, layout="kohya", **kw):
        m.case("delta/lora", f"L3/lora/{slug}", title, mods, tensors if tensors is not None else spell.kohya(mods), [scaling(x) for x in mods], source=source, rule=rule, features=[layout, *features], profiles=profiles, **kw)

    square, wide, tall, ctx = f"{BLOCK}.attn1.to_q", f"{BLOCK}.ff.net.2", f"{BLOCK}.ff.net.0.proj", f"{BLOCK}.attn2.to_k"
    for name, path in (("square", square), ("wide", wide), ("tall", tall), ("cross-attention", ctx)):
        put(f"linear-{name}", f"Linear layer, {name}: {shapes[('unet', path)]}", [lora(shapes, "unet", path, 4, "l3", alpha=2)], ("lora", "kohya-merge"))
    for r in (1, 2, 3, 8, 16, 32):
        put(f"rank-{r}", f"Factors of rank {r}", loras(shapes, "unet", [square, wide, tall], r, f"r{r}", alpha=max(1, r // 2)), ("diffusers#14409", "kohya-merge"))
    for dtype in ("F32", "F16", "BF16", "F64"):
        put(f"dtype-{dtype.lower()}", f"Factors in {dtype}", loras(shapes, "unet", [square, ctx, wide], 4, f"dt{dtype}", alpha=2, dtype=dtype), ("peft#701", "kohya_ss#2859"),
            "Factors are widened before they are multiplied; the product is not taken in 16 bits.", or_refuse="float64 files are rare" if dtype == "F64" else None)
    put("dtype-mixed", "down in float16, up in float32", [lora(shapes, "unet", p, 4, "mix", alpha=2, up_dtype="F32") for p in (square, ctx)], ("peft#701", "kohya-lora"))
    put("dtype-mixed-modules", "One module in float32, one in bfloat16", [lora(shapes, "unet", square, 4, "mm1", alpha=2, dtype="F32"), lora(shapes, "unet", ctx, 4, "mm2", alpha=2, dtype="BF16")], ("peft#701", "kohya-lora"))
    small = [lora(shapes, "unet", p, 4, "tiny", alpha=2, dtype="F32", up=2.0**-20) for p in (square, ctx)]
    put("values-small", "Differences of 1e-6, under float16's normal range", small, ("kohya#93", "addnet#49"), "Small differences are no zeros: multiply in float32.")
    sub = [lora(shapes, "unet", square, 4, "sub", alpha=2, dtype="F16", up=2.0**-15)]
    put("values-subnormal", "up in float16's subnormal range", sub, ("kohya#93", "clone#97"), "Subnormal numbers are numbers.")
    put("no-alpha", "No alpha: 1", loras(shapes, "unet", [square, wide], 4, "na"), ("larsupb#17", "kohya-merge"))
    put("alpha-negative", "Negative alpha", loras(shapes, "unet", [square, wide], 4, "ng", alpha=-3), ("kohya_ss#3043", "kohya-merge"))
    put("alpha-zero", "alpha 0: no difference", loras(shapes, "unet", [square], 4, "az", alpha=0), ("a1111-network", "comfy-lora"), "alpha 0 gives zeros.",
        profiles=KOHYA_ONLY | {"kohya": {"skip": True, "why": "networks/lora.py takes alpha 0 for the rank"}})
    put("up-zero", "up is zero: trained for no step", [Mod("unet", square, shapes[("unet", square)], "lora", {"down": stored(grid("uz", (4, 8)), "F16"), "up": stored(np.zeros((8, 4)), "F16")}, 4)], ("clone#149", "clone-lora"), "Zeros make zeros.")
    put("ranks-and-alphas-differ", "Ranks 1, 4, 8 and alphas 1, 3, 2: nobody's values for another", [lora(shapes, "unet", square, 1, "rr", alpha=1), lora(shapes, "unet", ctx, 4, "rr", alpha=3), lora(shapes, "unet", tall, 8, "rr", alpha=2)], ("diffusers#14409", "kohya-lora"))
    put("text-encoder", "Text encoder: attention and feed-forward", loras(shapes, "text_encoder", TEXT[:6], 4, "te", alpha=2), ("kohya#1803", "kohya-lora"))
    put("all-attention-kinds", "q, k, v, out of both attentions", loras(shapes, "unet", [f"{UP}.{a}.{t}" for a in ("attn1", "attn2") for t in ("to_q", "to_k", "to_v", "to_out.0")], 2, "qkvo", alpha=1), ("diffusers#4137", "kohya-lora"), "Each factor pair acts on its own module: q, k, v are never exchanged.")
    for k in (0.7, -1.0, 0.0, 1.7):
        put(f"strength-{'minus-1' if k < 0 else k}", f"Strength {k}", loras(shapes, "unet", [square, ctx], 4, "st", alpha=2), ("kohya#868", "diffusers#5032"), "strength * alpha / rank * up @ down.", strength=k)
    put("strength-per-component", "UNet at 1, text encoder at 0.5", loras(shapes, "unet", [square], 4, "sc", alpha=2) + loras(shapes, "text_encoder", [TEXT[0], TEXT[3]], 4, "sc", alpha=2), ("kohya#1806", "comfy-lora"), "Each component's own strength.", strength={"unet": 1.0, "text_encoder": 0.5},
        features=["component-strength"])
    # convolutions
    put("conv-1x1", "1x1 convolutions (proj_in, proj_out)", loras(shapes, "unet", PROJ, 4, "c1", alpha=2), ("diffusers#9221", "kohya-lora"), "(up.flatten(1) @ down.flatten(1)).reshape(o, i, 1, 1).")
    put("conv-1x1-2d-factors", "1x1 convolution with 2-D factors", [lora(shapes, "unet", p, 4, "c12", alpha=2, conv2d="2d") for p in PROJ[:2]], ("diffusers#9221", "comfy#1461"), "The same numbers.", or_refuse="a strict reader may want the weight's shape")
    put("linear-4d-factors", "Linear layer with 4-D factors", [lora(shapes, "unet", p, 4, "l4", alpha=2, conv2d="4d") for p in (square, wide)], ("diffusers#9221", "kohya-lora"), "The same numbers.", or_refuse="a strict reader may want the weight's shape")
    put("conv-3x3", "3x3 convolutions", loras(shapes, "unet", CONV[:2], 4, "c3", alpha=2), ("a1111#8360", "kohya_ss#307"), "down carries the kernel, up is 1x1: (up.flatten(1) @ down.flatten(1)).reshape(o, i, 3, 3).", features=["locon"])
    put("conv-shortcut", "1x1 shortcut of a residual block", loras(shapes, "unet", [CONV[2]], 4, "csc", alpha=2), ("kohya_ss#307", "kohya-lora"), features=["locon"])
    put("conv-down-up", "Downsampler and upsampler", loras(shapes, "unet", CONV[4:6], 2, "cdu", alpha=1), ("kohya_ss#307", "kohya-lora"), features=["locon"])
    put("conv-in-out", "conv_in (4 channels in) and conv_out (4 out)", loras(shapes, "unet", TOP[:2], 4, "cio", alpha=2), ("diffusers#14005", "kohya-lora"), features=["locon"], profiles=KOHYA_ONLY | NO_TOP)
    put("conv-rank-1", "3x3 convolution of rank 1", loras(shapes, "unet", CONV[:1], 1, "cr1", alpha=1), ("kohya#904", "kohya-lora"), features=["locon"])
    put("conv-bf16", "3x3 convolution in bfloat16", loras(shapes, "unet", CONV[:1], 4, "cbf", alpha=2, dtype="BF16"), ("kohya#904", "peft#701"), features=["locon"])
    asym = lora(shapes, "unet", "down_blocks.1.resnets.0.conv1", 2, "asy", alpha=1)
    put("conv-kernel-not-flipped", "A kernel without symmetry: neither flipped nor transposed", [asym], ("kohya#904", "kohya-lora"), "A convolution's kernel is a correlation's: it is not turned round.", features=["locon"])
    mid = []
    for p in CONV[:2]:
        o, i, kh, kw = shapes[("unet", p)]
        mid.append(Mod("unet", p, (o, i, kh, kw), "locon", {"up": stored(grid("mu" + p, (o, 3, 1, 1), 0.125), "F16"), "mid": stored(grid("mm" + p, (3, 3, kh, kw)), "F16"), "down": stored(grid("md" + p, (3, i, 1, 1)), "F16")}, 2))
    no_mid = {"kohya": {"skip": True, "why": "networks/lora.py of sd-scripts knows no lora_mid: such files are LyCORIS'"}, "diffusers": {"expect": {"refuse": True}, "why": "lora_mid stops the conversion", "url": "https://github.com/huggingface/diffusers/issues/11943"}}
    put("locon-mid", "LoCon with lora_mid (Tucker)", mid, ("diffusers#11943", "lycoris"), "delta[o,i,y,x] = s * sum_pq up[o,p] mid[p,q,y,x] down[q,i]: mid's first axis meets up, its second down.", features=["locon"], profiles=KOHYA_ONLY | no_mid)
    # other spellings of the same numbers
    same = loras(shapes, "unet", [square, ctx, tall], 4, "same")
    meta = {"unet.r": 4, "unet.lora_alpha": 2}
    t, md = spell.diffusers_peft(same, meta)
    half = [0.5] * 3
    m.case("delta/lora", "L3/lora/diffusers-metadata-alpha", "lora_A, lora_B with alpha in the metadata", same, t, half, source=src_k("comfy#12191", "diffusers-lora"), rule="alpha of lora_adapter_metadata / rank * B @ A.", features=["diffusers"], metadata=md,
           profiles=NOT_KOHYA | {"comfy": {"skip": True, "why": "alpha in the metadata is not read"}})
    m.case("delta/lora", "L3/lora/peft-config-alpha", "PEFT with alpha in adapter_config.json", same, spell.peft(same), half, source=src_k("comfy#4347", "peft-layer"), rule="lora_alpha / r * B @ A.", features=["peft"], config=spell.peft_config(4, 2, ["to_q", "to_k", "proj"]), profiles=PEFT_ONLY)
    m.case("delta/lora", "L3/lora/peft-rslora", "PEFT with use_rslora", same, spell.peft(same), [1.0] * 3, source=src_k("vllm#6909", "rslora"), rule="lora_alpha / sqrt(r) * B @ A.", features=["peft"], config=spell.peft_config(4, 2, ["to_q", "to_k", "proj"], use_rslora=True), profiles=PEFT_ONLY)
    procs = loras(shapes, "unet", ATTN[:4], 4, "same2")
    m.case("delta/lora", "L3/lora/attn-procs", "Attention processors: scaling 1", procs, spell.attn_procs(procs), [1.0] * 4, source=src_k("diffusers#2326", "blog-lora"), rule="up @ down.", features=["diffusers-legacy"],
           profiles=NOT_KOHYA | {"diffusers": {"skip": True, "why": "ignored without a prefix"}})
    te = loras(shapes, "text_encoder", TEXT[:4], 4, "same3")
    m.case("delta/lora", "L3/lora/text-linear-layer", "Text encoder as lora_linear_layer", te, spell.dotted(te, ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"), [1.0] * 4, source=src_k("diffusers#10860", "diffusers-lora"), rule="up @ down.", features=["diffusers-legacy"], profiles=NOT_KOHYA)


def src_k(*keys):
    return keys


def families(m):
    shapes = m.shapes
    un = {"diffusers": {"expect": {"refuse": True}, "why": "diffusers does not compute this family; leftover keys stop the conversion"}}

    def put(family, slug, title, mods, scalings, source, rule, features=(), **kw):
        m.case(f"delta/{family}", f"optional/{family}/{slug}", title, mods, kw.pop("tensors", None) or spell.kohya(mods), scalings, source=source, rule=rule, features=["kohya", *features], optional=family, profiles=KOHYA_ONLY | kw.pop("profiles", un), **kw)

    def st(label, shape, dtype="F16", scale=1.0):
        return stored(grid(label, shape, scale), dtype)

    square, wide, tall, ctx, conv, conv2 = (f"{BLOCK}.attn1.to_q", f"{BLOCK}.ff.net.2", f"{BLOCK}.ff.net.0.proj", f"{BLOCK}.attn2.to_k", CONV[0], CONV[1])

    # --- LoHa ---
    def loha(path, r, dtype="F16", alpha=None, component="unet", tucker=False):
        shape = shapes[(component, path)]
        o, i = shape[0], int(np.prod(shape[1:]))
        if tucker:
            f = {}
            for n in (1, 2):
                f |= {f"hada_t{n}": st(f"lt{n}{path}", (r, r, *shape[2:]), dtype), f"hada_w{n}_a": st(f"lta{n}{path}", (r, o), dtype, 0.25), f"hada_w{n}_b": st(f"ltb{n}{path}", (r, shape[1]), dtype)}
        else:
            f = {}
            for n in (1, 2):
                f |= {f"hada_w{n}_a": st(f"lh{n}a{path}{r}", (o, r), dtype, 0.25), f"hada_w{n}_b": st(f"lh{n}b{path}{r}", (r, i), dtype)}
        return Mod(component, path, shape, "loha", f, alpha)

    rule = "s * (w1_a @ w1_b) o (w2_a @ w2_b), element by element; s = alpha / rank, rank = hada_w1_b.shape[0]."
    for slug, title, mods in (
        ("linear", "Linear layers", [loha(p, 4, alpha=2) for p in (square, wide, tall, ctx)]), ("rank-1", "Rank 1", [loha(square, 1, alpha=1)]), ("rank-8", "Rank 8", [loha(ctx, 8, alpha=4)]),
        ("no-alpha", "No alpha: 1", [loha(square, 4)]), ("conv-flat", "3x3 convolution with flat factors (r, i * kh * kw)", [loha(conv, 4, alpha=2)]), ("conv-1x1", "1x1 convolution", [loha(PROJ[0], 4, alpha=2)]),
        ("text-encoder", "Text encoder", [loha(TEXT[0], 4, alpha=2, component="text_encoder"), loha(TEXT[4], 4, alpha=2, component="text_encoder")]), ("bf16", "Factors in bfloat16", [loha(square, 4, "BF16", 2)]),
        ("f32", "Factors in float32", [loha(ctx, 4, "F32", 2)]),
    ):
        put("loha", slug, "LoHa: " + title, mods, [(x.alpha / x.rank if x.alpha is not None else 1.0) for x in mods], ("diffusers#3087", "lycoris"), rule, ["loha"])
    tk = [loha(conv, 3, alpha=1, tucker=True), loha(conv2, 3, alpha=1, tucker=True)]
    put("loha", "tucker-conv", "LoHa with cores hada_t1, hada_t2 (Tucker)", tk, [1 / 3] * 2, ("lycoris#65", "lycoris"), "M = einsum(t, w_b, w_a) with w_a stored (r, o); s * M1 o M2.", ["loha"])
    mixed = [loha(square, 4, alpha=2)] + loras(shapes, "unet", [ctx], 4, "lm", alpha=2)
    put("loha", "beside-lora", "One LoHa and one LoRA module in a file", mixed, [0.5, 0.5], ("diffusers#3087", "lycoris#65"), "Families are told apart module by module; none vanishes.", ["loha"])
    put("loha", "strength", "LoHa at strength 0.7", [loha(square, 4, alpha=2)], [0.5], ("kohya#868", "lycoris"), "The strength multiplies the difference once, not each product.", ["loha"], strength=0.7)

    # --- LoKr ---
    def lokr(path, factors, alpha=None, dtype="F16", component="unet", label=""):
        return Mod(component, path, shapes[(component, path)], "lokr", {k: st(f"lk{label}{k}{path}", s, dtype, 0.25 if k.endswith("_a") or k == "lokr_w1" else 1.0) for k, s in factors.items()}, alpha)

    def rank(x):
        f = x.factors
        return f["lokr_w2_b"].shape[0] if "lokr_w2_b" in f else f["lokr_w1_b"].shape[0] if "lokr_w1_b" in f else None

    full = {"peft": {"skip": True, "why": "PEFT reads its own layout only"}}
    table = [
        ("both-full-square", "both factors full, 2x2 and 4x4", square, {"lokr_w1": (2, 2), "lokr_w2": (4, 4)}, 7),
        ("both-full-wide", "both full, a wide layer", wide, {"lokr_w1": (2, 4), "lokr_w2": (4, 8)}, 1),
        ("both-full-tall", "both full, a tall layer", tall, {"lokr_w1": (8, 2), "lokr_w2": (8, 4)}, 3),
        ("w2-factored", "second factor in two", square, {"lokr_w1": (2, 2), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 4)}, 1),
        ("w2-factored-wide", "second factor in two, a wide layer", wide, {"lokr_w1": (2, 4), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 8)}, 1),
        ("w1-factored", "first factor in two", square, {"lokr_w1_a": (2, 1), "lokr_w1_b": (1, 2), "lokr_w2": (4, 4)}, 3),
        ("both-factored", "both in two, ranks 1 and 2", square, {"lokr_w1_a": (2, 1), "lokr_w1_b": (1, 2), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 4)}, 1),
        ("both-factored-context", "both in two, cross-attention", ctx, {"lokr_w1_a": (2, 2), "lokr_w1_b": (2, 4), "lokr_w2_a": (4, 3), "lokr_w2_b": (3, 8)}, 2),
        ("conv-full", "3x3 convolution, both full", conv, {"lokr_w1": (2, 2), "lokr_w2": (4, 4, 3, 3)}, 1),
        ("conv-flat", "3x3 convolution, second factor in two with a flat kernel", conv, {"lokr_w1": (2, 2), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 36)}, 1),
        ("conv-tucker", "3x3 convolution with core lokr_t2", conv, {"lokr_w1": (2, 2), "lokr_t2": (2, 2, 3, 3), "lokr_w2_a": (2, 4), "lokr_w2_b": (2, 4)}, 1),
        ("no-alpha", "no alpha: 1", square, {"lokr_w1": (2, 2), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 4)}, None),
        ("factor-one", "first factor 1x1", square, {"lokr_w1": (1, 1), "lokr_w2_a": (8, 2), "lokr_w2_b": (2, 8)}, 1),
    ]
    for slug, title, path, factors, alpha in table:
        x = lokr(path, factors, alpha, label=slug)
        r = rank(x)
        s = 1.0 if r is None or alpha is None else alpha / r
        put("lokr", slug, "LoKr: " + title, [x], [s], ("comfy#15114", "lycoris") if r is None else ("lycoris#270", "lycoris"),
            "s * kron(W1, W2); both factors full: s = 1, alpha is ignored; else alpha / rank of the second factor, or of the first where the second is whole.", ["lokr"])
    xs = [lokr(TEXT[0], {"lokr_w1": (4, 4), "lokr_w2_a": (8, 2), "lokr_w2_b": (2, 8)}, 1, component="text_encoder"), lokr(TEXT[4], {"lokr_w1": (4, 4), "lokr_w2": (shapes[("text_encoder", TEXT[4])][0] // 4, 8)}, 5, component="text_encoder")]
    put("lokr", "text-encoder", "LoKr: text encoder", xs, [0.5, 1.0], ("comfy#1144", "lycoris"), "s * kron(W1, W2).", ["lokr"])

    # --- DoRA ---
    def dora(path, axis, component="unet", r=4, alpha=2, dtype="F16", flat=False):
        shape = shapes[(component, path)]
        x = lora(shapes, component, path, r, f"do{axis}", alpha=alpha, dtype=dtype)
        w = m.sd1.weight(component, path).reshape(shape[0], shape[1], -1)
        n = np.sqrt((w * w).sum(axis=(1, 2) if axis == "out" else (0, 2)))
        g = np.round((n * (1 + 0.25 * grid(f"dm{path}{axis}", n.shape))) * 256) / 256
        dims = ((shape[0], 1) if axis == "out" else (1, shape[1])) + (1,) * (len(shape) - 2)
        x.factors["magnitude"] = stored(np.maximum(g, 1 / 256).reshape(n.shape if flat else dims), "F32")
        x.family = f"dora-{axis}"
        return x

    diff_dora = {"diffusers": {"skip": True, "why": "dora_scale of kohya files is dropped with a warning"}}
    put("dora", "output-axis", "DoRA, one number per output row (dora_scale (o, 1))", [dora(p, "out") for p in (square, wide, ctx)], [0.5] * 3, ("invoke#9517", "comfy#3060"), "V = W + s B A; W' = g V / |V| with the norm over all axes but the first; delta = W' - W.", ["dora"], profiles=diff_dora, needs_weight=True)
    put("dora", "input-axis", "DoRA, one number per input column (dora_scale (1, i))", [dora(p, "in") for p in (square, wide, ctx)], [0.5] * 3, ("onetrainer#801", "comfy#4259"), "The shape of dora_scale says the axis: (1, i) is the norm over the output rows.", ["dora"], profiles=diff_dora)
    put("dora", "conv-output-axis", "DoRA on a 3x3 convolution, output axis (o, 1, 1, 1)", [dora(conv, "out")], [0.5], ("diffusers#7366", "dora"), "The norm runs over input channels and kernel.", ["dora", "locon"], profiles=diff_dora)
    put("dora", "conv-input-axis", "DoRA on a 3x3 convolution, input axis (1, i, 1, 1)", [dora(conv2, "in")], [0.5], ("onetrainer#801", "dora"), "The norm runs over output channels and kernel.", ["dora", "locon"], profiles=diff_dora)
    put("dora", "text-encoder", "DoRA on a text encoder", [dora(p, "out", "text_encoder") for p in (TEXT[0], TEXT[3], TEXT[4])], [0.5] * 3, ("comfy#4259", "dora"), "As in the UNet.", ["dora"], profiles=diff_dora)
    px = [dora(p, "out", flat=True, alpha=None) for p in (square, ctx)]
    m.case("delta/dora", "optional/dora/peft", "DoRA of PEFT: lora_magnitude_vector (o)", px, spell.peft(px), [0.5] * 2, source=("diffusers#7366", "peft-layer"), rule="lora_magnitude_vector is the output axis.", features=["peft", "dora"], config=spell.peft_config(4, 2, ["to_q", "to_k"], use_dora=True), optional="dora", profiles=PEFT_ONLY)
    dx = [dora(p, "out", flat=True, alpha=None) for p in (square, ctx)]
    t, md = spell.diffusers_peft(dx, {"unet.r": 4, "unet.lora_alpha": 4, "unet.use_dora": True})
    m.case("delta/dora", "optional/dora/diffusers", "DoRA of diffusers: lora_magnitude_vector in dotted names", dx, t, [1.0] * 2, source=("diffusers#7366", "dora"), rule="lora_magnitude_vector is the output axis.", features=["diffusers", "dora"], metadata=md, optional="dora", profiles=NOT_KOHYA)
    cx = dora(conv, "out", alpha=None)
    cx.factors["magnitude"] = stored(cx.factors["magnitude"].value().reshape(1, -1, 1, 1), "F32")
    m.case("delta/dora", "optional/dora/peft-conv", "DoRA of PEFT on a convolution: the vector is shaped (1, o, 1, 1) and still the output axis", [cx], spell.peft([cx]), [0.5], source=("diffusers#7366", "peft-layer"), rule="PEFT's (1, o, 1, 1) is the output axis, measured; its shape looks like an input axis.",
           features=["peft", "dora", "locon"], config=spell.peft_config(4, 2, ["conv1"], use_dora=True), optional="dora", profiles=PEFT_ONLY)

    # --- full differences, norms ---
    fulls = [Mod("unet", p, shapes[("unet", p)], "full", {"diff": st("fd" + p, shapes[("unet", p)], "F16", 0.0625)}) for p in (square, ctx, conv)]
    put("full", "diff", "Full differences (.diff) of linear layers and a convolution", fulls, [1.0] * 3, ("wanwrapper#445", "lycoris"), "delta = diff; alpha has no part in it.", ["full"])
    withalpha = spell.kohya(fulls[:1]) | {f"lora_unet_{square.replace('.', '_')}.alpha": stored(4.0, "F16")}
    put("full", "diff-with-alpha", "A full difference beside an alpha that means nothing", fulls[:1], [1.0], ("musubi#124", "lycoris"), "delta = diff; alpha has no part in it.", ["full"], tensors=withalpha)
    put("full", "diff-strength", "A full difference at strength 0.5", fulls[:1], [1.0], ("wanwrapper#445", "lycoris"), "strength * diff.", ["full"], strength=0.5)
    norms = [Mod("unet", p, shapes[("unet", p)], "norm", {"diff": st("n" + p, shapes[("unet", p)], "F16", 0.125)}) for p in ("down_blocks.0.attentions.0.norm", f"{BLOCK}.norm1", "conv_norm_out")]
    put("norm", "w-norm", "Norm weights (.w_norm) of group and layer norms", norms, [1.0] * 3, ("comfy#7792", "lycoris"), "delta = w_norm.", ["norm"])

    # --- IA3, OFT, GLoRA ---
    o, i = shapes[("unet", ctx)]
    ia_out = Mod("unet", ctx, (o, i), "ia3-out", {"weight": st("iao", (o, 1), "F16", 0.5)})
    ia_in = Mod("unet", wide, shapes[("unet", wide)], "ia3-in", {"weight": st("iai", (1, shapes[("unet", wide)][1]), "F16", 0.5)})
    ta = spell.kohya([ia_out]) | {f"lora_unet_{ctx.replace('.', '_')}.on_input": stored(0, "U8")}
    tb = spell.kohya([ia_in]) | {f"lora_unet_{wide.replace('.', '_')}.on_input": stored(1, "U8")}
    put("ia3", "output", "(IA)3 on the output: one factor per row", [ia_out], [1.0], ("comfy#6381", "lycoris"), "delta = W * weight per output row.", ["ia3"], tensors=ta)
    put("ia3", "input", "(IA)3 on the input: one factor per column", [ia_in], [1.0], ("comfy#6397", "lycoris"), "delta = W * weight per input column.", ["ia3"], tensors=tb)
    pi = [Mod("unet", ctx, (o, i), "peft-ia3", {"ia3_l": stored(1 + grid("pio", (o, 1), 0.5), "F32")}), Mod("unet", wide, shapes[("unet", wide)], "peft-ia3", {"ia3_l": stored(1 + grid("pii", (1, shapes[("unet", wide)][1]), 0.5), "F32")})]
    ia3_config = {"peft_type": "IA3", "target_modules": [], "feedforward_modules": [wide], "fan_in_fan_out": False, "init_ia3_weights": True, "modules_to_save": None, "exclude_modules": None, "inference_mode": True, "base_model_name_or_path": None, "task_type": None}
    m.case("delta/ia3", "optional/ia3/peft", "(IA)3 of PEFT: ia3_l starts at 1; feed-forward modules on the input", pi, spell.peft(pi), [1.0, 1.0], source=src_k("comfy#6397", "peft-layer"), rule="W' = W * ia3_l, (o, 1) by rows, (1, i) by columns where the configuration calls a module feed-forward.", features=["peft", "ia3"],
           config=ia3_config, optional="ia3", profiles=PEFT_ONLY)
    for slug, path, n in (("linear", square, 4), ("two-blocks", wide, 2), ("conv", conv, 4)):
        b = shapes[("unet", path)][0] // n
        put("oft", slug, f"OFT: {n} blocks of {b}", [Mod("unet", path, shapes[("unet", path)], "oft", {"oft_blocks": st("oft" + path, (n, b, b), "F32", 0.25)})], [1.0], ("lycoris", "comfy-lora"), "Q = blocks - blocks^T, R = (I + Q)(I - Q)^-1, W'_k = R_k^T W_k by rows; delta = W' - W; no constraint.", ["oft"])
    gl = []
    for p in (ctx, wide):
        o, i = shapes[("unet", p)]
        gl.append(Mod("unet", p, (o, i), "glora", {"glora_a1": st("ga1" + p, (i, 2), "F16", 0.25), "glora_a2": st("ga2" + p, (2, i), "F16", 0.25), "glora_b1": st("gb1" + p, (o, 2), "F16", 0.125), "glora_b2": st("gb2" + p, (2, i), "F16")}, 1))
    put("glora", "linear", "GLoRA: W a1 a2 + b1 b2", gl, [0.5] * 2, ("comfy-lora", "lycoris"), "delta = s * (b1 b2 + (W a1) a2), a1 (i, r), a2 (r, i), b1 (o, r), b2 (r, i).", ["glora"])


def golden(m):
    """Nineteen small vectors made with LyCORIS' own functions: the closed forms must give them."""
    from ..lib import closed_numpy, closed_torch

    table = json.loads(m.suite.shared("field/golden_deltas.json"))
    roles = {"lora_down.weight": "down", "lora_up.weight": "up", "lora_mid.weight": "mid", "lora_A.weight": "down", "lora_B.weight": "up", "a1.weight": "glora_a1", "a2.weight": "glora_a2", "b1.weight": "glora_b1", "b2.weight": "glora_b2", "dora_scale": "magnitude", "lora_magnitude_vector": "magnitude"}
    worst = 0.0
    seen = []
    for name, g in table.items():
        t = {k: np.array(v["data"], dtype=np.float64).reshape(v["shape"]) for k, v in g["tensors"].items()}
        w = t.pop("W", None)
        alpha = float(t.pop("alpha")) if "alpha" in t else None
        t.pop("on_input", None)
        f = {roles.get(k, k): v for k, v in t.items()}
        family = ("locon" if "mid" in f else "dora-out" if name == "dora_output_axis" else "dora-in" if name == "dora_input_axis" else "loha" if name.startswith("loha") else "lokr" if name.startswith("lokr") else "oft" if name.startswith("oft") else "glora" if name.startswith("glora")
                  else "ia3-out" if name == "ia3_output" else "ia3-in" if name == "ia3_input" else "lora")
        r = {"lora": lambda: f["down"].shape[0], "locon": lambda: f["down"].shape[0], "loha": lambda: f["hada_w1_b"].shape[0], "lokr": lambda: f["lokr_w2_b"].shape[0] if "lokr_w2_b" in f else None, "glora": lambda: f["glora_a2"].shape[0]}.get(family, lambda: f["down"].shape[0] if "down" in f else None)()
        s = 1.0 if alpha is None or r is None else alpha / r
        if "config" in g:
            s = g["config"]["lora_alpha"] / (np.sqrt(r) if g["config"].get("use_rslora") else r)
        want = np.array(g["delta"]["data"]).reshape(g["delta"]["shape"])
        for how in (closed_numpy, closed_torch):
            got = how.delta(family, f, want.shape, w, s)
            off = float(np.abs(got - want).max())
            # LyCORIS' OFT function ran in float32
            assert off < (2e-7 if family == "oft" else 1e-11), (name, off)
            worst = max(worst, off)
        seen.append(name)
    m.suite.agreements["golden vectors of LyCORIS' own functions (12 digits)"] = worst


def make(suite, sd1):
    m = Maker(suite, sd1)
    golden(m)
    plain(m)
    families(m)
