"""Merge small adapters with PEFT itself and write what it gives to fixtures/merge/peft.json.

Usage: python make_expectations.py [OUT]     (torch and peft; made with torch 2.13, peft 0.21)

Everything is float64. DARE's masks are drawn here and recorded, so that a test can give them to another
implementation. `--check FILE` compares a file made earlier with what the installed PEFT gives today.
"""

import hashlib
import json
import pathlib
import sys

try:
    import peft
    import torch
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel
    from peft.utils import merge_utils
except ImportError as error:
    print(f"SKIPPED: PEFT and torch are needed to make or check these expectations ({error})")
    sys.exit(0)

# PEFT makes its weights with torch.tensor(list): in float32, unless told.
torch.set_default_dtype(torch.float64)

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parent.parent / "fixtures" / "merge" / "peft.json"


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = torch.nn.Linear(5, 6, bias=False)
        self.conv = torch.nn.Conv2d(2, 4, 3, bias=False)
        self.one = torch.nn.Conv2d(4, 5, 1, bias=False)


# rank, alpha
ADAPTERS = {"a": (2, 1.0), "b": (2, 3.0), "c": (2, 2.0)}
ODD = {"a": (2, 1.0), "b": (3, 3.0), "c": (1, 0.5)}
WEIGHTS = [0.7, -0.4, 1.3]


def build(adapters):
    gen = torch.Generator().manual_seed(20260101)
    torch.manual_seed(1)
    net = Net().double()
    model = None
    for name, (rank, alpha) in adapters.items():
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=["lin", "conv", "one"], init_lora_weights=False)
        if model is None:
            model = LoraModel(net, config, name)
        else:
            model.peft_config[name] = config
            model.inject_adapter(model.model, name)
    factors = {}
    for module_name, module in model.model.named_modules():
        if not hasattr(module, "lora_A") or not len(module.lora_A):
            continue
        for name in adapters:
            for side in ("lora_A", "lora_B"):
                layer = getattr(module, side)[name]
                layer.weight.data = torch.randn(layer.weight.shape, generator=gen, dtype=torch.float64)
                factors.setdefault(name, {}).setdefault(module_name, {})[side] = layer.weight.data.clone()
    return model, factors


def tolist(t):
    return {"shape": list(t.shape), "data": t.detach().double().flatten().tolist()}


class Masks:
    """torch.bernoulli with a record of what it gave."""

    def __init__(self, seed):
        self.gen = torch.Generator().manual_seed(seed)
        self.drawn = []

    def __call__(self, input, **_):
        mask = (torch.rand(input.shape, generator=self.gen, dtype=torch.float64) < input).to(input.dtype)
        self.drawn.append("".join(str(int(x)) for x in mask.flatten().tolist()))
        return mask


CASES = [
    # id, adapters, combination, options
    ("cat", ODD, "cat", {}),
    ("svd-full", ODD, "svd", {"svd_rank": 4}),
    ("svd-2", ODD, "svd", {"svd_rank": 2}),
    ("linear", ADAPTERS, "linear", {}),
    ("ties-total", ADAPTERS, "ties", {"density": 0.4}),
    ("ties-frequency", ADAPTERS, "ties", {"density": 0.6, "majority_sign_method": "frequency"}),
    ("magnitude-prune", ADAPTERS, "magnitude_prune", {"density": 0.5}),
    ("dare-linear", ADAPTERS, "dare_linear", {"density": 0.5}),
    ("dare-ties", ADAPTERS, "dare_ties", {"density": 0.7}),
    ("ties-svd", ODD, "ties_svd", {"density": 0.3, "svd_rank": 3}),
    ("ties-svd-frequency", ODD, "ties_svd", {"density": 0.5, "svd_rank": 4, "majority_sign_method": "frequency"}),
    ("magnitude-prune-svd", ODD, "magnitude_prune_svd", {"density": 0.4, "svd_rank": 4}),
    ("dare-linear-svd", ODD, "dare_linear_svd", {"density": 0.5, "svd_rank": 4}),
    ("dare-linear-svd-1", ODD, "dare_linear_svd", {"density": 1.0, "svd_rank": 4}),
    ("dare-ties-svd", ODD, "dare_ties_svd", {"density": 0.6, "svd_rank": 3}),
]


def run(identity, adapters, combination, options):
    model, factors = build(adapters)
    masks = Masks(sum(identity.encode()))
    real = torch.bernoulli
    merge_utils.torch.bernoulli = masks
    try:
        model.add_weighted_adapter(list(adapters), WEIGHTS, "merged", combination, **options)
    finally:
        merge_utils.torch.bernoulli = real
    result = {}
    for module_name, module in model.model.named_modules():
        if not hasattr(module, "lora_A") or "merged" not in module.lora_A:
            continue
        if combination.endswith("svd") or combination == "cat":
            # The factors of an SVD have no one sign: their product does.
            result[module_name] = {"delta": tolist(module.get_delta_weight("merged"))}
        else:
            result[module_name] = {"A": tolist(module.lora_A["merged"].weight), "B": tolist(module.lora_B["merged"].weight)}
    return {"id": identity, "set": "same" if adapters is ADAPTERS else "odd", "combination": combination, "options": options, "masks": masks.drawn, "merged": result}


def make():
    sets = {}
    for name, adapters in (("same", ADAPTERS), ("odd", ODD)):
        _, factors = build(adapters)
        sets[name] = {
            adapter: {"rank": r, "alpha": a, "modules": {m: {s: tolist(t) for s, t in sides.items()} for m, sides in factors[adapter].items()}}
            for adapter, (r, a) in adapters.items()
        }
    return {
        "made_by": f"scripts/merge-rivals/make_expectations.py with peft {peft.__version__}, torch {torch.__version__.split('+')[0]}",
        "weights": WEIGHTS,
        "order": ["lin", "conv", "one"],
        "sets": sets,
        "cases": [run(*case) for case in CASES],
    }


def difference(a, b, path=""):
    """Largest difference of two documents."""
    if isinstance(a, float) or isinstance(b, float):
        return abs(a - b)
    if isinstance(a, dict):
        assert set(a) == set(b), (path, set(a) ^ set(b))
        return max((difference(a[k], b[k], f"{path}.{k}") for k in a if k != "made_by"), default=0.0)
    if isinstance(a, list):
        assert len(a) == len(b), path
        return max((difference(x, y, path) for x, y in zip(a, b)), default=0.0)
    assert a == b, (path, a, b)
    return 0.0


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] == "--check":
        worst = difference(json.loads(pathlib.Path(sys.argv[2]).read_text()), json.loads(json.dumps(make())))
        print(f"largest difference from {sys.argv[2]}: {worst:.3g}")
        sys.exit(0 if worst < 1e-12 else 1)
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(make(), separators=(",", ":")) + "\n")
    print(f"{out}: {out.stat().st_size} bytes, sha256 {hashlib.sha256(out.read_bytes()).hexdigest()}")
