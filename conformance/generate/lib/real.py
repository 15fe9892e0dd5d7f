"""
Files that real tools saved (../shared/reference/adapters) with what each of them means: module names, ranks, scalings and
float64 deltas as recorded there, factors found again in the file by the hash of their stored bytes.
"""

import io
import json

import numpy as np
import torch

from . import closed_numpy, closed_torch
from .kit import Tensor, read_st, sha256

ROOT = "reference/adapters"
LEAVE_OUT = {
    "diffusers_021_bin": "the same adapter as diffusers_021_safetensors", "kohya_attn": "kohya_attn_bf16 has the same names",
    "clone_old_order_extended": "clone_extended and clone_old_order hold its two traits", "lycoris_loha_linear_flat_conv": "peft_loha_linear_flat_conv has the same factors; optional/loha has the names",
    "peft_loha_linear_flat_conv": "optional/loha has every case of it", "diffusers_attn_procs_bin": "same_diffusers_attn_procs_bin has the same names and container",
    "diffusers_peft_alpha_fp16": "diffusers_peft_alpha_bf16 has the same names", "kohya_locon": "kohya_locon_fp16 has the same names", "diffusers_attn_procs_bin_014": "same_diffusers_attn_procs_bin has the same names",
}
FEATURES = {
    "kohya": "kohya", "peft": "peft", "diffusers": "diffusers", "diffusers-old": "diffusers-legacy", "diffusers-attn-procs": "diffusers-legacy",
    "cloneofsimo-list": "cloneofsimo", "cloneofsimo-safetensors": "cloneofsimo",
}


def _torch_tensors(data):
    found = {}

    def walk(o, prefix):
        if isinstance(o, torch.Tensor):
            t = o.detach().contiguous()
            dtype = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}[t.dtype]
            raw = t.view(torch.uint8).numpy().tobytes() if t.ndim else t.reshape(1).view(torch.uint8).numpy().tobytes()
            found[prefix] = Tensor(dtype, t.shape, raw)
        elif isinstance(o, dict):
            for k, v in o.items():
                walk(v, f"{prefix}.{k}" if prefix else str(k))
        elif isinstance(o, (list, tuple)):
            for i, v in enumerate(o):
                walk(v, f"{prefix}.{i}" if prefix else str(i))

    walk(torch.load(io.BytesIO(data), weights_only=True, map_location="cpu"), "")
    return found


class Real:
    def __init__(self, suite, sd1, entry):
        self.name = entry["case"]
        self.entry = entry
        self.layout = entry["layout"]
        self.digest = json.loads(suite.shared(f"{ROOT}/{entry['expected']}"))
        self.tensors, self.adapter = {}, {}
        paths = [f["file"] for f in entry["files"]]
        for path in paths:
            if path.endswith(".ti.pt"):
                continue
            parts = path.split("/")
            target = "adapters/real/" + "_".join(parts[1:]).lower()
            stored = suite.copy(f"{ROOT}/{path}", target)
            if path.endswith(".json"):
                self.adapter["config"] = stored
                continue
            self.adapter["textEncoder" if path.endswith(".text_encoder.pt") else "file"] = stored
            data = suite.files[stored][0]
            self.tensors |= read_st(data)[0] if path.endswith(".safetensors") else {f"{len(self.tensors)}:{k}": v for k, v in _torch_tensors(data).items()}
        self.by_hash = {}
        for t in self.tensors.values():
            self.by_hash.setdefault((t.shape, sha256(t.data)), t)
        self.modules = {}
        for key, m in self.digest["modules"].items():
            self.modules[key.removesuffix(".weight")] = m

    def families(self):
        return sorted({m["algo"] for m in self.modules.values()})

    def ranks(self):
        out = {}
        for name, m in self.modules.items():
            full_lokr = m["algo"] == "lokr" and set(m.get("leaves", [])) == {"lokr_w1", "lokr_w2"}
            out[name] = None if full_lokr or m.get("rank") is None else int(m["rank"])
        return out

    def features(self):
        out = {FEATURES[self.layout], "sd1"}
        out.add("torch" if self.adapter["file"].endswith((".pt", ".bin")) else "safetensors")
        for f in self.families():
            if f in ("loha", "lokr", "dora"):
                out.add(f)
        if any(len(m["shape"]) == 4 and m["shape"][2] > 1 for m in self.modules.values()):
            out.add("locon")
        if "embeds" in self.name:
            out.add("embeddings")
        return out

    def factors(self, name):
        """(family, factors as float64) of a plain LoRA module, or None."""
        m = self.modules[name]
        if m["algo"] != "lora" or "down" not in m:
            return None
        pair = {}
        for role in ("down", "up"):
            t = self.by_hash.get((tuple(m[role]["shape"]), m[role]["sha256"]))
            if t is None:
                return None
            pair[role] = t.value()
        return pair

    def exact(self, suite, name):
        """(float64 delta, magnitude) of a plain LoRA module by the two computations."""
        m = self.modules[name]
        pair = self.factors(name)
        if pair is None:
            return None
        shape = tuple(m["shape"])
        one = closed_numpy.delta("lora", pair, shape, None, m["scaling"])
        two = closed_torch.delta("lora", pair, shape, None, m["scaling"])
        scale = max(np.abs(one).max(), 1e-300)
        worst = float(np.abs(one - two).max() / scale)
        suite.agreements["lora"] = max(suite.agreements.get("lora", 0.0), worst)
        assert worst < 1e-12, (self.name, name, worst)
        flat = one.reshape(-1)
        sampled = np.abs(flat[m["idx"]] - np.array(m["values"])).max() / scale if m.get("idx") else 0.0
        assert sampled < 1e-12, (self.name, name, sampled)
        return one, closed_numpy.magnitude("lora", pair, shape, None, m["scaling"]), worst

    def recorded_deltas(self, suite):
        if not self.entry.get("deltas"):
            return {}
        return {k.removesuffix(".weight"): t for k, t in read_st(suite.shared(f"{ROOT}/{self.entry['deltas']}"))[0].items()}

    def oracle(self):
        rb = self.entry.get("read_back") or []
        said = [f"{r['loader']}: {r['max_abs_diff_to_expected_float64']:.2g}" for r in rb if isinstance(r["max_abs_diff_to_expected_float64"], float)]
        return "; ".join(said)

    def producer(self):
        return ", ".join(f"{p['name']}@{p.get('commit') or p.get('version')}" for p in self.entry["producer"])


def all_cases(suite, sd1):
    """Read once, kept on the suite."""
    if not hasattr(suite, "real"):
        suite.real = [Real(suite, sd1, e) for e in sd1.manifest["cases"] if e["case"] not in LEAVE_OUT]
    return suite.real
