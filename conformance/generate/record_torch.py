"""
What torch itself (weights_only=True) does with every torch file of ../shared/adversarial that the suite uses: the real
implementation beside the rule of the L0 cases. Each file in a forked child, 20 s. Writes recorded/torch-open.json.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[2] / "shared"


def count(o):
    if isinstance(o, torch.Tensor):
        return 1
    values = o.values() if isinstance(o, dict) else o if isinstance(o, (list, tuple)) else ()
    return sum(1 for v in values if isinstance(v, torch.Tensor))


def child(path, out):
    signal.alarm(20)
    try:
        answer = {"verdict": "accept", "tensors": count(torch.load(path, weights_only=True, map_location="cpu"))}
    except BaseException as error:  # noqa: BLE001
        answer = {"verdict": "reject", "error": type(error).__name__}
    os.write(out, json.dumps(answer).encode())
    os._exit(0)


def main():
    os.chdir("/tmp")
    manifest = json.loads((SHARED / "adversarial/manifest.json").read_text())
    answers = {}
    for c in manifest["cases"]:
        if not c["group"].startswith("torch") or not c.get("file") or c["size"] > 300_000:
            continue
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            child(str(SHARED / "adversarial" / c["file"]), w)
        os.close(w)
        data = b""
        while chunk := os.read(r, 65536):
            data += chunk
        os.close(r)
        _, status = os.waitpid(pid, 0)
        answers[c["id"]] = json.loads(data) if data else {"verdict": "crash", "error": f"signal {os.WTERMSIG(status)}"}
    (HERE / "recorded/torch-open.json").write_text(json.dumps({"torch": torch.__version__, "files": answers}, indent=1, sort_keys=True) + "\n")
    print(len(answers), {v: sum(1 for a in answers.values() if a["verdict"] == v) for v in ("accept", "reject", "crash")}, file=sys.stderr)


main()
