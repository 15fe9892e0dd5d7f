#!/usr/bin/env python3
"""LoRA conformance harness (protocol 1): one JSON request a line on standard input, one JSON answer a line on standard output.

Fill in the functions that your runtime can do, and list the levels. Nothing else may be printed to standard output.
https://github.com/lorakit/lorakit/blob/main/conformance/PROTOCOL.md
"""
import hashlib
import json
import sys

from safetensors import SafetensorError, safe_open

VERSION = "0.0.0"  # of your runtime: a number or a commit
LEVELS = ["L0"]  # add L1, L2, L3, L4, L5, L6 as you fill them in
FEATURES = None  # or a list, so that the rest is skipped: ["safetensors", "kohya", "sd1", "unload"]


def op_open(request):
    """L0: every tensor of the file. A damaged file must be refused, never half read."""
    if not request["file"].endswith(".safetensors"):
        return {"skipped": True, "message": "only safetensors"}
    from safetensors.torch import load_file

    load_file(request["file"])  # checks the whole header
    tensors = {}
    with open(request["file"], "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell()
        for name, info in header.items():
            if name == "__metadata__":
                continue
            begin, end = info["data_offsets"]
            file.seek(start + begin)
            digest = hashlib.sha256(file.read(end - begin)).hexdigest()
            tensors[name] = {"dtype": info["dtype"], "shape": info["shape"], "sha256": digest}
    return {"tensors": tensors}


def op_scaling(request):
    """L2: `component.path` -> the number that multiplies the delta, strength included."""
    raise NotImplementedError("ask your runtime for the scale of each layer of request['adapter']['file']")


def op_weights(request):
    """L4: load request['base']['components'], run request['actions'], write each export as safetensors."""
    raise NotImplementedError("load, set strength, unload, swap; then save_file(weights, action['out'])")


OPS = {"open": op_open, "scaling": op_scaling, "weights": op_weights}

for line in sys.stdin:
    request = json.loads(line)
    answer = {"id": request["id"]}
    if request["op"] == "stop":
        break
    if request["op"] == "start":
        answer |= {"protocol": 1, "implementation": {"name": "my-runtime", "version": VERSION, "language": "Python"}}
        answer |= {"precision": "f32", "levels": LEVELS} | ({} if FEATURES is None else {"features": FEATURES})
    else:
        try:
            answer |= {"ok": True} | OPS[request["op"]](request)
            if answer.get("skipped"):
                del answer["ok"]
        except (KeyError, NotImplementedError) as error:
            answer |= {"skipped": True, "message": f"not done: {error}"}
        except (SafetensorError, ValueError) as error:
            answer |= {"refused": True, "message": str(error)}
        except Exception as error:  # a failure of the runtime itself
            answer |= {"error": {"message": f"{type(error).__name__}: {error}"}}
    print(json.dumps(answer), flush=True)
