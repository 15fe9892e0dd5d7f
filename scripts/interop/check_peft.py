"""PEFT: PeftModel.from_pretrained on our folder, and set_peft_model_state_dict with our configuration."""
import os

import interop_common as c


def setup(report):
    c.need("torch")
    peft = c.need("peft")
    c.need("transformers")
    report.versions("peft", "transformers", "torch")
    return peft


def base_of(job):
    return c.unet(job) if job["components"] == ["unet"] else c.text_encoder(job)


def check(peft, job):
    if len(job["components"]) != 1:
        return [dict(status="fail", why="a PEFT file holds one component, this one has %s" % job["components"])]
    component = job["components"][0]
    kind = "" if component != "unet" or not c.unet_kind(job).startswith("skel") else " (module skeleton, no diffusers)"
    model = peft.PeftModel.from_pretrained(base_of(job), job["folder"])
    out = c.compare(job, c.tuner_deltas(model, component), "PEFT PeftModel.from_pretrained" + kind)

    config = peft.PeftConfig.from_pretrained(job["folder"])
    config.inference_mode = True
    model = peft.get_peft_model(base_of(job), config)
    weights = peft.load_peft_weights(job["folder"], device="cpu")
    result = peft.set_peft_model_state_dict(model, weights)
    unexpected = list(result.unexpected_keys)
    lacking = [k for k in result.missing_keys if any(p in k for p in ("lora_", "hada_", "lokr_"))]
    why = ""
    if unexpected or lacking:
        why = "unexpected keys %s, missing keys %s" % (unexpected[:2], lacking[:2])
    return out + c.compare(job, c.tuner_deltas(model, component), "PEFT set_peft_model_state_dict" + kind, why)


c.main("PEFT", lambda job: job["to"] == "peft", setup, check)
