"""diffusers (a snapshot on PYTHONPATH, or installed): load_lora_weights, load_lora_adapter, textual inversion."""
import os

import interop_common as c

LAYOUTS = {"diffusers", "diffusers-old", "diffusers-attn-procs", "kohya"}


def setup(report):
    c.need("torch")
    c.need("transformers")
    diffusers = c.need("diffusers", "give --diffusers SRC, a snapshot of the repository")
    c.need("peft", "diffusers loads LoRA by way of PEFT")
    report.versions("peft", "transformers", "torch", diffusers=diffusers.__version__)
    diffusers.utils.logging.set_verbosity_error()
    return diffusers


def pipeline(diffusers, job, flat=False):
    return diffusers.StableDiffusionPipeline(
        vae=None,
        text_encoder=c.text_encoder(job, flat),
        tokenizer=None,
        unet=c.unet(job),
        scheduler=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def deltas_of(pipe):
    return {**c.tuner_deltas(pipe.unet, "unet"), **c.tuner_deltas(pipe.text_encoder, "text_encoder", flat_text=True)}


def check(diffusers, job):
    name = os.path.basename(job["main"])
    if job["to"] not in LAYOUTS:
        return embeddings(job)
    if job["to"] == "diffusers-attn-procs":
        return bare(diffusers, job) + embeddings(job)
    pipe = pipeline(diffusers, job)
    out = []
    if job["to"] == "kohya" and not set(job["families"]) <= {"lora", "dora"}:
        return embeddings(job)  # diffusers reads no LoHa and no LoKr, and says so
    if job["to"] == "kohya" and job.get("tokens"):
        out += without_bundle(diffusers, job, pipe)
    elif job["to"] == "kohya":
        pipe.load_lora_weights(job["folder"], weight_name=name)
        out += known_limit(job, c.compare(job, deltas_of(pipe), "diffusers load_lora_weights"))
    else:
        pipe.load_lora_weights(job["folder"], weight_name=name)
        out += c.compare(job, deltas_of(pipe), "diffusers load_lora_weights")
    if job["first"] and job["to"] == "diffusers" and job["container"] == "safetensors" and job["components"] == ["unet"]:
        model = c.unet(job)
        # `prefix` takes the component off the names, and off those of lora_adapter_metadata.
        model.load_lora_adapter(job["folder"], weight_name=name, prefix="unet")
        out += c.compare(job, c.tuner_deltas(model, "unet"), "diffusers unet.load_lora_adapter")
    if "text_encoder" in job["components"] and not job.get("tokens"):
        out += flat_text_encoder(diffusers, job, name)
    return out + embeddings(job)


def flat_text_encoder(diffusers, job, name):
    """
    transformers >= 5.6 took the level text_model. out of CLIPTextModel. diffusers 58eb52c then finds no rank and stops with
    an IndexError, for its own old files too, unless lora_adapter_metadata gives the text encoder's configuration.
    """
    loader = "diffusers load_lora_weights, transformers' flat CLIPTextModel"
    said = any(k == "lora_adapter_metadata" and "text_encoder." in v for f in job["files"] for k, v in f["metadata"])
    try:
        pipe = pipeline(diffusers, job, flat=True)
        pipe.load_lora_weights(job["folder"], weight_name=name)
        return c.compare(job, deltas_of(pipe), loader)
    except Exception as e:
        if isinstance(e, IndexError) and not said:
            return [dict(loader=loader, status="note", why="IndexError: diffusers cannot load any text encoder without lora_adapter_metadata here")]
        return [dict(loader=loader, status="fail", why="%s: %s" % (type(e).__name__, str(e)[:200]))]


def known_limit(job, results):
    """
    kohya's own loader is sd-scripts; that diffusers reads such files too is more than they promise. Where it gives another
    delta for a reason that lies in diffusers (58eb52c), for kohya's own files as for ours, this is a note.
    """
    from diffusers.models.model_loading_utils import load_state_dict

    if all(r["status"] == "pass" for r in results):
        return results
    weights = load_state_dict(job["main"])
    alphas = {p: {float(v) for k, v in weights.items() if k.startswith(p) and k.endswith(".alpha")} for p in ("lora_unet_", "lora_te_")}
    text = {k.split(".")[0] for k in weights if k.startswith("lora_te_")}
    why = None
    if "dora" in job["families"]:
        why = "it drops dora_scale and applies the rest as plain LoRA"
    elif len(alphas["lora_unet_"]) > 1:
        why = "where alphas differ it makes patterns of names like processor.to_q_lora.down, which match no module, and gives every module the commonest alpha (get_peft_kwargs)"
    elif any("_mlp_" in k for k in text) and any("_self_attn_" in k for k in text) and not any(k.endswith("_out_proj") for k in text):
        why = "a text encoder with attention and MLP but without out_proj is taken for the newer spelling, and its attention is dropped"
    if why is None:
        return results
    return [dict(loader="diffusers load_lora_weights of kohya files", status="note", why=why)]


def without_bundle(diffusers, job, pipe):
    """diffusers refuses a whole file for one name without "lora" in it, and bundle_emb.* is such a name."""
    from diffusers.models.model_loading_utils import load_state_dict

    loader = "diffusers load_lora_weights, bundle_emb.* taken off"
    weights = {k: v for k, v in load_state_dict(job["main"]).items() if not k.startswith("bundle_emb.")}
    notes = []
    try:
        pipeline(diffusers, job).load_lora_weights(job["main"])
    except ValueError as e:
        notes = [dict(loader="diffusers load_lora_weights", status="note", why="a kohya file with bundle_emb.* is refused whole: %s" % str(e)[:120])]
    pipe.load_lora_weights(weights)
    return c.compare(job, deltas_of(pipe), loader) + notes


def bare(diffusers, job):
    """Attention processors: today's diffusers reads these names only with a component before them."""
    from diffusers.models.model_loading_utils import load_state_dict

    pipe = pipeline(diffusers, job)
    pipe.load_lora_weights({"unet." + k: v for k, v in load_state_dict(job["main"]).items()})
    return c.compare(job, deltas_of(pipe), "diffusers load_lora_weights, unet. put before each name")


def embeddings(job):
    """What lies beside the file opens as textual inversion, with the token of the source."""
    if not job["embeddings"]:
        return []
    import torch
    from diffusers.loaders.textual_inversion import TextualInversionLoaderMixin, load_textual_inversion_state_dicts

    class NoVocabulary:
        def get_vocab(self):
            return {}

    files = [os.path.join(job["folder"], f) for f in job["embeddings"]]
    if any(f.endswith(".pt") for f in files):
        return []  # .ti.pt is cloneofsimo's own dict of tokens
    wants = {k: torch.tensor(v, dtype=torch.float64) for k, v in job["tokens"].items()}
    dicts = load_textual_inversion_state_dicts(files)
    tokens, vectors = [], []
    for d in dicts:
        t, v = TextualInversionLoaderMixin._retrieve_tokens_and_embeddings([None], [d], NoVocabulary())
        tokens += t
        vectors += v
    out = [verdict("diffusers load_textual_inversion", dict(zip(tokens, vectors)), wants)]
    found = {token: a1111(f) for token, f in zip(tokens, files)}
    out.append(verdict("A1111's embedding rule (LAYOUTS 2.19)", found, wants))
    return out


def a1111(file):
    """One file, one word: string_to_param's first; SDXL's clip_l and clip_g; else exactly one tensor, 1-D or 2-D."""
    from safetensors.torch import load_file

    data = load_file(file)
    if "string_to_param" in data:
        return next(iter(data["string_to_param"].values()))
    if len(data) != 1:
        raise ValueError("%s has %d tensors; A1111 wants one" % (os.path.basename(file), len(data)))
    vector = next(iter(data.values()))
    return vector.unsqueeze(0) if vector.dim() == 1 else vector


def verdict(loader, found, wants):
    worst, why = 0.0, None
    if set(found) != set(wants):
        why = "tokens are %s, not %s" % (sorted(found), sorted(wants))
    else:
        for token, want in wants.items():
            got = found[token].double().reshape(-1)
            worst = max(worst, (got - want.reshape(-1)).abs().max().item() if got.numel() == want.numel() else float("inf"))
        if worst > 0:
            why = "vectors differ by %.3g" % worst
    return dict(loader=loader, status="fail" if why else "pass", loaded=len(found), expected=len(wants), diff=worst, unit="tokens", why=why)


c.main("diffusers", lambda job: job["to"] in LAYOUTS or job["embeddings"], setup, check)
