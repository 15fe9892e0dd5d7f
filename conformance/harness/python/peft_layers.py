"""Adapters that PEFT has put beside the weights of torch modules: shared by the peft and the diffusers runtime."""
import copy

from peft.tuners.tuners_utils import BaseTunerLayer

from runtime_torch import Skipped


def layers(model):
    return [(path, module) for path, module in model.named_modules() if isinstance(module, BaseTunerLayer)]


def has(layer, name):
    """Whether the layer holds factors of that adapter (lora_A, hada_w1_a, ia3_l, ...)."""
    return any(name in getattr(layer, attribute) for attribute in layer.adapter_layer_names)


class Module:
    """One module of one adapter, as PEFT holds it."""

    def __init__(self, key, layer, name):
        self.key, self.layer, self.name = key, layer, name

    @property
    def rank(self):
        """PEFT keeps the configured number; a module of LoKr whose factors are all whole has none."""
        whole = all(self.name in getattr(self.layer, factor, ()) for factor in ("lokr_w1", "lokr_w2"))
        rank = getattr(self.layer, "r", {}).get(self.name)
        return rank if isinstance(rank, int) and not whole else None

    @property
    def scaling(self):
        scaling = getattr(self.layer, "scaling", None)
        if not scaling:
            raise Skipped(f"{type(self.layer).__name__} has no scaling")
        return float(scaling[self.name])

    def delta(self):
        """PEFT's own delta; where it has none apart from the weight (DoRA, IA3), merged minus base in float64."""
        if hasattr(self.layer, "get_delta_weight") and not getattr(self.layer, "use_dora", {}).get(self.name):
            return self.layer.get_delta_weight(self.name)
        layer = copy.deepcopy(self.layer).double()
        before = layer.get_base_layer().weight.clone()
        layer.merge(adapter_names=[self.name])
        return layer.get_base_layer().weight - before


def merged(model):
    """Name -> weight with all active adapters merged, on a copy: the loaded model stays as it is."""
    model = copy.deepcopy(model)
    for _, layer in layers(model):
        names = [name for name in layer.active_adapters if has(layer, name)]
        if names:
            layer.merge(adapter_names=names)
    factors = {f".{attribute}." for _, layer in layers(model) for attribute in layer.adapter_layer_names}
    return {
        name.replace(".base_layer.", "."): tensor.detach().clone()
        for name, tensor in model.state_dict().items() if not any(factor in name for factor in factors)
    }


def remove(model, name):
    for _, layer in layers(model):
        if has(layer, name):
            layer.delete_adapter(name)
    getattr(model, "peft_config", {}).pop(name, None)


def strength_of(strength, component):
    """One number, or one for each component; 1 where nothing is said."""
    return strength.get(component, 1.0) if isinstance(strength, dict) else strength


def activate(model, strengths):
    """All adapters on, each at its strength. @param strengths name -> number"""
    for _, layer in layers(model):
        names = [name for name in strengths if has(layer, name)]
        layer.set_adapter(names)
        for name in names:
            if hasattr(layer, "set_scale"):
                layer.set_scale(name, strengths[name])
            elif strengths[name] != 1:
                raise Skipped(f"{type(layer).__name__} has no strength")
