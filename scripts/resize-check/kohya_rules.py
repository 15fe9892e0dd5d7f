"""The ranks in fixtures/resize/cases.json against kohya's own functions.

    /opt/lk-venv/bin/python scripts/resize-check/kohya_rules.py /opt/snap/sd-scripts/networks/resize_lora.py

Only its `index_sv_*` and `rank_resize` are taken out of the file (by their syntax tree) and run, on float64 singular values
filled up with zeros to the shorter side, as a full decomposition of the product has them.
"""

import ast
import json
import pathlib
import sys

import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
tree = ast.parse(pathlib.Path(sys.argv[1]).read_text())
wanted = [n for n in tree.body if isinstance(n, ast.FunctionDef) and (n.name.startswith("index_sv_") or n.name == "rank_resize")]
scope = {"torch": torch, "np": np, "MIN_SV": 1e-6}
exec(compile(ast.Module(body=wanted, type_ignores=[]), "resize_lora.py", "exec"), scope)

bad = total = 0
for case in json.loads((ROOT / "fixtures/resize/cases.json").read_text())["cases"]:
    shorter = min(case["shape"][0], int(np.prod(case["shape"][1:])))
    s = torch.zeros(shorter, dtype=torch.float64)
    s[: len(case["singularValues"])] = torch.tensor(case["singularValues"], dtype=torch.float64)
    for rule, rank in case["ranks"].items():
        kind, value = rule.split(" ")
        got = scope["rank_resize"](s, len(case["singularValues"]), kind.replace("-", "_"), float(value))["new_rank"]
        total += 1
        if got != rank:
            bad += 1
            print(case["name"], rule, "kohya", got, "ours", rank)
print(f"{total - bad} of {total} ranks agree with kohya's functions")
sys.exit(bad > 0)
