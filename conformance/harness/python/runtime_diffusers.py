"""diffusers: adapters by the two halves of `load_lora_weights`, kept beside the weights; forwards; whole pictures."""
import copy
import json
import logging
import os
import re
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
import diffusers  # noqa: E402
import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: E402
from diffusers.loaders import StableDiffusionLoraLoaderMixin as Loader  # noqa: E402
from diffusers.utils.peft_utils import delete_adapter_layers, set_weights_and_activate_adapters  # noqa: E402
from safetensors import SafetensorError  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

import peft_layers  # noqa: E402
from runtime_torch import DTYPES, Skipped, facts, open_file, save  # noqa: E402, F401
from runtime_torch import use as use_torch  # noqa: E402

NAME = "diffusers"
VERSION = f"{diffusers.__version__} (PEFT {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__})"
LEVELS = ["L0", "L1", "L2", "L3", "L4", "L5", "L6"]
# What load_lora_weights is documented to read into a Stable Diffusion 1.x model.
FEATURES = [
    "safetensors", "torch", "kohya", "diffusers", "diffusers-legacy", "sd1", "locon", "dora", "unload", "swap", "stack",
    "component-strength",
]
REFUSALS = (SafetensorError, ValueError, KeyError, RuntimeError, OSError, EOFError, NotImplementedError)
DTYPE = torch.float32


def use(precision):
    global DTYPE
    DTYPE = DTYPES[precision]
    use_torch(precision)


# --- models ------------------------------------------------------------------------------------------------------

MODELS = {}


def model_of(base, component):
    """A fresh copy of a component in our precision; the file is read once. None: the base has no such component."""
    path, config = base["components"].get(component), (base.get("configs") or {}).get(component)
    if path is None:
        return None
    if config is None:
        raise Skipped("needs a whole model with its configuration")
    if path not in MODELS:
        if len(MODELS) > 6:
            MODELS.clear()
        with open(config, encoding="utf8") as file:
            MODELS[path] = build(component, json.load(file), load_file(path)).to(DTYPE).eval()
    return copy.deepcopy(MODELS[path])


def build(component, config, weights):
    if component == "unet":
        model = UNet2DConditionModel.from_config(config)
    elif component == "text_encoder":
        model = CLIPTextModel(CLIPTextConfig(**config))
        if flat(model):
            weights = {name.removeprefix("text_model."): tensor for name, tensor in weights.items()}
    elif component == "vae":
        model = AutoencoderKL.from_config(config)
    else:
        raise Skipped(f"no {component} here")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or [name for name in missing if "position_ids" not in name]:
        raise Skipped("needs a whole model")
    return model


def flat(text_encoder):
    """transformers 5.6 and later: CLIPTextModel has no `text_model.` level, which diffusers 0.40 still counts on."""
    return not hasattr(text_encoder, "text_model")


def spelled(component, path):
    """Names as the protocol has them."""
    return f"{component}.text_model.{path}" if component == "text_encoder" and not path.startswith("text_model.") else f"{component}.{path}"


# --- adapters ----------------------------------------------------------------------------------------------------

class Warnings(logging.Handler):
    """diffusers says by a warning which tensors it left out, in its own spelling."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.names = set()

    def emit(self, record):
        found = re.search(r"unexpected keys found in the model: (.*?)(?:\. |$)", record.getMessage())
        self.names |= set(found[1].split(", ")) if found else set()


class Session:
    """The components of a base, and what diffusers has loaded beside them. Strengths as `set_adapters` sets them."""

    def __init__(self, base, _folder):
        self.base, self.strengths, self.unmatched = base, {}, set()
        self.parts = {c: model_of(base, c) for c in base["components"] if c != "vae"}

    def load(self, name, ref, strength):
        if ref.get("config") or ref.get("textEncoder"):
            raise Skipped("a PEFT folder or a pair of files is no input of load_lora_weights")
        folder, file = os.path.split(ref["file"])
        unet, text = self.parts.get("unet"), self.parts.get("text_encoder")
        state, alphas, metadata = Loader.lora_state_dict(
            folder, weight_name=file, use_safetensors=file.endswith(".safetensors"), local_files_only=True,
            unet_config=None if unet is None else unet.config, return_lora_metadata=True,
        )
        warnings = Warnings()
        logging.getLogger("diffusers").addHandler(warnings)
        try:
            if unet is not None:
                Loader.load_lora_into_unet(state, network_alphas=alphas, unet=unet, adapter_name=name, metadata=metadata)
                self.unmatched |= {f"unet.{key.replace(f'.{name}.', '.')}" for key in warnings.names}
            if text is not None and any(key.startswith("text_encoder.") for key in state):
                if flat(text):  # diffusers raises IndexError on text encoder keys otherwise
                    state, alphas, metadata = without_level(state), without_level(alphas), without_level(metadata)
                Loader.load_lora_into_text_encoder(
                    state, network_alphas=alphas, text_encoder=text, prefix="text_encoder", adapter_name=name, metadata=metadata
                )
        finally:
            logging.getLogger("diffusers").removeHandler(warnings)
        self.set_strength(name, strength)

    def set_strength(self, name, strength):
        self.strengths[name] = strength
        for component, model in self.parts.items():
            names = [n for n in self.strengths if any(peft_layers.has(layer, n) for _, layer in peft_layers.layers(model))]
            if names:
                numbers = [peft_layers.strength_of(self.strengths[n], component) for n in names]
                set_weights_and_activate_adapters(model, names, numbers)

    def unload(self, name):
        """What `delete_adapters` does to each component."""
        for model in self.parts.values():
            delete_adapter_layers(model, name)
        del self.strengths[name]

    def modules(self, name):
        for component, model in self.parts.items():
            for path, layer in peft_layers.layers(model):
                if peft_layers.has(layer, name):
                    yield peft_layers.Module(spelled(component, path), layer, name)

    def weights(self):
        out = {spelled(c, name): t for c, model in self.parts.items() for name, t in peft_layers.merged(model).items()}
        vae = model_of(self.base, "vae")
        return out | ({} if vae is None else {f"vae.{name}": tensor for name, tensor in vae.state_dict().items()})


def without_level(values):
    """Keys, and the module names in the metadata's lists and patterns, without `text_model.`."""
    def short(value):
        if isinstance(value, dict):
            return {short(key): short(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple, set)):
            return type(value)(short(inner) for inner in value)
        return re.sub(r"^(text_encoder\.)?text_model\.", r"\1", value) if isinstance(value, str) else value

    return None if values is None else short(values)


# --- outputs -----------------------------------------------------------------------------------------------------

def forward(session, request):
    """L5. `module`: one module alone; otherwise the whole component."""
    component, model = request["component"], session.parts[request["component"]]
    inputs = {name: t.to(DTYPE) if t.is_floating_point() else t for name, t in load_file(request["inputs"]).items()}
    if "module" in request:
        path = request["module"]
        if component == "text_encoder" and flat(model):
            path = path.removeprefix("text_model.")
        return {"output": model.get_submodule(path)(inputs["input"])}
    if component == "unet":
        return {"output": model(inputs["sample"], inputs["timestep"], inputs["encoder_hidden_states"]).sample}
    states = model(inputs["input_ids"])
    return {"hidden": states.last_hidden_state, "pooled": states.pooler_output}


def image(session, request):
    """L6. The denoising loop of StableDiffusionPipeline on recorded ids and noise; writes the PNG, returns the latents."""
    from PIL import Image

    if request.get("clipSkip"):
        raise Skipped("no clip skip here: diffusers 0.40 with transformers 5 raises AttributeError on it")
    unet, text, vae = session.parts["unet"], session.parts["text_encoder"], model_of(session.base, "vae")
    inputs = load_file(request["inputs"])
    guided = request["guidance"] > 1
    states = text(inputs["input_ids"])[0]
    if guided:
        states = torch.cat([text(inputs["negative_ids"])[0], states])
    scheduler = getattr(diffusers, request["scheduler"]["name"]).from_config(request["scheduler"]["config"])
    scheduler.set_timesteps(request["steps"])
    noise = iter(inputs.get("step_noise", ()))
    module = sys.modules[type(scheduler).__module__]
    if hasattr(module, "randn_tensor"):  # noise drawn by a scheduler's step: the recorded draws instead
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
    pixels = vae.decode(latents / vae.config.scaling_factor).sample[0].float()
    pixels = ((pixels / 2 + 0.5).clamp(0, 1).permute(1, 2, 0) * 255).round().to(torch.uint8)
    Image.fromarray(pixels.numpy()).save(request["png"])
    return torch.stack(steps)
