"""L1: which modules a file names, in every spelling; which names match nothing and must be said to."""

import json
import struct

import numpy as np

from ..lib import spell
from ..lib.kit import Tensor, grid, safe, st_bytes, stored
from ..lib.mods import ATTN, BLOCK, CONV, FF, MID, PROJ, TE, TEXT, TIME, TOP, UP, Names, lora, loras
from ..lib.sd1 import flat, ldm
from ..lib.sources import src

SCRIPT = "topics/l1_keys.py"
KOHYA_ONLY = {"peft": {"skip": True, "why": "PEFT reads its own layout only"}}
NOT_KOHYA = {"peft": {"skip": True, "why": "PEFT reads its own layout only"}, "kohya": {"skip": True, "why": "sd-scripts reads kohya names only"}}
PEFT_ONLY = {n: {"skip": True, "why": "this runtime does not read bare PEFT adapters"} for n in ("comfy", "diffusers", "kohya")}
NO_TOP = {"kohya": {"skip": True, "why": "the networks of sd-scripts cover blocks, not conv_in, conv_out and the time embedding"}}
CLONE_ONLY = {n: {"skip": True, "why": "only cloneofsimo/lora reads these files"} for n in ("comfy", "peft", "diffusers", "kohya")}


class Maker:
    def __init__(self, suite, sd1):
        self.suite, self.sd1, self.shapes = suite, sd1, sd1.modules

    def case(self, group, id, title, tensors, modules, unmatched=(), *, source, rule, features, layout=None, metadata=None, config=None, base=None, or_refuse=None,
             refuse=None, profiles=None, tags=(), name=None, implementation=None):
        suite = self.suite
        file = suite.put(f"adapters/keys/{name or safe(id.replace('/', '_'))}.safetensors", st_bytes(tensors, metadata), "conformance/generate/" + SCRIPT)
        adapter = {"file": file}
        if config is not None:
            adapter["config"] = suite.json(f"adapters/keys/{safe(id.replace('/', '_'))}.config.json", config, "conformance/generate/" + SCRIPT)
        if refuse:
            expect = {"refuse": True, "codes": list(refuse)}
        else:
            expect = ({"layout": layout} if layout else {}) | {"modules": modules, "unmatched": sorted(unmatched)}
            if or_refuse:
                expect["orRefuse"] = or_refuse
        request = {"op": "describe", "adapter": adapter}
        base = self.sd1.base() if base is None else base
        if base:
            request["base"] = base
        suite.add(group, id, title, request, expect, source=src(*source), rule=rule, script=SCRIPT, features=["safetensors", *features], profiles=profiles, tags=["keys", *tags],
                  seed=id, implementation=implementation, computations=["names written from the table of modules, read back by that table", "every name of the file accounted for once"],
                  licence="made for this project")


def ranks(mods):
    return {m.name: m.rank for m in mods}


def kohya(m, shapes):
    group, feats = "keys/kohya", ["kohya", "sd1"]

    def put(slug, title, mods, source, rule, extra=None, unmatched=(), features=(), **kw):
        tensors = spell.kohya(mods, te=kw.pop("te", "lora_te")) if kw.get("tensors") is None else kw.pop("tensors")
        tensors = tensors | (extra or {})
        m.case(group, f"L1/kohya/{slug}", title, tensors, ranks(mods), unmatched, source=source, rule=rule, features=[*feats, *features], layout=kw.pop("layout", "kohya"),
               profiles=kw.pop("profiles", KOHYA_ONLY), **kw)

    un = lambda paths, r=2, label="k", **kw: loras(shapes, "unet", paths, r, label, tile=True, **kw)  # noqa: E731
    te = lambda paths, r=2, label="k", **kw: loras(shapes, "text_encoder", paths, r, label, tile=True, **kw)  # noqa: E731
    rule = "lora_unet_ and the module's path with dots as underscores, looked up in the list of the base's modules, never taken apart at underscores."
    put("attention", "Attention of three blocks", un(ATTN, alpha=2), ("comfy#2364", "kohya-lora"), rule)
    put("feed-forward", "GEGLU and the second feed-forward layer", un(FF, alpha=1), ("kohya#1458", "kohya-lora"), rule)
    put("projections", "proj_in and proj_out, 1x1 convolutions in SD 1", un(PROJ, alpha=1), ("diffusers#9221", "kohya-lora"), rule)
    put("convolutions", "3x3 convolutions, shortcuts, down- and upsamplers", un(CONV, alpha=1), ("a1111#8360", "kohya_ss#307"), rule, features=["locon"])
    put("time-projections", "time_emb_proj of residual blocks", un(TIME, alpha=1), ("diffusers#14005", "kohya-lora"), rule)
    put("top-level", "conv_in, conv_out and the two time embedding layers", un(TOP, alpha=1), ("diffusers#14005", "diffusers-kohya"), rule + " conv_in, time_embedding.linear_1 have underscores of their own.",
        features=["locon"], profiles=KOHYA_ONLY | NO_TOP)
    put("text-encoder", "Text encoder under lora_te", te(TEXT, alpha=1), ("kohya#1806", "kohya-lora"), rule)
    put("text-encoder-te1", "Text encoder of SD 1 under lora_te1, as diffusers exports it", te(TEXT, alpha=1), ("diffusers#12053", "diffusers#13118"), "lora_te1 means the only text encoder where there is one.", te="lora_te1")
    put("text-encoder-without-out-proj", "Text encoder: q_proj, k_proj and v_proj alone, no out_proj", te(TEXT[:3] + TEXT[6:9], alpha=1), ("kohya#1806", "kohya-lora"),
        "Any subset of modules is an adapter: which projections there are does not say which layout it is.", implementation="huggingface/diffusers@58eb52c:src/diffusers/utils/state_dict_utils.py#convert_state_dict_to_diffusers refuses it (it looks for to_out_lora)")
    put("unet-and-text-encoder", "UNet and text encoder in one file", un(ATTN[:8], alpha=1) + te(TEXT[:4], alpha=1), ("kohya#1803", "comfy#5515"), rule)
    put("mid-block-only", "Only the middle block", un([p for p in ATTN if p.startswith("mid_block")], alpha=1), ("sdcpp#370", "kohya-lora"), rule)
    put("one-module", "A single module", un(ATTN[:1], alpha=1), ("comfy#2961", "kohya-lora"), rule)
    put("alpha-shape-1", "alpha of shape [1]", un(ATTN[:4], alpha=1, alpha_dtype=("F32", (1,))), ("larsupb#17", "kohya-lora"), "alpha may be a scalar or hold one element; it belongs to its module.")
    put("alpha-int64", "alpha as int64", un(ATTN[:4], alpha=1, alpha_dtype="I64"), ("addnet#49", "kohya-lora"), "alpha may be an integer tensor; it belongs to its module.")
    put("no-alpha", "No alpha at all", un(ATTN[:4]), ("kohya-merge", "diffusers-alpha"), "A module without alpha is a module.")
    put("ranks-differ", "Ranks 1, 2, 4, 8 in one file", [lora(shapes, "unet", p, r, "kr", alpha=1, tile=True) for p, r in zip(ATTN, (1, 2, 4, 8) * 6)], ("diffusers#14409", "kohya-lora"),
        "The rank is what the tensors say, module by module: down.shape[0].")
    put("rank-over-width", "Rank 32 on layers of width 8", un(ATTN[:4], r=32, alpha=1), ("comfy#6909", "kohya-lora"), "The rank is down.shape[0], also where it is larger than the layer.")
    put("metadata-lies", "ss_network_dim says 128, the tensors say 4", un(ATTN[:4], r=4, alpha=1), ("kohya_ss#2173", "invoke#8008"), "Tensors win over metadata.",
        metadata={"ss_network_dim": "128", "ss_network_alpha": "64", "ss_network_module": "networks.lora", "ss_base_model_version": "sdxl_base_v1-0"})
    put("metadata-broken-json", "ss_tag_frequency is broken JSON", un(ATTN[:4], alpha=1), ("supermerger#157", "kohya-lora"), "Metadata that means nothing to the weights never stops a load.",
        metadata={"ss_tag_frequency": "{\"a\": {", "ss_network_args": "None"})
    put("metadata-large", "Metadata of 200 kB", un(ATTN[:4], alpha=1), ("safetensors#609", "kohya-lora"), "Metadata that means nothing to the weights never stops a load.",
        metadata={"ss_tag_frequency": json.dumps({f"tag {n}": n for n in range(12000)})})
    mixed = un(ATTN[:4], alpha=1, dtype="F16", up_dtype="F32")
    put("mixed-dtypes", "down in float16, up in float32", mixed, ("peft#701", "kohya-lora"), "Factors may differ in dtype.")
    shuffled = spell.kohya(un(ATTN[:8], alpha=1))
    order = sorted(shuffled, key=lambda k: safe(k)[::-1])
    put("any-order", "Tensors in an order of no meaning", un(ATTN[:8], alpha=1), ("sdcpp#1131", "safetensors-format"), "Names decide, not their order.", tensors={k: shuffled[k] for k in order})
    put("conv-1x1-as-2d", "proj_in (a 1x1 convolution) with 2-D factors", [lora(shapes, "unet", p, 2, "k2", alpha=1, tile=True, conv2d="2d") for p in PROJ], ("diffusers#9221", "comfy#1461"),
        "2-D factors for a 1x1 convolution are the same numbers.", or_refuse="a strict reader may want the weight's shape")
    put("linear-as-4d", "A linear layer with 4-D factors (r, i, 1, 1)", [lora(shapes, "unet", p, 2, "k4", alpha=1, tile=True, conv2d="4d") for p in ATTN[:4]], ("diffusers#9221", "kohya-lora"),
        "4-D factors with 1x1 kernels for a linear layer are the same numbers.", or_refuse="a strict reader may want the weight's shape")
    sgm = un(ATTN[:8] + PROJ[:2] + CONV + TIME + TOP, alpha=1)
    put("ldm-names", "The UNet in LDM names (input_blocks, output_blocks), flattened", sgm, ("invoke#5725", "diffusers-kohya"),
        "input_blocks_{3i+j+1}, middle_block, output_blocks_{3i+j}; in SD 1 output_blocks_2_1_conv is an upsampler, not an attention.", tensors=spell.kohya_sgm(sgm), features=["locon"], profiles=KOHYA_ONLY | NO_TOP,
        or_refuse="kohya's files of SD 1 have diffusers' names; only some readers know these")
    # What takes no part
    good = un(ATTN[:4], alpha=1)
    stray = spell.kohya(un(ATTN[:1], label="stray", alpha=1))
    ghost = {k.replace("attn1_to_q", "attn9_to_q"): v for k, v in stray.items()}
    put("unknown-module", "One module that the base does not have", good, ("sdcpp#203", "diffusers#9622"), "Names that match no module of the base are named, all of them.", extra=ghost, unmatched=ghost,
        or_refuse="a strict reader refuses a file with unknown names")
    put("unknown-leaf", "One leaf that nobody knows", good, ("mflux#577", "diffusers#9950"), "A tensor without a meaning is named.",
        extra={f"lora_unet_{flat(ATTN[0])}.lora_sideways.weight": stored(grid("s", (2, 8)), "F16")}, unmatched=[f"lora_unet_{flat(ATTN[0])}.lora_sideways.weight"], or_refuse="a strict reader refuses a file with unknown names")
    put("unknown-name", "One tensor that is no key of any layout", good, ("invoke#6267", "diffusers#9950"), "A tensor without a meaning is named.",
        extra={"optimizer_state.step": stored(grid("s", (3,)), "F32")}, unmatched=["optimizer_state.step"], or_refuse="a strict reader refuses a file with unknown names")
    two = {"diffusion_model_rope.lora_down.weight": stored(grid("a", (2, 8)), "F16"), "diffusion_model_rope.lora_up.weight": stored(grid("b", (8, 2)), "F16")}
    put("two-stray-keys", "Two stray keys beside a whole file", un(ATTN, alpha=1), ("invoke#6267", "invoke#7131"), "Names that match nothing are named, and the others load.", extra=two, unmatched=two,
        or_refuse="a strict reader refuses a file with unknown names")
    put("javascript-names", "Stray tensors named __proto__, constructor and toString", good, ("tjs#1171", "safetensors-format"), "Names from a file are data.",
        extra={n: stored(grid(n, (2,)), "F32") for n in ("__proto__", "constructor", "toString")}, unmatched=["__proto__", "constructor", "toString"], or_refuse="a strict reader refuses a file with unknown names")
    put("orphan-alpha", "An alpha whose module has no factors", good, ("sdcpp#1092", "diffusers-kohya"), "An alpha alone makes no module; it is named.",
        extra={f"lora_unet_{flat(ATTN[9])}.alpha": stored(2.0, "F16")}, unmatched=[f"lora_unet_{flat(ATTN[9])}.alpha"], or_refuse="a strict reader refuses half a module")
    half = spell.kohya(un(ATTN[9:10], label="half"))
    for leaf, word in (("lora_up.weight", "down-alone"), ("lora_down.weight", "up-alone")):
        left = {k: v for k, v in half.items() if not k.endswith(leaf)}
        put(word, f"A module with {'lora_down' if word == 'down-alone' else 'lora_up'} alone", good, ("sdcpp#370", "diffusers#4137"), "Half a pair makes no module; it is named.", extra=left, unmatched=left,
            or_refuse="a strict reader refuses half a module")
    bad = spell.kohya(un(ATTN[9:10], label="bad", r=4))
    bad[f"lora_unet_{flat(ATTN[9])}.lora_up.weight"] = stored(grid("bad", (8, 2)), "F16")
    m.case(group, "L1/kohya/rank-mismatch", "down of rank 4 and up of rank 2", spell.kohya(good) | bad, {}, source=src_keys("comfy#1461", "kohya-lora"), rule="A pair whose ranks differ cannot be multiplied: refused, or left out and named.",
           features=feats, refuse=["E_LORA_RANK"], profiles=KOHYA_ONLY)
    twice = spell.kohya(good) | {f"lora_unet_{flat(ATTN[0])}.lora_A.weight": stored(grid("tA", (2, 8)), "F16"), f"lora_unet_{flat(ATTN[0])}.lora_B.weight": stored(grid("tB", (8, 2)), "F16")}
    m.case(group, "L1/kohya/two-pairs-of-one-module", "One module with lora_down, lora_up and lora_A, lora_B of other values", twice, {}, source=src_keys("diffusers#9803", "kohya-lora"), rule="Two different pairs for one module: refused; taking either in silence is a guess.", features=feats,
           refuse=["E_LORA_DUPLICATE_MODULE", "E_LORA_MIXED_LAYOUT"], profiles=KOHYA_ONLY)
    turned = {}
    for k, v in spell.kohya(un(FF[:1], label="turned", r=2)).items():
        a = v.value().T
        turned[k] = stored(a, "F16")
    m.case(group, "L1/kohya/transposed", "Both factors transposed", turned, {}, source=src_keys("comfy#1461", "kohya-lora"), rule="Factors that do not fit the layer are refused, not turned round in silence.", features=feats,
           refuse=["E_LORA_SHAPE", "E_LORA_RANK", "E_LORA_TRANSPOSED"], profiles=KOHYA_ONLY)
    wrong = {k: stored(grid(k, (2, 48) if k.endswith("down.weight") else (48, 2)), "F16") for k in spell.kohya(un(ATTN[:1], label="w"))}
    m.case(group, "L1/kohya/wrong-width", "Factors of another base (48 wide where the layer has 8)", wrong, {}, [*wrong], source=src_keys("comfy#1461", "invoke#8008"),
           rule="A file for another base is said to be one: refused, or every name reported.", features=feats, or_refuse="refusing a file for another base is better still", profiles=KOHYA_ONLY)
    m.case(group, "L1/kohya/no-tensors", "No tensors at all", {}, {}, source=src_keys("diffusers#9950", "safetensors#601"), rule="An empty adapter has no modules; refusing it is as good.", metadata={"ss_network_module": "networks.lora"},
           features=feats, or_refuse="there is nothing to load")
    m.case(group, "L1/kohya/not-a-lora", "A textual inversion embedding instead of a LoRA", {"emb_params": stored(grid("e", (2, 32)), "F32")}, {}, ["emb_params"], source=src_keys("invoke#8445", "kohya#18"),
           rule="A file that is no LoRA is said to be none.", features=feats, or_refuse="it is no LoRA")
    ckpt = {f"model.diffusion_model.{ldm(p)}.weight": stored(grid(p, shapes[("unet", p)]), "F16") for p in ATTN[:4]}
    m.case(group, "L1/kohya/a-checkpoint", "Weights of a checkpoint in the place of a LoRA", ckpt, {}, [*ckpt], source=src_keys("invoke#7624", "diffusers#2326"), rule="A file that is no LoRA is said to be none.", features=feats,
           or_refuse="it is no LoRA")
    bundle = {"bundle_emb.zqx.string_to_param.*": stored(grid("emb", (2, 32)), "F32")}
    put("bundled-embedding", "A bundled embedding beside the modules", good, ("a1111#13568", "comfy#3659"), "bundle_emb.NAME.KEY is an embedding that travels along, no unmatched name.", extra=bundle, features=["embeddings"])


def src_keys(*keys):
    return keys


def diffusers(m, shapes):
    un = lambda paths, r=2, label="d", **kw: loras(shapes, "unet", paths, r, label, tile=True, **kw)  # noqa: E731
    te = lambda paths, r=2, label="d", **kw: loras(shapes, "text_encoder", paths, r, label, tile=True, **kw)  # noqa: E731
    attn_text = [p for p in TEXT if "self_attn" in p]

    def put(slug, title, mods, tensors, source, rule, layout, features=(), unmatched=(), **kw):
        m.case("keys/diffusers", f"L1/diffusers/{slug}", title, tensors, ranks(mods), unmatched, source=source, rule=rule, features=["sd1", "diffusers-legacy" if layout != "diffusers" else "diffusers", *features],
               layout=layout, profiles=kw.pop("profiles", NOT_KOHYA), **kw)

    no_prefix = NOT_KOHYA | {"diffusers": {"skip": True, "why": "load_lora_weights of today ignores these names without a prefix, silently; load_attn_procs of its day read them"}}
    a = un(ATTN)
    put("attn-procs", "Attention processors without unet. (diffusers 0.12 to 0.16, the blog post's file)", a, spell.attn_procs(a), ("diffusers#2326", "blog-lora"),
        "X.processor.to_q_lora.down.weight is module X.to_q, to_out_lora is X.to_out.0; no alpha.", "diffusers-attn-procs", profiles=no_prefix)
    put("attn-procs-prefixed", "The same names with unet. before", a, spell.attn_procs(a, "unet."), ("diffusers#4763", "diffusers-lora"), "unet. before an attention processor's name says the component.", "diffusers-old-prefixed")
    b = un(ATTN[:8]) + te(attn_text)
    put("attn-procs-with-text", "Attention processors and text encoder, diffusers 0.17", b, spell.attn_procs(un(ATTN[:8]), "unet.") | spell.text_old(te(attn_text)), ("diffusers#6894", "diffusers-lora"),
        "text_encoder.X.self_attn.to_q_lora is X.self_attn.q_proj.", "diffusers-old-prefixed")
    put("lora-down-up", "unet.X.lora.down.weight and lora_linear_layer, diffusers 0.21", b, spell.dotted(b, ".lora.down.weight", ".lora.up.weight", ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
        ("diffusers#10860", "a1111#12276"), "Layers without processor: X.lora.down.weight; text encoder X.lora_linear_layer.down.weight.", "diffusers-old")
    c = un(ATTN[:8] + FF[:2] + PROJ[:2]) + te(TEXT)
    put("lora-a-b", "unet.X.lora_A.weight, text_encoder.X.lora_A.weight (PEFT-backed)", c, spell.diffusers_peft(c)[0], ("diffusers#6370", "diffusers-lora"), "lora_A is down, lora_B is up.", "diffusers", metadata={"format": "pt"})
    put("mixed-spellings", "Three spellings in one file, as today's save functions write", c,
        spell.dotted([x for x in c if ".to_" in x.path], ".lora.down.weight", ".lora.up.weight") | spell.dotted([x for x in c if ".to_" not in x.path and x.component == "unet"], ".lora_A.weight", ".lora_B.weight")
        | spell.dotted([x for x in c if x.component != "unet"], ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
        ("diffusers#9803", "diffusers-lora"), "lora.down, lora_A and lora_linear_layer.down are one thing; each key is classed by itself.", "diffusers", metadata={"format": "pt"})
    d = un(CONV + TIME + TOP)
    put("convolutions", "Convolutions, time projections and top-level layers as lora_A, lora_B", d, spell.diffusers_peft(d)[0], ("diffusers#14005", "diffusers-lora"), "Dotted names are the module's own.", "diffusers",
        features=["locon"], metadata={"format": "pt"})
    put("no-prefix", "lora_A, lora_B without unet. (save_lora_adapter of a model)", un(ATTN[:8]), spell.dotted(un(ATTN[:8]), ".lora_A.weight", ".lora_B.weight", prefix=False), ("diffusers#11659", "diffusers-lora"),
        "Names without a component belong to the one component that has them.", "diffusers", or_refuse="the component is only to be guessed")
    put("text-encoder-only", "Only a text encoder", te(TEXT), spell.diffusers_peft(te(TEXT))[0], ("sdcpp#213", "diffusers-lora"), "Dotted names are the module's own.", "diffusers", metadata={"format": "pt"})
    short = spell.diffusers_peft(te(TEXT))[0]
    put("text-encoder-transformers-5", "Text encoder without text_model., as transformers 5 names it", te(TEXT), {k.replace("text_encoder.text_model.", "text_encoder."): v for k, v in short.items()}, ("onetrainer#47", "diffusers-lora"),
        "text_encoder.encoder.layers is text_encoder.text_model.encoder.layers: the level went away in transformers 5.6.", "diffusers", metadata={"format": "pt"})
    dead = {}
    live = te([p for p in attn_text if ".layers.0." in p])
    for mod in live:
        for other in ("to_q_lora", "to_k_lora", "to_v_lora", "to_out_lora"):
            for role in ("down", "up"):
                dead[f"text_encoder.{mod.path}.{other}.{role}.weight"] = mod.factors[role] if False else stored(grid(f"{mod.path}{other}{role}", mod.factors[role].shape), "F16")
    alive = {"q_proj": "to_q_lora", "k_proj": "to_k_lora", "v_proj": "to_v_lora", "out_proj": "to_out_lora"}
    gone = [k for k in dead if alive[k.split(".")[-4]] != k.split(".")[-3]]
    put("text-encoder-four-each", "Text encoder of the first diffusers release: four LoRAs on every projection, one of which is used", live, dead, ("diffusers#3437", "diffusers-lora"),
        "q_proj.to_q_lora is used, q_proj.to_k_lora never was.", "diffusers-old-prefixed", unmatched=gone, or_refuse="few readers know this layout")
    put("alpha-in-metadata", "alpha in lora_adapter_metadata", un(ATTN[:8], r=4), spell.diffusers_peft(un(ATTN[:8], r=4))[0], ("comfy#15830", "diffusers-lora"), "Metadata gives alpha, names are as without it.", "diffusers",
        metadata=spell.diffusers_peft(un(ATTN[:8], r=4), {"unet.r": 4, "unet.lora_alpha": 8})[1])
    put("unknown-component", "A component that the pipeline lacks", un(ATTN[:4]), spell.diffusers_peft(un(ATTN[:4]))[0] | {"text_encoder_9.x.lora_A.weight": stored(grid("x", (2, 8)), "F16"), "text_encoder_9.x.lora_B.weight": stored(grid("y", (8, 2)), "F16")},
        ("diffusers#9622", "diffusers#9950"), "Names that match nothing are named.", "diffusers", unmatched=["text_encoder_9.x.lora_A.weight", "text_encoder_9.x.lora_B.weight"], or_refuse="a strict reader refuses a file with unknown names",
        metadata={"format": "pt"})
    put("unknown-module", "A module that the UNet lacks", un(ATTN[:4]), spell.diffusers_peft(un(ATTN[:4]))[0] | {"unet.down_blocks.9.attentions.0.proj_in.lora_A.weight": stored(grid("x", (2, 8)), "F16"), "unet.down_blocks.9.attentions.0.proj_in.lora_B.weight": stored(grid("y", (8, 2)), "F16")},
        ("diffusers#4137", "diffusers#9950"), "Names that match nothing are named.", "diffusers", unmatched=["unet.down_blocks.9.attentions.0.proj_in.lora_A.weight", "unet.down_blocks.9.attentions.0.proj_in.lora_B.weight"],
        or_refuse="a strict reader refuses a file with unknown names", metadata={"format": "pt"})
    twice = un(ATTN[:2])
    put("mixed-with-kohya", "Dotted and flattened names in one file, for different modules", un(ATTN[:4]), spell.diffusers_peft(twice)[0] | spell.kohya(un(ATTN[2:4], alpha=2)), ("diffusers#9803", "onetrainer#1544"),
        "Each key is classed by itself.", None or "diffusers", or_refuse="a mixture of layouts may be refused, never half loaded")
    m.case("keys/diffusers", "L1/diffusers/broken-dora-export", "lora_magnitude_vector in a flattened name, as diffusers' kohya export writes it", spell.kohya(un(ATTN[:2], alpha=2)) | {
        f"lora_unet_{flat(p)}.lora_magnitude_vector": stored(np.abs(grid("mag" + p, (shapes[('unet', p)][0],))) + 0.5, "F16") for p in ATTN[:2]}, ranks(un(ATTN[:2])), source=("comfy#3494", "diffusers-kohya"),
        rule="The vector is DoRA's scale under a name that a converter broke: it has a meaning, or the file is refused; it is never dropped in silence.", features=["sd1", "kohya", "dora"], or_refuse="the names are broken", profiles=KOHYA_ONLY)


def peft(m, shapes):
    un = lambda paths, r=2, label="p", **kw: loras(shapes, "unet", paths, r, label, tile=True, **kw)  # noqa: E731
    te = lambda paths, r=2, label="p", **kw: loras(shapes, "text_encoder", paths, r, label, tile=True, **kw)  # noqa: E731
    targets = ATTN[:8]

    def put(slug, title, mods, tensors, source, rule, config, **kw):
        config = config and {**config, "target_modules": sorted({x.path for x in mods} | ({"classifier"} if "classifier" in config["target_modules"] else set()))}
        m.case("keys/peft", f"L1/peft/{slug}", title, tensors, ranks(mods), kw.pop("unmatched", ()), source=source, rule=rule, features=["sd1", "peft", *kw.pop("features", ())], layout=kw.pop("layout", "peft"), config=config,
               profiles=kw.pop("profiles", PEFT_ONLY), **kw)

    def as_peft(mods, tensors):
        """What PEFT makes of keys that are not its own: modules as the configuration says, without any value of the file."""
        return PEFT_ONLY | {"peft": {"expect": {"modules": ranks(mods), "unmatched": sorted(tensors)}, "why": "PEFT puts the name of the adapter behind lora_A itself, so that no key of this file is one of its own; it says so",
                                     "url": "https://github.com/huggingface/peft/blob/v0.21.0/src/peft/utils/save_and_load.py"}}

    a = un(ATTN[:8])
    put("unet", "base_model.model.X.lora_A.weight with adapter_config.json", a, spell.peft(a), ("comfy#4347", "peft-layer"), "base_model.model. is PEFT's wrapper; what follows is the module.", spell.peft_config(2, 2, targets))
    b = te(TEXT)
    put("text-encoder", "A text encoder's adapter", b, spell.peft(b), ("peft#212", "peft-layer"), "text_model. names are the text encoder's.", spell.peft_config(2, 2, ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]))
    put("without-config", "Without adapter_config.json", a, spell.peft(a), ("comfy#4347", "peft-layer"), "Half an adapter: names and ranks are known, the scale is not.", None, or_refuse="PEFT itself cannot load it")
    put("named-default", "lora_A.default.weight (a raw state_dict)", a, spell.peft(a, adapter="default"), ("invoke#9252", "diffusers#14408"), "One adapter name in all keys is taken out.", spell.peft_config(2, 2, targets), profiles=as_peft(a, spell.peft(a, adapter="default")))
    put("named-other", "lora_A.portrait.weight (an adapter of that name)", a, spell.peft(a, adapter="portrait"), ("diffusers#14408", "peft-layer"), "One adapter name in all keys is taken out, whatever it is.", spell.peft_config(2, 2, targets), profiles=as_peft(a, spell.peft(a, adapter="portrait")))
    two = spell.peft(a, adapter="first") | spell.peft(un(ATTN[:8], label="p2"), adapter="second")
    m.case("keys/peft", "L1/peft/two-adapters", "Two adapters of one module in one file", two, {}, source=("invoke#9252", "peft-layer"),
           rule="Two adapters in one file: which one is asked for has to be said; they are never mixed or the last taken.", features=["sd1", "peft"], config=spell.peft_config(2, 2, targets), refuse=["E_LORA_MULTIPLE_ADAPTERS"], profiles=as_peft(a, two))
    put("named-dotted", "unet.X.lora_A.default.weight", a, {k.replace("base_model.model.", ""): v for k, v in spell.peft(a, adapter="default", component_prefix=True).items()}, ("invoke#9252", "diffusers#14408"),
        "The adapter's name in diffusers' dotted names.", None, layout=None, profiles=NOT_KOHYA, or_refuse="no saver writes it on purpose")
    c = un(CONV[:4])
    put("convolutions", "3x3 convolutions", c, spell.peft(c), ("diffusers#14005", "peft-layer"), "A convolution's lora_A has the kernel, lora_B is 1x1.", spell.peft_config(2, 2, ["conv1", "conv2", "conv_shortcut"]), features=["locon"])
    put("unet-wrapped", "unet.base_model.model.X", a, {"unet." + k: v for k, v in spell.peft(a).items()}, ("comfy#11135", "comfy#4347"), "A component before PEFT's wrapper.", spell.peft_config(2, 2, targets), layout=None, or_refuse="no saver of SD 1 writes it", profiles=as_peft(a, ["unet." + k for k in spell.peft(a)]))
    d = spell.peft(a) | {"base_model.model.classifier.lora_A.weight": stored(grid("x", (2, 8)), "F16"), "base_model.model.classifier.lora_B.weight": stored(grid("y", (8, 2)), "F16")}
    put("unknown-module", "A module that the base lacks", a, d, ("peft-layer", "diffusers#9622"), "Names that match nothing are named.", spell.peft_config(2, 2, [*targets, "classifier"]),
        unmatched=["base_model.model.classifier.lora_A.weight", "base_model.model.classifier.lora_B.weight"], or_refuse="a strict reader refuses a file with unknown names")


def clone(m, shapes):
    order = m.sd1.order
    new, old, text = order["unet_default_diffusers_ge_0.15"], order["unet_default_diffusers_le_0.14"], order["text_encoder"]

    def mods(component, paths, label, r=1):
        return loras(shapes, component, paths, r, label, tile=True)

    def put(slug, title, unet, te, source, rule, classes=("CrossAttention", "Attention", "GEGLU"), embeddings=None, edit=None, **kw):
        tensors, meta = spell.clone_safetensors(unet, te, classes, embeddings)
        if edit:
            tensors, meta = edit(tensors, meta)
        m.case("keys/cloneofsimo", f"L1/cloneofsimo/{slug}", title, tensors, ranks(unet + te), source=source, rule=rule, features=["sd1", "cloneofsimo", *kw.pop("features", ())], layout="cloneofsimo-safetensors", metadata=meta,
               profiles=CLONE_ONLY, **kw)

    rule = "unet:N:up and unet:N:down are the N-th module of the target classes in module order: down blocks, up blocks, then the middle block; k, v, q, out in a text encoder."
    put("order-new", "144 modules in the order of diffusers 0.15 and later (attn1, attn2, ff)", mods("unet", new, "cn"), [], ("clone#149", "clone-lora"), rule)
    put("order-old", "144 modules in the order of diffusers 0.14 and before (attn1, ff, attn2); only shapes tell", mods("unet", old, "co"), [], ("clone#220", "clone-lora"), rule + " GEGLU stands fifth of each nine in the old order.")
    put("text-encoder", "Text encoder: k, v, q, out", [], mods("text_encoder", text, "ct"), ("clone#191", "clone-lora"), rule)
    put("both", "UNet and text encoder", mods("unet", new, "cb"), mods("text_encoder", text, "cb"), ("clone#191", "clone-lora"), rule)
    put("classes-any-order", "Target classes in another order in the metadata (a Python set)", mods("unet", new, "cc"), [], ("clone#149", "clone-lora"), "The list of classes is a set.", classes=("GEGLU", "Attention", "CrossAttention"))
    put("rank-metadata-lies", "Rank 4 in the metadata, 1 in the tensors", mods("unet", new, "cr"), [], ("clone#191", "clone-lora"), "Tensors win over metadata; a converter writes 4 whatever it is.",
        edit=lambda t, meta: (t, {k: ("4" if k.endswith(":rank") else v) for k, v in meta.items()}))
    put("keys-sorted-as-text", "Keys sorted as text (unet:10 before unet:2)", mods("unet", new, "cs"), [], ("clone#220", "clone-lora"), "The number in the name is a number.", edit=lambda t, meta: (dict(sorted(t.items())), meta))
    ext = order["unet_extended_diffusers_ge_0.15"]
    put("extended", "224 modules with the residual blocks' convolutions", mods("unet", ext, "ce"), [], ("clone#149", "clone-lora"), rule + " Inside a block attentions come before resnets.", classes=("ResnetBlock2D", "CrossAttention", "Attention", "GEGLU"), features=["locon"])
    put("embedding", "A learned token beside the modules", mods("unet", new, "cm"), [], ("clone#191", "kohya#18"), "A key with <embed> in the metadata is an embedding that travels along.", embeddings={"<s1>": stored(grid("s1", (32,)), "F32")}, features=["embeddings"])


def others(m, shapes):
    un = lambda paths, r=2, label="o", **kw: loras(shapes, "unet", paths, r, label, tile=True, **kw)  # noqa: E731
    te = lambda paths, r=2, label="o", **kw: loras(shapes, "text_encoder", paths, r, label, tile=True, **kw)  # noqa: E731
    some = {"comfy": {"skip": True, "why": "not in ComfyUI's table of names for SD 1"}, **NOT_KOHYA, "diffusers": {"skip": True, "why": "not among the names that diffusers converts for SD 1"}}

    def put(slug, title, mods, tensors, source, rule, layout, features, **kw):
        m.case("keys/others", f"L1/others/{slug}", title, tensors, ranks(mods), source=source, rule=rule, features=["sd1", *features], layout=layout, profiles=kw.pop("profiles", some), **kw)

    a = un(ATTN[:8] + FF[:2] + PROJ[:2], alpha=1) + te(TEXT, alpha=1)
    put("omi", "OMI: unet.input_blocks.1.1.X and clip_l.X with kohya's leaves", a, spell.omi(a), ("invoke#8120", "omi"), "OMI's UNet has LDM's block names, its CLIP is clip_l.", "omi", ["onetrainer"])
    b = un(CONV + TIME + TOP, alpha=1)
    put("omi-convolutions", "OMI: convolutions, time projections and top-level layers", b, spell.omi(b), ("invoke#8120", "omi"), "in_layers.2 is conv1, emb_layers.1 time_emb_proj, out_layers.3 conv2, skip_connection conv_shortcut; output_blocks.2.1.conv is an upsampler.",
        "omi", ["onetrainer", "locon"])
    put("omi-embedding", "OMI: a bundled embedding beside the modules", un(ATTN[:4], alpha=1), spell.omi(un(ATTN[:4], alpha=1)) | {"bundle_emb.hex.clip_l": stored(grid("e", (2, 32)), "F32")}, ("invoke#8120", "comfy#3659"),
        "bundle_emb.NAME.KEY is an embedding that travels along.", "omi", ["onetrainer", "embeddings"])
    c = un(ATTN[:8], alpha=1) + te(TEXT[:4], alpha=1)
    put("dotted-with-kohya-leaves", "Dotted path with lora_down, lora_up, alpha", c, spell.onetrainer(c), ("onetrainer#1544", "onetrainer#1515"), "Path and leaf come from different layouts; each says what it says.", None, ["onetrainer"])
    put("lycoris-prefix", "lycoris_ and the module's path", un(ATTN[:8] + FF[:2], alpha=1), spell.lycoris_standalone(un(ATTN[:8] + FF[:2], alpha=1)), ("comfy#7792", "lycoris"), "lycoris_ is the wrapper's prefix.", None, ["kohya"],
        profiles=NOT_KOHYA | {"diffusers": {"skip": True, "why": "diffusers does not read lycoris_ names for SD 1"}})
    native = {}
    for mod in un(ATTN[:8] + PROJ[:2]):
        native[f"diffusion_model.{ldm(mod.path)}.lora_A.weight"] = mod.factors["down"]
        native[f"diffusion_model.{ldm(mod.path)}.lora_B.weight"] = mod.factors["up"]
    put("diffusion-model-prefix", "diffusion_model. and the checkpoint's own names with lora_A, lora_B", un(ATTN[:8] + PROJ[:2]), native, ("simpletuner#779", "comfy-lora"), "ComfyUI's generic form: the checkpoint's own module names.", None, ["onetrainer"],
        profiles={k: v for k, v in some.items() if k != "comfy"})


def big(m, suite):
    sdxl, sd21, flux, sd3 = (Names(suite, w) for w in ("sdxl", "sd21", "flux1", "sd3_medium"))

    def put(names, slug, title, mods, tensors, source, rule, features, group="keys/sdxl", head="sdxl", unmatched=(), **kw):
        m.case(group, f"L1/{head}/{slug}", title, tensors, kw.pop("modules", ranks(mods)), unmatched, source=source, rule=rule, features=features, base=names.base(), profiles=kw.pop("profiles", KOHYA_ONLY), **kw)

    un = lambda paths, label="x", n=sdxl, c="unet", **kw: loras(n.modules, c, paths, kw.pop("r", 1), label, tile=True, **kw)  # noqa: E731
    attn = [f"{b}.transformer_blocks.{k}.{a}" for b, k in (("down_blocks.1.attentions.0", 0), ("down_blocks.1.attentions.1", 1), ("down_blocks.2.attentions.0", 9), ("mid_block.attentions.0", 9), ("up_blocks.0.attentions.2", 0), ("up_blocks.1.attentions.0", 1))
            for a in ("attn1.to_q", "attn2.to_k")]
    kd = lambda mods: spell.kohya(mods, te="lora_te1")  # noqa: E731

    def ks(mods):
        out = {}
        for mod in mods:
            key = sdxl.flat[mod.path]["kohya_ldm"] if mod.component == "unet" else {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}[mod.component] + flat(mod.path)
            out |= {f"{key}.lora_down.weight": mod.factors["down"], f"{key}.lora_up.weight": mod.factors["up"], f"{key}.alpha": stored(1.0, "F16")}
        return out

    kohya_sdxl = ["kohya", "sdxl"]
    a = un(attn)
    put(sdxl, "kohya-sgm-names", "lora_unet_ with sgm's block names (sd-scripts)", a, ks(a), ("diffusers#4133", "kohya-lora"), "input_blocks_{3i+j+1}_1, middle_block_1, output_blocks_{3i+j}_1; three levels.", kohya_sdxl, layout="kohya")
    put(sdxl, "kohya-diffusers-names", "lora_unet_ with diffusers' block names (LCM-LoRA, OneTrainer)", a, kd(un(attn, alpha=1)), ("invoke#5725", "diffusers-kohya"), "The same prefix with the other names: both are met.", kohya_sdxl, layout="kohya")
    conv = [p for p in ("down_blocks.0.resnets.0.conv1", "down_blocks.1.resnets.0.conv_shortcut", "down_blocks.0.downsamplers.0.conv", "up_blocks.0.upsamplers.0.conv", "up_blocks.1.upsamplers.0.conv", "mid_block.resnets.1.conv2", "conv_in", "conv_out")]
    c = un(conv)
    put(sdxl, "kohya-sgm-convolutions", "Convolutions in sgm's names; output_blocks_2_2_conv is the upsampler", c, ks(c), ("kohya_ss#307", "kohya-lora"), "in_layers_2, out_layers_3, skip_connection, op, output_blocks_2_2_conv.", [*kohya_sdxl, "locon"], layout="kohya")
    e = un(["add_embedding.linear_1", "add_embedding.linear_2", "time_embedding.linear_1", "time_embedding.linear_2"])
    put(sdxl, "kohya-label-emb", "label_emb_0_0, label_emb_0_2, time_embed_0, time_embed_2", e, ks(e), ("diffusers#11224", "diffusers#14005"), "label_emb is add_embedding, time_embed is time_embedding.", kohya_sdxl, layout="kohya")
    t1 = un([f"text_model.encoder.layers.{n}.{t}" for n in (0, 11) for t in ("self_attn.q_proj", "mlp.fc1")], c="text_encoder")
    t2 = un([f"text_model.encoder.layers.{n}.{t}" for n in (0, 31) for t in ("self_attn.q_proj", "mlp.fc1")], c="text_encoder_2")
    put(sdxl, "kohya-two-text-encoders", "lora_te1_ and lora_te2_", t1 + t2, ks(t1 + t2), ("comfy#1163", "comfy#1144"), "te1 is CLIP-L, te2 is OpenCLIP-G in HF names.", kohya_sdxl, layout="kohya")
    tp = un(["text_projection"], c="text_encoder_2")
    put(sdxl, "kohya-text-projection", "lora_te2_text_projection beside the UNet", a + tp, ks(a + tp), ("onetrainer#314", "onetrainer#47"), "text_projection has an underscore of its own and is a module of the second encoder.", kohya_sdxl, layout="kohya",
        or_refuse="a reader may say that it cannot apply it; never in silence")
    put(sdxl, "kohya-all", "UNet and both text encoders", a + t1 + t2, ks(a + t1 + t2), ("comfy#1163", "kohya-lora"), "All three components.", kohya_sdxl, layout="kohya")
    put(sdxl, "diffusers-lora-a-b", "unet., text_encoder., text_encoder_2. with lora_A, lora_B", a + t1 + t2, spell.diffusers_peft(a + t1 + t2)[0], ("diffusers#10954", "diffusers-lora"), "Dotted names are the module's own.", ["diffusers", "sdxl"],
        layout="diffusers", profiles=NOT_KOHYA, metadata={"format": "pt"})
    dup = ks(un(attn[:2])) | kd(un(attn[:2], alpha=1))
    put(sdxl, "kohya-both-names", "The same modules in sgm's and in diffusers' names, equal values", un(attn[:2]), dup, ("diffusers#4133", "diffusers-kohya"), "Two names for one module with the same values are one LoRA, applied once.", kohya_sdxl, layout="kohya",
        or_refuse="a module that stands twice may be refused; it is never applied twice")
    put(sdxl, "deep-blocks", "transformer_blocks_0 to 9 of one attention", un([f"mid_block.attentions.0.transformer_blocks.{k}.attn2.to_v" for k in range(10)]), ks(un([f"mid_block.attentions.0.transformer_blocks.{k}.attn2.to_v" for k in range(10)])),
        ("comfy#2364", "kohya-lora"), "SDXL's middle block is ten deep.", kohya_sdxl, layout="kohya")
    put(sdxl, "sd1-file-on-sdxl", "An SD 1 file on an SDXL base", [], spell.kohya(loras(m.shapes, "unet", ATTN[:4], 2, "o1", tile=True, alpha=1)), ("comfy#1461", "invoke#8008"), "Nothing fits: every name is reported, or the file is refused.", kohya_sdxl,
        unmatched=[*spell.kohya(loras(m.shapes, "unet", ATTN[:4], 2, "o1", tile=True, alpha=1))], modules={}, or_refuse="refusing a file for another base is better still")
    # SD 2
    proj = [p for p in ("down_blocks.0.attentions.0.proj_in", "mid_block.attentions.0.proj_out", "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", "up_blocks.3.attentions.2.transformer_blocks.0.ff.net.2")]
    s2 = un(proj, n=sd21, alpha=1)
    put(sd21, "kohya-linear-projections", "SD 2: proj_in and proj_out are linear layers", s2, spell.kohya(s2), ("kohya_ss#2173", "kohya-lora"), "2-D factors; attn2.to_k has 1024 inputs.", ["kohya", "sd2"], group="keys/sd2", head="sd2", layout="kohya")
    s2t = un(["text_model.encoder.layers.0.self_attn.q_proj", "text_model.encoder.layers.22.mlp.fc1"], n=sd21, c="text_encoder", alpha=1)
    put(sd21, "kohya-text-encoder", "SD 2: OpenCLIP-H in HF names, 23 layers of 1024", s2t, spell.kohya(s2t), ("comfy#8880", "kohya-lora"), "lora_te_ with HF names.", ["kohya", "sd2"], group="keys/sd2", head="sd2", layout="kohya")
    put(sd21, "diffusers-lora-a-b", "SD 2: dotted names", s2, spell.diffusers_peft(un(proj, n=sd21))[0], ("diffusers#8530", "diffusers-lora"), "Dotted names are the module's own.", ["diffusers", "sd2"], group="keys/sd2", head="sd2", layout="diffusers", profiles=NOT_KOHYA,
        metadata={"format": "pt"})
    # Flux, SD 3
    fl = {x["bfl"]: x for x in flux.raw["modules"]}

    def bfl(names_, style):
        tensors, modules = {}, {}
        for name in names_:
            x = fl[name]
            down, up = stored(np.resize(grid(name + "d", (16,)), x["in"]).reshape(1, x["in"]), "F16"), stored(np.resize(grid(name + "u", (16,)), x["out"]).reshape(x["out"], 1), "F16")
            if style == "kohya":
                tensors |= {x["kohya"] + ".lora_down.weight": down, x["kohya"] + ".lora_up.weight": up, x["kohya"] + ".alpha": stored(1.0, "F16")}
            else:
                tensors |= {f"{style}{name}.lora_A.weight": down, f"{style}{name}.lora_B.weight": up}
            for d in x["diffusers"]:
                modules["transformer." + d["name"]] = 1
        return tensors, modules

    dit = {"group": "keys/dit", "head": "flux"}
    fd = un([f"transformer_blocks.0.{t}" for t in ("attn.to_q", "attn.add_k_proj", "attn.to_out.0", "attn.to_add_out", "ff.net.0.proj", "ff_context.net.2", "norm1.linear")] + [f"single_transformer_blocks.37.{t}" for t in ("attn.to_v", "proj_mlp", "proj_out", "norm.linear")]
            + ["x_embedder", "context_embedder"], n=flux, c="transformer")
    put(flux, "diffusers-lora-a-b", "transformer. with lora_A, lora_B (diffusers, ai-toolkit, SimpleTuner)", fd, spell.diffusers_peft(fd)[0], ("aitoolkit#67", "diffusers-lora"), "Dotted names are the module's own.", ["diffusers", "flux"], profiles=NOT_KOHYA,
        layout="diffusers", metadata={"format": "pt"}, **dit)
    for slug, title, names_, source in (
        ("kohya-plain", "kohya: projections, feed-forward, modulation", ["double_blocks.0.img_attn.proj", "double_blocks.18.txt_attn.proj", "double_blocks.0.img_mlp.0", "double_blocks.0.txt_mlp.2", "double_blocks.0.img_mod.lin", "single_blocks.37.linear2", "single_blocks.0.modulation.lin"], ("diffusers#9291", "kohya-lora")),
        ("kohya-fused-qkv", "kohya: fused qkv acts on to_q, to_k, to_v", ["double_blocks.0.img_attn.qkv", "double_blocks.0.txt_attn.qkv"], ("diffusers#9291", "kohya-lora")),
        ("kohya-fused-linear1", "kohya: linear1 acts on to_q, to_k, to_v and proj_mlp", ["single_blocks.0.linear1"], ("diffusers#9134", "kohya-lora")),
        ("kohya-embedders", "kohya: img_in, txt_in, time_in, vector_in, final_layer", ["img_in", "txt_in", "time_in.in_layer", "vector_in.out_layer", "final_layer.linear"], ("diffusers#14005", "kohya-lora")),
    ):
        tensors, modules = bfl(names_, "kohya")
        put(flux, slug, "Flux, " + title, [], tensors, source, "BFL's names flattened under lora_unet_; a fused layer's LoRA acts on the rows of its parts with the same rank.", ["kohya", "flux"], modules=modules, layout="kohya", **dit)
    tensors, modules = bfl(["double_blocks.0.img_attn.proj", "double_blocks.0.img_attn.qkv", "single_blocks.0.linear2"], "diffusion_model.")
    put(flux, "native-diffusion-model", "Flux, diffusion_model. with BFL's own names", [], tensors, ("comfy#9753" if False else "comfy#11135", "comfy-lora"), "The checkpoint's own module names under diffusion_model.", ["dit", "flux"], modules=modules, profiles=NOT_KOHYA, **dit)
    x = {}
    for key, i, o in (("qkv_lora1", 3072, 9216), ("proj_lora1", 3072, 3072), ("qkv_lora2", 3072, 9216), ("proj_lora2", 3072, 3072)):
        x[f"double_blocks.0.processor.{key}.down.weight"] = stored(np.resize(grid(key + "d", (16,)), i).reshape(1, i), "F16")
        x[f"double_blocks.0.processor.{key}.up.weight"] = stored(np.resize(grid(key + "u", (16,)), o).reshape(o, 1), "F16")
    put(flux, "xlabs", "Flux, XLabs: processor.qkv_lora1 is the picture's, 2 the text's", [], x, ("xflux#41", "diffusers#9803"), "1: img_attn, 2: txt_attn; qkv is fused.", ["dit", "flux"],
        modules={f"transformer.transformer_blocks.0.attn.{t}": 1 for t in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")}, profiles=NOT_KOHYA, **dit)
    d3 = un(["transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.add_q_proj", "transformer_blocks.23.ff.net.2", "transformer_blocks.0.ff_context.net.0.proj", "transformer_blocks.0.norm1.linear"], n=sd3, c="transformer")
    put(sd3, "diffusers-lora-a-b", "SD 3: transformer. with lora_A, lora_B", d3, spell.diffusers_peft(d3)[0], ("diffusers#14088", "diffusers-lora"), "Dotted names are the module's own.", ["diffusers", "sd3"], group="keys/dit", head="sd3", profiles=NOT_KOHYA, layout="diffusers",
        metadata={"format": "pt"})
    by = {mm["diffusers"]: mm for mm in sd3.raw["modules"]}
    k3, mods3 = {}, {}
    for name in ("transformer_blocks.0.attn.to_out.0", "transformer_blocks.0.ff.net.0.proj", "transformer_blocks.5.ff_context.net.2"):
        q = by[name]
        k3 |= {q["kohya"] + ".lora_down.weight": stored(np.resize(grid(name, (16,)), q["in"]).reshape(1, -1), "F16"), q["kohya"] + ".lora_up.weight": stored(np.resize(grid(name + "u", (16,)), q["out"]).reshape(-1, 1), "F16"), q["kohya"] + ".alpha": stored(1.0, "F16")}
        mods3["transformer." + name] = 1
    put(sd3, "kohya-joint-blocks", "SD 3: joint_blocks in kohya's names", [], k3, ("comfy#7792", "kohya-lora"), "x_block is the picture's, context_block the text's.", ["kohya", "sd3"], modules=mods3, group="keys/dit", head="sd3", layout="kohya")


def make(suite, sd1):
    m = Maker(suite, sd1)
    kohya(m, sd1.modules)
    diffusers(m, sd1.modules)
    peft(m, sd1.modules)
    clone(m, sd1.modules)
    others(m, sd1.modules)
    big(m, suite)
