"""What the loader checks share: jobs and results, the tiny base, comparison with the reference deltas.

Each `check_*.py` is called as `python check_X.py JOBS.json RESULTS.jsonl` by run.mjs. A job is one converted adapter:
{id, case, from, to, container, dtype, folder, main, textEncoder, embeddings[], files[], modules{component: n}, order,
tolerance, digest, deltas, unet, textEncoderBase}. A result line is {id, loader, status, loaded, expected, diff, bound, at, why}.
A check that cannot run at all says why in one line {loader, status: "skip", why} and is counted by run.mjs as skipped.
"""
import contextlib, copy, functools, importlib.metadata, io, json, os, sys, traceback, types, warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors: threads only cost
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
warnings.filterwarnings("ignore")


class Skip(Exception):
    """The check cannot be made here: what is missing."""


class Report:
    def __init__(self, path):
        self.out = open(path, "a")

    def put(self, **line):
        self.out.write(json.dumps(line) + "\n")
        self.out.flush()

    def versions(self, *packages, **more):
        found = dict(more)
        for p in packages:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[p] = importlib.metadata.version(p)
        self.put(versions=found)


def need(module, why=None):
    """Import or skip."""
    try:
        with quiet():
            return __import__(module, fromlist=["_"])
    except Exception as e:  # a package that is there but broken is as good as absent, and is named
        raise Skip("%s cannot be imported (%s: %s)%s" % (module, type(e).__name__, str(e).split("\n")[0][:160], "; " + why if why else "")) from e


@contextlib.contextmanager
def quiet():
    """Loaders print; their words must not end up between ours."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def main(name, wanted, setup, check):
    """Run `check(context, job)` for every job that `wanted(job)` names; `setup(report)` gives the context or raises Skip."""
    with open(sys.argv[1]) as f:
        jobs = [j for j in json.load(f) if (name == "containers" or not j["containersOnly"]) and wanted(j)]
    report = Report(sys.argv[2])
    try:
        with quiet():
            context = setup(report)
    except Skip as e:
        report.put(loader=name, status="skip", why=str(e), jobs=len(jobs))
        return
    for job in jobs:
        try:
            with quiet():
                results = check(context, job)
        except Skip as e:
            results = [dict(loader=name, status="skip", why=str(e))]
        except Exception as e:
            where = traceback.extract_tb(e.__traceback__)[-1]
            results = [dict(loader=name, status="fail", why="%s: %s (%s:%d)" % (type(e).__name__, str(e)[:300], os.path.basename(where.filename), where.lineno))]
        for r in results:
            report.put(id=job["id"], **{"loader": name, **r})


def stand_in(*names):
    """Empty modules in the place of imports that a snapshot asks for and the checks never use. Gives back which were needed."""
    import importlib.util
    from unittest.mock import MagicMock

    used = []
    for name in names:
        with contextlib.suppress(ValueError):
            if name in sys.modules or importlib.util.find_spec(name) is not None:
                continue
        module = MagicMock(name=name)
        module.__spec__ = types.SimpleNamespace(name=name, loader=None, submodule_search_locations=[])
        module.__path__ = []
        sys.modules[name] = module
        used.append(name)
    return used


# ---- the base


@functools.lru_cache(None)
def _unet(folder):
    if os.environ.get("LORAKIT_SKELETON") != "1":
        try:
            from diffusers import UNet2DConditionModel

            return UNet2DConditionModel.from_pretrained(folder), "diffusers UNet2DConditionModel"
        except ImportError:
            pass
    return skeleton(os.path.join(folder, "diffusion_pytorch_model.safetensors")), "skeleton"


def unet(job):
    """A fresh tiny UNet, float32."""
    return copy.deepcopy(_unet(job["unet"])[0])


def unet_kind(job):
    return _unet(job["unet"])[1]


@functools.lru_cache(None)
def _text(folder, flat):
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    return (CLIPTextModel if flat else CLIPTextModelWithProjection).from_pretrained(folder)


def text_encoder(job, flat=False):
    """A fresh text encoder. transformers 5 flattened CLIPTextModel (no `text_model.` level); the one with projection kept it."""
    return copy.deepcopy(_text(job["textEncoderBase"], flat))


def skeleton(weights):
    """Modules by name from the weights alone, for tools that look at names and classes only (PEFT)."""
    import torch
    from safetensors.torch import load_file

    root = torch.nn.Module()
    sd = load_file(weights)
    for key, w in sd.items():
        if not key.endswith(".weight"):
            continue
        path = key[: -len(".weight")].split(".")
        at = root
        for part in path[:-1]:
            if part not in at._modules:
                at.add_module(part, torch.nn.Module())
            at = at._modules[part]
        bias = key[: -len("weight")] + "bias" in sd
        if w.dim() == 2:
            m = torch.nn.Linear(w.shape[1], w.shape[0], bias=bias)
        elif w.dim() == 4:
            m = torch.nn.Conv2d(w.shape[1], w.shape[0], tuple(w.shape[2:]), bias=bias)
        else:
            continue
        m.weight.data.copy_(w)
        at.add_module(path[-1], m)
    root.config = {"model_type": "custom"}
    root.forward = lambda *a, **k: None
    return root


# ---- comparison


@functools.lru_cache(None)
def _digest(path):
    with open(path) as f:
        return json.load(f)


@functools.lru_cache(2)
def _deltas(path):
    from safetensors.torch import load_file

    return load_file(path)


def compare(job, deltas, loader, why_loaded="", leave=()):
    """`deltas`: "component.path.weight" -> float64 tensor, of everything that the loader loaded.

    `leave`: keys that this loader has no place for in any file; the caller names them in a note.
    Against the digest's samples (float64) and, where it is stored, the whole delta (float32 of the float64 result).
    """
    import torch

    wants = {k: w for k, w in _digest(job["digest"])["modules"].items() if w["component"] in job["components"] and k not in leave}
    stored = _deltas(job["deltas"])
    missing = [k for k in wants if k not in deltas]
    extra = [k for k in deltas if k not in wants]
    worst, at, over, bound_at = 0.0, None, 0.0, job["tolerance"]
    full = 0
    for key, want in wants.items():
        if key not in deltas:
            continue
        got = deltas[key].detach().double()
        if got.numel() != _numel(want["shape"]):
            return [dict(loader=loader, status="fail", loaded=len(deltas), expected=len(wants), at=key, why="delta has shape %s, not %s" % (list(got.shape), want["shape"]))]
        flat = got.reshape(-1)
        diff = (flat[torch.tensor(want["idx"])] - torch.tensor(want["values"], dtype=torch.float64)).abs().max().item()
        diff = max(diff, abs(flat.abs().max().item() - want["absmax"]))
        if key in stored:
            full += 1
            # the stored delta is rounded to float32: half an ulp of that is no difference of ours
            s = stored[key].double().reshape(-1)
            diff = max(diff, ((flat - s).abs() - s.abs() * 2.0**-24).max().item())
        diff = diff if diff == diff else float("inf")
        bound = job["tolerance"] * max(1.0, want["absmax"])
        if diff > worst:
            worst, at = diff, key
        over = max(over, diff / bound)
    ok = not missing and not extra and over <= 1
    why = []
    if missing:
        why.append("%d of %d modules are not loaded, first %s" % (len(missing), len(wants), missing[0]))
    if extra:
        why.append("%d modules are loaded that the file does not have, first %s" % (len(extra), extra[0]))
    if over > 1:
        why.append("delta differs by %.3g at %s, %.3g times the tolerance" % (worst, at, over))
    if why_loaded:
        why.append(why_loaded)
        ok = False
    return [dict(loader=loader, status="pass" if ok else "fail", loaded=len(set(wants) & set(deltas)), expected=len(wants), full=full, diff=worst, at=at, why="; ".join(why) or None)]


def _numel(shape):
    n = 1
    for d in shape:
        n *= d
    return n


def tuner_deltas(model, component, flat_text=False):
    """Fused minus base of every PEFT layer of a model, by the layer's own merge(), in float64."""
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    model.double()
    out = {}
    with torch.no_grad():
        for name, layer in model.named_modules():
            if not isinstance(layer, BaseTunerLayer):
                continue
            base = layer.get_base_layer().weight
            before = base.detach().clone()
            layer.merge()
            path = name.removeprefix("base_model.model.")
            if flat_text and not path.startswith("text_model."):
                path = "text_model." + path
            out["%s.%s.weight" % (component, path)] = layer.get_base_layer().weight.detach() - before
    return out
