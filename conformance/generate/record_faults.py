"""Runs every L5 and L6 case of a whole model with wrongly merged adapters and keeps what came out.

The 23 formulas of ../shared/reference/inference/faults/README.md, rsLoRA, every other block left out, and of two adapters
only the first or the last. One strength (adapter a at 0.8) is the one of the recording: there this script only checks that
it gets the same, and adds what the recording lacks: all steps of the right run, and what float16 and bfloat16 alone do.
A formula that changes nothing for a case's adapter is left out.

Writes recorded/faults-forward.safetensors and faults-images.safetensors (`KEY|CODE[:DETAIL]/NAME`; the first PART values of
an output, the last PART of final latents: enough to tell formulas apart), faults.json, and faults-merges.safetensors (the
right merges of the recording, for tests). Needs the same as record.py, and conformance/cases (requests of L6).

Usage: python record_faults.py
"""

import json
import math
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

sys.dont_write_bytecode = True

from record import DTYPES, HERE, SHARED, Applied, base, module_of, rel, run  # noqa: E402
from record_precision import CASES, absolute  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

PART = 128
FAULTS = SHARED / "inference/faults"
PAIRS = ((".lora_A.weight", ".lora_B.weight"), (".lora.down.weight", ".lora.up.weight"), (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"), (".lora_down.weight", ".lora_up.weight"))


class Module:
    """One module of an adapter: `path` is dotted or flattened, as the file has it, always in dots here."""

    def __init__(self, name, down, up, alpha):
        self.name, self.rank, self.alpha = name, down.shape[0], down.shape[0] if alpha is None else float(alpha)
        self.has_alpha = alpha is not None
        self.D = (up.double().flatten(1) @ down.double().flatten(1)).reshape(up.shape[0], *down.shape[1:])
        self.text = name.startswith(("text_encoder", "lora_te"))
        self.flat = "_" + name.removeprefix("lora_unet_").removeprefix("unet.").replace(".", "_") + "_"
        self.conv, self.wide = self.D.ndim == 4, self.D.ndim == 4 and self.D.shape[2] > 1

    def within(self, block):
        return not self.text and self.flat.startswith(f"_{block.replace('.', '_')}_")


def read(path):
    tensors = load_file(str(path))
    out = []
    for key in sorted(tensors):
        for down, up in PAIRS:
            if key.endswith(down):
                name = key[: -len(down)]
                out.append(Module(name, tensors[key], tensors[name + up], tensors.get(name + ".alpha")))
    return out


def flipped(m):
    return m.D.flip(2, 3) if m.wide else m.D


def transposed(m):
    return m.D.T if m.D.ndim == 2 and m.D.shape[0] == m.D.shape[1] else m.D


def column_major(m):
    return m.D if m.conv else m.D.T.contiguous().view(m.D.shape)


def exchanged(m, all_):
    if m.text or not m.name.endswith(("to_k", "to_v")):
        return m.D
    other = m.name[:-1] + ("v" if m.name.endswith("k") else "k")
    return next((o.D for o in all_ if o.name == other and o.D.shape == m.D.shape), m.D)


def right(m, s, _all=None):
    return s * m.alpha / m.rank


def scaled(k):
    return lambda m, s, all_: (k(m, s, all_), m.D)


def without(gone):
    return lambda m, s, all_: (0.0 if gone(m) else right(m, s), m.D)


def reshaped(d):
    return lambda m, s, all_: (right(m, s), d(m))


def attention(all_):
    return next((m for m in all_ if "attn1_to_q" in m.flat), all_[0])


FORMULAS = {
    "alpha-ignored": scaled(lambda m, s, _: s), "alpha-not-divided-by-rank": scaled(lambda m, s, _: s * m.alpha if m.has_alpha else s),
    "rank-of-first-module-for-all": scaled(lambda m, s, a: s * m.alpha / attention(a).rank), "alpha-of-first-module-for-all": scaled(lambda m, s, a: s * attention(a).alpha / m.rank),
    "alpha-over-rank-squared": scaled(lambda m, s, _: s * (m.alpha / m.rank) ** 2), "rank-over-alpha": scaled(lambda m, s, _: s * m.rank / m.alpha),
    "user-scale-squared": scaled(lambda m, s, _: s * right(m, s)), "user-scale-ignored": scaled(lambda m, s, _: right(m, 1.0)),
    "applied-twice": scaled(lambda m, s, _: 2 * right(m, s)), "sign-flipped": scaled(lambda m, s, _: -right(m, s)),
    "up-down-swapped-on-square": reshaped(transposed), "delta-column-major": reshaped(column_major),
    "text-encoder-dropped": without(lambda m: m.text), "unet-dropped": without(lambda m: not m.text),
    "block-dropped:up_blocks.1": without(lambda m: m.within("up_blocks.1")), "mid-block-dropped": without(lambda m: m.within("mid_block")),
    "conv-ignored": without(lambda m: m.conv), "conv3x3-ignored": without(lambda m: m.wide), "conv-kernel-flipped": reshaped(flipped),
    "to-out-dropped": without(lambda m: "_to_out_0_" in m.flat), "cross-attention-only": without(lambda m: not m.text and "_attn2_" not in m.flat),
    "k-and-v-exchanged": lambda m, s, all_: (right(m, s), exchanged(m, all_)), "ff-dropped": without(lambda m: "_ff_" in m.flat or "_mlp_" in m.flat),
    "rslora": scaled(lambda m, s, _: s * m.alpha / math.sqrt(m.rank)),
}
BLOCKS = {f"block-dropped:{b}": without(lambda m, b=b: m.within(b)) for b in ("down_blocks.0", "down_blocks.1", "down_blocks.2", "down_blocks.3", "up_blocks.0", "up_blocks.2", "up_blocks.3")}
RIGHT = scaled(right)


class Merged:
    """Adapters merged by a formula in float64, rounded once to float32; taken back on exit."""

    def __init__(self, unet, text, uses, formula):
        self.models, self.uses, self.formula = (unet, text), uses, formula

    def __enter__(self):
        self.kept = {}
        for modules, s in self.uses:
            for m in modules:
                p = module_of(m.name, *self.models).weight
                self.kept.setdefault(id(p), (p, p.data.clone()))
                k, d = self.formula(m, s, modules)
                p.data = (p.data.double() + k * d.reshape(p.shape)).float()

    def __exit__(self, *_):
        for p, data in self.kept.values():
            p.data = data


def variants(uses, blocks):
    for code, formula in (FORMULAS | (BLOCKS if blocks else {})).items():
        yield code, uses, formula
    if len(uses) > 1:
        yield "first-adapter-only", uses[:1], RIGHT
        yield "last-adapter-only", uses[-1:], RIGHT


def changes(got, exact, plain):
    """False when the formula is the right one for this adapter."""
    return float((got - exact).norm()) > 1e-3 * float((exact - plain).norm())


@torch.no_grad()
def forwards():
    unet, text, _ = base(SHARED / "base/tiny-sd")
    f, t = load_file(str(SHARED / "inference/unet.safetensors")), load_file(str(SHARED / "inference/text_encoder.safetensors"))
    planted = load_file(str(FAULTS / "faults.safetensors"))
    ids = t["input_ids"][:1]

    def both():
        return unet(f["probe/x"], f["probe/t"], f["probe/ctx"]).sample, text(ids)[0]

    out, described = {}, {"check": {}, "forward": {}}
    plain = both()
    for adapter, file in (("a", "a-full-kohya"), ("b", "b-attn-peft"), ("c", "c-attn-te-peft")):
        path = SHARED / f"inference/lora/{file}.safetensors"
        modules = read(path)
        for s in (0.5, 0.8, 1.0, 1.7) if adapter == "a" else (0.5, 1.0, 1.7):
            with Merged(unet, text, [(modules, s)], RIGHT):
                exact = both()
            for code, uses, formula in variants([(modules, s)], adapter == "a"):
                with Merged(unet, text, uses, formula):
                    got = both()
                for which, g, e, p, part in (("unet", got[0], exact[0], plain[0], PART), ("text", got[1], exact[1], plain[1], 2 * PART)):
                    if not torch.equal(e, p) and changes(g, e, p):
                        name = "output" if which == "unet" else "hidden"
                        out[f"{which}/{adapter}/{s}|{code}/{name}"] = g.flatten()[:part].clone()
                planted_code = code.split(":")[0]
                if s == 0.8 and f"{planted_code}/unet_probe" in planted and code not in BLOCKS:
                    described["check"][planted_code] = [float((got[0] - planted[f"{planted_code}/unet_probe"]).abs().max()), float((got[1][:, :16] - planted[f"{planted_code}/text_probe"]).abs().max())]
            if s != 0.8:
                continue
            right_text = exact[1]
            out["right/text"] = right_text.clone()
            assert float((right_text[:, :16] - planted["diffusers/text_probe"]).abs().max()) < 3e-5
            for p, dtype in DTYPES.items():
                row = {}
                for how in ("merge", "whole"):
                    with Applied(unet, text, [(path, s)], merge=dtype):
                        c = dtype if how == "whole" else torch.float32
                        unet.to(c), text.to(c)
                        row["unet " + how] = float((unet(f["probe/x"].to(c), f["probe/t"], f["probe/ctx"].to(c)).sample.float() - planted["diffusers/unet_probe"]).abs().max())
                        row["text " + how] = float((text(ids)[0].float() - right_text).abs().max())
                        unet.float(), text.float()
                described["forward"][f"{adapter}/{s}/{p}"] = row
    assert len(described["check"]) == 23, len(described["check"])
    worst = max(max(v) for v in described["check"].values())
    assert worst < 3e-5, worst
    print("forwards", len(out), "largest difference to the recording", worst, flush=True)
    return out, described


def planted_run(models):
    """The run that the faults were recorded with: every step of it, right and without the adapter."""
    described = json.loads((SHARED / "inference/pipeline.json").read_text())["runs"]["lora_a-loaded-s1.7-dpm10"]
    assert (described["steps"], described["guidance"], described["seed_latents"]) == (10, 7.5, 42)
    initial = load_file(str(SHARED / "inference/pipeline.safetensors"))["lora_a-loaded-s1.7-dpm10/initial_latents"]
    texts = load_file(str(SHARED / "inference/text_encoder.safetensors"))["input_ids"]
    config = {k: (-math.inf if v == "-Infinity" else v) for k, v in described["scheduler_config"].items()}
    args = (torch.stack([texts[0], texts[1]]), initial, described["scheduler"], config, 10, 7.5)
    planted = load_file(str(FAULTS / "faults.safetensors"))
    modules = read(SHARED / "inference/lora/a-full-kohya.safetensors")
    out = {"planted/without": run(models, *args)}
    with Merged(models[0], models[1], [(modules, 0.8)], RIGHT):
        out["planted/right"] = run(models, *args)
    for name, code in (("without", "base"), ("right", "diffusers")):
        for step, which in ((3, "step3_latents"), (-1, "final_latents")):
            off = min(float((out["planted/" + name][i] - planted[f"{code}/{which}"]).abs().max()) for i in ((2, 3) if step == 3 else (-1,)))
            print("planted", name, which, off, flush=True)
            assert off < 5e-4, off
    return out, rel(out["planted/right"][-1:], planted["diffusers/final_latents"][None])


@torch.no_grad()
def images(group):
    models = base(SHARED / "base" / {"shapes": "tiny-shapes", "tiny-sd": "tiny-sd"}[group])
    out, described = planted_run(models) if group == "tiny-sd" else ({}, None)
    read_once = {}
    for case in json.loads((CASES / f"images/{group}.json").read_text()):
        r = absolute(case["request"])
        if not r["adapters"] or all(a["strength"] == 0 for a in r["adapters"]) or "s0.8" in case["id"]:
            continue
        inputs = load_file(r["inputs"])
        exact, plain = (load_file(str(CASES / case["expect"][k]))["latents"][-1] for k in ("latents", "without"))
        ids = torch.cat([inputs["input_ids"], inputs["negative_ids"]])
        for a in r["adapters"]:
            if a["file"] not in read_once:
                read_once[a["file"]] = read(a["file"])
        uses = [(read_once[a["file"]], a["strength"]) for a in r["adapters"]]
        known = {}
        for code, mine, formula in variants(uses, False):
            # A formula that gives the right weights, or those of another one, needs no run.
            weights = tuple(float(k) * float((d * torch.arange(1, d.numel() + 1).reshape(d.shape).cos()).sum()) for u, s in mine for m in u for k, d in [formula(m, s, u)])
            if weights not in known:
                with Merged(models[0], models[1], mine, formula):
                    known[weights] = run(models, ids, inputs["initial_latents"], r["scheduler"]["name"], r["scheduler"]["config"], r["steps"], r["guidance"], noise=inputs.get("step_noise"))[-1]
            if changes(known[weights], exact, plain):
                out[f"{case['id']}|{code}/latents"] = known[weights].flatten()[-PART:].clone()
        print(case["id"], sum(k.startswith(case["id"] + "|") for k in out), flush=True)
    return out, described


def main():
    recorded = HERE / "recorded"
    planted = load_file(str(FAULTS / "faults.safetensors"))
    merges = {k: t for k, t in sorted(planted.items()) if k.split("/")[0] in ("none", "float16-merge", "bfloat16-merge")}
    save_file(merges, str(recorded / "faults-merges.safetensors"))
    tensors, described = forwards()
    save_file({k: v.contiguous() for k, v in sorted(tensors.items())}, str(recorded / "faults-forward.safetensors"))
    latents = {}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for found, check in pool.map(images, ("shapes", "tiny-sd")):
            latents |= found
            if check is not None:
                described["planted"] = check
    save_file({k: v.contiguous() for k, v in sorted(latents.items())}, str(recorded / "faults-images.safetensors"))
    (recorded / "faults.json").write_text(json.dumps(described, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
