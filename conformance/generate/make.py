"""
Makes conformance/cases: every case, every file, the manifest and the provenance. Imports nothing of packages/.

Usage (Python with numpy, torch and safetensors; ../shared beside the repository):
  python conformance/generate/make.py            writes conformance/cases
  python conformance/generate/make.py --check    makes it in a temporary folder and compares every byte
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
if __package__ in (None, ""):
    sys.path.insert(0, str(HERE.parent))
    __package__ = "generate"
    import importlib

    importlib.import_module("generate")

import numpy  # noqa: E402
import safetensors  # noqa: E402
import torch  # noqa: E402

from .demands import write_map  # noqa: E402
from .lib.kit import SEED, SUITE, Suite, sha256  # noqa: E402
from .lib.sd1 import Sd1  # noqa: E402
from .topics import l0_container, l1_keys, l1_real, l2_scaling, l3_delta, l3_real, l4_weights, l5_forward, l5_layers, l6_images  # noqa: E402

TOPICS = [l0_container, l1_keys, l1_real, l2_scaling, l3_delta, l3_real, l4_weights, l5_forward, l5_layers, l6_images]


def dump(value):
    """JSON with tabs and short arrays and flat objects on one line: readable, and a stable text."""

    def short(v):
        text = json.dumps(v, ensure_ascii=False)
        return text if len(text) <= 150 else None

    def walk(v, indent):
        pad, inner = "\t" * indent, "\t" * (indent + 1)
        if not isinstance(v, (dict, list)) or not v:
            return json.dumps(v, ensure_ascii=False)
        one = short(v)
        if one is not None and indent > 1:
            return one
        if isinstance(v, dict):
            return "{\n" + ",\n".join(f"{inner}{json.dumps(k, ensure_ascii=False)}: {walk(x, indent + 1)}" for k, x in v.items()) + f"\n{pad}}}"
        return "[\n" + ",\n".join(inner + walk(x, indent + 1) for x in v) + f"\n{pad}]"

    return walk(value, 0) + "\n"


def build():
    torch.set_num_threads(1)
    suite = Suite()
    sd1 = Sd1(suite)
    for topic in TOPICS:
        topic.make(suite, sd1)
    quote_runs(suite)
    return suite


def quote_runs(suite):
    """What diffusers, PEFT and sd-scripts were measured to do with a case's file, beside its derived bound."""
    recorded = json.loads(suite.recorded("real-errors.json"))
    versions = recorded["versions"]
    for group in suite.groups.values():
        for case in group:
            runs = recorded["cases"].get(case["id"])
            if not runs:
                continue
            said = []
            for name, r in sorted(runs.items()):
                who = versions[name] if name == "kohya" else f"{name} {versions[name]}"
                if "refused" in r:
                    said.append(f"{who} refuses the file ({r['refused'].split(':')[0]})")
                elif "accepted" in r:
                    said.append(f"{who} takes the file")
                elif r["relative"] is None:
                    said.append(f"{who} leaves modules out")
                else:
                    said.append(f"{who} is off by {r['relative']:.2g} relative" if r["relative"] else f"{who} is equal")
            text = "Run on this file: " + "; ".join(said) + "."
            if "tolerance" in case:
                case["tolerance"]["derivation"] += " " + text
            else:
                case["reference"]["implementation"] = (case["reference"].get("implementation", "") + " " + text).strip()


def used_files(suite):
    found = set()

    def walk(v):
        if isinstance(v, dict):
            for x in v.values():
                walk(x)
        elif isinstance(v, list):
            for x in v:
                walk(x)
        elif isinstance(v, str) and v.startswith("files/"):
            found.add(v)

    walk(suite.groups)
    return found


def write(suite, folder, generate):
    used = used_files(suite)
    unused = set(suite.files) - used
    assert used <= set(suite.files), sorted(used - set(suite.files))[:5]
    for path in unused:
        del suite.files[path]
    for path, (data, _) in suite.files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    outputs = {}
    for group, cases in sorted(suite.groups.items()):
        target = folder / f"{group}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        text = dump(cases)
        target.write_text(text)
        outputs[f"{group}.json"] = sha256(text.encode())
    manifest = {"suite": SUITE, "files": {p: {"sha256": sha256(d), "bytes": len(d), "made": made} for p, (d, made) in sorted(suite.files.items())}}
    text = dump(manifest)
    (folder / "manifest.json").write_text(text)
    outputs["manifest.json"] = sha256(text.encode())
    generators = {p.relative_to(HERE.parent).as_posix(): sha256(p.read_bytes()) for p in sorted(HERE.rglob("*.py"))}
    provenance = {
        "suite": SUITE, "generator": "conformance/generate/make.py", "seed": SEED, "random": "SHAKE-256 of seed and label, counter based (lib/kit.py grid)",
        "versions": {"numpy": numpy.__version__, "torch": torch.__version__, "safetensors": safetensors.__version__},
        "agreement": {"what": "largest relative difference between the two float64 computations (lib/closed_numpy.py, lib/closed_torch.py), by family", "families": {k: float(f"{v:.2g}") for k, v in sorted(suite.agreements.items())}},
        "generators": generators, "inputs": dict(sorted(suite.inputs.items())), "outputs": outputs,
    }
    (generate / "provenance.json").write_text(dump(provenance))
    write_map(suite, generate / "DEMANDS-MAP.md")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    cases = HERE.parent / "cases"
    suite = build()
    with tempfile.TemporaryDirectory() as tmp:
        folder, generate = Path(tmp) / "cases", Path(tmp) / "generate"
        folder.mkdir()
        generate.mkdir()
        write(suite, folder, generate)
        if args.check:
            wrong = []
            made = {p.relative_to(folder): p for p in folder.rglob("*") if p.is_file()}
            there = {p.relative_to(cases) for p in cases.rglob("*") if p.is_file()}
            wrong += [f"missing: {p}" for p in sorted(set(made) - there)] + [f"not made by this script: {p}" for p in sorted(there - set(made))]
            wrong += [f"differs: {p}" for p in sorted(set(made) & there) if made[p].read_bytes() != (cases / p).read_bytes()]
            wrong += [f"differs: generate/{p.name}" for p in generate.iterdir() if not (HERE / p.name).exists() or p.read_bytes() != (HERE / p.name).read_bytes()]
            print("\n".join(wrong) or f"{len(made)} files, {sum(map(len, suite.groups.values()))} cases: equal")
            return 1 if wrong else 0
        if cases.exists():
            shutil.rmtree(cases)
        shutil.copytree(folder, cases)
        for p in generate.iterdir():
            shutil.copy(p, HERE / p.name)
    levels = {}
    for group in suite.groups.values():
        for c in group:
            levels[c["level"]] = levels.get(c["level"], 0) + 1
    urls = {s["url"] for g in suite.groups.values() for c in g for s in c["source"]}
    threads = {u for u in urls if "github.com" in u and ("/issues/" in u or "/pull/" in u)}
    size = sum(len(d) for d, _ in suite.files.values())
    print(f"{sum(levels.values())} cases {dict(sorted(levels.items()))}, {len(threads)} threads, {len(suite.files)} files of {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
