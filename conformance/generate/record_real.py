"""
Runs diffusers, PEFT and sd-scripts on the made files of L2 and L3, and keeps how far each is from the expectation:
the measured error of real implementations beside the derived bound. Needs DIFFUSERS_SRC and SD_SCRIPTS. Writes
recorded/real-errors.json; make.py quotes it. Nothing here changes an expectation.
"""

import copy
import importlib.machinery
import json
import os
import shutil
import sys
import tempfile
import types
from pathlib import Path

HERE = Path(__file__).resolve().parent
CASES = HERE.parent / "cases"
sys.path.insert(0, os.environ.get("DIFFUSERS_SRC", "diffusers/src"))
SD_SCRIPTS = os.environ.get("SD_SCRIPTS", "sd-scripts")


def stand_in(name, **members):
    m = types.ModuleType(name)
    m.__spec__ = importlib.machinery.ModuleSpec(name, None)
    m.__dict__.update(members)
    sys.modules[name] = m


import torch  # noqa: E402
import diffusers  # noqa: E402
import peft  # noqa: E402
import transformers  # noqa: E402
from diffusers import UNet2DConditionModel  # noqa: E402
from diffusers.loaders import StableDiffusionLoraLoaderMixin  # noqa: E402
from peft import PeftModel  # noqa: E402
from peft.tuners.tuners_utils import BaseTunerLayer  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

torch.set_num_threads(1)
torch.set_grad_enabled(False)


def mini():
    folder = Path(tempfile.mkdtemp())
    base = CASES / "files/bases/mini-sd1"
    shutil.copy(base / "unet.safetensors", folder / "diffusion_pytorch_model.safetensors")
    shutil.copy(base / "unet.config.json", folder / "config.json")
    unet = UNet2DConditionModel.from_pretrained(folder, torch_dtype=torch.float32).eval()
    shutil.rmtree(folder)
    return unet


def tuners(model, adapter, prefix=""):
    out, scale = {}, {}
    for name, m in model.named_modules():
        if isinstance(m, BaseTunerLayer) and adapter in getattr(m, "ia3_l", {}):
            before = m.base_layer.weight.data.clone()
            m.merge(adapter_names=[adapter])
            name = "unet." + name.removeprefix(prefix)
            scale[name], out[name] = 1.0, m.base_layer.weight.data.double() - before.double()
        elif isinstance(m, BaseTunerLayer) and adapter in getattr(m, "scaling", {}):
            name = "unet." + name.removeprefix(prefix)
            scale[name] = float(m.scaling[adapter])
            if getattr(m, "use_dora", {}).get(adapter):
                before = m.base_layer.weight.data.clone()
                m.merge(adapter_names=[adapter])
                out[name] = m.base_layer.weight.data.double() - before.double()
            elif hasattr(m, "get_delta_weight"):
                out[name] = m.get_delta_weight(adapter).double()
    return out, scale


def by_diffusers(unet, path, config):
    sd, alphas, metadata = StableDiffusionLoraLoaderMixin.lora_state_dict(
        str(path.parent), weight_name=path.name, return_lora_metadata=True, unet_config=unet.config, local_files_only=True)
    model = copy.deepcopy(unet)
    StableDiffusionLoraLoaderMixin.load_lora_into_unet(sd, network_alphas=alphas, unet=model, adapter_name="x", metadata=metadata)
    return tuners(model, "x")


def by_peft(unet, path, config):
    folder = Path(tempfile.mkdtemp())
    shutil.copy(path, folder / "adapter_model.safetensors")
    shutil.copy(config, folder / "adapter_config.json")
    try:
        model = PeftModel.from_pretrained(copy.deepcopy(unet), str(folder))
    finally:
        shutil.rmtree(folder)
    return tuners(model, "default", "base_model.model.")


KOHYA = None


def by_sd_scripts(unet, path, config):
    global KOHYA
    if KOHYA is None:
        for name in ("cv2", "imagesize", "toml", "torchvision", "einops"):
            try:
                __import__(name)
            except ImportError:
                stand_in(name, transforms=types.SimpleNamespace(), rearrange=None, repeat=None)
        if "torchvision" in sys.modules and not hasattr(sys.modules["torchvision"], "__path__"):
            stand_in("torchvision.transforms")
            sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]
        if not hasattr(transformers, "CLIPFeatureExtractor"):
            transformers.CLIPFeatureExtractor = type("CLIPFeatureExtractor", (), {})
        sys.path.insert(0, SD_SCRIPTS)
        import networks.lora as KOHYA_MODULE

        KOHYA = KOHYA_MODULE
    weights = load_file(str(path))
    model = copy.deepcopy(unet)
    text = torch.nn.Module()
    network, _ = KOHYA.create_network_from_weights(1.0, None, None, text, model, weights_sd=dict(weights), for_inference=True)
    names = {"lora_unet_" + n.replace(".", "_"): n for n, _ in model.named_modules()}
    out, scale = {}, {}
    for lora in network.unet_loras:
        lora.lora_up.weight.data = weights[lora.lora_name + ".lora_up.weight"].clone()
        lora.lora_down.weight.data = weights[lora.lora_name + ".lora_down.weight"].clone()
        out["unet." + names[lora.lora_name]] = lora.get_weight().double()
        scale["unet." + names[lora.lora_name]] = float(lora.scale)
    return out, scale


def main():
    unet = mini()
    answers = {}
    runs = (("diffusers", by_diffusers, {"kohya", "diffusers", "diffusers-legacy"}), ("peft", by_peft, {"peft"}), ("kohya", by_sd_scripts, {"kohya"}))
    files = sorted((CASES / "delta").glob("*.json")) + sorted((CASES / "alpha").glob("*.json"))
    for file in files:
        for case in json.loads(file.read_text()):
            features = set(case["features"])
            if "real-file" in case["tags"] or "sd1" not in features or case["request"]["op"] not in ("delta", "scaling"):
                continue
            adapter = case["request"]["adapter"]
            config = CASES / adapter["config"] if "config" in adapter else None
            strength = adapter.get("strength", 1)
            strength = strength.get("unet", 1) if isinstance(strength, dict) else strength
            for name, run, layouts in runs:
                if not features & layouts or (name == "peft" and config is None) or (name == "kohya" and features & {"loha", "lokr", "dora", "norm", "full", "ia3", "oft", "glora"}):
                    continue
                expect = case["expect"]
                profile = case.get("profiles", {}).get(name, {})
                if profile.get("skip") or not any(k.startswith("unet.") for k in profile.get("expect", expect).get("scaling", profile.get("expect", expect).get("magnitude", {"unet.": 0}))):
                    continue
                expect = profile.get("expect", expect)
                try:
                    deltas, scales = run(unet, CASES / adapter["file"], config)
                    error = None
                except Exception as e:  # noqa: BLE001
                    error = f"{type(e).__name__}: {str(e)[:120]}"
                if error is not None:
                    answers.setdefault(case["id"], {})[name] = {"refused": error, "expected": bool(expect.get("refuse"))}
                    continue
                if expect.get("refuse"):
                    answers.setdefault(case["id"], {})[name] = {"accepted": len(scales)}
                    continue
                if case["request"]["op"] == "scaling":
                    want = {k: v for k, v in expect["scaling"].items() if k.startswith("unet.")}
                    off = {k: abs(scales.get(k, float("nan")) * strength - v) / max(abs(v), 1e-30) for k, v in want.items()}
                else:
                    want = {k: v for k, v in load_file(str(CASES / expect["file"])).items() if k.startswith("unet.")}
                    off = {k: float((deltas[k].reshape(v.shape) * strength - v).abs().max() / v.abs().max().clamp(min=1e-30)) if k in deltas and deltas[k].numel() == v.numel() else float("nan") for k, v in want.items()}
                if not want:
                    continue
                worst = max(off.values(), key=lambda x: (x != x, x))
                answers.setdefault(case["id"], {})[name] = {"relative": None if worst != worst else worst, "modules": len(want), "extra": len(set(scales) - set(want))}
    versions = {"diffusers": f"{diffusers.__version__} 58eb52c", "peft": peft.__version__, "kohya": "sd-scripts 48d368f", "torch": torch.__version__}
    (HERE / "recorded/real-errors.json").write_text(json.dumps({"versions": versions, "cases": answers}, indent=1, sort_keys=True) + "\n")
    for id, a in answers.items():
        for name, r in a.items():
            bad = ("refused" in r and not r["expected"]) or "accepted" in r or ("relative" in r and (r["relative"] is None or r["relative"] > 1e-5 or r["extra"]))
            if bad:
                print(id, name, r)


main()
