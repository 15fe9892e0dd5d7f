"""Open torch files with torch.load(weights_only=True) and compare with what the writer says it wrote.

Usage: python scripts/interop/torch_open.py DIR   (DIR/expected.json from torch_write.mjs)
Prints one line per file and "N passed, N failed"; exit 1 on a failure, 0 with a loud line where torch is absent."""
import hashlib, json, os, sys, zipfile

try:
    import torch
except ImportError:
    print("SKIPPED: torch is not installed, so nothing was checked")
    sys.exit(0)

# Names of torch 2.13; an older one lacks the newest, whose cases are then skipped by name.
NAMES = dict(F32="float32", F16="float16", BF16="bfloat16", F64="float64", I64="int64", I32="int32", I16="int16", I8="int8", U8="uint8", BOOL="bool",
             C64="complex64", U16="uint16", U32="uint32", U64="uint64", F8_E4M3="float8_e4m3fn", F8_E5M2="float8_e5m2", F8_E4M3FNUZ="float8_e4m3fnuz",
             F8_E5M2FNUZ="float8_e5m2fnuz", F8_E8M0="float8_e8m0fnu", F4="float4_e2m1fn_x2")


def raw(t):
    t = t.detach().contiguous()
    return (t if t.dim() else t.reshape(1)).view(torch.uint8).numpy().tobytes()


def check(path, want):
    with zipfile.ZipFile(path) as z:
        assert z.testzip() is None, "bad CRC"
        assert all(i.compress_type == 0 for i in z.infolist()), "not stored"
    for mmap in (False, True):
        obj = torch.load(path, weights_only=True, mmap=mmap)
        items = {str(k): v for k, v in enumerate(obj)} if want["top"] == "list" else obj
        assert list(items) == list(want["tensors"]), "names differ: %s" % list(items)[:5]
        for name, w in want["tensors"].items():
            t = items[name]
            shape = list(t.shape)
            if w["dtype"] == "F4":
                shape[-1] *= 2
            assert t.dtype == getattr(torch, NAMES[w["dtype"]]), "%s is %s" % (name, t.dtype)
            assert shape == w["shape"] and t.is_contiguous(), "%s has shape %s" % (name, shape)
            assert hashlib.sha256(raw(t)).hexdigest() == w["sha256"], "%s has other bytes" % name


passed = failed = 0
folder = sys.argv[1]
for name, want in json.load(open(os.path.join(folder, "expected.json"))).items():
    lacking = sorted({w["dtype"] for w in want["tensors"].values() if not hasattr(torch, NAMES[w["dtype"]])})
    if lacking:
        print("skip", name, "this torch lacks", lacking)
        continue
    try:
        check(os.path.join(folder, name), want)
        passed += 1
    except Exception as e:
        failed += 1
        print("FAIL", name, type(e).__name__, e)
print("torch %s: %d passed, %d failed" % (torch.__version__, passed, failed))
sys.exit(failed > 0)
