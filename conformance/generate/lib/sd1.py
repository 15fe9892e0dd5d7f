"""
The small base of L1 to L4 (SD 1's block types at widths 8, 16, 24; ../shared/reference/adapters/tiny-sd) and the ways
its module names are spelled. Module order is that of diffusers' own named_modules(), recorded in that folder's manifest.
"""

import json

from .kit import Suite, read_st

BASE = "reference/adapters/tiny-sd"


class Sd1:
    def __init__(self, suite: Suite):
        manifest = json.loads(suite.shared("reference/adapters/manifest.json"))
        self.manifest = manifest
        self.order = manifest["base"]["cloneofsimo_order"]
        self.modules = {}
        for name, shape in manifest["base"]["modules"].items():
            component, path = name.split(".", 1)
            self.modules[(component, path)] = tuple(shape)
        self.files = {
            "unet": suite.copy(f"{BASE}/unet/diffusion_pytorch_model.safetensors", "bases/mini-sd1/unet.safetensors"),
            "text_encoder": suite.copy(f"{BASE}/text_encoder/model.safetensors", "bases/mini-sd1/text_encoder.safetensors"),
        }
        self.configs = {
            "unet": suite.copy(f"{BASE}/unet/config.json", "bases/mini-sd1/unet.config.json"),
            "text_encoder": suite.copy(f"{BASE}/text_encoder/config.json", "bases/mini-sd1/text_encoder.config.json"),
        }
        self.weights = {c: read_st(suite.files[p][0])[0] for c, p in self.files.items()}
        # norms, which the manifest does not list, after the others
        for component, state in self.weights.items():
            for name, t in state.items():
                if name.endswith(".weight") and len(t.shape) == 1:
                    self.modules.setdefault((component, name[:-7]), t.shape)
        names = {"unet": [], "text_encoder": []}
        for (component, path), shape in self.modules.items():
            names[component].append([path, list(shape)])
        self.names = suite.json("bases/mini-sd1/names.json", names, "conformance/generate/lib/sd1.py from ../shared/" + BASE)

    def weight(self, component, path, leaf="weight"):
        return self.weights[component][f"{path}.{leaf}"].value()

    def base(self):
        """A base for L1 to L3: names for those that need no weights, the weights for those that do."""
        return {"architecture": "sd1", "names": self.names, "components": dict(self.files), "configs": dict(self.configs), "complete": True}

    def weights_base(self):
        return {"architecture": "sd1", "components": dict(self.files), "configs": dict(self.configs), "complete": True}


def flat(path):
    return path.replace(".", "_")


_RES = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}


def ldm(path):
    """LDM name of a UNet module of SD 1 (two layers per block, four levels); LAYOUTS.md section 3."""
    fixed = {"conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_norm_out": "out.0", "conv_out": "out.2"}
    if path in fixed:
        return fixed[path]
    p = path.split(".")
    if p[0] == "mid_block":
        n = {"resnets.0": 0, "attentions.0": 1, "resnets.1": 2}[".".join(p[1:3])]
        rest = p[3:]
        return ".".join(["middle_block", str(n)] + ([_RES[rest[0]]] if p[1] == "resnets" else rest))
    i, kind, j, rest = int(p[1]), p[2], int(p[3]), p[4:]
    if p[0] == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{3 * i + 3}.0.op"
        head = f"input_blocks.{3 * i + j + 1}"
    else:
        if kind == "upsamplers":
            return f"output_blocks.{3 * i + 2}.{1 if i == 0 else 2}.conv"
        head = f"output_blocks.{3 * i + j}"
    if kind == "resnets":
        return f"{head}.0.{_RES[rest[0]]}"
    return ".".join([head, "1"] + rest)


LEAVES = {
    "down": "lora_down.weight", "up": "lora_up.weight", "mid": "lora_mid.weight", "magnitude": "dora_scale",
    "glora_a1": "a1.weight", "glora_a2": "a2.weight", "glora_b1": "b1.weight", "glora_b2": "b2.weight",
    "weight": "weight",
}


class Mod:
    """One module of an adapter being made: stored factors by role, alpha as a stored tensor or a number for the configuration."""

    def __init__(self, component, path, shape, family, factors, alpha=None, alpha_dtype=None, scale=None):
        self.component, self.path, self.shape, self.family = component, path, tuple(shape), family
        self.factors, self.alpha, self.alpha_dtype, self.scale = factors, alpha, alpha_dtype, scale

    @property
    def name(self):
        return f"{self.component}.{self.path}"

    def values(self):
        return {k: v.value() for k, v in self.factors.items()}

    @property
    def rank(self):
        f = self.factors
        if "down" in f:
            return f["down"].shape[0]
        if self.family == "loha":
            return f["hada_w1_b"].shape[0]
        if self.family == "lokr":
            if "lokr_w2_b" in f:
                return f["lokr_w2_b"].shape[0]
            if "lokr_w1_b" in f:
                return f["lokr_w1_b"].shape[0]
            return None
        if self.family == "glora":
            return f["glora_a2"].shape[0]
        return None
