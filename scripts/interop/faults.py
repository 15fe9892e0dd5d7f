"""Faults that the interop checks must see, made in files that a run with `--keep DIR` left.

Usage: node scripts/interop/run.mjs ... --keep DIR && python scripts/interop/faults.py DIR
(with the same LORAKIT_KOHYA, LORAKIT_CLONEOFSIMO and PYTHONPATH as the loaders need). Exit 1 when a fault goes unseen.
"""
import json, os, shutil, subprocess, sys, tempfile


def header(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as f:
        return f.metadata()


def edit(path, change, metadata=True):
    from safetensors.torch import load_file, save_file

    kept = header(path) if metadata else None
    save_file(change(load_file(path)), path, kept)


def drop_module(job):
    edit(job["main"], lambda s: {k: v for k, v in s.items() if not k.startswith(sorted(s)[0].rsplit(".lora", 1)[0])})


def rename_modules(job):
    edit(job["main"], lambda s: {k.replace("down_blocks.0", "down_blocks.9").replace("down_blocks_0", "down_blocks_9"): v for k, v in s.items()})


def drop_metadata(job):
    edit(job["main"], lambda s: s, metadata=False)


def change_alpha(job):
    def change(s):
        key = [k for k in s if k.endswith(".alpha")][5]
        return {**s, key: s[key] * 1.001}

    edit(job["main"], change)


def swap_pairs(job):
    import torch

    pairs = torch.load(job["main"])
    pairs[0:2], pairs[2:4] = pairs[2:4], pairs[0:2]
    torch.save(pairs, job["main"])


def change_value(job):
    import torch

    pairs = torch.load(job["main"])
    pairs[8].view(-1)[3] += 0.01
    torch.save(pairs, job["main"])


def double_config_alpha(job):
    path = os.path.join(job["folder"], "adapter_config.json")
    with open(path) as f:
        config = json.load(f)
    with open(path, "w") as f:
        json.dump({**config, "lora_alpha": config["lora_alpha"] * 2}, f)


FAULTS = [
    ("diffusers", "same_kohya>diffusers.safetensors", [drop_module, rename_modules, drop_metadata]),
    ("kohya", "same_kohya>kohya.safetensors", [drop_module, rename_modules, change_alpha]),
    ("cloneofsimo", "clone_new>cloneofsimo.torch", [swap_pairs, change_value]),
    ("containers", "clone_new>cloneofsimo.torch", [change_value]),
    ("containers", "same_kohya>peft.safetensors", [drop_metadata]),
    ("peft", "same_kohya>peft.safetensors", [drop_module, double_config_alpha]),
]


def main(kept):
    with open(os.path.join(kept, "jobs.json")) as f:
        jobs = {j["id"]: j for j in json.load(f)}
    seen = unseen = 0
    with tempfile.TemporaryDirectory() as work:
        for check, name, faults in FAULTS:
            broken = []
            for fault in faults:
                job = json.loads(json.dumps(jobs[name]))
                folder = os.path.join(work, check + fault.__name__)
                shutil.copytree(job["folder"], folder)
                text = json.dumps(job).replace(json.dumps(job["folder"])[1:-1], json.dumps(folder)[1:-1])
                job = {**json.loads(text), "id": fault.__name__}
                fault(job)
                broken.append(job)
            files = [os.path.join(work, n) for n in ("jobs.json", "results.jsonl")]
            with open(files[0], "w") as f:
                json.dump(broken, f)
            open(files[1], "w").close()
            subprocess.run([sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "check_%s.py" % check), *files], stderr=subprocess.DEVNULL)
            with open(files[1]) as f:
                results = [json.loads(line) for line in f]
            for fault in faults:
                caught = [r for r in results if r.get("id") == fault.__name__ and r["status"] == "fail"]
                seen, unseen = seen + bool(caught), unseen + (not caught)
                print("%s %s %s: %s" % ("seen" if caught else "UNSEEN", check, fault.__name__, caught[0]["why"][:120] if caught else "no check failed"))
    print("%d faults seen, %d unseen" % (seen, unseen))
    return unseen > 0


sys.exit(main(sys.argv[1]))
