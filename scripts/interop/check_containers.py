"""torch.load(weights_only=True) and safetensors open what we wrote: every name, dtype, shape and byte."""
import hashlib

from interop_common import Skip, main, need

NAMES = dict(F32="float32", F16="float16", BF16="bfloat16", F64="float64", I64="int64", I32="int32", I16="int16", I8="int8", U8="uint8", BOOL="bool")


def setup(report):
    torch = need("torch")
    report.versions("torch", "safetensors")
    try:
        safe = need("safetensors")
    except Skip:
        safe = None
    return torch, safe


def check(context, job):
    torch, safe = context
    out = []
    for file in job["files"]:
        name = "torch.load(weights_only=True)" if file["container"] == "torch-zip" else "safetensors safe_open"
        if file["container"] == "safetensors" and safe is None:
            out.append(dict(loader=name, status="skip", why="safetensors is not installed"))
            continue
        try:
            wrong, n = compare(torch, safe, file)
        except Exception as e:
            wrong, n = "%s: %s" % (type(e).__name__, str(e)[:200]), 0
        out.append(dict(loader=name, status="fail" if wrong else "pass", loaded=n, expected=len(file["tensors"]), diff=0.0, unit="tensors", why=wrong and "%s: %s" % (file["path"].split("/")[-1], wrong)))
    return out


def compare(torch, safe, file):
    """(what is wrong or None, tensors read)"""
    wants = dict(file["tensors"])
    if file["container"] == "torch-zip":
        obj = torch.load(file["path"], weights_only=True)
        if isinstance(obj, list) != (file["top"] == "list"):
            return "the top object is a %s" % type(obj).__name__, 0
        items = {str(k): v for k, v in enumerate(obj)} if isinstance(obj, list) else obj
    else:
        with safe.safe_open(file["path"], framework="pt") as f:
            items = {k: f.get_tensor(k) for k in f.keys()}
            metadata = f.metadata() or {}
        planned = dict(file["metadata"])
        planned.update(kohya_hashes(items, planned))
        if metadata != planned:
            return "metadata differ: %s" % sorted(set(metadata.items()) ^ set(planned.items()))[:2], len(items)
    if set(items) != set(wants):
        return "names differ: %s" % sorted(set(items) ^ set(wants))[:3], len(items)
    for name, want in wants.items():
        t = items[name]
        if t.dtype != getattr(torch, NAMES[want["dtype"]]) or list(t.shape) != want["shape"]:
            return "%s is %s %s" % (name, t.dtype, list(t.shape)), len(items)
        t = t.detach().contiguous()
        raw = (t if t.dim() else t.reshape(1)).view(torch.uint8).numpy().tobytes()
        if hashlib.sha256(raw).hexdigest() != want["sha256"]:
            return "%s has other bytes" % name, len(items)
    return None, len(items)


def kohya_hashes(tensors, metadata):
    """sshs_* as sd-scripts makes them (library/train_util.py precalculate_safetensors_hashes), by the real safetensors writer."""
    if "sshs_model_hash" not in metadata and "sshs_legacy_hash" not in metadata:
        return {}
    from safetensors.torch import save

    data = save(tensors, {k: v for k, v in metadata.items() if k.startswith("ss_")})
    header = 8 + int.from_bytes(data[:8], "little")
    out = dict(sshs_model_hash=hashlib.sha256(data[header:]).hexdigest(), sshs_legacy_hash=hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8])
    return {k: v for k, v in out.items() if k in metadata}


main("containers", lambda job: True, setup, check)
