"""L4: the weights after a script of loads, strengths, swaps and unloads."""

import numpy as np

from ..lib import spell, tolerance
from ..lib.kit import grid, read_st, safe, st_bytes, stored
from ..lib.mods import ATTN, BLOCK, CONV, FF, MID, PROJ, TE, TEXT, TOP, UP, lora, loras
from ..lib.real import all_cases
from ..lib.sd1 import Mod
from ..lib.sources import src
from ..lib.truth import COMPUTATIONS, exact, number
from .l1_keys import CLONE_ONLY, KOHYA_ONLY, NO_TOP, NOT_KOHYA, PEFT_ONLY
from .l1_real import WHY, profiles

SCRIPT = "topics/l4_weights.py"
BASE = "base"


class Adapter:
    """An adapter file of the suite with the exact difference of each weight it touches (strength 1)."""

    def __init__(self, suite, sd1, stem, mods, tensors, scalings, metadata=None, config=None):
        self.ref = {"file": suite.put(f"adapters/weights/{stem}.safetensors", st_bytes(tensors, metadata), "conformance/generate/" + SCRIPT)}
        if config is not None:
            self.ref["config"] = suite.json(f"adapters/weights/{stem}.config.json", config, "conformance/generate/" + SCRIPT)
        self.kinds = [(m.family, m.rank, m.shape) for m in mods]
        self.delta, self.magnitude, self.agreement = {}, {}, 0.0
        for m, s in zip(mods, scalings):
            w = sd1.weight(m.component, m.path) if m.family in ("dora-out", "dora-in", "ia3-out", "ia3-in", "oft", "glora") else None
            d, mag, worst = exact(suite, m, s, w)
            leaf = "bias" if getattr(m, "bias", False) else "weight"
            self.delta[(m.component, f"{m.path}.{leaf}")] = d
            self.magnitude[(m.component, f"{m.path}.{leaf}")] = mag
            self.agreement = max(self.agreement, worst)


class Maker:
    def __init__(self, suite, sd1):
        self.suite, self.sd1, self.shapes = suite, sd1, sd1.modules
        self.bases = {}

    def weights(self, base):
        return base["weights"] if isinstance(base, dict) else self.sd1.weights

    def state(self, loaded, base=None):
        """Exact weights touched by [(adapter, strength)], and magnitudes."""
        weights = self.sd1.weights if base is None else base["weights"]
        total, magnitude = {}, {}
        for adapter, strength in loaded:
            for key, d in adapter.delta.items():
                k = strength if not isinstance(strength, dict) else strength.get(key[0], 1.0)
                total[key] = total.get(key, 0) + k * d
                magnitude[key] = magnitude.get(key, 0.0) + abs(k) * adapter.magnitude[key]
        out, mags = {}, {}
        for (component, name), d in total.items():
            out[f"{component}.{name}"] = weights[component][name].value() + d
            mags[f"{component}.{name}"] = number(magnitude[(component, name)])
        return out, mags

    def case(self, id, title, actions, exports, adapters, *, source, rule, features=(), group="weights/lifecycle", profiles=None, optional=None, base=None, implementation=None, most=None, tags=()):
        suite = self.suite
        stem = safe(id.replace("/", "_"))
        expect = {}
        for name, want in exports.items():
            if isinstance(want, str):
                expect[name] = {"same": want}
                continue
            out, mags = self.state(want, base)
            expect[name] = {"file": suite.expectation(f"expect/weights/{stem}_{name}.safetensors", out, "conformance/generate/" + SCRIPT), "magnitude": mags}
        kinds = [k for a in adapters for k in a.kinds]
        count = most or max([len(w) for w in exports.values() if not isinstance(w, str)] or [1])
        suite.add(group, id, title, {"op": "weights", "base": base["ref"] if base else self.sd1.weights_base(), "actions": actions}, {"exports": expect}, source=src(*source), rule=rule, script=SCRIPT,
                  features=["safetensors", "sd1", *features], profiles=profiles, optional=optional, tolerance=tolerance.weights(kinds, max(1, count)) if kinds and any(not isinstance(w, str) for w in exports.values()) else None, seed=id,
                  implementation=implementation, tags=["weights", *tags], computations=COMPUTATIONS, agreement=max([a.agreement for a in adapters] or [0.0]), licence="made for this project")


def load(name, adapter, strength=None):
    ref = dict(adapter.ref)
    if strength is not None:
        ref["strength"] = strength
    return {"do": "load", "name": name, "adapter": ref}


def swap(name, adapter, strength=None):
    return {**load(name, adapter, strength), "do": "swap"}


def export(name):
    return {"do": "export", "as": name}


def unload(name):
    return {"do": "unload", "name": name}


def strength(name, value):
    return {"do": "strength", "name": name, "value": value}


def lifecycle(m):
    suite, sd1, shapes = m.suite, m.sd1, m.shapes

    def kohya(stem, mods):
        return Adapter(suite, sd1, stem, mods, spell.kohya(mods), [(x.alpha / x.rank if x.alpha is not None else 1.0) for x in mods])

    # out_proj is among them: diffusers takes a text encoder without it for another layout (L1/kohya/text-encoder-without-out-proj).
    a_mods = loras(shapes, "unet", [f"{BLOCK}.attn1.to_q", f"{BLOCK}.attn2.to_k", f"{BLOCK}.attn2.to_v", f"{BLOCK}.ff.net.2"], 4, "wa", alpha=2) + loras(shapes, "text_encoder", [*TEXT[:2], TEXT[3]], 4, "wa", alpha=3)
    b_mods = loras(shapes, "unet", [f"{BLOCK}.attn1.to_q", f"{BLOCK}.attn2.to_k", f"{MID}.attn1.to_v"], 2, "wb", alpha=2) + loras(shapes, "text_encoder", TEXT[1:4], 2, "wb", alpha=1)
    c_mods = loras(shapes, "unet", [f"{UP}.attn1.to_out.0", f"{UP}.attn2.to_q"], 3, "wc", alpha=1)
    conv_mods = loras(shapes, "unet", [CONV[0], PROJ[0], TOP[0]], 2, "wv", alpha=1)
    a, b, c, v = kohya("a", a_mods), kohya("b", b_mods), kohya("c", c_mods), kohya("conv", conv_mods)
    k = ["kohya"]

    def put(slug, title, actions, exports, adapters, source, rule, features=(), **kw):
        m.case(f"L4/lifecycle/{slug}", title, actions, exports, adapters, source=source, rule=rule, features=[*k, *features], profiles=KOHYA_ONLY | (NO_TOP if v in adapters else {}), **kw)

    merge = "W' = W + strength * alpha / rank * up @ down; every other weight keeps its bits."
    for word, s in (("1", 1.0), ("0.7", 0.7), ("0.5", 0.5), ("1.7", 1.7), ("minus-1", -1.0), ("minus-0.3", -0.3), ("10", 10.0)):
        put(f"strength-{word}", f"One adapter at strength {s}", [load("a", a, s), export("w")], {"w": [(a, s)]}, [a], ("kohya#839", "kohya-merge") if s < 0 else ("kohya#868", "kohya-merge"), merge)
    put("strength-0", "Strength 0: the base, bit for bit", [load("a", a, 0), export("w")], {"w": BASE}, [a], ("diffusers#5170", "kohya-merge"), "At strength 0 nothing is added, not even a rounding.")
    put("strength-default", "No strength said: 1", [load("a", a), export("w")], {"w": [(a, 1.0)]}, [a], ("diffusers#5032", "comfy-lora"), merge)
    put("strength-changed", "Strength 1, then 0.3: only the last counts", [load("a", a), export("one"), strength("a", 0.3), export("two")], {"one": [(a, 1.0)], "two": [(a, 0.3)]}, [a], ("diffusers#5170", "comfy-lora"), "A strength is set, not multiplied onto the last one.")
    put("strength-to-0-and-back", "Strength 1, 0, 1", [load("a", a), export("one"), strength("a", 0), export("off"), strength("a", 1), export("again")], {"one": [(a, 1.0)], "off": BASE, "again": "one"}, [a], ("diffusers#4833", "diffusers#5003"),
        "Off is the base bit for bit, on again the same bits as before.")
    put("strength-text-encoder-apart", "UNet at 0.8, text encoder at 0.4", [load("a", a, {"unet": 0.8, "text_encoder": 0.4}), export("w")], {"w": [(a, {"unet": 0.8, "text_encoder": 0.4})]}, [a], ("kohya#1806", "comfy-lora"), merge, ["component-strength"])
    put("strength-text-encoder-0", "UNet at 1, text encoder at 0", [load("a", a, {"unet": 1.0, "text_encoder": 0}), export("w")], {"w": [(a, {"unet": 1.0, "text_encoder": 0.0})]}, [a], ("kohya#1806", "comfy-lora"), merge, ["component-strength"])
    put("strength-unet-0", "UNet at 0, text encoder at 1", [load("a", a, {"unet": 0, "text_encoder": 1.0}), export("w")], {"w": [(a, {"unet": 0.0, "text_encoder": 1.0})]}, [a], ("kohya#1803", "comfy-lora"), merge, ["component-strength"])
    put("component-strength-changed", "Text encoder turned down later", [load("a", a), strength("a", {"unet": 1.0, "text_encoder": 0.25}), export("w")], {"w": [(a, {"unet": 1.0, "text_encoder": 0.25})]}, [a], ("kohya#1806", "comfy-lora"), merge, ["component-strength"])
    put("unload", "Load, unload: the base, bit for bit", [load("a", a), export("on"), unload("a"), export("off")], {"on": [(a, 1.0)], "off": BASE}, [a], ("diffusers#4833", "diffusers#5000"), "Subtracting what was added does not give the bits back in 16 bits; keeping them does.", ["unload"])
    put("unload-after-strengths", "Several strengths, then unload", [load("a", a, 0.3), strength("a", 0.9), strength("a", -0.5), unload("a"), export("off")], {"off": BASE}, [a], ("diffusers#5003", "diffusers#4473"), "No rounding is left behind.", ["unload"])
    put("unload-ten-times", "Ten times load and unload", [x for n in range(10) for x in (load("a", a, 0.1 * (n + 1)), unload("a"))] + [export("off")], {"off": BASE}, [a], ("diffusers#5000", "forge#1473"), "No drift.", ["unload"])
    put("load-again", "Load, unload, load: the same bits as the first time", [load("a", a), export("one"), unload("a"), load("a", a), export("two")], {"one": [(a, 1.0)], "two": "one"}, [a], ("diffusers#5170", "diffusers#4833"), "Nothing of the first time is left.", ["unload"])
    put("stack", "Two adapters at 0.7 and 0.4", [load("a", a, 0.7), load("b", b, 0.4), export("w")], {"w": [(a, 0.7), (b, 0.4)]}, [a, b], ("kohya#868", "peft#1155"), "The differences add: W + s1 dW1 + s2 dW2; factors do not, and strengths are not squared.", ["stack"])
    put("stack-order", "The same two the other way round", [load("b", b, 0.4), load("a", a, 0.7), export("w")], {"w": [(b, 0.4), (a, 0.7)]}, [a, b], ("kohya_ss#2975", "kohya#586"), "Addition has no order.", ["stack"])
    put("stack-opposite", "One at 1 and -1 under two names: the base but for rounding", [load("a", a, 1.0), load("b", a, -1.0), export("w")], {"w": [(a, 1.0), (a, -1.0)]}, [a], ("kohya#839", "peft#3004"), "The two differences cancel.", ["stack"])
    put("stack-same-file-twice", "One file under two names at 0.5 each", [load("one", a, 0.5), load("two", a, 0.5), export("w")], {"w": [(a, 0.5), (a, 0.5)]}, [a], ("peft#2796", "kohya#586"), "Two halves are one whole.", ["stack"])
    put("stack-of-three", "Three adapters", [load("a", a, 0.7), load("b", b, -0.4), load("c", c, 1.2), export("w")], {"w": [(a, 0.7), (b, -0.4), (c, 1.2)]}, [a, b, c], ("kohya#868", "peft#1155"), "The differences add.", ["stack"])
    put("stack-unload-first", "Two, the first unloaded: what the second alone makes", [load("a", a, 0.7), load("b", b, 0.4), unload("a"), export("w")], {"w": [(b, 0.4)]}, [a, b], ("diffusers#5003", "diffusers#5000"), "Only what is loaded counts.", ["stack", "unload"])
    put("stack-unload-second", "Two, the second unloaded: the bits of the first alone", [load("a", a, 0.7), export("alone"), load("b", b, 0.4), unload("b"), export("w")], {"alone": [(a, 0.7)], "w": "alone"}, [a, b], ("diffusers#4833", "diffusers#5003"), "Only what is loaded counts, bit for bit.", ["stack", "unload"])
    put("stack-unload-both", "Two, both unloaded: the base", [load("a", a, 0.7), load("b", b, 0.4), unload("a"), unload("b"), export("off")], {"off": BASE}, [a, b], ("diffusers#5000", "diffusers#4473"), "The base, bit for bit.", ["stack", "unload"])
    put("stack-one-at-0", "Two, the second at 0: the bits of the first alone", [load("a", a, 0.7), export("alone"), load("b", b, 0), export("w")], {"alone": [(a, 0.7)], "w": "alone"}, [a, b], ("peft#2796", "comfy-lora"), "An adapter at 0 changes nothing.", ["stack"])
    put("stack-disjoint", "Two adapters that touch different modules", [load("a", a), load("c", c), export("w")], {"w": [(a, 1.0), (c, 1.0)]}, [a, c], ("kohya_ss#1970", "lycoris#41"), "Each touches its own modules.", ["stack"], most=1)
    put("stack-ranks-differ", "Two adapters of ranks 4 and 2 on one module", [load("a", a), load("b", b), export("w")], {"w": [(a, 1.0), (b, 1.0)]}, [a, b], ("lycoris#41", "kohya#117"), "Ranks need not be equal.", ["stack"])
    put("swap", "Another file in the place of the first", [load("x", a), swap("x", b), export("w")], {"w": [(b, 1.0)]}, [a, b], ("diffusers#5170", "comfy-lora"), "Nothing of the first is left.", ["swap"])
    put("swap-keeps-strength", "Swap keeps the strength 0.6", [load("x", a, 0.6), swap("x", b), export("w")], {"w": [(b, 0.6)]}, [a, b], ("diffusers#5032", "comfy-lora"), "The strength belongs to the name.", ["swap"])
    put("swap-and-back", "Swap and swap back: the first's bits", [load("x", a), export("one"), swap("x", b), swap("x", a), export("two")], {"one": [(a, 1.0)], "two": "one"}, [a, b], ("diffusers#4833", "diffusers#5170"), "The same bits.", ["swap"])
    put("swap-then-unload", "Swap, then unload: the base", [load("x", a), swap("x", b), unload("x"), export("off")], {"off": BASE}, [a, b], ("diffusers#5000", "diffusers#5003"), "The base, bit for bit.", ["swap", "unload"])
    put("swap-in-stack", "Swap under another adapter", [load("x", a, 0.7), load("c", c), swap("x", b), export("w")], {"w": [(b, 0.7), (c, 1.0)]}, [a, b, c], ("diffusers#5170", "peft#1155"), "Only the named one changes.", ["swap", "stack"], most=1)
    put("nothing", "No adapter: the base, bit for bit", [export("w")], {"w": BASE}, [], ("sdcpp#199", "kohya-merge"), "Reading and writing a base changes nothing.")
    put("convolutions", "3x3, 1x1 and conv_in", [load("v", v), export("w")], {"w": [(v, 1.0)]}, [v], ("a1111#8360", "kohya-merge"), merge, ["locon"])
    put("convolutions-unload", "Convolutions, unloaded", [load("v", v, 0.7), unload("v"), export("off")], {"off": BASE}, [v], ("diffusers#4833", "kohya-merge"), "The base, bit for bit.", ["locon", "unload"])
    put("only-text-encoder", "An adapter for the text encoder alone leaves the UNet alone", [load("t", t := kohya("te", loras(shapes, "text_encoder", TEXT[:4], 4, "wt", alpha=2))), export("w")], {"w": [(t, 1.0)]}, [t], ("kohya#1803", "kohya-merge"), merge)
    put("only-mid-block", "An adapter for the middle block alone", [load("n", n := kohya("mid", loras(shapes, "unet", [f"{MID}.attn1.to_q", f"{MID}.attn2.to_out.0", f"{MID}.ff.net.2"], 4, "wm", alpha=2))), export("w")], {"w": [(n, 1.0)]}, [n], ("sdcpp#370", "kohya-merge"), merge)
    for dtype in ("F32", "BF16"):
        d = kohya(f"dtype-{dtype.lower()}", loras(shapes, "unet", [f"{BLOCK}.attn1.to_q", f"{BLOCK}.attn2.to_k"], 4, f"wd{dtype}", alpha=2, dtype=dtype))
        put(f"factors-{dtype.lower()}", f"Factors in {dtype}", [load("d", d), export("w")], {"w": [(d, 1.0)]}, [d], ("peft#701", "kohya-merge"), merge)
    r32 = kohya("rank-32", loras(shapes, "unet", [f"{BLOCK}.attn1.to_q", f"{UP}.attn2.to_k"], 32, "wr", alpha=16))
    put("rank-32", "Factors of rank 32", [load("r", r32), export("w")], {"w": [(r32, 1.0)]}, [r32], ("diffusers#14409", "kohya-merge"), merge)
    small = kohya("small", loras(shapes, "unet", [f"{BLOCK}.attn1.to_q", f"{BLOCK}.attn2.to_k"], 4, "ws", alpha=2, dtype="F32", up=2.0**-18))
    put("difference-under-an-ulp", "A difference smaller than 16 bits can show", [load("s", small), export("w")], {"w": [(small, 1.0)]}, [small], ("kohya#93", "kohya-merge"), "In float32 it shows; in 16 bits the weight keeps its bits or moves by one unit.")


def layouts(m):
    """One adapter in every layout: the same weights."""
    suite, sd1, shapes = m.suite, m.sd1, m.shapes
    mods = loras(shapes, "unet", [f"{BLOCK}.attn1.to_q", f"{BLOCK}.attn1.to_out.0", f"{BLOCK}.attn2.to_k", f"{MID}.attn2.to_v"], 4, "wl", alpha=2)
    te = loras(shapes, "text_encoder", [p for p in TEXT if "self_attn" in p][:4], 4, "wl", alpha=2)
    bare = [Mod(x.component, x.path, x.shape, x.family, dict(x.factors)) for x in mods + te]
    every = mods + te
    half, one = [0.5] * len(every), [1.0] * len(every)
    meta = {"unet.r": 4, "unet.lora_alpha": 2, "text_encoder.r": 4, "text_encoder.lora_alpha": 2}
    tensors, md = spell.diffusers_peft(bare, meta)
    some = {n: {"skip": True, "why": "not among the names it reads"} for n in ("comfy", "peft", "diffusers", "kohya")}
    table = [
        ("kohya", every, spell.kohya(every), half, None, None, ["kohya"], KOHYA_ONLY, ("addnet#148", "kohya-merge")),
        ("kohya-te1", every, spell.kohya(every, te="lora_te1"), half, None, None, ["kohya"], KOHYA_ONLY, ("diffusers#13188", "diffusers#12053")),
        ("diffusers-metadata", bare, tensors, half, md, None, ["diffusers"], NOT_KOHYA | {"comfy": {"skip": True, "why": "alpha in the metadata is not read"}}, ("comfy#12191", "diffusers-lora")),
        ("diffusers-no-metadata", bare, spell.diffusers_peft(bare)[0], one, {"format": "pt"}, None, ["diffusers"], NOT_KOHYA, ("diffusers#6087", "diffusers-alpha")),
        ("diffusers-0.21", bare, spell.dotted(bare, ".lora.down.weight", ".lora.up.weight", ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"), one, None, None, ["diffusers-legacy"], NOT_KOHYA, ("diffusers#10860", "diffusers-lora")),
        ("attn-procs", [x for x in bare if x.component == "unet"], spell.attn_procs([x for x in bare if x.component == "unet"]), one, None, None, ["diffusers-legacy"], NOT_KOHYA | {"diffusers": {"skip": True, "why": "ignored without a prefix"}}, ("diffusers#2326", "blog-lora")),
        ("peft", [x for x in bare if x.component == "unet"], spell.peft([x for x in bare if x.component == "unet"]), half, None, spell.peft_config(4, 2, [x.path for x in bare if x.component == "unet"]), ["peft"], PEFT_ONLY, ("comfy#4347", "peft-layer")),
        ("peft-named", [x for x in bare if x.component == "unet"], spell.peft([x for x in bare if x.component == "unet"], adapter="default"), half, None, spell.peft_config(4, 2, [x.path for x in bare if x.component == "unet"]), ["peft"], None, ("invoke#9252", "diffusers#14408")),
        ("omi", every, spell.omi(every), half, None, None, ["onetrainer"], some, ("invoke#8120", "omi")),
        ("onetrainer", every, spell.onetrainer(every), half, None, None, ["onetrainer"], some, ("onetrainer#1544", "onetrainer#1563")),
    ]
    untouched = PEFT_ONLY | {"peft": {"expect": {"exports": {"on": {"same": "base"}, "off": {"same": "base"}}}, "why": "PEFT puts the name of the adapter behind lora_A itself: it warns that no key of this file is one of its own, and lora_B stays zero",
                                      "url": "https://github.com/huggingface/peft/blob/v0.21.0/src/peft/utils/save_and_load.py"}}
    for slug, ms, t, s, meta_, config, features, differ, source in table:
        ad = Adapter(suite, sd1, f"layout-{slug}", ms, t, s, meta_, config)
        m.case(f"L4/layouts/{slug}", f"One adapter in the {slug} layout, loaded at 0.8 and unloaded", [load("x", ad, 0.8), export("on"), unload("x"), export("off")], {"on": [(ad, 0.8)], "off": BASE}, [ad], source=source, group="weights/layouts",
               rule="The same factors in any layout make the same weights; the scaling is where the layout keeps it.", features=[*features, "unload"], profiles=differ or untouched)


def dtypes(m):
    """Bases in 16 bits: a bag of named weights."""
    suite, sd1, shapes = m.suite, m.sd1, m.shapes
    paths = [f"{BLOCK}.attn1.to_q", f"{BLOCK}.attn2.to_k", f"{BLOCK}.ff.net.2", f"{UP}.attn1.to_v", CONV[0], PROJ[0]]
    mods = loras(shapes, "unet", paths, 4, "wf", alpha=2)
    ad = Adapter(suite, sd1, "bag", mods, spell.kohya(mods), [0.5] * len(mods))
    for dtype in ("F32", "F16", "BF16"):
        tensors = {}
        for p in [*paths, f"{MID}.attn1.to_q", "conv_in"]:
            tensors[p + ".weight"] = stored(sd1.weight("unet", p), dtype)
        file = suite.put(f"bases/bag/{dtype.lower()}.safetensors", st_bytes(tensors), "conformance/generate/" + SCRIPT)
        base = {"weights": {"unet": tensors}, "ref": {"architecture": "sd1", "components": {"unet": file}, "complete": False}}
        for word, s in (("1", 1.0), ("0.7", 0.7), ("minus-1", -1.0)):
            m.case(f"L4/dtypes/base-{dtype.lower()}-strength-{word}", f"A base in {dtype} at strength {s}", [load("x", ad, s), export("w")], {"w": [(ad, s)]}, [ad], source=("kohya_ss#2859", "kohya-merge"), group="weights/dtypes", base=base, features=["kohya", "locon"],
                   rule="W' = W + s dW, rounded to the precision that the runtime holds weights in, once or three times; never computed from factors of too few bits.", profiles=KOHYA_ONLY)
        m.case(f"L4/dtypes/base-{dtype.lower()}-unload", f"A base in {dtype}: unload gives the bits back", [load("x", ad, 0.7), unload("x"), export("off")], {"off": BASE}, [ad], source=("diffusers#4833", "diffusers#5003"), group="weights/dtypes", base=base, features=["kohya", "locon", "unload"],
               rule="Subtracting in 16 bits leaves 7 to 17 % of the elements changed (CONFORMANCE.md 5.4).", profiles=KOHYA_ONLY)
        m.case(f"L4/dtypes/base-{dtype.lower()}-strength-0", f"A base in {dtype} at strength 0", [load("x", ad, 0), export("w")], {"w": BASE}, [ad], source=("diffusers#5170", "kohya-merge"), group="weights/dtypes", base=base, features=["kohya", "locon"], rule="Nothing is added.", profiles=KOHYA_ONLY)


def families(m):
    suite, sd1, shapes = m.suite, m.sd1, m.shapes
    refuse = {"diffusers": {"skip": True, "why": "diffusers does not compute this family"}}
    square, ctx, conv = f"{BLOCK}.attn1.to_q", f"{BLOCK}.attn2.to_k", CONV[0]

    def st(label, shape, dtype="F16", scale=1.0):
        return stored(grid(label, shape, scale), dtype)

    o, i = shapes[("unet", ctx)]
    loha = [Mod("unet", ctx, (o, i), "loha", {f"hada_w{n}_{x}": st(f"wlh{n}{x}", (o, 4) if x == "a" else (4, i), scale=0.25 if x == "a" else 1.0) for n in (1, 2) for x in "ab"}, 2)]
    lokr = [Mod("unet", square, shapes[("unet", square)], "lokr", {"lokr_w1": st("wk1", (2, 2), scale=0.25), "lokr_w2_a": st("wk2a", (4, 2), scale=0.25), "lokr_w2_b": st("wk2b", (2, 4))}, 1)]
    full = [Mod("unet", p, shapes[("unet", p)], "full", {"diff": st("wf" + p, shapes[("unet", p)], scale=0.0625)}) for p in (square, conv)]
    bias = Mod("unet", f"{BLOCK}.attn1.to_out.0", (shapes[("unet", f"{BLOCK}.attn1.to_out.0")][0],), "full", {"diff": st("wb", (shapes[("unet", f"{BLOCK}.attn1.to_out.0")][0],), scale=0.125)})
    bias.bias = True
    weight_too = lora(shapes, "unet", f"{BLOCK}.attn1.to_out.0", 4, "wbias", alpha=2)
    norm = Mod("unet", f"{BLOCK}.norm1", shapes[("unet", f"{BLOCK}.norm1")], "norm", {"diff": st("wn", shapes[("unet", f"{BLOCK}.norm1")], scale=0.125)})
    nbias = Mod("unet", f"{BLOCK}.norm1", shapes[("unet", f"{BLOCK}.norm1")], "full", {"diff": st("wnb", shapes[("unet", f"{BLOCK}.norm1")], scale=0.125)})
    nbias.bias = True
    flat = lambda p: "lora_unet_" + p.replace(".", "_")  # noqa: E731
    dora = lora(shapes, "unet", square, 4, "wdo", alpha=2)
    w = sd1.weight("unet", square)
    dora.factors["magnitude"] = stored(np.round(np.sqrt((w * w).sum(axis=1)) * 1.25 * 256) / 256, "F32")
    dora.factors["magnitude"] = stored(dora.factors["magnitude"].value().reshape(-1, 1), "F32")
    dora.family = "dora-out"
    table = [
        ("loha", "loha", "LoHa", loha, spell.kohya(loha), [0.5], ["loha"], ("diffusers#3087", "lycoris"), 0.7),
        ("lokr", "lokr", "LoKr", lokr, spell.kohya(lokr), [0.5], ["lokr"], ("lycoris#270", "lycoris"), 0.7),
        ("full", "full", "Full differences", full, spell.kohya(full), [1.0, 1.0], ["full"], ("wanwrapper#445", "lycoris"), 0.5),
        ("full", "bias", "A bias difference (.diff_b) beside a LoRA", [weight_too, bias], spell.kohya([weight_too]) | {flat(f"{BLOCK}.attn1.to_out.0") + ".diff_b": bias.factors["diff"]}, [0.5, 1.0], ["full"], ("musubi#124", "wanwrapper#445"), 0.5),
        ("norm", "norm", "w_norm and b_norm", [norm, nbias], {flat(f"{BLOCK}.norm1") + ".w_norm": norm.factors["diff"], flat(f"{BLOCK}.norm1") + ".b_norm": nbias.factors["diff"]}, [1.0, 1.0], ["norm"], ("comfy#7792", "lycoris"), 0.5),
        ("dora", "dora", "DoRA at strength 1", [dora], spell.kohya([dora]), [0.5], ["dora"], ("invoke#9517", "dora"), 1.0),
    ]
    for family, slug, title, mods, tensors, scalings, features, source, s in table:
        ad = Adapter(suite, sd1, f"family-{slug}", mods, tensors, scalings)
        m.case(f"optional/{family}/weights-{slug}", f"{title}: loaded at {s}, unloaded", [load("x", ad, s), export("on"), unload("x"), export("off")], {"on": [(ad, s)], "off": BASE}, [ad], source=source, group="weights/families", optional=family,
               rule="W' = W + strength * delta of the family; unload gives the bits back.", features=["kohya", *features, "unload"], profiles=KOHYA_ONLY | refuse)
    both = Adapter(suite, sd1, "family-lokr", lokr, spell.kohya(lokr), [0.5])
    plain_mods = loras(shapes, "unet", [square], 4, "wfs", alpha=2)
    plain = Adapter(suite, sd1, "family-beside", plain_mods, spell.kohya(plain_mods), [0.5])
    m.case("optional/lokr/weights-stacked-with-lora", "A LoKr and a LoRA on one module", [load("k", both, 0.5), load("l", plain, 1.0), export("w")], {"w": [(both, 0.5), (plain, 1.0)]}, [both, plain], source=src_k("lycoris#41", "kohya#868"), group="weights/families", optional="lokr",
           rule="The differences add, whatever the family.", features=["kohya", "lokr", "stack"], profiles=KOHYA_ONLY | refuse)


def src_k(*keys):
    return keys


def real(m):
    """Whole files of real tools, fused by them too."""
    suite, sd1 = m.suite, m.sd1
    shared = None
    for r in all_cases(suite, sd1):
        fused = r.entry.get("fused")
        same = r.name.startswith("same_")
        if r.families() != ["lora"] or not (same or fused):
            continue
        if sum(int(np.prod(x["shape"])) for x in r.modules.values()) > 65_000 or r.name == "peft_text_encoder":
            continue
        out, mags, worst = {}, {}, 0.0
        for name in r.modules:
            d, mag, agree = r.exact(suite, name)
            component, path = name.split(".", 1)
            out[name + ".weight"] = (sd1.weight(component, path) + d).astype(np.float32)
            mags[name + ".weight"] = number(mag)
            worst = max(worst, agree)
        measured = ""
        if fused:
            tool = read_st(suite.shared("reference/adapters/" + fused["file"]))[0]
            off = max(float(np.abs(t.value() - (sd1.weight(*k.removesuffix(".weight").split(".", 1)) + r.exact(suite, k.removesuffix(".weight"))[0])).max()) for k, t in tool.items() if k.removesuffix(".weight") in r.modules)
            measured = f"{fused['by']}: largest distance of its float32 weights to float64 {off:.2g}"
        path = "expect/weights/real-same-adapter.safetensors" if same else f"expect/weights/real-{r.name}.safetensors"
        if same:
            shared = shared or out
            assert all(np.array_equal(out[k], shared[k]) for k in out)
        differ = {k: (v if v.get("skip") else {"skip": True, "why": v["why"]}) for k, v in profiles(r, {k: x["scaling"] for k, x in r.modules.items()}).items()}
        tol = tolerance.weights([("lora", x["rank"], tuple(x["shape"])) for x in r.modules.values()], 1, True)
        if measured:
            tol["derivation"] += " On this very file, " + measured + "."
        suite.add(
            "weights/real-files", f"L4/real/{r.name.replace('_', '-')}", ("One adapter in ten forms, fused: " if same else "A file of a real tool, fused: ") + r.name.replace("_", " "),
            {"op": "weights", "base": sd1.weights_base(), "actions": [{"do": "load", "name": "x", "adapter": dict(r.adapter)}, export("on"), unload("x"), export("off")]},
            {"exports": {"on": {"file": suite.expectation(path, out, "conformance/generate/" + SCRIPT), "magnitude": mags}, "off": {"same": "base"}}},
            source=src(*(("comfy#1237", "addnet#148") if same else WHY.get(r.name, ("onetrainer#1563", "comfy#1237")))), rule="W + scaling * up @ down; unload gives the bits back.", implementation=measured or f"{r.producer()}: {r.oracle()}", script=SCRIPT,
            tags=["weights", "real-file", r.layout], features=[*r.features(), "unload"], profiles=differ or None, tolerance=tol, computations=[measured or f"saved by {r.producer()}", *COMPUTATIONS], agreement=worst, licence="made for this project",
        )


def make(suite, sd1):
    m = Maker(suite, sd1)
    lifecycle(m)
    layouts(m)
    dtypes(m)
    families(m)
    real(m)
