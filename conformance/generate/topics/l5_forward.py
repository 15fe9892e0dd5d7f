"""L5: outputs of a module, of the UNet and of the text encoder, from given inputs."""

import json

import numpy as np
import torch

from ..lib import spell
from ..lib.kit import grid, read_st, safe, st_bytes
from ..lib.mods import ATTN, BLOCK, CONV, FF, PROJ, TE, TEXT, loras
from ..lib.sources import src
from ..lib.truth import COMPUTATIONS, exact
from .l1_keys import KOHYA_ONLY, NO_TOP, NOT_KOHYA

SCRIPT = "topics/l5_forward.py"
U = {"f32": 2.0**-24, "f16": 2.0**-11, "bf16": 2.0**-8}


def tiny_sd(suite):
    """The base of ../shared/reference/inference: all of it but the tokenizer, whose vocabulary is another's."""
    root = "reference/base/tiny-sd"
    parts = {"unet": "unet/diffusion_pytorch_model.safetensors", "text_encoder": "text_encoder/model.safetensors", "vae": "vae/diffusion_pytorch_model.safetensors"}
    return {
        "architecture": "sd1", "components": {c: suite.copy(f"{root}/{p}", f"bases/tiny-sd/{c}.safetensors") for c, p in parts.items()},
        "configs": {c: suite.copy(f"{root}/{p.split('/')[0]}/config.json", f"bases/tiny-sd/{c}.config.json") for c, p in parts.items()}, "complete": True,
    }


def adapters(suite):
    files = {"a": "a-full-kohya", "b": "b-attn-peft", "b-procs": "b-attn-procs", "c": "c-attn-te-peft"}
    return {k: suite.copy(f"reference/inference/lora/{f}.safetensors", f"adapters/inference/{f}.safetensors") for k, f in files.items()}


FEATURES = {"a": ["kohya", "locon"], "b": ["diffusers"], "b-procs": ["diffusers-legacy"], "c": ["diffusers"]}
WORDS = {"a": "everything: attention, feed-forward, convolutions, text encoder; several ranks, alpha unequal to rank", "b": "the UNet's attention, no alpha", "b-procs": "the same as b, in attention processors' names",
         "c": "attention of UNet and text encoder, no alpha"}
PROFILES = {"a": KOHYA_ONLY, "b": NOT_KOHYA, "b-procs": NOT_KOHYA | {"diffusers": {"skip": True, "why": "ignored by load_lora_weights without a prefix, silently"}}, "c": NOT_KOHYA}
WHY = {"a": ("comfy#1237", "diffusers#6598"), "b": ("diffusers#3669", "simpletuner#748"), "b-procs": ("diffusers#3725", "blog-lora"), "c": ("diffusers#4137", "diffusers#3669")}


def allowance(measured, key, which):
    """4 times what the precision alone was measured to make, the whole model computed in it."""
    out = {}
    for p in ("f16", "bf16"):
        out[p] = {"abs": float(f"{4 * max(measured[f'{key}/{p}'].get(which + ' whole', 0.0), measured[f'{key}/{p}'].get(which + ' merge', 0.0)):.3g}")}
    f32 = max(measured[f"{key}/f32"].values())
    return {
        "f32": {"abs": 3e-5}, **out,
        "derivation": (
            f"f32: 3e-5 of the recording's README; torch's float32 is within 2e-6 of its own float64 there, and an independent merge by formula within {f32:.2g} here. f16, bf16: 4 times the largest error measured when weights "
            f"and arithmetic are of that precision ({out['f16']['abs'] / 4:.2g}, {out['bf16']['abs'] / 4:.2g}; generate/recorded/measured.json): there is no useful worst-case bound over fifty layers."
        ),
    }


# The codes of ../shared/reference/inference/faults, block-dropped with the block that it is about.
PLANTED = {"alpha-ignored", "alpha-not-divided-by-rank", "rank-of-first-module-for-all", "alpha-of-first-module-for-all", "alpha-over-rank-squared", "rank-over-alpha", "user-scale-squared", "user-scale-ignored", "applied-twice", "sign-flipped",
           "up-down-swapped-on-square", "delta-column-major", "text-encoder-dropped", "unet-dropped", "block-dropped:up_blocks.1", "mid-block-dropped", "conv-ignored", "conv3x3-ignored", "conv-kernel-flipped", "to-out-dropped",
           "cross-attention-only", "k-and-v-exchanged", "ff-dropped"}


def strengths(adapter):
    """0.8 of adapter a is where wrong outputs were recorded beside the right ones."""
    return ("0.0", "0.5", "0.8", "1.0", "1.7") if adapter == "a" else ("0.0", "0.5", "1.0", "1.7")


def expected(outputs, without, faults):
    return {"outputs": outputs, "without": without} | ({"faults": faults} if faults else {})


def recorded(suite):
    base = tiny_sd(suite)
    files = adapters(suite)
    planted = json.loads(suite.recorded("faults.json"))
    measured = json.loads(suite.recorded("measured.json"))["forward"] | planted["forward"]
    wrong = read_st(suite.recorded("faults-forward.safetensors"))[0]
    unet = read_st(suite.shared("reference/inference/unet.safetensors"))[0]
    text = read_st(suite.shared("reference/inference/text_encoder.safetensors"))[0]
    known = read_st(suite.shared("reference/inference/faults/faults.safetensors"))[0]
    unet["lora_a/scale0.8"], text["lora_a/scale0.8"] = known["diffusers/unet_probe"], wrong["right/text"]

    def faults(which, adapter, s):
        """File of the wrong outputs of that case: those recorded beside the truth where there are any, else those of record_faults.py."""
        name, probe = ("output", "unet_probe") if which == "unet" else ("hidden", "text_probe")
        mine = {k.split("|")[1]: t for k, t in wrong.items() if k.startswith(f"{which}/{adapter}/{s}|")}
        if adapter == "a" and s == "0.8":
            mine |= {f"{code}/{name}": known[f"{code.split(':')[0]}/{probe}"] for code in PLANTED if f"{code}/{name}" in mine}
        return suite.put(f"expect/forward/{which}-{adapter}-{s}-faults.safetensors", st_bytes(dict(sorted(mine.items()))), "conformance/generate/record_faults.py" + (" and ../shared/reference/inference/faults" if s == "0.8" else "")) if mine else None

    oracle = "huggingface/diffusers@58eb52c:UNet2DConditionModel.forward, torch 2.13.0 CPU float32, adapters loaded and fused"
    made = "../shared/reference/inference (diffusers 58eb52c)"
    say = ["diffusers 0.40-dev 58eb52c with PEFT 0.21 on torch 2.13 CPU, recorded (../shared/reference/inference)", "weights merged by formula in float64, run again: generate/record.py"]
    inputs = {}
    for word, x, t, c in (("8x8", "x", "t", "ctx"), ("8x12", "x2", "t2", "ctx2"), ("16x16", "x16", "t", "ctx")):
        inputs[word] = suite.put(f"inputs/unet-{word}.safetensors", st_bytes({"sample": unet[f"probe/{x}"], "timestep": unet[f"probe/{t}"], "encoder_hidden_states": unet[f"probe/{c}"]}), made)

    def output(name, tensors):
        return suite.put(f"expect/forward/{name}.safetensors", st_bytes(tensors), made)

    plain = {w: output(f"unet-base-{w}", {"output": unet[f"base/{w}"]}) for w in inputs}
    for w in inputs:
        m = allowance(measured | {f"base/{w}/{p}": measured[f"base/{w}/{p}"] for p in ("f32", "f16", "bf16")}, f"base/{w}", "unet")
        suite.add("forward/unet", f"L5/unet/no-adapter-{w}", f"The UNet without any adapter, {w} latents (a control)", {"op": "forward", "base": base, "adapters": [], "component": "unet", "inputs": inputs[w]}, {"outputs": plain[w], "without": plain[w]},
                  source=src("comfy#1237", "diffusers#14088"), rule="Who fails this differs in the UNet, not in LoRA.", implementation=oracle, script=SCRIPT, tags=["forward", "control"], features=["safetensors", "sd1"], tolerance=m, computations=say, licence="made for this project")
    for a in ("a", "b", "b-procs", "c"):
        for s in strengths(a):
            key = f"lora_{a.replace('-', '_')}/scale{s}"
            out = plain["8x8"] if s == "0.0" and np.array_equal(unet[key].value(), unet["base/8x8"].value()) else output(f"unet-{a}-{s}", {"output": unet[key]})
            suite.add("forward/unet", f"L5/unet/{a}-strength-{s}", f"The UNet with adapter {a} at strength {s}: {WORDS[a]}",
                      {"op": "forward", "base": base, "adapters": [{"file": files[a], "strength": float(s)}], "component": "unet", "inputs": inputs["8x8"]}, expected(out, plain["8x8"], faults("unet", a[0], s)), source=src(*WHY[a]),
                      rule="What the network makes of the merged weights; gain and cosine are of the difference to no adapter." + (" Strength 0 is no adapter." if s == "0.0" else ""), implementation=oracle, script=SCRIPT, tags=["forward"],
                      features=["safetensors", "sd1", *FEATURES[a]], profiles=PROFILES[a], tolerance=allowance(measured, f"{a[0]}/{s}", "unet"), computations=say, licence="made for this project")
    ids = text["input_ids"]
    from ..lib.kit import Tensor

    def rows(t, n):
        size = len(t.data) // t.shape[0]
        return Tensor(t.dtype, (n, *t.shape[1:]), t.data[: n * size])

    tin = {n: suite.put(f"inputs/text-{n}.safetensors", st_bytes({"input_ids": rows(ids, n)}), made) for n in (1, 5)}
    tplain = {n: output(f"text-base-{n}", {"hidden": rows(text["last_hidden_state"], n)}) for n in (1, 5)}
    m = allowance(measured | {f"text/{p}": {"text whole": max(measured[f"{a}/0.0/{p}"].get("text whole", 0.0) for a in "ac")} for p in ("f32", "f16", "bf16")}, "text", "text")
    suite.add("forward/text-encoder", "L5/text-encoder/no-adapter", "The text encoder without any adapter, five texts (a control)", {"op": "forward", "base": base, "adapters": [], "component": "text_encoder", "inputs": tin[5]},
              {"outputs": tplain[5], "without": tplain[5]}, source=src("comfy#1237", "diffusers#14088"), rule="Who fails this differs in the text encoder, not in LoRA.", implementation="huggingface/transformers@5.18.0:CLIPTextModel, torch 2.13.0 CPU float32", script=SCRIPT,
              tags=["forward", "control"], features=["safetensors", "sd1"], tolerance=m, computations=say, licence="made for this project")
    for a in ("a", "c"):
        for s in strengths(a):
            t = text[f"lora_{a}/scale{s}"]
            n = t.shape[0]
            out = output(f"text-{a}-{s}", {"hidden": t})
            suite.add("forward/text-encoder", f"L5/text-encoder/{a}-strength-{s}", f"The text encoder with adapter {a} at strength {s}", {"op": "forward", "base": base, "adapters": [{"file": files[a], "strength": float(s)}], "component": "text_encoder", "inputs": tin[n]},
                      expected(out, tplain[n], faults("text", a, s)), source=src("kohya#1806", "diffusers#12053" if a == "a" else "diffusers#13188"), rule="The last hidden state after the final norm; a text encoder's part is applied, not dropped.", implementation="huggingface/transformers@5.18.0:CLIPTextModel with PEFT 0.21.0, torch CPU float32",
                      script=SCRIPT, tags=["forward"], features=["safetensors", "sd1", *FEATURES[a]], profiles=PROFILES[a], tolerance=allowance(measured, f"{a}/{s}", "text"), computations=say, licence="made for this project")


def through(path, x, w, total, b, r, extra):
    """What one layer makes of x, without and with `total` added to its weight, in float64 by both libraries, rounded once; the allowance; how far they agree."""
    shape, outs, worst = w.shape, [], 0.0
    for weight in (w, w + total):
        if len(shape) == 2:
            one = x @ weight.T + b
            two = torch.nn.functional.linear(torch.from_numpy(x), torch.from_numpy(weight), torch.from_numpy(b)).numpy()
        else:
            stride, pad = (2 if "downsamplers" in path else 1), (shape[2] - 1) // 2
            xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
            h = (xp.shape[2] - shape[2]) // stride + 1
            one = np.zeros((1, shape[0], h, h))
            for ky in range(shape[2]):
                for kx in range(shape[3]):
                    part = xp[:, :, ky : ky + stride * h : stride, kx : kx + stride * h : stride]
                    one += np.einsum("nihw,oi->nohw", part, weight[:, :, ky, kx])
            one += b.reshape(1, -1, 1, 1)
            two = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(weight), torch.from_numpy(b), stride=stride, padding=pad).numpy()
        off = float(np.abs(one - two).max() / max(np.abs(one).max(), 1e-30))
        assert off < 1e-12, (path, off)
        worst = max(worst, off)
        outs.append(one.astype(np.float32))
    fan = int(np.prod(shape[1:]))
    # |y' - y| <= gamma(fan + 3 + rank) * sum |x| (|W| + |s||B||A|) + the rounding of y
    bound = float((np.abs(x).max() * fan) * (np.abs(w).max() + extra) + np.abs(b).max() + np.abs(outs[1]).max())
    n32 = fan + r + 8
    tol = {"f32": {"abs": float(f"{n32 * U['f32'] * bound:.3g}")}, "f16": {"abs": float(f"{8 * U['f16'] * bound / np.sqrt(fan):.3g}")}, "bf16": {"abs": float(f"{8 * U['bf16'] * bound / np.sqrt(fan):.3g}")},
           "derivation": f"f32: gamma({n32}) * (|x| (|W| + |s||B||A|) + |b| + |y|), n = fan-in {fan} + rank {r} + 8. f16, bf16: 8 roundings (input, factors, weight, product, output) of the same sum, divided by sqrt({fan}) as its terms' errors are independent (sums in float32)."}
    return outs, tol, worst


def modules(suite, sd1):
    """One layer of the small base: y = x W'^T + b, or a convolution, in float64 by both libraries."""
    shapes = sd1.modules
    table = [
        ("linear", "A linear layer", "unet", f"{BLOCK}.attn1.to_q", 4, 2, [1.0], ("lora", "kohya-merge")), ("linear-tall", "A tall linear layer with a bias (GEGLU)", "unet", f"{BLOCK}.ff.net.0.proj", 4, 2, [0.7], ("lora", "kohya-merge")),
        ("linear-wide", "A wide linear layer with a bias", "unet", f"{BLOCK}.ff.net.2", 8, 2, [1.0], ("diffusers#9134", "kohya-merge")), ("cross-attention", "to_k of a cross-attention", "unet", f"{BLOCK}.attn2.to_k", 4, 1, [1.7], ("comfy#1237", "prompt-to-prompt")),
        ("out-projection", "to_out.0 with a bias", "unet", f"{BLOCK}.attn1.to_out.0", 4, 4, [1.0], ("diffusers#6598", "kohya-merge")), ("negative", "Strength -1", "unet", f"{BLOCK}.attn1.to_v", 4, 2, [-1.0], ("kohya#839", "kohya-merge")),
        ("zero", "Strength 0", "unet", f"{BLOCK}.attn1.to_v", 4, 2, [0.0], ("diffusers#5170", "kohya-merge")), ("conv-3x3", "A 3x3 convolution", "unet", CONV[0], 4, 2, [1.0], ("a1111#8360", "kohya#904")),
        ("conv-stride-2", "A downsampler: 3x3, stride 2", "unet", CONV[4], 2, 1, [1.0], ("kohya_ss#307", "kohya-lora")), ("conv-1x1", "A 1x1 convolution", "unet", PROJ[0], 4, 2, [1.0], ("diffusers#9221", "kohya-merge")),
        ("conv-in", "conv_in", "unet", "conv_in", 2, 1, [1.0], ("diffusers#14005", "kohya-merge")), ("text-attention", "q_proj of the text encoder, with a bias", "text_encoder", TEXT[0], 4, 2, [1.0], ("kohya#1803", "kohya-merge")),
        ("text-feed-forward", "fc1 of the text encoder", "text_encoder", TEXT[4], 4, 2, [0.5], ("kohya#1806", "kohya-merge")), ("stack", "Two adapters at 0.7 and 0.4", "unet", f"{BLOCK}.attn2.to_v", 4, 2, [0.7, 0.4], ("kohya#868", "peft#1155")),
    ]
    for slug, title, component, path, r, alpha, strengths, why in table:
        shape = shapes[(component, path)]
        w = sd1.weight(component, path)
        bias_name = f"{path}.bias"
        b = sd1.weights[component][bias_name].value() if bias_name in sd1.weights[component] else np.zeros(shape[0])
        total, refs, worst, extra = np.zeros(shape), [], 0.0, 0.0
        for n, s in enumerate(strengths):
            mods = loras(shapes, component, [path], r, f"f{slug}{n}", alpha=alpha)
            # Without an out_proj diffusers refuses a text encoder's file (L1/kohya/text-encoder-without-out-proj).
            beside = loras(shapes, component, [TEXT[3]], r, f"f{slug}{n}", alpha=alpha) if path == TEXT[0] else []
            file = suite.put(f"adapters/forward/{slug}-{n}.safetensors", st_bytes(spell.kohya(mods + beside)), "conformance/generate/" + SCRIPT)
            refs.append({"file": file, "strength": s})
            d, magnitude, agree = exact(suite, mods[0], alpha / r)
            total, worst, extra = total + s * d, max(worst, agree), extra + abs(s) * magnitude
        x = grid(f"x{slug}", (1, shape[1], 6, 6) if len(shape) == 4 else (2, 5, shape[1]))
        outs, tol, off = through(path, x, w, total, b, r, extra)
        worst = max(worst, off)
        where = f"expect/forward/module-{slug}"
        suite.add("forward/modules", f"L5/module/{slug}", f"{title}: {path}", {"op": "forward", "base": sd1.weights_base(), "adapters": refs, "component": component, "module": path,
                  "inputs": suite.expectation(f"inputs/module-{slug}.safetensors", {"input": x.astype(np.float32)}, "conformance/generate/" + SCRIPT)},
                  {"outputs": suite.expectation(f"{where}.safetensors", {"output": outs[1]}, "conformance/generate/" + SCRIPT), "without": suite.expectation(f"{where}-without.safetensors", {"output": outs[0]}, "conformance/generate/" + SCRIPT)},
                  source=src(*why), rule="y = x W'^T + b with W' = W + strength * alpha / rank * up @ down; a convolution pads by half its kernel.", script=SCRIPT, tags=["forward", "module"],
                  features=["safetensors", "sd1", "kohya"] + (["locon"] if len(shape) == 4 and shape[2] > 1 else []) + (["stack"] if len(strengths) > 1 else []), profiles=KOHYA_ONLY | (NO_TOP if path == "conv_in" else {}), tolerance=tol, seed=slug, computations=COMPUTATIONS, agreement=worst, licence="made for this project")


def make(suite, sd1):
    modules(suite, sd1)
    recorded(suite)
