"""Which cases answer which row of DEMANDS.md section 2; why the other rows have none."""

ROWS = {
    1: "Tell me why keys are not loaded", 2: "Alpha or strength comes out wrong", 3: "kohya, Comfy, ai-toolkit to diffusers", 4: "A silent partial load must be an error with a count", 5: "Read what is inside without loading or Python",
    6: "diffusers to A1111 or Comfy", 7: "Same LoRA, same seed, another picture", 8: "Bake a LoRA into a checkpoint", 9: ".pt, .bin to safetensors without running code", 10: "Loading and patching is slow", 11: "Resize breaks (LoCon, missing alpha)",
    12: "Hash rules break after edits", 13: "Base model unknown or taken for another", 14: "InvokeAI: unknown LoRA type", 15: "Merge LoRAs of different rank", 16: "A merge that equals applying both", 17: "Corrupt, truncated, NaN files caught early", 18: "LoRA in JavaScript",
    19: "Extract a LoRA", 20: "Embedding and LoRA in one file", 21: "cloneofsimo files are unusable elsewhere", 22: "Fuse, then unfuse, gives the original back", 23: "Text encoder prefix lora_te, lora_te1; text_projection", 24: "Strip or keep metadata", 25: "LoHa, LoKr in diffusers",
    26: "dtype conversion, float16 underflow", 27: "Hub card: base_model wrong", 28: "Resume and reproduce training", 29: "Train on 6 to 12 GB", 30: "DoRA across runtimes", 31: "LoCon and conv keys, partial SDXL conversion", 32: "PEFT's named adapters", 33: "A command line tool for safetensors",
    34: "Compare two LoRAs", 35: "A compatibility table to trust", 36: "Convert a whole folder", 37: "Metadata standard", 38: "Merge recipe recorded", 39: "A file with two stray keys", 40: "Save a merge as a LoRA again",
}
NONE = {
    10: "speed: nothing that is right or wrong; bench/ measures it", 12: "a tool's output file, not what a runtime makes of an input: `lora hash` and its tests", 19: "making a LoRA from two models is no reading of one: `lora extract` and its tests",
    27: "a page on the Hub, not a file that a runtime reads", 28: "training", 29: "training", 33: "a wish for a tool; what such a tool must read is L0", 34: "a tool's analysis of two files: `lora diff` and its tests",
    36: "a tool's convenience", 37: "no runtime obeys these entries; that they never stop a load is L1/kohya/metadata-*", 38: "a tool's output", 40: "a tool's output; that the sum is right is L4/lifecycle/stack*",
}


def write_map(suite, path):
    by_row, threads = {}, {}
    for group in suite.groups.values():
        for case in group:
            for s in case["source"]:
                if "demand" in s:
                    by_row.setdefault(s["demand"], {}).setdefault(case["id"], None)
                if "/issues/" in s["url"] or "/pull/" in s["url"]:
                    threads.setdefault(s["url"], []).append(case["id"])
    lines = [
        "# Demands and cases", "",
        "Made by `conformance/generate/make.py`. Rows: `../shared/field/DEMANDS.md` section 2. A case stands in a row when a thread of that row is among its sources.", "",
        "| row | demand | cases | ids |", "|---|---|---|---|",
    ]
    for row, words in ROWS.items():
        ids = list(by_row.get(row, {}))
        assert bool(ids) != (row in NONE), row
        if not ids:
            lines.append(f"| {row} | {words} | 0 | none: {NONE[row]} |")
            continue
        shown = ", ".join(f"`{i}`" for i in ids[:12]) + (f" and {len(ids) - 12} more" if len(ids) > 12 else "")
        lines.append(f"| {row} | {words} | {len(ids)} | {shown} |")
    lines += ["", f"## Threads ({len(threads)})", "", "| thread | cases | first |", "|---|---|---|"]
    for url, ids in sorted(threads.items()):
        lines.append(f"| {url} | {len(ids)} | `{ids[0]}` |")
    path.write_text("\n".join(lines) + "\n")
