#!/usr/bin/env python3
"""diffusers + PEFT + torch as a subject of the LoRA conformance suite (protocol 1).

    python3 subject.py [--precision f32|f16|bf16]

A complete example: reads adapters by diffusers' own loader, keeps them loaded beside the weights (`load_lora_weights`,
`set_adapters`), merges by PEFT's `merge` on a copy when weights are asked for, runs forwards and whole pictures.
Needs torch, safetensors, peft, transformers, diffusers. Answers L0 alone when the last three are missing.
"""
import argparse
import copy
import hashlib
import json
import math
import os
import re
import sys

import torch
from safetensors.torch import load_file, save_file

parser = argparse.ArgumentParser()
parser.add_argument("--precision", choices=("f32", "f16", "bf16"), default="f32")
PRECISION = parser.parse_args().precision
DTYPE = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[PRECISION]
NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}
torch.set_num_threads(1)
torch.set_grad_enabled(False)

try:
    import diffusers
    import peft
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders import StableDiffusionLoraLoaderMixin as Loader
    from diffusers.utils import logging
    from diffusers.utils.peft_utils import set_weights_and_activate_adapters
    from peft.tuners.lora import LoraLayer
    from transformers import CLIPTextConfig, CLIPTextModel

    logging.set_verbosity_error()
    # What load_lora_weights is said to read into a Stable Diffusion 1.x model.
    FEATURES = [
        "safetensors", "torch", "kohya", "diffusers", "diffusers-legacy", "sd1", "locon", "dora", "unload", "swap", "stack",
        "component-strength",
    ]
    LEVELS = ["L0", "L1", "L2", "L3", "L4", "L5", "L6"]
    VERSION = f"{diffusers.__version__}+peft{peft.__version__}"
except ImportError as error:
    print(f"without diffusers and PEFT: {error}", file=sys.stderr)
    FEATURES, LEVELS, VERSION = ["safetensors", "torch"], ["L0"], torch.__version__


class Skipped(Exception):
    """Something that this runtime does not do."""


class Refused(Exception):
    """A bad file."""


# --- models -----------------------------------------------------------------------------------------------------

def config_of(base, component):
    path = (base.get("configs") or {}).get(component)
    if path is None:
        raise Skipped("needs a whole model with its configuration")
    with open(path, encoding="utf8") as file:
        return json.load(file)


MODELS = {}


def model_of(base, component):
    """A fresh copy of a component in our precision."""
    path = (base or {}).get("components", {}).get(component)
    if path is None:
        return None
    if path not in MODELS:
        config, weights = config_of(base, component), load_file(path)
        if component == "unet":
            model = UNet2DConditionModel.from_config(config)
        elif component == "text_encoder":
            model = CLIPTextModel(CLIPTextConfig(**config))
            if not hasattr(model, "text_model"):  # transformers 5 lost this level
                weights = {re.sub(r"^text_model\.", "", name): tensor for name, tensor in weights.items()}
        elif component == "vae":
            model = AutoencoderKL.from_config(config)
        else:
            raise Skipped(f"no {component} here")
        missing, unexpected = model.load_state_dict(weights, strict=False)
        if unexpected or [name for name in missing if "position_ids" not in name]:
            raise Skipped("needs a whole model")
        MODELS.clear() if len(MODELS) > 6 else None
        MODELS[path] = model.to(DTYPE).eval()
    return copy.deepcopy(MODELS[path])


def spelled(component, path):
    """Names as the protocol has them."""
    if component == "text_encoder" and not path.startswith("text_model."):
        path = "text_model." + path
    return f"{component}.{path}"


# --- adapters ---------------------------------------------------------------------------------------------------

class Pipe:
    """Components with adapters loaded by diffusers."""

    def __init__(self, base, components=("unet", "text_encoder")):
        self.parts = {c: m for c in components if (m := model_of(base, c)) is not None}
        self.strengths = {}

    def load(self, name, ref, strength=None):
        if ref.get("config") or ref.get("textEncoder"):
            raise Skipped("a PEFT folder or a pair of files is no input of load_lora_weights")
        folder, file = os.path.split(ref["file"])
        unet, text = self.parts.get("unet"), self.parts.get("text_encoder")
        state, alphas, metadata = Loader.lora_state_dict(
            folder, weight_name=file, use_safetensors=file.endswith(".safetensors"), local_files_only=True,
            unet_config=unet.config if unet is not None else None, return_lora_metadata=True,
        )
        if unet is not None:
            Loader.load_lora_into_unet(state, network_alphas=alphas, unet=unet, adapter_name=name, metadata=metadata)
        if text is not None and any(key.startswith("text_encoder.") for key in state):
            if not hasattr(text, "text_model"):
                # diffusers 0.40 with transformers 5 raises IndexError otherwise.
                state = {key.replace("text_encoder.text_model.", "text_encoder."): t for key, t in state.items()}
                alphas = {k.replace("text_encoder.text_model.", "text_encoder."): a for k, a in (alphas or {}).items()} or None
            Loader.load_lora_into_text_encoder(
                state, network_alphas=alphas, text_encoder=text, prefix="text_encoder", adapter_name=name, metadata=metadata
            )
        old = self.strengths.get(name, 1.0)
        self.strengths[name] = strength if strength is not None else ref.get("strength", old)
        self.activate()

    def activate(self):
        for component, model in self.parts.items():
            names = [n for n in self.strengths if any(n in layer.lora_A for _, layer in layers(model))]
            if names:
                weights = [s.get(component, 1.0) if isinstance(s := self.strengths[n], dict) else s for n in names]
                set_weights_and_activate_adapters(model, names, weights)

    def unload(self, name):
        for _, model in self.parts.items():
            for _, layer in layers(model):
                if name in layer.lora_A:
                    layer.delete_adapter(name)
            if name in getattr(model, "peft_config", {}):
                del model.peft_config[name]
        self.strengths.pop(name, None)
        self.activate()

    def modules(self, name):
        for component, model in self.parts.items():
            for path, layer in layers(model):
                if name in layer.lora_A:
                    yield spelled(component, path), layer

    def weights(self):
        """The weights with all adapters merged by PEFT, on a copy."""
        out = {}
        for component, model in self.parts.items():
            merged = copy.deepcopy(model)
            for _, layer in layers(merged):
                if layer.active_adapters:
                    layer.merge(adapter_names=[n for n in layer.active_adapters if n in layer.lora_A])
            for key, tensor in merged.state_dict().items():
                if ".lora_" in key:
                    continue
                out[spelled(component, key.replace(".base_layer.", "."))] = tensor.detach().clone().contiguous()
        return out


def layers(model):
    return [(path, m) for path, m in model.named_modules() if isinstance(m, LoraLayer)]


def adapter_of(request):
    base = request.get("base")
    if base is None or not base.get("components"):
        raise Skipped("diffusers reads an adapter into a model: the case has none with weights")
    pipe = Pipe(base)
    pipe.load("x", request["adapter"])
    return pipe


# --- the seven requests -----------------------------------------------------------------------------------------

def op_open(request):
    path = request["file"]
    if path.endswith(".safetensors"):
        tensors = load_file(path)
    else:
        tensors = torch.load(path, weights_only=True, map_location="cpu")
    if isinstance(tensors, (list, tuple)):
        tensors = {str(i): t for i, t in enumerate(tensors)}
    out = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise Skipped("nested values are not looked into")
        if tensor.dtype not in NAMES:
            raise Skipped(f"no name for {tensor.dtype}")
        data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        out[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "sha256": hashlib.sha256(data).hexdigest()}
    return {"tensors": out}


def op_describe(request):
    # diffusers says nothing of keys that match nothing.
    return {"modules": {key: layer.r["x"] for key, layer in adapter_of(request).modules("x")}, "unmatched": []}


def op_scaling(request):
    scaling = {key: layer.scaling["x"] for key, layer in adapter_of(request).modules("x")}
    if not all(math.isfinite(value) for value in scaling.values()):
        raise ArithmeticError("a scaling that is no number, which JSON cannot say")
    return {"scaling": scaling}


def op_delta(request):
    deltas = {}
    for key, layer in adapter_of(request).modules("x"):
        if layer.use_dora.get("x"):
            raise Skipped("PEFT has no delta of DoRA apart from the weight")
        deltas[key] = layer.get_delta_weight("x").float().contiguous()
    save_file(deltas, request["out"])
    return {}


def op_weights(request):
    pipe = Pipe(request["base"], request["base"]["components"])
    for action in request["actions"]:
        do, name = action["do"], action.get("name")
        if do == "load":
            pipe.load(name, action["adapter"])
        elif do == "swap":
            old = pipe.strengths[name]
            pipe.unload(name)
            pipe.load(name, action["adapter"], action["adapter"].get("strength", old))
        elif do == "strength":
            pipe.strengths[name] = action["value"]
            pipe.activate()
        elif do == "unload":
            pipe.unload(name)
        else:
            save_file(pipe.weights(), action["out"])
    return {}


def loaded(request, components):
    pipe = Pipe(request["base"], components)
    for i, ref in enumerate(request["adapters"]):
        pipe.load(f"a{i}", ref)
    return pipe


def op_forward(request):
    component = request["component"]
    model = loaded(request, ("unet", "text_encoder")).parts[component]
    inputs = load_file(request["inputs"])
    inputs = {name: t.to(DTYPE) if t.is_floating_point() else t for name, t in inputs.items()}
    if "module" in request:
        path = request["module"]
        if component == "text_encoder" and not hasattr(model, "text_model"):
            path = path.removeprefix("text_model.")
        out = {"output": model.get_submodule(path)(inputs["input"])}
    elif component == "unet":
        out = {"output": model(inputs["sample"], inputs["timestep"], inputs["encoder_hidden_states"]).sample}
    else:
        states = model(inputs["input_ids"])
        out = {"hidden": states.last_hidden_state, "pooled": states.pooler_output}
    save_file({name: t.float().contiguous() for name, t in out.items()}, request["out"])
    return {}


def op_image(request):
    if request.get("clipSkip"):
        raise Skipped("no clip skip here")
    pipe = loaded(request, ("unet", "text_encoder"))
    unet, text, vae = pipe.parts["unet"], pipe.parts["text_encoder"], model_of(request["base"], "vae")
    inputs = load_file(request["inputs"])
    guided = request["guidance"] > 1
    states = text(inputs["input_ids"])[0]
    if guided:
        states = torch.cat([text(inputs["negative_ids"])[0], states])
    scheduler = getattr(diffusers, request["scheduler"]["name"]).from_config(request["scheduler"]["config"])
    scheduler.set_timesteps(request["steps"])
    noise = iter(inputs.get("step_noise", ()))
    module = sys.modules[type(scheduler).__module__]
    if hasattr(module, "randn_tensor"):
        module.randn_tensor = lambda shape, **_: next(noise).to(DTYPE).reshape(shape)
    latents = (inputs["initial_latents"] * scheduler.init_noise_sigma).to(DTYPE)
    steps = []
    for t in scheduler.timesteps:
        sample = scheduler.scale_model_input(torch.cat([latents] * 2) if guided else latents, t)
        predicted = unet(sample, t, encoder_hidden_states=states).sample
        if guided:
            without, with_prompt = predicted.chunk(2)
            predicted = without + request["guidance"] * (with_prompt - without)
        latents = scheduler.step(predicted, t, latents).prev_sample
        steps.append(latents.clone())
    save_file({"latents": torch.stack(steps).float().contiguous()}, request["out"])
    from PIL import Image

    pixels = vae.decode(latents / vae.config.scaling_factor).sample[0].float()
    pixels = ((pixels / 2 + 0.5).clamp(0, 1).permute(1, 2, 0) * 255).round().to(torch.uint8)
    Image.fromarray(pixels.numpy()).save(request["png"])
    return {}


OPS = {
    "open": op_open, "describe": op_describe, "scaling": op_scaling, "delta": op_delta,
    "weights": op_weights, "forward": op_forward, "image": op_image,
}
# Nobody else may print to standard output.
answers, sys.stdout = sys.stdout, sys.stderr

for line in sys.stdin:
    request = json.loads(line)
    answer = {"id": request["id"]}
    if request["op"] == "stop":
        break
    if request["op"] == "start":
        answer |= {"protocol": 1, "precision": PRECISION, "levels": LEVELS, "features": FEATURES, "device": "cpu"}
        answer["implementation"] = {"name": "diffusers" if len(LEVELS) > 1 else "torch", "version": VERSION, "language": "Python"}
    else:
        try:
            answer |= {"ok": True} | OPS[request["op"]](request)
        except Skipped as error:
            answer |= {"skipped": True, "message": str(error)}
        except (Refused, ValueError, KeyError, RuntimeError, OSError, EOFError, NotImplementedError) as error:
            answer |= {"refused": True, "code": type(error).__name__, "message": str(error)[:300]}
        except Exception as error:  # noqa: BLE001
            kind = type(error).__name__
            if kind in ("SafetensorError", "UnpicklingError"):
                answer |= {"refused": True, "code": kind, "message": str(error)[:300]}
            else:
                answer["error"] = {"message": f"{kind}: {error}"[:500]}
    print(json.dumps(answer), file=answers, flush=True)
