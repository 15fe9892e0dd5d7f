"""cloneofsimo/lora (a snapshot): monkeypatch_or_replace_lora(_extended), monkeypatch_or_replace_safeloras, parse_safeloras_embeds."""
import importlib.util, os, types

import interop_common as c


def setup(report):
    source = os.environ.get("LORAKIT_CLONEOFSIMO", "")
    file = os.path.join(source, "lora_diffusion", "lora.py")
    if not os.path.exists(file):
        raise c.Skip("no snapshot of cloneofsimo/lora: give --cloneofsimo SRC")
    c.need("torch")
    c.need("transformers")
    c.need("PIL", "lora.py imports it")
    c.need("diffusers", "the UNet's classes decide which modules are found: give --diffusers SRC")
    # The file itself, not the package: its __init__ imports training tools.
    spec = importlib.util.spec_from_file_location("lora_diffusion_lora", file)
    lora = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lora)
    report.versions("torch", "transformers", cloneofsimo="snapshot")
    return lora


def as_old(unet):
    """diffusers <= 0.14 registered a block's children as attn1, ff, attn2, and called the class CrossAttention."""
    import diffusers.models.attention as attention
    import diffusers.models.attention_processor as processor

    for module in list(unet.modules()):
        if isinstance(module, attention.BasicTransformerBlock):
            module._modules["attn2"] = module._modules.pop("attn2")
    old = type("CrossAttention", (processor.Attention,), {})
    for module in unet.modules():
        if module.__class__ is processor.Attention:
            module.__class__ = old
    return unet


def targets_of(lora, pairs):
    """Of a list without names: the set is told by whoever loads it. Its length and shapes say which."""
    if any(t.dim() == 4 for t in pairs):
        return lora.UNET_EXTENDED_TARGET_REPLACE, True
    return lora.DEFAULT_TARGET_REPLACE, False


def check(lora, job):
    import torch
    from safetensors import safe_open

    unet, text = c.unet(job), c.text_encoder(job)
    if job.get("order") == "old":
        unet = as_old(unet)
    out = []
    if job["container"] == "torch-zip":
        pairs = torch.load(job["main"])
        targets, extended = targets_of(lora, pairs)
        if job["count"] == 128 and not extended:
            targets = {"CrossAttention", "Attention"}
        loader = "monkeypatch_or_replace_lora" + ("_extended" if extended else "")
        left = list(pairs)
        getattr(lora, loader)(unet, left, targets, [t.shape[0] for t in pairs[1::2]])
        why = "%d tensors of the list are left over" % len(left) if left else ""
        if job.get("textEncoder"):
            assert lora._text_lora_path(job["main"]) == job.get("textEncoder"), "the text encoder's file has another name than the one it looks for"
            pairs = torch.load(job.get("textEncoder"))
            left = list(pairs)
            lora.monkeypatch_or_replace_lora(text, left, lora.TEXT_ENCODER_DEFAULT_TARGET_REPLACE, [t.shape[0] for t in pairs[1::2]])
            why = why or ("%d tensors of the text encoder's list are left over" % len(left) if left else "")
        if job.get("tokens"):
            out.append(tokens(torch.load(lora._ti_lora_path(job["main"])), job, "cloneofsimo torch.load of .ti.pt"))
    else:
        loader, why = "monkeypatch_or_replace_safeloras", ""
        safe = safe_open(job["main"], framework="pt", device="cpu")
        lora.monkeypatch_or_replace_safeloras(types.SimpleNamespace(unet=unet, text_encoder=text), safe)
        if job.get("tokens"):
            out.append(tokens(lora.parse_safeloras_embeds(safe), job, "cloneofsimo parse_safeloras_embeds"))
    deltas = {}
    for component, model in (("unet", unet), ("text_encoder", text)):
        for path, module in model.named_modules():
            if isinstance(module, (lora.LoraInjectedLinear, lora.LoraInjectedConv2d)):
                up, down = module.lora_up.weight.double(), module.lora_down.weight.double()
                base = module.linear if isinstance(module, lora.LoraInjectedLinear) else module.conv
                deltas["%s.%s.weight" % (component, path)] = (up.flatten(1) @ down.flatten(1)).reshape(base.weight.shape) * module.scale
    name = "cloneofsimo " + loader + (" (blocks put into the order of diffusers <= 0.14)" if job.get("order") == "old" else "")
    return c.compare(job, deltas, name, why) + out


def tokens(found, job, loader):
    import torch

    wants = job["tokens"]
    why, worst = None, 0.0
    if set(found) != set(wants):
        why = "tokens are %s, not %s" % (sorted(found), sorted(wants))
    else:
        worst = max((found[t].double().reshape(-1) - torch.tensor(v, dtype=torch.float64).reshape(-1)).abs().max().item() for t, v in wants.items())
        why = "vectors differ by %.3g" % worst if worst > 0 else None
    return dict(loader=loader, status="fail" if why else "pass", loaded=len(found), expected=len(wants), diff=worst, unit="tokens", why=why)


c.main("cloneofsimo", lambda job: job["to"].startswith("cloneofsimo"), setup, check)
