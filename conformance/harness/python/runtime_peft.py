"""PEFT alone: its own folders (adapter_config.json beside adapter_model.safetensors), into any torch model."""
import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import peft  # noqa: E402
import torch  # noqa: E402
from safetensors import SafetensorError  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

import peft_layers  # noqa: E402
from runtime_torch import DTYPES, Skipped, facts, open_file, save  # noqa: E402, F401
from runtime_torch import use as use_torch  # noqa: E402

NAME = "PEFT"
VERSION = f"{peft.__version__} (torch {torch.__version__})"
LEVELS = ["L0", "L1", "L2", "L3", "L4"]
FEATURES = [
    "safetensors", "torch", "peft", "sd1", "sd2", "sdxl", "sd3", "flux", "locon", "loha", "lokr", "dora", "ia3", "oft",
    "unload", "swap", "stack", "component-strength",
]
# PEFT says by these that a file or its configuration is bad.
REFUSALS = (SafetensorError, ValueError, KeyError, RuntimeError, OSError)
DTYPE = torch.float32


def use(precision):
    global DTYPE
    DTYPE = DTYPES[precision]
    use_torch(precision)


class Tree(torch.nn.Module):
    """Modules with the names and weights of a base: PEFT looks at no more than names and kinds of modules."""


def tree_of(path):
    root, weights = Tree(), load_file(path)
    for name, tensor in weights.items():
        *parents, last, kind = name.split(".")
        where = root
        for part in parents:
            where = getattr(where, part, None) or add(where, part, Tree())
        if last not in dict(where.named_children()):
            add(where, last, module_for(weights, name.removesuffix(f".{kind}")))
        module = getattr(where, last)
        value = torch.nn.Parameter(tensor.to(DTYPE), requires_grad=False) if tensor.is_floating_point() else tensor
        setattr(module, kind, value) if isinstance(value, torch.nn.Parameter) else module.register_buffer(kind, value)
    return root


def module_for(weights, path):
    weight, bias = weights.get(f"{path}.weight"), f"{path}.bias" in weights
    if weight is not None and weight.ndim == 2 and "embedding" not in path.rsplit(".", 1)[-1]:
        return torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias)
    if weight is not None and weight.ndim == 4:
        return torch.nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), bias=bias)
    return Tree()


def add(where, name, module):
    where.add_module(name, module)
    return module


class Session:
    """The components of a base, and what PEFT has loaded beside them."""

    def __init__(self, base, folder):
        self.trees = {component: tree_of(path) for component, path in base["components"].items()}
        self.models, self.strengths, self.unmatched, self.folder = {}, {}, set(), folder

    def load(self, name, ref, strength):
        # PEFT reads folders, with these names.
        folder = tempfile.mkdtemp(dir=self.folder)
        for key, link in (("file", "adapter_model" + os.path.splitext(ref["file"])[1]), ("config", "adapter_config.json")):
            if ref.get(key):
                os.symlink(ref[key], os.path.join(folder, link))
        config = peft.PeftConfig.from_pretrained(folder)
        component = self.component_of(open_file(ref["file"]))
        if component in self.models:
            model = self.models[component]
            model.add_adapter(name, config)
        else:
            model = self.models[component] = peft.PeftModel(self.trees[component], config, adapter_name=name)
        result = model.load_adapter(folder, name)
        self.unmatched |= {key.replace(f".{name}.", ".") for key in result.unexpected_keys}
        self.set_strength(name, strength)

    def component_of(self, names):
        """PEFT's user says into which model an adapter goes; here: the one that has most of its modules."""
        def fits(tree):
            paths = dict(tree.named_modules())
            return sum(any(part in paths for part in prefixes(name.removeprefix("base_model.model."))) for name in names)

        return max(self.trees, key=lambda component: fits(self.trees[component]))

    def set_strength(self, name, strength):
        self.strengths[name] = strength
        for component, model in self.models.items():
            numbers = {n: peft_layers.strength_of(s, component) for n, s in self.strengths.items()}
            peft_layers.activate(model, numbers)

    def unload(self, name):
        for model in self.models.values():
            if name in model.peft_config:
                peft_layers.remove(model.base_model, name)
        del self.strengths[name]

    def modules(self, name):
        for component, model in self.models.items():
            for path, layer in peft_layers.layers(model.base_model.model):
                if peft_layers.has(layer, name):
                    yield peft_layers.Module(f"{component}.{path}", layer, name)

    def weights(self):
        # PEFT has put its layers into the trees themselves.
        return {f"{c}.{name}": t for c, tree in self.trees.items() for name, t in peft_layers.merged(tree).items()}


def prefixes(name):
    """`a.b.c.d` -> a.b.c, a.b: all that may be a module, but not the first levels, which every model has."""
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(len(parts) - 1, 1, -1) if i > 2]
