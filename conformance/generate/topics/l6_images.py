"""L6: whole runs from recorded noise: latents after every step and the picture."""

import json
import math

import numpy as np

from ..lib.kit import Tensor, read_st, st_bytes
from ..lib.sources import src
from .l1_keys import KOHYA_ONLY, NOT_KOHYA
from .l5_forward import FEATURES, PLANTED, PROFILES, adapters, tiny_sd

SCRIPT = "topics/l6_images.py"
PLANTED_RUN = "lora_a-planted-s0.8-dpm10"
# Another right runtime may part this much further than those that were run: the factor that ../shared/reference puts on
# torch's own float32 error (inference-shapes/README.md).
FACTOR = 3
DPM_BLOG = "blog-lora"
WHY = {"striped": ("comfy#1237", "diffusers#3669"), "crescent": ("diffusers#4137", "diffusers#3725"), "both": ("kohya#868", "kohya_ss#2975"), "lora_a": ("comfy#1237", "diffusers#6598"), "lora_b": ("simpletuner#748", "diffusers#3669"),
       "lora_c": ("kohya#1806", "diffusers#3725"), "lora_ab": ("kohya#868", "peft#1155")}
CONTROLS = {"shapes": ("base-dpm20-0", "base-dpm20-negative", "base-dpm20-5", "base-euler20", "base-ddim20", "base-pndm20", "base-heun20", "base-unipc20", "base-euler_a20"), "tiny-sd": ("base-dpm20-g7.5", "base-dpm20-neg", "base-dpm10-g1")}


def shapes_base(suite):
    root = "reference/base/tiny-shapes"
    parts = {"unet": "unet/diffusion_pytorch_model.safetensors", "text_encoder": "text_encoder/model.safetensors", "vae": "vae/diffusion_pytorch_model.safetensors"}
    configs = {c: suite.copy(f"{root}/{p.split('/')[0]}/config.json", f"bases/tiny-shapes/{c}.config.json") for c, p in parts.items()}
    # its vocabulary is the project's own (CC0): whoever tokenises prompts may
    configs |= {"tokenizer.vocab": suite.copy(f"{root}/tokenizer/vocab.json", "bases/tiny-shapes/vocab.json"), "tokenizer.merges": suite.copy(f"{root}/tokenizer/merges.txt", "bases/tiny-shapes/merges.txt")}
    return {"architecture": "sd1", "components": {c: suite.copy(f"{root}/{p}", f"bases/tiny-shapes/{c}.safetensors") for c, p in parts.items()}, "configs": configs, "complete": True}


def trained(suite):
    return {f: suite.copy(f"reference/training/shapes/{f}/pytorch_lora_weights.safetensors", f"adapters/inference/{f}.safetensors") for f in ("striped-lora", "crescent-dreambooth")}


def row(t, n):
    size = len(t.data) // t.shape[0]
    return Tensor(t.dtype, (1, *t.shape[1:]), t.data[n * size : (n + 1) * size])


def config(value):
    return {k: v for k, v in value.items() if not (isinstance(v, float) and not math.isfinite(v)) and not k.startswith("_")}


def largest_step(got, exact):
    """Largest difference of any step, as a share of that step's largest latent: the runner's measure."""
    size = (exact.shape[0], -1)
    return float((np.abs(got - exact).reshape(size).max(axis=1) / np.abs(exact).reshape(size).max(axis=1)).max())


def make(suite, _sd1):
    measured = json.loads(suite.recorded("measured.json"))
    without = read_st(suite.recorded("images-without.safetensors"))[0]
    # case -> precision -> way of running -> largest difference of any step, of a whole right run (record_precision.py)
    ways = json.loads(suite.recorded("images-precision.json"))
    usual = {p: sorted(max(v[p].values()) for v in ways.values())[len(ways) // 2] for p in ("f16", "bf16")}
    # Final latents of wrong merges; every step of the run that ../shared/reference/inference/faults were recorded with.
    wrong = read_st(suite.recorded("faults-images.safetensors"))[0]
    known = read_st(suite.shared("reference/inference/faults/faults.safetensors"))[0]
    texts = read_st(suite.shared("reference/inference/text_encoder.safetensors"))[0]["input_ids"]
    lora, files = adapters(suite), trained(suite)
    sets = (
        ("shapes", shapes_base(suite), "inference-shapes"),
        ("tiny-sd", tiny_sd(suite), "inference"),
    )
    for which, base, folder in sets:
        runs = json.loads(suite.shared(f"reference/{folder}/pipeline.json"))["runs"]
        tensors = read_st(suite.shared(f"reference/{folder}/pipeline.safetensors"))[0]
        if which == "tiny-sd":
            like = "lora_a-loaded-s1.7-dpm10"
            runs[PLANTED_RUN] = runs[like] | {"scale": 0.8, "negative": "blurry, lowres", "png": "faults/diffusers.png"}
            tensors |= {f"{PLANTED_RUN}/initial_latents": tensors[f"{like}/initial_latents"], f"{PLANTED_RUN}/latents": wrong["planted/right"]}
            without[f"{which}/{PLANTED_RUN}"] = wrong["planted/without"]
            last = wrong["planted/right"].value()[-1]
            assert np.abs(last - known["diffusers/final_latents"].value()).max() < 5e-4
        for name, r in runs.items():
            control = name in CONTROLS[which]
            if name.startswith("base-") and not control:
                continue
            if "fused" in name:
                continue
            key = f"{which}/{name}"
            features, profiles, refs = ["safetensors", "sd1"], {}, []
            if which == "shapes":
                ids = tensors[f"{name}/input_ids"]
                refs = [{"file": files[a["file"].split("/")[0]], "strength": a["scale"]} for a in r["adapters"]]
                if refs:
                    features += ["diffusers-legacy"]
                    profiles = NOT_KOHYA
                prompt_ids, negative_ids = row(ids, 0), row(ids, 1)
            else:
                prompt_ids, negative_ids = row(texts, 0), row(texts, 1 if r["negative"] else 2)
                if name.startswith("lora_ab"):
                    refs = [{"file": lora["a"], "strength": 0.7}, {"file": lora["b"], "strength": 0.4}]
                    features += ["kohya", "locon", "diffusers", "stack"]
                    profiles = NOT_KOHYA
                elif name.startswith("lora_"):
                    refs = [{"file": lora[name[5]], "strength": r["scale"]}]
                    features += FEATURES[name[5]]
                    profiles = PROFILES[name[5]]
            if len(refs) > 1:
                features.append("stack")
            made = f"../shared/reference/{folder} (diffusers 58eb52c)"
            inputs = {"initial_latents": tensors[f"{name}/initial_latents"], "input_ids": prompt_ids, "negative_ids": negative_ids}
            if f"{name}/step_noise" in tensors:
                inputs["step_noise"] = tensors[f"{name}/step_noise"]
            slug = name.replace("_", "-").lower()
            latents = tensors[f"{name}/latents"]
            expect = suite.put(f"expect/images/{which}-{slug}.safetensors", st_bytes({"latents": latents}), made)
            if refs:
                plain = suite.put(f"expect/images/{which}-{slug}-without.safetensors", st_bytes({"latents": without[key]}), "conformance/generate/record.py")
            else:
                plain = expect
            values = latents.value()
            smallest = float(np.abs(values).reshape(values.shape[0], -1).max(axis=1).min())
            rel = float(f"{5e-4 / smallest:.3g}")
            mine = ways[f"L6/{which}/{slug}"]
            own = {p: max(mine[p].values()) for p in ("f16", "bf16")}
            inconclusive = {p: float(f"{FACTOR * max(own[p], usual[p]):.3g}") for p in own}
            effect = largest_step(without[key].value() if refs else values, values)
            blind = [p for p in own if rel < effect <= inconclusive[p]]
            again = measured["check"].get(key)
            mine_wrong = {k.split("|")[1]: t for k, t in wrong.items() if k.startswith(f"L6/{which}/{slug}|")}
            if name == PLANTED_RUN:
                mine_wrong = {f"{code}/latents": known[f"{code.split(':')[0]}/final_latents"] for code in PLANTED}
            faults = suite.put(f"expect/images/{which}-{slug}-faults.safetensors", st_bytes(dict(sorted(mine_wrong.items()))), made + ", faults" if name == PLANTED_RUN else "conformance/generate/record_faults.py") if mine_wrong else None
            kind = next((k for k in ("lora_ab", "lora_a", "lora_b", "lora_c", "striped", "crescent", "both") if name.startswith(k)), None)
            what = (f"{r['scheduler'].removesuffix('Scheduler')}, {r['steps']} steps, guidance {r['guidance']}" + (", negative prompt" if r["negative"] else ""))
            title = (f"No adapter (a control): {what}" if control else f"{name}: " + " and ".join(f"{x['file'].rsplit('/', 1)[1].removesuffix('.safetensors')} at {x['strength']}" for x in refs) + f"; {what}")
            suite.add(
                f"images/{which}", f"L6/{which}/{slug}", title,
                {"op": "image", "base": base, "adapters": refs, "prompt": r["prompt"], "negative": r["negative"] or "", "inputs": suite.put(f"inputs/image-{which}-{slug}.safetensors", st_bytes(inputs), made),
                 "scheduler": {"name": r["scheduler"], "config": config(r["scheduler_config"])}, "steps": r["steps"], "guidance": r["guidance"], "height": r["size"][0], "width": r["size"][1]},
                {"latents": expect, "without": plain, "png": suite.copy(f"reference/{folder}/{r['png']}", f"expect/images/{which}-{slug}.png"), "greyLevels": 1} | ({"faults": faults} if faults else {}),
                source=src(*(WHY[kind] if kind else ("comfy#1237", "diffusers#14088")), DPM_BLOG),
                rule="The run of the weights with the adapters in them, from the recorded noise. Initial latents are multiplied by the scheduler's init_noise_sigma. Images are the weakest evidence: weights and single forwards decide what is wrong."
                + (" Who fails this differs in the sampler, not in LoRA." if control else ""),
                implementation="huggingface/diffusers@58eb52c:StableDiffusionPipeline, torch 2.13.0 CPU float32, one thread", script=SCRIPT, tags=["image"] + (["control"] if control else []), features=features, profiles=profiles or None,
                tolerance={
                    "f32": {"rel": rel}, "f16": {"rel": rel, "inconclusiveBelow": inconclusive["f16"]}, "bf16": {"rel": rel, "inconclusiveBelow": inconclusive["bf16"]},
                    "derivation": (
                        f"f32: 5e-4 absolute (README of the recording: diffusers loaded against fused 6.7e-5, torch float32 against float64 up to 5.8e-5) over the smallest largest latent of any step, {smallest:.3g}."
                        + (f" The same run with weights merged by formula in float64 differs by {again:.2g}." if again is not None else "")
                        + f" f16, bf16: {FACTOR} times (the README of the recording, of torch's own float32 error) the largest difference of any step, as a share of its largest latent, that a whole right diffusers run of this case in that precision has ({own['f16']:.2g}, {own['bf16']:.2g}), or the median of all cases where that is more ({usual['f16']:.2g}, {usual['bf16']:.2g});"
                        + " run with adapters loaded by PEFT, merged, and merged with initial latents moved by half an ulp (generate/recorded/images-precision.json). Below it the answer is inconclusive."
                        + (f" In {' and '.join(blind)} this run decides nothing: even without the adapter it differs by only {effect:.2g}." if blind else "")
                    ),
                },
                computations=["diffusers 0.40-dev 58eb52c on torch 2.13 CPU, recorded (../shared/reference/" + folder + ")", "the same run with weights merged by formula in float64: generate/record.py"], licence="made for this project (CC0)" if which == "shapes" else "made for this project",
            )
