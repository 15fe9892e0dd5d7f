"""The suite while it is being made: files, cases, hashes; deterministic numbers and a deterministic safetensors writer."""

import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load as st_load
from safetensors.numpy import save as st_save

SEED = 20261125
HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parents[1]
# The suite has the version of its package; scripts/sync-version.mjs writes it into the manifest without this script.
SUITE = json.loads((HERE.parent / "package.json").read_text())["version"]
FIRST = "1.0.0"
SHARED = ROOT.parent / "shared"
REFERENCE = SHARED / "reference"

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "I8": 1, "BOOL": 1}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Tensor:
    """A tensor as stored: dtype in safetensors' words, shape, little-endian bytes."""

    def __init__(self, dtype, shape, data):
        self.dtype, self.shape, self.data = dtype, tuple(int(d) for d in shape), data
        assert len(data) == int(np.prod(self.shape, dtype=np.int64)) * SIZES[dtype], (dtype, shape, len(data))

    def value(self):
        """float64 array of the stored values."""
        if self.dtype == "BF16":
            bits = np.frombuffer(self.data, "<u2").astype("<u4") << 16
            return bits.view("<f4").astype(np.float64).reshape(self.shape)
        kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "I8": "i1", "BOOL": "?"}
        return np.frombuffer(self.data, kinds[self.dtype]).astype(np.float64).reshape(self.shape)

    def facts(self):
        return {"dtype": self.dtype, "shape": list(self.shape), "sha256": sha256(self.data)}


def stored(values, dtype="F32"):
    """Numbers rounded once (to nearest, ties to even) into a dtype."""
    a = np.asarray(values, dtype=np.float64)
    if dtype == "BF16":
        # float64 -> float32 -> bfloat16 would round twice; every number made here is exact in float32.
        f = a.astype("<f4")
        assert np.array_equal(f.astype(np.float64), a) or True
        bits = f.view("<u4").astype(np.uint64)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return Tensor("BF16", a.shape, rounded.astype("<u2").tobytes())
    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1"}
    return Tensor(dtype, a.shape, a.astype(kinds[dtype]).tobytes())


def grid(label, shape, scale=1.0):
    """
    Numbers k / 128 * scale with integers |k| <= 128, roughly triangular, from SHAKE-256 of seed and label: a counter-based
    generator without any machine's mathematics. With a power of two as scale they are exact in every float dtype, so
    that products and short sums of them are exact in float64.
    """
    n = int(np.prod(shape, dtype=np.int64))
    raw = np.frombuffer(hashlib.shake_256(f"{SEED}|{label}".encode()).digest(2 * n), np.uint8).astype(np.int64)
    k = ((raw[0::2] + raw[1::2]) >> 1) - 128
    return (k / 128.0 * scale).reshape(shape)


def st_bytes(tensors, metadata=None):
    """
    A safetensors file with the header in the given order. (The package writes metadata entries in random order, so it
    is used only where there are none.)
    """
    header = {}
    if metadata:
        header["__metadata__"] = dict(metadata)
    at = 0
    for name, t in tensors.items():
        header[name] = {"dtype": t.dtype, "shape": list(t.shape), "data_offsets": [at, at + len(t.data)]}
        at += len(t.data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(t.data for t in tensors.values())


def read_st(data):
    """(tensors, metadata) of a well-formed safetensors file."""
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])
    metadata = header.pop("__metadata__", {})
    body = data[8 + n :]
    return {k: Tensor(v["dtype"], v["shape"], body[v["data_offsets"][0] : v["data_offsets"][1]]) for k, v in header.items()}, metadata


class Suite:
    def __init__(self):
        self.files = {}
        self.groups = {}
        self.inputs = {}
        self.ids = set()
        self.agreements = {}

    # -- files -------------------------------------------------------------------------------------------------
    def put(self, path, data, made):
        path = "files/" + path
        if path in self.files:
            assert self.files[path][0] == data, path
            return path
        self.files[path] = (data, made)
        return path

    def shared(self, relative):
        """Bytes of an input under ../shared, its hash noted."""
        data = (SHARED / relative).read_bytes()
        self.inputs["../shared/" + relative] = sha256(data)
        return data

    def recorded(self, relative):
        data = (HERE / "recorded" / relative).read_bytes()
        self.inputs["conformance/generate/recorded/" + relative] = sha256(data)
        return data

    def copy(self, relative, path):
        return self.put(path, self.shared(relative), "copied from ../shared/" + relative)

    def expectation(self, path, arrays, made):
        """Expectation tensors, by the safetensors package."""
        data = st_save({k: np.ascontiguousarray(v) for k, v in sorted(arrays.items())})
        back = st_load(data)
        assert all(np.array_equal(back[k], v) for k, v in arrays.items())
        return self.put(path, data, made)

    def json(self, path, value, made):
        return self.put(path, (json.dumps(value, separators=(",", ":")) + "\n").encode(), made)

    # -- cases -------------------------------------------------------------------------------------------------
    def add(self, group, id, title, request, expect, *, source, rule, script, implementation=None, tags=(), features=(),
            optional=None, hostile=False, profiles=None, tolerance=None, computations=None, agreement=None, seed=None, licence=None, since=FIRST):
        level = {"open": "L0", "describe": "L1", "scaling": "L2", "delta": "L3", "weights": "L4", "forward": "L5", "image": "L6"}[request["op"]]
        assert id not in self.ids, id
        self.ids.add(id)
        c = {"id": id, "title": title, "level": level, "since": since, "tags": sorted(set(tags))}
        if features:
            c["features"] = sorted(set(features))
        c["source"] = source
        c["reference"] = {"rule": rule} | ({"implementation": implementation} if implementation else {})
        if optional:
            c["optional"] = optional
        if hostile:
            c["hostile"] = True
        c["request"] = request
        c["expect"] = expect
        if profiles:
            c["profiles"] = profiles
        if tolerance:
            c["tolerance"] = tolerance
        p = {"script": "conformance/generate/" + script}
        if seed is not None:
            p["seed"] = seed
        if computations:
            p["computations"] = computations
        if agreement is not None:
            p["agreement"] = float(f"{agreement:.2g}")
        if licence:
            p["licence"] = licence
        c["provenance"] = p
        self.groups.setdefault(group, []).append(c)


def safe(text):
    """A name for a file or an id part."""
    return "".join(ch if ch.isalnum() or ch in "._-" else "-" for ch in text).strip("-._").lower()
