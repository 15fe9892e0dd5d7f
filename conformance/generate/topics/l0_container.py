"""L0: what a container says, and what must be refused. Files of ../shared/adversarial and of safetensors_edge_cases.json."""

import json

from ..lib.kit import read_st, safe, sha256
from ..lib.sources import src

SCRIPT = "topics/l0_container.py"
LIMIT = 300_000

# Threads and rules for a case, by the first part of its id that fits.
WHY = [
    ("st-len-gt-file", ("fooocus#3399", "safetensors-format")), ("st-len-2e63", ("diffusers#3960", "safetensors-format")), ("st-len-100", ("diffusers#3960", "safetensors-format")),
    ("st-len", ("fooocus#867", "safetensors-format")), ("st-off-data-missing", ("vllm#53537", "fooocus#3399")), ("st-off-past", ("llamacpp#27056", "safetensors-format")),
    ("st-off-trailing", ("sglang#14022", "safetensors-format")), ("st-off", ("diffusers#5316", "safetensors-format")), ("st-meta", ("safetensors#521", "safetensors-format")),
    ("st-ok", ("safetensors#281", "safetensors-format")), ("st-nan", ("sglang#14022", "safetensors-format")), ("st-dtype", ("peft#701", "safetensors-format")),
    ("st", ("comfy#15687", "safetensors-format")),
    ("pt-ok-zip", ("diffusers#2829", "torch-serialization")), ("pt-ok-bf16", ("peft#701", "torch-serialization")), ("pt", ("peft#212", "torch-serialization")),
    ("pk", ("clone#128", "pickle-danger", "weights-only")), ("tn", ("diffusers#3283", "torch-serialization")), ("bm", ("pickle-danger", "weights-only")),
    ("zp-encrypted", ("picklescan", "pickle-danger")), ("zp-truncated", ("diffusers#5316", "torch-serialization")), ("zp", ("torch-serialization", "picklescan")),
    ("lg", ("diffusers#2866", "torch-serialization")), ("tr", ("torch-serialization",)), ("ts", ("torch-serialization",)),
    ("wf-safetensors-as-pt", ("a1111#16447",)), ("wf-torchzip", ("diffusers#2866", "xflux#41")), ("wf-lfs", ("fooocus#867", "diffusers#3960")), ("wf-html", ("comfy#15687", "diffusers#3960")),
    ("wf", ("diffusers#3960",)),
]


# torch takes these files and runs no code for it: refusing them is stricter than torch, a family of its own.
STRICT = ("pk-proto-200", "pk-codecs-encode", "zp-bad-crc-pkl", "zp-local-size-differs", "zp-local-name-differs", "tn-meta-device")
# Sound files that a careful reader may refuse.
MAY_REFUSE = {
    "pt-ok-proto4": "torch.load(weights_only=True) reads pickle protocol 2 alone, which torch.save writes when it is not told otherwise",
    "wf-safetensors-as-pt": "a reader may go by the file's ending, as torch.load does",
}


def why(id):
    for prefix, keys in WHY:
        if id.startswith(prefix):
            return src(*keys)
    return src("safetensors-format")


NAMES = {"safetensors": "safetensors", "torch-tensors": "torch", "torch-containers": "torch", "torch-globals": "pickle", "torch-bombs": "pickle", "wrong-format": "mistaken"}
# a code that runs, or a reader that eats the machine: `hostile`. The others are damaged or foreign.
HOSTILE = ("torch-globals", "torch-bombs")
HOSTILE_IDS = ("zp-dup-pkl", "zp-dotdot", "zp-two-tops", "zp-local-name-differs", "lg-evil-sysinfo", "tn-numel-huge", "tn-stride0-bomb", "tn-storage-key-path", "tn-negative-offset",
               "tn-offset-past-end", "zp-zip64-huge", "zp-encrypted-flag", "st-json-deep-array", "st-shape-overflow", "st-len-2e63", "st-len-100MBp1", "lg-view-out-of-range", "tn-storage-two-dtypes")


def adversarial(suite):
    manifest = json.loads(suite.shared("adversarial/manifest.json"))
    opened = json.loads(suite.recorded("torch-open.json"))
    for c in manifest["cases"]:
        if c["group"] == "lora" or not c.get("file") or c["size"] > LIMIT:
            continue
        id, also = c["id"], c.get("also_ok") or []
        torch_says = opened["files"].get(id)
        rust_says = (c.get("reference") or {}).get("safetensors_rust")
        facts = {n: {"dtype": t["dtype"], "shape": t["shape"], "sha256": t["sha256"]} for n, t in c["tensors"].items()} if "tensors" in c else None
        if facts is not None and any(n for n in facts if facts[n]["dtype"].startswith("F8_E4M3F")):
            continue
        path = suite.copy("adversarial/" + c["file"], "container/" + safe(c["file"].rsplit("/", 1)[1]))
        accepts_too = any(a.startswith("accept") for a in also)
        refuses_too = any(a.startswith("reject") for a in also)
        taken = bool(torch_says) and torch_says["verdict"] == "accept"
        strict = id in STRICT
        hostile = c["verdict"] == "reject" and not strict and ((c["group"] in HOSTILE and not taken) or id in HOSTILE_IDS)
        codes = [x for x in [c.get("error")] + [a.split(":")[1] for a in also if a.startswith("reject:")] if x]
        codes = list(dict.fromkeys(codes))
        expect = None
        if c["verdict"].startswith("accept"):
            if facts is None:
                continue
            expect = {"tensors": facts}
            if refuses_too or id in MAY_REFUSE:
                expect["orRefuse"] = MAY_REFUSE.get(id) or "a matter of policy: " + c["what"][:200]
        elif accepts_too or (c["group"] == "safetensors" and rust_says and rust_says.startswith("accept")):
            # The reference reader takes it; refusing is stricter, and as good.
            data = suite.files[path][0]
            if c["group"] != "safetensors":
                continue
            tensors, _ = read_st(data)
            if any(0 in t.shape and max(t.shape) > 2**53 for t in tensors.values()):
                expect = {"refuse": True, "codes": codes}
                if accepts_too:
                    continue
            else:
                expect = {"tensors": {n: t.facts() for n, t in tensors.items()}, "orRefuse": "the reference reader accepts, a strict one refuses: " + c["what"][:200]}
        else:
            expect = {"refuse": True, "codes": codes}
        topic = NAMES[c["group"]]
        title = c["what"][0].upper() + c["what"][1:]
        title = title if len(title) >= 8 else title + " in the header"
        short = safe(id.split("-", 1)[1])
        head = "hostile" if hostile else "L0"
        place = (f"{head}/{topic}", f"{'hostile' if hostile else 'container'}/{topic}") if not strict else ("optional/strict-torch", "container/strict-torch")
        rule = c["what"] + "."
        implementation = None
        if rust_says:
            implementation = "huggingface/safetensors@0.8.0: " + rust_says[:160]
        elif torch_says:
            implementation = f"pytorch/pytorch@{opened['torch']}:torch.load(weights_only=True): " + torch_says["verdict"] + (", " + torch_says["error"] if torch_says.get("error") else "")
            if expect.get("refuse") and torch_says["verdict"] == "accept":
                rule += " torch accepts this file; the rule here is stricter."
        suite.add(
            place[1], f"{place[0]}/{short}", title,
            {"op": "open", "file": path}, expect, source=why(id), rule=rule, implementation=implementation, script=SCRIPT,
            optional="strict-torch" if strict else None,
            tags=[topic, "container"] + (["hostile"] if hostile else []) + (["refuse"] if expect.get("refuse") else ["accept"]),
            features=["torch", "strict-torch"] if strict else ["safetensors"] if c["group"] == "safetensors" or c["file"].endswith(".safetensors") else ["torch"], hostile=hostile,
            computations=["ruling and hashes of ../shared/adversarial/manifest.json, made by its generator byte by byte", "measured: " + (implementation or "no reader")],
            licence="made for this project",
        )


def edges(suite):
    """Tiny files with what safetensors 0.8.0 answered for each."""
    table = json.loads(suite.shared("field/safetensors_edge_cases.json"))
    policy = {"dup key same range": "a name that stands twice", "dup key inside metadata": "a metadata key that stands twice", "leading space": "the format's text wants { first",
              "F4 shape [4]": "a dtype newer than many readers", "F6_E2M3 [4]": "a dtype newer than many readers", "F8_E8M0": "a dtype newer than many readers", "C64": "complex numbers",
              "extra field in info": "an unknown field", "empty name": "a tensor without a name", "U64": "a dtype that many readers lack", "meta null": "metadata null is no object of strings"}
    for name, v in table.items():
        data = bytes.fromhex(v["file_hex"])
        said = v["safetensors_0_8_0"]
        slug = safe(name.replace("!=", "not").replace("<", "below").replace(">", "over").replace("\\", ""))
        path = suite.put(f"container/edge-{slug}.safetensors", data, "../shared/field/safetensors_edge_cases.json")
        if said.startswith("OK"):
            if name.startswith("F6") or name.startswith("F4"):
                n = int.from_bytes(data[:8], "little")
                header = json.loads(data[8 : 8 + n])
                body = data[8 + n :]
                facts = {k: {"dtype": t["dtype"], "shape": t["shape"], "sha256": sha256(body[t["data_offsets"][0] : t["data_offsets"][1]])} for k, t in header.items()}
            elif name in ("U64", "C64", "F8_E8M0"):
                n = int.from_bytes(data[:8], "little")
                header = json.loads(data[8 : 8 + n])
                body = data[8 + n :]
                facts = {k: {"dtype": t["dtype"], "shape": t["shape"], "sha256": sha256(body[t["data_offsets"][0] : t["data_offsets"][1]])} for k, t in header.items()}
            else:
                facts = {k: t.facts() for k, t in read_st(data)[0].items()}
            expect = {"tensors": facts}
            if name in policy:
                expect["orRefuse"] = "a matter of policy: " + policy[name]
        else:
            expect = {"refuse": True}
        suite.add(
            "container/edges", f"L0/safetensors-edge/{slug}", f"safetensors: {name}", {"op": "open", "file": path}, expect,
            source=src("safetensors#601" if name in ("metadata only", "empty object") else "safetensors-format"),
            rule=f"What the reference reader answers: {said[:160]}", implementation="huggingface/safetensors@0.8.0:safetensors/src/tensor.rs", script=SCRIPT,
            tags=["safetensors", "container"] + (["refuse"] if expect.get("refuse") else ["accept"]), features=["safetensors"],
            computations=["safetensors 0.8.0 (Rust), measured: ../shared/field/safetensors_edge_cases.json"], licence="made for this project",
        )


def make(suite, _sd1):
    adversarial(suite)
    edges(suite)
