"""Make fixtures/torch with the real torch. Usage: python3 scripts/interop/torch_fixtures.py [fixtures/torch]

Every file is small; manifest.json records for each how it was made, its sha256, the state dict that a reader must
give (name -> dtype in safetensors' words, shape, sha256 of the little-endian C-order bytes) and the warnings.
Values are a fixed sequence, so a second run gives the same tensors (torch's serialization_id follows from them)."""
import collections, hashlib, io, json, os, sys, zipfile
import numpy as np
import torch

OUT = sys.argv[1] if len(sys.argv) > 1 else "fixtures/torch"
ST = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64",
      torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL", torch.complex64: "C64",
      torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
      torch.float8_e4m3fnuz: "F8_E4M3FNUZ", torch.float8_e5m2fnuz: "F8_E5M2FNUZ", torch.float8_e8m0fnu: "F8_E8M0",
      torch.float4_e2m1fn_x2: "F4"}
CASES = []


def vals(*shape, dtype=torch.float32, start=0):
    n = int(np.prod(shape)) if shape else 1
    return (torch.arange(start, start + n, dtype=torch.float64) * 0.375 - 1).to(dtype).reshape(shape)


def bits(dtype, n=16, shape=None):
    t = (torch.arange(n, dtype=torch.int64) * 7 % 251).to(torch.uint8)
    t = (t % 2).to(torch.bool) if dtype is torch.bool else t.view(dtype)
    return t if shape is None else t.reshape(shape)


def say(t):
    d = t.detach().contiguous()
    raw = d.view(torch.uint8).numpy().tobytes() if d.dim() else d.reshape(1).view(torch.uint8).numpy().tobytes()
    shape = list(t.shape)
    if t.dtype is torch.float4_e2m1fn_x2:
        shape[-1] *= 2
    return dict(dtype=ST[t.dtype], shape=shape, sha256=hashlib.sha256(raw).hexdigest())


def case(name, how, obj, expect, warnings=(), top="dict", wrapper=None, container="torch-zip", rezip=None, **kw):
    path = os.path.join(OUT, name)
    torch.save(obj, path, **kw)
    if rezip is not None:
        with zipfile.ZipFile(path) as z:
            entries = [(i.filename, z.read(i)) for i in z.infolist()]
        with zipfile.ZipFile(path, "w", rezip) as z:
            for n, b in entries:
                z.writestr(zipfile.ZipInfo(n, (1980, 1, 1, 0, 0, 0)), b, rezip)
    data = open(path, "rb").read()
    assert len(data) < 65536, name
    CASES.append(dict(file=name, sha256=hashlib.sha256(data).hexdigest(), how=how, container=container, top=top, wrapper=wrapper,
                      warnings=sorted(warnings), tensors={k: say(v) for k, v in expect.items()}))


os.makedirs(OUT, exist_ok=True)
two = lambda: collections.OrderedDict(a=vals(2, 3), b=vals(4, dtype=torch.float16))
for p in (2, 3, 4, 5):
    case(f"protocol{p}.pt", f"torch.save(OrderedDict, pickle_protocol={p})", two(), two(), pickle_protocol=p)
case("legacy.bin", "torch.save(..., _use_new_zipfile_serialization=False)", two(), two(), container="torch-legacy", _use_new_zipfile_serialization=False)
case("legacy-protocol4.bin", "the same with pickle_protocol=4", two(), two(), container="torch-legacy", _use_new_zipfile_serialization=False, pickle_protocol=4)
x = vals(4, 6)
views = collections.OrderedDict(all=x, t=x.t(), cols=x[:, 1:3], row=x[2], flip=x[1::2, ::3], expand=vals(3, 1).expand(3, 4), perm=x.reshape(2, 2, 6).permute(2, 0, 1))
case("views.pt", "views of one storage: transposed, columns, row, steps, expanded, permuted", views, views)
case("views-legacy.bin", "the same in a legacy file", views, views, container="torch-legacy", _use_new_zipfile_serialization=False)
h = bits(torch.bfloat16, 48, (4, 6)).t()
case("views-16bit.pt", "transposed bf16, f64 and bool", dict(h=h, d=vals(2, 3, dtype=torch.float64).t(), m=bits(torch.bool, 6, (2, 3)).t()),
     dict(h=h, d=vals(2, 3, dtype=torch.float64).t(), m=bits(torch.bool, 6, (2, 3)).t()))
w = vals(2, 2)
case("shared.pt", "two names for one tensor", dict(a=w, tied=w), dict(a=w, tied=w))
p = torch.nn.Parameter(vals(2, 2))
q = torch.nn.Parameter(vals(3))
q.note = "hello"
r = vals(2)
r.mark = 1
case("parameters.pt", "Parameter, Parameter with an attribute, tensor with an attribute", dict(p=p, q=q, r=r), dict(p=p, q=q, r=r), warnings=["W_NON_TENSOR"])
every = collections.OrderedDict((str(d).removeprefix("torch."), bits(d)) for d in ST)
case("dtypes.pt", "16 bytes (8 elements of bool) of every dtype that safetensors names and torch 2.13 has", every, every)
case("dtypes-legacy.bin", "the dtypes with a typed storage, legacy", {k: v for k, v in every.items() if v.dtype in list(ST)[:11]},
     {k: v for k, v in every.items() if v.dtype in list(ST)[:11]}, container="torch-legacy", _use_new_zipfile_serialization=False)
shapes = dict(scalar=torch.tensor(2.5), empty=torch.zeros(0), hollow=torch.zeros(3, 0, 2), one=vals(1, 1, 1, 1, 5))
case("shapes.pt", "0-d, empty, hollow and 5-d tensors", shapes, shapes)
case("list.pt", "torch.save([...]): names are indices", [vals(2), vals(3), vals(1, 2)], {"0": vals(2), "1": vals(3), "2": vals(1, 2)}, top="list")
case("nested.pt", "dicts and lists in a dict, integer keys", {"unet": {"x": vals(2), "blocks": [vals(1), {"y": vals(3)}]}, "te": {0: vals(2), 1: vals(1)}, "epoch": 3},
     {"unet.x": vals(2), "unet.blocks.0": vals(1), "unet.blocks.1.y": vals(3), "te.0": vals(2), "te.1": vals(1)}, warnings=["W_NON_TENSOR"])
case("wrapper.ckpt", "tensors below state_dict, Python values beside", {"state_dict": {"a": vals(2), "b.c": vals(3)}, "epoch": 17, "name": "lora\n\x1b[31m", "lr": 1e-4,
     "set": {1}, "cplx": 1j, "raw": b"\x00\xff", "dev": torch.device("cpu"), "size": torch.Size([1, 2]), "dt": torch.float16, "cnt": collections.Counter("aab"),
     "dd": collections.defaultdict(list, {"k": [1]}), "ba": bytearray(b"xy"), "big": 2**70, "neg": -5, "none": None},
     {"a": vals(2), "b.c": vals(3)}, warnings=["W_NON_TENSOR"], wrapper="state_dict")
m = torch.nn.Linear(2, 3)
with torch.no_grad():
    m.weight.copy_(vals(3, 2)); m.bias.copy_(vals(3))
case("module.pt", "module.state_dict(): OrderedDict with _metadata", m.state_dict(), m.state_dict())
case("numpy-scalar.ckpt", "a numpy number beside the weights, as Lightning keeps", {"state_dict": {"a": vals(2)}, "best": np.float64(0.5)}, {"a": vals(2)},
     warnings=["W_NON_TENSOR", "W_OPAQUE_GLOBAL"], wrapper="state_dict")
case("deflated.pt", "re-zipped by Python's zipfile with deflate", two(), two(), rezip=zipfile.ZIP_DEFLATED)
case("restored.pt", "re-zipped by Python's zipfile, stored", two(), two(), rezip=zipfile.ZIP_STORED)
torch.serialization.set_crc32_options(False)
case("no-crc.pt", "torch.serialization.set_crc32_options(False): every CRC is 0", two(), two())
torch.serialization.set_crc32_options(True)
json.dump(dict(made_by="scripts/interop/torch_fixtures.py", torch=torch.__version__, licence="made for this project", cases=CASES), open(os.path.join(OUT, "manifest.json"), "w"), indent=1)
print(len(CASES), "files")
