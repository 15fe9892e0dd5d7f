"""L2: the one number that multiplies each module's difference, wherever the file keeps alpha."""

import json
import math

import numpy as np

from ..lib import spell
from ..lib.kit import grid, safe, st_bytes, stored
from ..lib.mods import ATTN, CONV, FF, TEXT, Names, lora, loras
from ..lib.sd1 import Mod
from ..lib.sources import src
from .l1_keys import CLONE_ONLY, KOHYA_ONLY, NOT_KOHYA, PEFT_ONLY

SCRIPT = "topics/l2_scaling.py"
TOLERANCE = {
    "f32": {"rel": 1e-6}, "f16": {"rel": 1e-3}, "bf16": {"rel": 8e-3},
    "derivation": "One division, at most one root and one product with the strength: 4 u of float32 is 2.4e-7, doubled and rounded up; a scaling held in 16 bits is off by twice u = 2^-11 or 2^-8. Real loaders (PEFT, diffusers, sd-scripts) hold a Python float: 0.",
}


class Maker:
    def __init__(self, suite, sd1):
        self.suite, self.sd1, self.shapes = suite, sd1, sd1.modules

    def case(self, group, id, title, tensors, scaling, *, source, rule, features, metadata=None, config=None, strength=None, profiles=None, refuse=None, or_refuse=None, base=None, optional=None, implementation=None, tags=()):
        suite = self.suite
        stem = safe(id.replace("/", "_"))
        adapter = {"file": suite.put(f"adapters/alpha/{stem}.safetensors", st_bytes(tensors, metadata), "conformance/generate/" + SCRIPT)}
        if config is not None:
            adapter["config"] = suite.json(f"adapters/alpha/{stem}.config.json", config, "conformance/generate/" + SCRIPT)
        if strength is not None:
            adapter["strength"] = strength
        expect = {"refuse": True, "codes": list(refuse)} if refuse else {"scaling": scaling} | ({"orRefuse": or_refuse} if or_refuse else {})
        suite.add(group, id, title, {"op": "scaling", "adapter": adapter, "base": base or self.sd1.base()}, expect, source=src(*source), rule=rule, script=SCRIPT, features=["safetensors", *features], profiles=profiles,
                  tolerance=None if refuse else TOLERANCE, seed=id, optional=optional, implementation=implementation, tags=["alpha", *tags],
                  computations=["the value stored in the file divided by the rank of its tensors (Python float64)", "rule of LAYOUTS.md section 6 and docs/alpha.md"], licence="made for this project")


def alike(mods, s):
    return {m.name: s for m in mods}


def read(m, default="F16"):
    """Alpha as the file's dtype holds it."""
    dtype = m.alpha_dtype or next(iter(m.factors.values())).dtype
    return float(stored(np.float64(m.alpha), dtype[0] if isinstance(dtype, tuple) else dtype).value())


def kohya(m):
    shapes = m.shapes

    def put(slug, title, mods, source, rule, scaling=None, profiles=None, features=(), extra=None, optional=None, **kw):
        tensors = spell.kohya(mods) | (extra or {})
        if scaling is None:
            scaling = {x.name: (read(x) / x.rank if x.alpha is not None else 1.0) for x in mods}
        strength = kw.get("strength")
        if strength is not None and not kw.get("refuse"):
            k = strength if not isinstance(strength, dict) else None
            scaling = {n: s * (k if k is not None else strength[n.split(".")[0]]) for n, s in scaling.items()}
        head = "optional" if optional else "L2"
        mid = f"{optional}/" if optional else ""
        m.case("alpha/kohya", f"{head}/{mid}kohya/{slug}" if not optional else f"optional/{optional}/alpha-{slug}", title, tensors, scaling, source=source, rule=rule, features=["kohya", "sd1", *features], profiles=KOHYA_ONLY | (profiles or {}),
               optional=optional, **kw)

    def un(r, paths=ATTN[:4], label=None, **kw):
        return loras(shapes, "unet", paths, r, label or f"a{r}", tile=True, **kw)

    rule = "scaling = alpha / rank, rank = lora_down.shape[0]."
    put("alpha-is-rank", "alpha 4 of rank 4", un(4, alpha=4), ("sdcpp#242", "kohya-merge"), rule)
    put("alpha-half", "alpha 2 of rank 4", un(4, alpha=2), ("comfy#12191", "kohya-merge"), rule)
    put("alpha-1-rank-4", "alpha 1 of rank 4", un(4, alpha=1), ("diffusers#3743", "kohya-merge"), rule)
    put("alpha-1-rank-32", "alpha 1 of rank 32", un(32, alpha=1), ("comfy#6909", "kohya-merge"), rule)
    put("alpha-over-rank", "alpha 16 of rank 4", un(4, alpha=16), ("diffusers#9134", "kohya-merge"), rule)
    put("alpha-third", "alpha 1 of rank 3, no power of two", un(3, alpha=1), ("mflux#449", "kohya-merge"), rule)
    put("alpha-negative", "alpha -2 of rank 4", un(4, alpha=-2), ("kohya#839", "kohya-merge"), "A negative alpha is a number like any other.")
    put("alpha-zero", "alpha 0 of rank 4", un(4, alpha=0), ("kohya-lora", "a1111-network"), "alpha 0 gives 0: the module is off. sd-scripts' training and generation code takes 0 for the rank.",
        profiles={"kohya": {"expect": {"scaling": alike(un(4, alpha=0), 1.0)}, "why": "networks/lora.py: alpha 0 or None means the rank", "url": "https://github.com/kohya-ss/sd-scripts/blob/48d368fa/networks/lora.py"}})
    put("alpha-missing", "No alpha", un(4), ("larsupb#17", "kohya-merge"), "A missing alpha is the rank: scaling 1, never 1 / rank.")
    put("alpha-missing-some", "alpha on some modules only", un(4, ATTN[:3], alpha=2) + un(4, ATTN[3:6], label="am"), ("sglang#16935", "kohya-merge"), "Each module by itself: alpha / rank, or 1 where there is none.")
    put("alpha-float16", "alpha 0.3 in float16", un(4, alpha=0.3), ("addnet#49", "kohya-lora"), "alpha is what the file's dtype holds: 0.300048828125.")
    put("alpha-bfloat16", "alpha 27.7 in bfloat16", un(4, alpha=27.7, dtype="BF16"), ("kohya#81", "kohya-lora"), "alpha is what the file's dtype holds: 27.75.")
    put("alpha-float32", "alpha 0.3 in float32 beside float16 factors", un(4, alpha=0.3, alpha_dtype="F32"), ("kohya_ss#2859", "kohya-lora"), rule)
    put("alpha-float64", "alpha in float64", un(4, alpha=0.3, alpha_dtype="F64"), ("peft#701", "kohya-lora"), rule)
    put("alpha-int64", "alpha in int64", un(4, alpha=2, alpha_dtype="I64"), ("addnet#49", "kohya-lora"), rule)
    put("alpha-shape-1", "alpha of shape [1]", un(4, alpha=2, alpha_dtype=("F32", (1,))), ("larsupb#17", "kohya-lora"), rule)
    put("alpha-small", "alpha 1/1024", un(4, alpha=1 / 1024), ("kohya#93", "kohya-merge"), rule)
    put("alpha-large", "alpha 4096 of rank 4", un(4, alpha=4096), ("comfy#6909", "kohya-merge"), rule)
    put("ranks-differ", "Ranks 1, 2, 4, 8, 16, 32, all alpha 4", [lora(shapes, "unet", p, r, "ar", alpha=4, tile=True) for p, r in zip(ATTN, (1, 2, 4, 8, 16, 32))], ("diffusers#14409", "kohya-merge"),
        "Each module's own rank divides, never the first module's.")
    put("alphas-differ", "One rank, alphas 1 to 6", [lora(shapes, "unet", p, 4, "aa", alpha=a, tile=True) for p, a in zip(ATTN, (1, 2, 3, 4, 5, 6))], ("diffusers#14409", "kohya-lora"), "Each module's own alpha, never the first module's.")
    put("ranks-and-alphas-differ", "Ranks and alphas both differ", [lora(shapes, "unet", p, r, "ra", alpha=a, tile=True) for p, (r, a) in zip(ATTN, ((1, 3), (2, 1), (4, 6), (8, 2), (16, 5), (3, 1)))], ("diffusers#14409", "kohya-lora"), rule)
    put("blocks-differ", "Down, middle and up block with ranks and alphas of their own", un(2, ATTN[:8], label="b1", alpha=1) + un(8, ATTN[8:16], label="b2", alpha=8) + un(4, ATTN[16:24], label="b3", alpha=1), ("supermerger#157", "kohya-lora"), rule)
    put("convolutions", "Convolutions with alpha of their own", un(4, ATTN[:2], label="c1", alpha=4) + un(2, CONV[:3], label="c2", alpha=1), ("a1111#8360", "kohya-lora"), "conv_dim and conv_alpha are other numbers; the tensors say them.", features=["locon"])
    put("text-encoder-apart", "UNet alpha 4 of 4, text encoder alpha 1 of 4", un(4, ATTN[:2], label="t1", alpha=4) + loras(shapes, "text_encoder", TEXT[:4], 4, "t2", alpha=1, tile=True), ("kohya#1803", "kohya-lora"), rule)
    put("metadata-contradicts", "ss_network_alpha says 64, ss_network_dim 128; the tensors 2 and 4", un(4, alpha=2), ("kohya_ss#2173", "kohya-lora"), "Tensors win over metadata.", metadata={"ss_network_dim": "128", "ss_network_alpha": "64.0", "ss_network_module": "networks.lora"})
    put("metadata-alone", "ss_network_alpha 1 in the metadata, no alpha tensor", un(4), ("comfy#15830", "kohya-merge"), "ss_network_alpha is a record of the training that no reader obeys: without a tensor the scaling is 1.",
        metadata={"ss_network_dim": "4", "ss_network_alpha": "1.0", "ss_network_module": "networks.lora"})
    put("alpha-nan", "alpha is NaN", un(4, alpha=float("nan")), ("diffusers#5316", "kohya-lora"), "A scaling that is no number is refused; one that was taken is answered as null.", refuse=["E_LORA_ALPHA"], scaling={})
    put("alpha-infinite", "alpha is infinite", un(4, alpha=float("inf")), ("diffusers#5316", "kohya-lora"), "A scaling that is no finite number is refused; one that was taken is answered as null.", refuse=["E_LORA_ALPHA"], scaling={})
    sc = un(4, alpha=2)
    for x in sc:
        x.scale = 0.3
    s03 = float(np.float32(0.3))
    half = {"expect": {"scaling": alike(sc, 0.5)}, "why": "reads alpha alone; .scale is ignored"}
    put("scale-tensor", "A .scale tensor of 0.3 beside alpha 2 of rank 4", sc, ("sdcpp-lora", "a1111-network"), "A .scale tensor wins over alpha.", scaling=alike(sc, s03),
        profiles={"comfy": half, "kohya": half, "diffusers": {"expect": {"refuse": True}, "why": "a leftover key stops the conversion of kohya files"}}, or_refuse="a reader that does not know .scale may refuse the file")
    sc2 = un(4, label="s2")
    for x in sc2:
        x.scale = 0.3
    one = {"expect": {"scaling": alike(sc2, 1.0)}, "why": "reads alpha alone; .scale is ignored"}
    put("scale-tensor-alone", "A .scale tensor and no alpha", sc2, ("sdcpp-lora", "a1111-network"), "A .scale tensor is the scaling.", scaling=alike(sc2, s03),
        profiles={"comfy": one, "kohya": one, "diffusers": {"expect": {"refuse": True}, "why": "a leftover key stops the conversion of kohya files"}}, or_refuse="a reader that does not know .scale may refuse the file")
    for word, k in (("0.7", 0.7), ("negative", -0.6), ("zero", 0), ("1.7", 1.7)):
        put(f"strength-{word}", f"alpha 2 of rank 4 at strength {k}", un(4, alpha=2), ("kohya#868", "diffusers#5032"), "strength * alpha / rank: the strength once, not its square, not its root.", strength=k)
    put("strength-per-component", "Strength 1 for the UNet, 0.5 for the text encoder", un(4, ATTN[:3], label="sp", alpha=2) + loras(shapes, "text_encoder", TEXT[:4], 4, "sp", alpha=2, tile=True), ("kohya#1806", "comfy-lora"),
        "Each component has its own strength.", strength={"unet": 1.0, "text_encoder": 0.5}, features=["component-strength"])
    # other families
    shape = shapes[("unet", ATTN[0])]
    a, b = shape
    loha = Mod("unet", ATTN[0], shape, "loha", {f"hada_w{n}_{x}": stored(grid(f"lh{n}{x}", (a, 4) if x == "a" else (4, b)), "F16") for n in (1, 2) for x in "ab"}, 2)
    put("loha", "LoHa: alpha 2 of rank 4", [loha], ("diffusers#3087", "lycoris"), "alpha / rank, rank = hada_w1_b.shape[0].", scaling={loha.name: 0.5}, optional="loha", features=["loha"], profiles={"diffusers": {"expect": {"refuse": True}, "why": "diffusers does not compute LoHa"}})
    no_lokr = {"diffusers": {"expect": {"refuse": True}, "why": "diffusers does not compute LoKr"}}

    def lokr(word, factors, alpha, want, rule_, title, **more):
        x = Mod("unet", ATTN[0], shape, "lokr", {k: stored(grid(f"lk{word}{k}", s), "F16") for k, s in factors.items()}, alpha)
        put(word, title, [x], more.pop("source", ("lycoris#270", "lycoris")), rule_, scaling={x.name: want}, optional="lokr", features=["lokr"], profiles=no_lokr, **more)

    lokr("both-full", {"lokr_w1": (2, 2), "lokr_w2": (4, 4)}, 7, 1.0, "Both factors full: 1, alpha is ignored (LyCORIS, ComfyUI).", "LoKr with both factors full and alpha 7", source=("comfy#15114", "lycoris"))
    lokr("w2-factored", {"lokr_w1": (2, 2), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 4)}, 1, 0.5, "alpha / rank, rank = lokr_w2_b.shape[0].", "LoKr with the second factor in two: alpha 1 of rank 2")
    lokr("w1-factored", {"lokr_w1_a": (2, 1), "lokr_w1_b": (1, 2), "lokr_w2": (4, 4)}, 3, 3.0, "alpha / rank, rank = lokr_w1_b.shape[0] where the second factor is whole.", "LoKr with the first factor in two: alpha 3 of rank 1")
    lokr("both-factored", {"lokr_w1_a": (2, 1), "lokr_w1_b": (1, 2), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 4)}, 1, 0.5, "Both in two: the second factor's rank.", "LoKr with both factors in two, of ranks 1 and 2")


def metadata(m):
    shapes = m.shapes

    def put(slug, title, mods, meta, scaling, source, rule, profiles=True, **kw):
        tensors, _ = spell.diffusers_peft(mods)
        text = {"format": "pt"}
        if meta is not None:
            text["lora_adapter_metadata"] = meta if isinstance(meta, str) else spell.adapter_metadata(mods, meta)
        ones = {"expect": {"scaling": {k: 1.0 * (kw.get("strength") or 1) for k in scaling}}, "why": "lora_adapter_metadata is not read: alpha = rank, scaling 1", "url": "https://github.com/Comfy-Org/ComfyUI/issues/12191"}
        differ = {**NOT_KOHYA} | ({"comfy": ones} if profiles and any(v != 1 for v in scaling.values()) else {})
        m.case("alpha/metadata", f"L2/diffusers/{slug}", title, tensors, scaling, source=source, rule=rule, features=["diffusers", "sd1"], metadata=text, profiles=differ, **kw)

    def un(r, paths=ATTN[:4], label=None):
        return loras(shapes, "unet", paths, r, label or f"md{r}", tile=True)

    rule = "alpha / rank with alpha from the header's lora_adapter_metadata, COMPONENT.lora_alpha."
    a = un(4)
    put("metadata-alpha-8", "lora_alpha 8 of rank 4 in the metadata", a, {"unet.r": 4, "unet.lora_alpha": 8}, alike(a, 2.0), ("comfy#12191", "diffusers-lora"), rule)
    put("metadata-alpha-1", "lora_alpha 1 of rank 4 in the metadata", a, {"unet.r": 4, "unet.lora_alpha": 1}, alike(a, 0.25), ("comfy#15830", "diffusers-lora"), rule)
    put("metadata-alpha-64-rank-16", "lora_alpha 64 of rank 16: SimpleTuner's numbers", un(16), {"unet.r": 16, "unet.lora_alpha": 64}, alike(un(16), 4.0), ("simpletuner#1853", "sglang#17086"), rule)
    put("metadata-rslora", "use_rslora: alpha / sqrt(rank)", a, {"unet.r": 4, "unet.lora_alpha": 4, "unet.use_rslora": True}, alike(a, 2.0), ("vllm#6909", "rslora"), "alpha / sqrt(rank) with use_rslora.")
    put("metadata-alpha-pattern", "alpha_pattern for some modules", a, {"unet.r": 4, "unet.lora_alpha": 4, "unet.alpha_pattern": {ATTN[1]: 2}}, {x.name: (0.5 if x.path == ATTN[1] else 1.0) for x in a}, ("diffusers#6087", "peft-layer"), "alpha_pattern gives some modules an alpha of their own.")
    b = un(4, ATTN[:2]) + un(2, ATTN[2:4], label="rp")
    put("metadata-rank-pattern", "rank_pattern: alpha stays, so the scaling differs", b, {"unet.r": 4, "unet.lora_alpha": 4, "unet.rank_pattern": {p: 2 for p in ATTN[2:4]}}, {x.name: 4.0 / x.rank for x in b}, ("diffusers#14409", "peft-layer"), "alpha / the module's own rank.")
    c = un(4, ATTN[:3]) + loras(shapes, "text_encoder", TEXT[:3], 2, "mt", tile=True)
    put("metadata-two-components", "UNet alpha 8 of 4, text encoder alpha 1 of 2", c, {"unet.r": 4, "unet.lora_alpha": 8, "text_encoder.r": 2, "text_encoder.lora_alpha": 1}, {x.name: (2.0 if x.component == "unet" else 0.5) for x in c}, ("diffusers#8530", "diffusers-lora"), "Each component has its own fields.")
    put("metadata-one-component", "Metadata for the UNet alone", c, {"unet.r": 4, "unet.lora_alpha": 8}, {x.name: (2.0 if x.component == "unet" else 1.0) for x in c}, ("diffusers#8530", "diffusers-alpha"), "A component of which the metadata says nothing has scaling 1.")
    put("no-metadata", "No metadata: alpha is unknown", a, None, alike(a, 1.0), ("diffusers#6087", "diffusers-alpha"), "Nothing says alpha: alpha = rank, scaling 1.")
    d = un(4, ATTN[:2]) + un(1, ATTN[2:3], label="x1") + un(8, ATTN[3:4], label="x8")
    put("no-metadata-ranks-differ", "No metadata, ranks 1, 4 and 8", d, None, alike(d, 1.0), ("diffusers#14409", "diffusers-alpha"), "alpha = the module's own rank, not the first module's.")
    put("metadata-broken", "lora_adapter_metadata is no JSON", a, "{\"unet.r\": 4, ", alike(a, 1.0), ("safetensors#521", "diffusers-lora"), "Metadata that cannot be read says nothing: 1 and a warning, or a refusal; no crash.", or_refuse="alpha may be lost")
    put("metadata-strength", "lora_alpha 8 of rank 4 at strength 0.7", a, {"unet.r": 4, "unet.lora_alpha": 8}, alike(a, 1.4), ("diffusers#5032", "diffusers-lora"), "strength * alpha / rank.", strength=0.7)
    put("metadata-float-alpha", "lora_alpha 3.5", a, {"unet.r": 4, "unet.lora_alpha": 3.5}, alike(a, 0.875), ("sglang#36082", "diffusers-lora"), rule)


def config(m):
    shapes = m.shapes
    targets = ["to_q", "to_k", "to_v", "to_out.0"]

    def put(slug, title, mods, cfg, scaling, source, rule, optional=None, tensors=None, features=(), **kw):
        cfg = cfg and {**cfg, "target_modules": sorted({x.path for x in mods})}
        m.case("alpha/config", f"L2/peft/{slug}" if not optional else f"optional/{optional}/peft-{slug}", title, tensors or spell.peft(mods), scaling, source=source, rule=rule, features=["peft", "sd1", *features], config=cfg, profiles=PEFT_ONLY, optional=optional,
               implementation="huggingface/peft@0.21.0:src/peft/tuners/lora/layer.py#update_layer", **kw)

    def un(r, paths=ATTN[:4], label=None):
        return loras(shapes, "unet", paths, r, label or f"pc{r}", tile=True)

    a = un(4)
    rule = "lora_alpha / r of adapter_config.json."
    put("alpha-8", "lora_alpha 8, r 4", a, spell.peft_config(4, 8, targets), alike(a, 2.0), ("comfy#4347", "peft-layer"), rule)
    put("alpha-1", "lora_alpha 1, r 4", a, spell.peft_config(4, 1, targets), alike(a, 0.25), ("sglang#16935", "peft-layer"), rule)
    put("alpha-float", "lora_alpha 3.5, r 4", a, spell.peft_config(4, 3.5, targets), alike(a, 0.875), ("sglang#36082", "peft-layer"), rule)
    put("rslora", "use_rslora: lora_alpha 6, r 4", a, spell.peft_config(4, 6, targets, use_rslora=True), alike(a, 3.0), ("vllm#6909", "rslora"), "lora_alpha / sqrt(r) with use_rslora.")
    c = un(3, label="rs3")
    put("rslora-no-square", "use_rslora: lora_alpha 2, r 3", c, spell.peft_config(3, 2, targets, use_rslora=True), alike(c, 2 / math.sqrt(3)), ("comfy#8094", "rslora"), "lora_alpha / sqrt(r) with use_rslora.")
    put("alpha-pattern", "alpha_pattern by suffix", un(4, ATTN[:8]), spell.peft_config(4, 4, targets, alpha_pattern={"attn2.to_k": 2, "attn1.to_v": 8}), {x.name: {"attn2.to_k": 0.5, "attn1.to_v": 2.0}.get(".".join(x.path.split(".")[-2:]), 1.0) for x in un(4, ATTN[:8])},
        ("diffusers#6087", "peft-layer"), "A pattern's key is the end of the module's path, at a dot.")
    b = [lora(shapes, "unet", p, 2 if "attn2.to_k" in p else 4, "rpat", tile=True) for p in ATTN[:8]]
    put("rank-pattern", "rank_pattern by suffix", b, spell.peft_config(4, 4, targets, rank_pattern={"attn2.to_k": 2}), {x.name: 4.0 / x.rank for x in b}, ("diffusers#14409", "peft-layer"), "lora_alpha over the module's own rank.")
    put("rank-and-alpha-pattern-rslora", "rank_pattern, alpha_pattern and use_rslora together", b, spell.peft_config(4, 6, targets, rank_pattern={"attn2.to_k": 2}, alpha_pattern={"attn1.to_q": 9}, use_rslora=True),
        {x.name: (9 if x.path.endswith("attn1.to_q") else 6) / math.sqrt(x.rank) for x in b}, ("vllm#6909", "peft-layer"), "The module's own alpha over the root of its own rank.")
    te = loras(shapes, "text_encoder", TEXT[:6], 4, "pte", tile=True)
    put("text-encoder", "A text encoder's adapter, lora_alpha 2, r 4", te, spell.peft_config(4, 2, ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]), alike(te, 0.5), ("peft#212", "peft-layer"), rule)
    put("strength", "lora_alpha 8, r 4 at strength -0.5", a, spell.peft_config(4, 8, targets), alike(a, -1.0), ("peft#2796", "peft-layer"), "strength * lora_alpha / r.", strength=-0.5)
    put("without-config", "No adapter_config.json", a, None, alike(a, 1.0), ("comfy#4347", "peft-layer"), "Nothing says alpha: 1, and a warning; or a refusal.", or_refuse="half an adapter: the scale is not known")
    shape = shapes[("unet", ATTN[0])]
    x = Mod("unet", ATTN[0], shape, "lokr", {"lokr_w1": stored(grid("plk1", (2, 2)), "F16"), "lokr_w2": stored(grid("plk2", (4, 4)), "F16")})
    put("both-full", "LoKr of PEFT with both factors full: alpha / r of the configuration all the same", [x], {"peft_type": "LOKR", "r": 4, "alpha": 2, "target_modules": ["to_q"], "decompose_both": False, "decompose_factor": -1, "rank_pattern": {}, "alpha_pattern": {}},
        {x.name: 0.5}, ("comfy#15114", "peft-layer"), "PEFT multiplies by alpha / r of the configuration, LyCORIS by 1.", optional="lokr", features=["lokr"])


def elsewhere(m, suite):
    shapes = m.shapes
    order = m.sd1.order["unet_default_diffusers_ge_0.15"]
    a = loras(shapes, "unet", order, 2, "cl", tile=True)
    tensors, meta = spell.clone_safetensors(a)
    m.case("alpha/elsewhere", "L2/cloneofsimo/always-one", "cloneofsimo: there is no alpha, the scaling is 1", tensors, alike(a, 1.0), source=("clone#187", "clone-lora"), rule="No alpha by definition; converting to another layout has to write alpha = rank.", features=["cloneofsimo", "sd1"], metadata=meta, profiles=CLONE_ONLY)
    m.case("alpha/elsewhere", "L2/cloneofsimo/strength", "cloneofsimo at strength 0.7", tensors, alike(a, 0.7), source=("clone#187", "clone-lora"), rule="The strength itself.", features=["cloneofsimo", "sd1"], metadata=meta, strength=0.7, profiles=CLONE_ONLY)
    b = loras(shapes, "unet", ATTN[:8], 4, "ap", tile=True)
    legacy = NOT_KOHYA | {"diffusers": {"skip": True, "why": "ignored by today's load_lora_weights without a prefix"}}
    m.case("alpha/elsewhere", "L2/diffusers-legacy/attn-procs", "Attention processors: there is no alpha, the scaling is 1", spell.attn_procs(b), alike(b, 1.0), source=("diffusers#3725", "blog-lora"), rule="alpha = rank.", features=["diffusers-legacy", "sd1"], profiles=legacy)
    m.case("alpha/elsewhere", "L2/diffusers-legacy/lora-down-up", "unet.X.lora.down.weight without metadata: the scaling is 1", spell.dotted(b, ".lora.down.weight", ".lora.up.weight"), alike(b, 1.0), source=("diffusers#3725", "diffusers-alpha"), rule="alpha = rank.",
           features=["diffusers-legacy", "sd1"], profiles=NOT_KOHYA)
    c = loras(shapes, "unet", ATTN[:4], 4, "om", tile=True, alpha=2) + loras(shapes, "text_encoder", TEXT[:2], 4, "om", tile=True, alpha=1)
    some = {n: {"skip": True, "why": "not among the names it reads"} for n in ("comfy", "peft", "diffusers", "kohya")}
    m.case("alpha/elsewhere", "L2/omi/alpha-tensor", "OMI: alpha tensors", spell.omi(c), {x.name: x.alpha / 4 for x in c}, source=("invoke#8120", "omi"), rule="alpha / rank.", features=["onetrainer", "sd1"], profiles=some)
    m.case("alpha/elsewhere", "L2/onetrainer/alpha-tensor", "Dotted path with kohya's leaves: alpha tensors", spell.onetrainer(c), {x.name: x.alpha / 4 for x in c}, source=("onetrainer#1544", "onetrainer#1563"), rule="alpha / rank.", features=["onetrainer", "sd1"], profiles=some)
    flux = Names(suite, "flux1")
    r, i, o = 1, 3072, 9216
    down = np.concatenate([np.resize(grid(f"sq{n}", (16,)), (r, i)) for n in range(3)])
    up = np.zeros((o, 3 * r))
    for n in range(3):
        up[n * 3072 : (n + 1) * 3072, n : n + 1] = np.resize(grid(f"squ{n}", (16,)), (3072, 1))
    key = "lora_unet_double_blocks_0_img_attn_qkv"
    m.case("alpha/elsewhere", "L2/kohya/split-qkv", "split_qkv: three LoRAs of rank 1 stacked, alpha 1 left as it was", {f"{key}.lora_down.weight": stored(down, "F16"), f"{key}.lora_up.weight": stored(up, "F16"), f"{key}.alpha": stored(1.0, "F16")},
           {f"transformer.transformer_blocks.0.attn.{t}": 1 / 3 for t in ("to_q", "to_k", "to_v")}, source=("kohya#2204", "kohya-lora"), rule="Every reader divides by the stacked rank, 3: a third of what was trained. The reader's meaning is kept.",
           features=["kohya", "flux"], base=flux.base(), profiles={"peft": {"skip": True, "why": "PEFT reads its own layout only"}}, metadata={"ss_network_args": "{\"split_qkv\": \"True\"}"})


def make(suite, sd1):
    m = Maker(suite, sd1)
    kohya(m)
    metadata(m)
    config(m)
    elsewhere(m, suite)
