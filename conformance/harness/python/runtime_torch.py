"""torch and safetensors alone: what `torch.load(weights_only=True)` and `safetensors.torch.load_file` make of a file."""
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

NAME = "torch"
VERSION = torch.__version__
LEVELS = ["L0"]
FEATURES = ["safetensors", "torch"]
REFUSALS = (SafetensorError, ValueError)

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
# Dtypes in safetensors' words. torch.float4_e2m1fn_x2 holds two numbers a byte, safetensors counts numbers.
WORDS = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "complex64": "C64", "bool": "BOOL",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0", "float4_e2m1fn_x2": "F4",
}


class Skipped(Exception):
    """Something that this runtime does not do."""


def use(precision):
    """Called once, before the first request."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)


def open_file(path):
    """Name -> tensor. Runtimes choose the reader by the file's ending."""
    if path.endswith(".safetensors"):
        return load_file(path)
    state = torch.load(path, weights_only=True, map_location="cpu")
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]  # a training checkpoint
    if isinstance(state, (list, tuple)):
        state = dict(enumerate(state))
    return {str(name): tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def facts(tensor):
    """Dtype in safetensors' words, shape, and the little-endian bytes."""
    word = WORDS.get(str(tensor.dtype).removeprefix("torch."))
    if word is None:
        raise Skipped(f"safetensors has no word for {tensor.dtype}")
    shape = list(tensor.shape)
    if word == "F4" and shape:
        shape[-1] *= 2
    if tensor.is_meta or tensor.numel() == 0:  # torch loads tensors of the meta device, which have no bytes
        return word, shape, b""
    return word, shape, tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def save(tensors, path):
    save_file({name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}, path)
