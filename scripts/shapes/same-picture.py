"""
The diffusers and PEFT side of same-picture.mjs: loads what `lora train` wrote, compares what was loaded with the factors of the
run's training state, and draws. One argument: a folder with jobs.json; answers in answers.json and PNGs at the paths the jobs name.
"""
import json
import logging
import os
import sys
import warnings

import numpy as np
import torch
from safetensors.torch import load_file

HERE = sys.argv[1]
with open(os.path.join(HERE, "jobs.json")) as f:
    PLAN = json.load(f)
# Two threads wait for each other at every one of these small layers: one is many times faster where others work too.
torch.set_num_threads(1)

import diffusers  # noqa: E402
import peft  # noqa: E402
import transformers  # noqa: E402
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline  # noqa: E402
from peft import PeftModel  # noqa: E402
from peft.tuners.lora import LoraLayer  # noqa: E402

# Said of every adapter that leaves the text encoder alone; diffusers itself calls it safe then.
NO_TEXT = "No LoRA keys associated to CLIPTextModel"
# transformers says so once of every token that is added; diffusers then puts the learned row in, which is compared below.
NEW_ROW = "The new embeddings will be initialized from a multivariate normal distribution"


class Heard(logging.Handler):
    """Warnings of the three libraries while something is loaded."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())

    def __enter__(self):
        self.caught = warnings.catch_warnings(record=True)
        self.list = self.caught.__enter__()
        warnings.simplefilter("always")
        for name in ("diffusers", "transformers", "peft"):
            logging.getLogger(name).addHandler(self)
        return self

    def __exit__(self, *what):
        for name in ("diffusers", "transformers", "peft"):
            logging.getLogger(name).removeHandler(self)
        self.caught.__exit__(*what)
        self.said += [str(w.message) for w in self.list]


def base():
    pipe = StableDiffusionPipeline.from_pretrained(PLAN["base"], torch_dtype=torch.float32, safety_checker=None)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe, job, row, **more):
    """The pictures of a row, one by one: each from the generator of its own seed."""
    for seed, file in row["files"].items():
        image = pipe(
            job["prompt"],
            num_inference_steps=PLAN["steps"],
            guidance_scale=PLAN["guidance"],
            height=PLAN["size"],
            width=PLAN["size"],
            generator=torch.Generator("cpu").manual_seed(int(seed)),
            **more,
        ).images[0]
        image.save(file)


def factors_of(model, component):
    """What PEFT holds, by the trainer's names, and the scaling of each module."""
    found, scalings = {}, {}
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        path = name.removeprefix("base_model.model.")
        # transformers 5 has no level text_model. in CLIPTextModel; the trainer's names have it.
        if component == "text_encoder" and not path.startswith("text_model."):
            path = "text_model." + path
        (adapter,) = module.lora_A.keys()
        found[f"{component}.{path}:down"] = module.lora_A[adapter].weight
        found[f"{component}.{path}:up"] = module.lora_B[adapter].weight
        if adapter in module.lora_magnitude_vector:
            found[f"{component}.{path}:magnitude"] = module.lora_magnitude_vector[adapter].weight
        scalings[f"{component}.{path}"] = module.scaling[adapter]
    return {k: v.detach().float().reshape(-1) for k, v in found.items()}, scalings


def compare_factors(pipe, job):
    """Against the training state: the same names both ways, the same bits (F16: of the value rounded once), the scaling."""
    state = {k.removeprefix("tensors/"): v for k, v in load_file(job["state"]).items() if k.startswith("tensors/")}
    rounded = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[job["dtype"]]
    wants = {k: v.to(rounded).float().reshape(-1) for k, v in state.items() if not k.endswith("added_rows")}
    found, scalings = {}, {}
    for component in ("unet", "text_encoder"):
        f, s = factors_of(getattr(pipe, component), component)
        found.update(f)
        scalings.update(s)
    wrong = [f"{k} was not loaded" for k in sorted(wants.keys() - found.keys())]
    wrong += [f"{k} is loaded but was not trained" for k in sorted(found.keys() - wants.keys())]
    for k in sorted(wants.keys() & found.keys()):
        if not torch.equal(wants[k], found[k]):
            wrong.append(f"{k} differs by {(wants[k] - found[k]).abs().max().item():.3g}" if wants[k].shape == found[k].shape else f"{k} has another size")
    for k, scaling in sorted(scalings.items()):
        rank = state[f"{k}:down"].shape[0] if f"{k}:down" in state else 1
        alpha = job["alpha"] if job["alpha"] is not None else rank
        want = alpha / (rank**0.5 if job["rsLora"] else rank)
        if abs(scaling - want) > 1e-7 * want:
            wrong.append(f"{k} has scaling {scaling}, not {want}")
    return dict(tensors=len(found), of=len(wants), wrong=wrong)


def load(pipe, job):
    notes = []
    if job["peft"]:
        pipe.unet = PeftModel.from_pretrained(pipe.unet, job["folder"], adapter_name="trained")
        return notes
    if job["file"] is None:
        return notes
    weights = load_file(job["file"])
    tokens = [k for k in weights if k.startswith("bundle_emb.")]
    source = dict(pretrained_model_name_or_path_or_dict=job["folder"], weight_name=os.path.basename(job["file"]))
    if tokens:
        # diffusers refuses a whole file for one name without "lora" in it.
        notes.append("diffusers reads no file with bundle_emb.*: loaded without these names")
        source = dict(pretrained_model_name_or_path_or_dict={k: v for k, v in weights.items() if k not in tokens})
    try:
        pipe.load_lora_weights(**source, adapter_name="trained")
    except (ValueError, IndexError) as e:
        if job["layout"] != "kohya" or not job["textEncoder"]:
            raise
        # transformers >= 5.6 has no level text_model. in CLIPTextModel, and a kohya file no configuration that diffusers could take
        # instead: it finds no rank and stops, for kohya's own files too. Its own parts, with the level cut, load it.
        notes.append(f"diffusers cannot load a kohya file with a text encoder over transformers 5 ({type(e).__name__}: {str(e)[:60]}); text_model. cut from its names")
        pipe.unload_lora_weights()
        state, alphas = pipe.lora_state_dict(**source)
        cut = lambda entries: {k.replace("text_encoder.text_model.", "text_encoder.", 1): v for k, v in entries.items()}  # noqa: E731
        more = dict(network_alphas=cut(alphas), adapter_name="trained", _pipeline=pipe)
        pipe.load_lora_into_unet(cut(state), unet=pipe.unet, **more)
        pipe.load_lora_into_text_encoder(cut(state), text_encoder=pipe.text_encoder, **more)
    return notes


def set_scale(pipe, job, scale):
    if job["peft"]:
        for module in pipe.unet.modules():
            if isinstance(module, LoraLayer):
                module.set_scale("trained", scale)
    elif job["file"] is not None:
        pipe.set_adapters(["trained"], [scale])


def run(job):
    pipe = base()
    answer = dict(notes=[])
    with Heard() as heard:
        answer["notes"] += load(pipe, job)
        if job["embedding"] is not None:
            pipe.load_textual_inversion(job["embedding"])
    text = job["file"] is not None and job["textEncoder"]
    allowed = ([] if text else [NO_TEXT]) + ([] if job["embedding"] is None else [NEW_ROW])
    answer["warnings"] = [m for m in heard.said if not m.startswith(tuple(allowed))]
    if job["file"] is not None:
        answer["factors"] = compare_factors(pipe, job)
    if job["embedding"] is not None:
        (row,) = [v for k, v in load_file(job["state"]).items() if k == "tensors/added_rows"]
        ids = pipe.tokenizer.convert_tokens_to_ids([job["token"]] + [f"{job['token']}_{i}" for i in range(1, row.shape[0])])
        got = pipe.text_encoder.get_input_embeddings().weight[ids].detach()
        answer["rows"] = dict(tensors=len(ids), of=row.shape[0], wrong=[] if torch.equal(got, row) else [f"{job['token']} differs by {(got - row).abs().max().item():.3g}"])
    for row in job["rows"]:
        if row["how"] == "cross_attention_kwargs":
            pipe.set_adapters(["trained"], [1.0])
            draw(pipe, job, row, cross_attention_kwargs={"scale": row["scale"]})
        else:
            set_scale(pipe, job, row["scale"])
            draw(pipe, job, row)
    return answer


answers = {}
for job in PLAN["jobs"]:
    try:
        answers[job["name"]] = run(job)
    except Exception as e:  # a loader that fails is a finding, not the end of the comparison
        where = e.__traceback__
        while where.tb_next is not None:
            where = where.tb_next
        answers[job["name"]] = dict(error=f"{type(e).__name__}: {str(e)[:300]} ({os.path.basename(where.tb_frame.f_code.co_filename)}:{where.tb_lineno})")
versions = dict(diffusers=diffusers.__version__, peft=peft.__version__, transformers=transformers.__version__, torch=torch.__version__, numpy=np.__version__)
with open(os.path.join(HERE, "answers.json"), "w") as f:
    json.dump(dict(versions=versions, answers=answers), f, indent=1)
