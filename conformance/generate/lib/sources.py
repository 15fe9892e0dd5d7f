"""
Threads and rules that motivated the cases. Numbers are those that ../shared/field/{DEMANDS,LAYOUTS,PEERS}.md gives;
owners were looked up (ComfyUI has moved to Comfy-Org, mflux to mflux-community; GitHub forwards the old names).
`says` is our own summary of what the thread is about.
"""

REPOS = {
    "comfy": "Comfy-Org/ComfyUI",
    "diffusers": "huggingface/diffusers",
    "peft": "huggingface/peft",
    "safetensors": "huggingface/safetensors",
    "kohya": "kohya-ss/sd-scripts",
    "addnet": "kohya-ss/sd-webui-additional-networks",
    "kohya_ss": "bmaltais/kohya_ss",
    "a1111": "AUTOMATIC1111/stable-diffusion-webui",
    "forge": "lllyasviel/stable-diffusion-webui-forge",
    "sdcpp": "leejet/stable-diffusion.cpp",
    "invoke": "invoke-ai/InvokeAI",
    "clone": "cloneofsimo/lora",
    "lycoris": "KohakuBlueleaf/LyCORIS",
    "onetrainer": "Nerogar/OneTrainer",
    "aitoolkit": "ostris/ai-toolkit",
    "simpletuner": "bghira/SimpleTuner",
    "mflux": "mflux-community/mflux",
    "sglang": "sgl-project/sglang",
    "xflux": "XLabs-AI/x-flux",
    "musubi": "kohya-ss/musubi-tuner",
    "wanwrapper": "kijai/ComfyUI-WanVideoWrapper",
    "vllm": "vllm-project/vllm",
    "llamacpp": "ggml-org/llama.cpp",
    "ort": "microsoft/onnxruntime",
    "tjs": "huggingface/transformers.js",
    "haofan": "haofanwang/Lora-for-Diffusers",
    "supermerger": "hako-mikan/sd-webui-supermerger",
    "fooocus": "lllyasviel/Fooocus",
    "larsupb": "larsupb/LoRA-Merger-ComfyUI",
}

# key -> (kind, row of DEMANDS.md section 2 or None, says)
T = {
    # 1 keys not loaded
    "comfy#1144": ("issues", 1, "keys of a LoKr file for SDXL text encoders are not loaded"),
    "comfy#2364": ("issues", 1, "every key of a file with diffusers' block names is reported as not loaded"),
    "comfy#2961": ("issues", 1, "lora key not loaded, for every file tried"),
    "comfy#4347": ("issues", 1, "PEFT's base_model.model prefix is not known"),
    "comfy#5655": ("issues", 1, "keys not loaded"),
    "comfy#5972": ("issues", 1, "keys not loaded"),
    "comfy#6381": ("issues", 1, "IA3's weight and on_input are not loaded"),
    "comfy#6397": ("issues", 1, "IA3 keys are not loaded and the picture does not change"),
    "comfy#7792": ("issues", 1, "a LyCORIS file is ignored: its keys are not loaded"),
    "comfy#11487": ("issues", 1, "flattened names of a top-level module are not loaded"),
    "simpletuner#779": ("issues", 1, "files that another program does not load"),
    "aitoolkit#67": ("issues", 1, "keys not loaded elsewhere"),
    # 2 alpha
    "comfy#12191": ("issues", 2, "alpha stands in the header's metadata alone and is ignored, so the strength is 1 instead of alpha / rank"),
    "comfy#15830": ("pull", 2, "take alpha / r from the header's metadata when there is no alpha tensor"),
    "larsupb#17": ("pull", 2, "a missing alpha was saved as 1, so that the strength became 1 / rank"),
    "sglang#16935": ("pull", 2, "alpha tensors of each layer were not read: alpha was taken for the rank"),
    "sglang#36082": ("pull", 2, "alpha from the header's metadata"),
    "diffusers#14088": ("issues", 2, "which converters read .alpha: a table of who reads which file"),
    "diffusers#3743": ("issues", 2, "what network alpha of kohya files means, and that scale is alpha / r"),
    "diffusers#9134": ("issues", 2, "a file with alpha 16 gives another picture here than in ComfyUI"),
    "mflux#449": ("pull", 2, "the scale must be alpha / rank, not 1"),
    "clone#187": ("issues", 2, "alpha is ignored when LoRAs are merged"),
    "diffusers#6087": ("issues", 2, "alpha is lost when a LoRA is saved"),
    "diffusers#14409": ("pull", 2, "files of several ranks without alpha were loaded at wrong scales"),
    "comfy#6909": ("issues", 2, "rank 32 with alpha 1 gives noise"),
    "simpletuner#1853": ("pull", 2, "alpha is kept in diffusers' metadata"),
    "comfy#8094": ("pull", 2, "a model trained with rsLoRA"),
    "vllm#6909": ("pull", 2, "rsLoRA: the scale is alpha / sqrt(r)"),
    "addnet#49": ("issues", 26, "alpha, and values that vanish in float16"),
    "kohya#2204": ("issues", 2, "split_qkv makes the effect three or four times weaker"),
    "sglang#17086": ("issues", 2, "alpha is taken for the rank although the file says 8 of 64"),
    "sdcpp#242": ("issues", 2, "alpha tensors of no dimensions are skipped"),
    # 3 to diffusers
    "kohya#1483": ("issues", 3, "using a kohya file in diffusers"),
    "kohya#1458": ("issues", 3, "converting to diffusers"),
    "addnet#148": ("issues", 3, "the same settings give another result than the web UI"),
    "clone#220": ("issues", 3, "using the files in diffusers"),
    "diffusers#9221": ("issues", 3, "a kohya file does not load"),
    "diffusers#10954": ("issues", 3, "a file of another trainer does not load"),
    "diffusers#9950": ("issues", 4, "a file of which no key matches is loaded without an error"),
    "diffusers#12053": ("issues", 23, "text encoder prefix lora_te1 / lora_te"),
    "diffusers#12159": ("issues", 3, "a LoRA of another model is offered"),
    "diffusers#4133": ("issues", 3, "kohya LoRAs for SDXL"),
    # 4 silent partial load
    "diffusers#4137": ("issues", 7, "LoRA results differ from A1111 and sd-scripts"),
    "diffusers#9622": ("pull", 4, "say when keys are unexpected"),
    "sdcpp#203": ("issues", 4, "SDXL LoRAs that are not applied"),
    "sdcpp#370": ("issues", 4, "Only (0 / N) LoRA tensors have been applied"),
    "sdcpp#1131": ("issues", 4, "unused LoRA tensors after a change of names"),
    "sdcpp#1092": ("issues", 7, "very different results from ComfyUI; is there a check for keys that match nothing?"),
    "mflux#577": ("issues", 4, "keys that match nothing go unnoticed"),
    "diffusers#9291": ("issues", 4, "kohya keys of Flux: no error, and the style is not applied"),
    "diffusers#11659": ("issues", 4, "no LoRA keys associated with the model were found"),
    # 5, 17 containers
    "safetensors#281": ("issues", 5, "reading what is inside"),
    "safetensors#521": ("issues", 5, "metadata"),
    "safetensors#609": ("issues", 5, "metadata"),
    "safetensors#601": ("issues", 5, "a file with metadata and no tensors was refused by older readers"),
    "safetensors#381": ("issues", 33, "a command line tool for the format"),
    "sglang#14022": ("issues", 17, "a damaged file"),
    "diffusers#5316": ("issues", 17, "a damaged or truncated file"),
    "llamacpp#27056": ("issues", 17, "a damaged file"),
    "vllm#53537": ("issues", 17, "a damaged file is not noticed"),
    "diffusers#3960": ("issues", 17, "HeaderTooLarge: the file is not what its name says"),
    "fooocus#867": ("issues", 17, "HeaderTooLarge / MetadataIncompleteBuffer on a damaged download"),
    "fooocus#3399": ("issues", 17, "an incomplete file"),
    "comfy#15687": ("pull", 17, "say clearly that a file is damaged"),
    "a1111#16447": ("issues", 17, "a .pt file that is a safetensors file"),
    # 6 diffusers -> others
    "diffusers#2326": ("issues", 6, "a .bin of the training script in A1111"),
    "diffusers#2866": ("issues", 9, ".bin to .safetensors, and still not accepted elsewhere"),
    "diffusers#4763": ("issues", 6, "converting to the A1111 names"),
    "diffusers#8530": ("issues", 6, "saved files do not work elsewhere"),
    "diffusers#10860": ("issues", 6, "a LoRA trained with diffusers does nothing in A1111"),
    "diffusers#11396": ("issues", 6, "files for other programs"),
    "a1111#12276": ("issues", 6, "LoRAs trained with diffusers do not work"),
    "haofan#1": ("issues", 6, "a .bin in a web UI"),
    "diffusers#6370": ("issues", 6, "A1111 cannot convert lora_A names of diffusers"),
    "diffusers#6399": ("issues", 6, "a LoRA trained with diffusers is not seen by A1111 and ComfyUI: other keys"),
    "diffusers#6894": ("issues", 6, "a LoRA trained with diffusers in A1111"),
    # 7 same LoRA, other picture
    "comfy#1237": ("issues", 7, "a LoRA trained with diffusers gives another picture with the same seed; use the same sampler"),
    "diffusers#3725": ("issues", 7, "another picture than in A1111"),
    "diffusers#6598": ("issues", 7, "img2img with a LoRA: other results than A1111 with the same parameters"),
    "diffusers#3669": ("issues", 7, "another picture"),
    "simpletuner#748": ("issues", 7, "another picture than in training"),
    # 8 bake
    "kohya_ss#519": ("issues", 8, "baking a LoRA into a checkpoint"),
    "kohya_ss#2141": ("issues", 8, "merging into a checkpoint"),
    "kohya_ss#1970": ("issues", 15, "merging several files"),
    "kohya#1670": ("issues", 8, "merging into a base"),
    "kohya#1969": ("issues", 8, "merging into a base"),
    "clone#128": ("issues", 9, ".pt files"),
    "clone#150": ("issues", 8, "merging into a checkpoint"),
    "sdcpp#199": ("issues", 8, "save the model with the LoRA in it"),
    "sdcpp#871": ("issues", 8, "save the model with the LoRA in it"),
    # 9 safe .pt
    "diffusers#2829": ("issues", 9, "save and load safetensors instead of .bin"),
    "diffusers#3283": ("issues", 9, ".bin and .safetensors"),
    "peft#212": ("issues", 9, "a .pt of the DreamBooth LoRA example for A1111: how to get safetensors"),
    "xflux#41": ("issues", 9, ".bin to safetensors; single blocks"),
    # 10
    "forge#1473": ("issues", 8, "the LoRA is not in the merged result"),
    # 11 resize, conv
    "kohya#904": ("issues", 11, "a resized LoRA is unusable: wrong shapes"),
    # 13 base
    "invoke#8008": ("issues", 13, "the base model is taken for another"),
    "comfy#8880": ("pull", 13, "detection of what a LoRA is for"),
    "kohya_ss#2173": ("issues", 13, "the base is not known without metadata"),
    "comfy#1461": ("issues", 13, "an SDXL base LoRA on the refiner: shape errors"),
    # 14 invoke
    "invoke#7131": ("issues", 14, "one in ten of a thousand files is of an unknown LoRA type"),
    "invoke#8445": ("issues", 14, "unknown LoRA type"),
    "invoke#7624": ("issues", 14, "SDXL slider LoRAs are of an unknown type"),
    "invoke#8502": ("issues", 14, "unknown LoRA type"),
    "invoke#7092": ("issues", 14, "unknown LoRA type"),
    # 15, 16 merge
    "lycoris#41": ("issues", 15, "merging files of other ranks"),
    "kohya#117": ("issues", 15, "merging files of other ranks"),
    "kohya#586": ("issues", 16, "adding the factors is not adding the differences"),
    "kohya#868": ("issues", 16, "merging gives the square of the ratio; two LoRAs at once should be the sum"),
    "kohya#839": ("pull", 16, "concatenation of ranks; negative weights were not applied"),
    "peft#1155": ("issues", 16, "weighted combination of adapters"),
    "kohya_ss#2975": ("issues", 16, "merged is not the same as loading both"),
    "peft#2796": ("issues", 16, "negative weights of a combination; scaling one factor or both"),
    "peft#3004": ("issues", 16, "negative weights act on both factors and cancel out; cross terms"),
    "kohya_ss#3043": ("issues", 16, "merging with a negative weight"),
    # 18
    "tjs#1171": ("issues", 18, "LoRA in the browser"),
    "ort#26726": ("issues", 18, "LoRA in onnxruntime-web"),
    # 20 embeddings
    "comfy#3659": ("issues", 20, "embeddings that travel in LoRA files"),
    "a1111#13568": ("pull", 20, "bundled embeddings: bundle_emb.NAME.KEY"),
    "diffusers#8794": ("issues", 20, "embeddings beside a LoRA"),
    "kohya#18": ("issues", 20, "pivotal tuning"),
    "invoke#8120": ("pull", 20, "OMI names; bundled embeddings are left out"),
    # 21 cloneofsimo
    "clone#149": ("issues", 21, "A1111 refuses the file: the selected model is not LoRA or not trained by sd-scripts"),
    "clone#191": ("issues", 21, "other programs, no metadata"),
    # 22 fuse, unfuse
    "diffusers#4473": ("pull", 22, "fuse and unfuse"),
    "diffusers#4833": ("pull", 22, "unfusing did not give the original weights back"),
    "diffusers#5003": ("pull", 22, "fusing and unfusing several LoRAs one after another"),
    "diffusers#5000": ("issues", 22, "unfusing is broken after the first fuse and unfuse"),
    "diffusers#5170": ("issues", 22, "after unfuse_lora the same seed gives a slightly different picture: the weights are not those of before"),
    "diffusers#5032": ("issues", 22, "two LoRAs fused at 0.7 and 0.8: the first cannot be taken out again"),
    # 23 text encoder
    "diffusers#13118": ("pull", 23, "text encoder layers under lora_te1 were dropped"),
    "diffusers#13188": ("pull", 23, "text encoder layers under lora_te1 were dropped"),
    "kohya#1806": ("issues", 23, "lora_te1 keys are not loaded by a model-only loader"),
    "kohya#1803": ("issues", 23, "Flux files with text encoder keys in diffusers"),
    "onetrainer#314": ("issues", 23, "lora_te2_text_projection stops the load in diffusers"),
    "onetrainer#47": ("issues", 23, "lora_te2_text_projection is not found in the modules"),
    "comfy#1163": ("issues", 23, "lora_te2_text_projection is not loaded"),
    "diffusers#3437": ("pull", 23, "three of four text encoder keys of the first release are never used"),
    "sdcpp#213": ("issues", 23, "lora_linear_layer keys of the second text encoder are unused"),
    # 25 loha, lokr
    "diffusers#3087": ("issues", 25, "LoHa and other LyCORIS kinds in diffusers"),
    "diffusers#5102": ("pull", 25, "LoHa and LoKr"),
    "lycoris#65": ("issues", 25, "diffusers"),
    "lycoris#270": ("issues", 25, "LoKr elsewhere"),
    "comfy#15114": ("issues", 25, "alpha of a LoKr with both factors full"),
    # 26 dtype
    "peft#701": ("issues", 26, "dtype of saved adapters"),
    "kohya_ss#2859": ("issues", 26, "precision of saved files"),
    "kohya#81": ("issues", 26, "precision when extracting"),
    "kohya#93": ("issues", 26, "values vanish in float16"),
    "clone#97": ("pull", 26, "float16 files"),
    # 30 dora
    "comfy#3494": ("issues", 30, "DoRA names broken by a converter: lora_magnitude_vector in a flattened name"),
    "comfy#3060": ("issues", 30, "dora_scale keys are not loaded"),
    "comfy#4259": ("issues", 30, "DoRA of SimpleTuner: lora_magnitude_vector keys are not loaded"),
    "onetrainer#801": ("issues", 30, "axis of DoRA's scale"),
    "diffusers#7366": ("issues", 30, "DoRA"),
    "invoke#9517": ("pull", 30, "DoRA along the output axis"),
    # 31 conv
    "a1111#8360": ("issues", 31, "LoCon: failed to match keys"),
    "invoke#5725": ("issues", 31, "an SDXL file is converted for the most part only"),
    "diffusers#14005": ("issues", 31, "conv_in, conv_out, time_embedding are lost by an underscore rule"),
    "diffusers#11943": ("issues", 31, "lora_mid stops the load"),
    "diffusers#11224": ("issues", 31, "label_emb stops the load"),
    "kohya_ss#307": ("issues", 31, "LoCon keys"),
    # 32 named adapters
    "invoke#9252": ("pull", 32, ".lora_A.default.weight"),
    "diffusers#14408": ("pull", 32, "adapter name in the key"),
    # 35
    "onetrainer#1563": ("pull", 35, "a hand-made table of which program reads which file"),
    "onetrainer#1515": ("issues", 35, "which program reads which file"),
    "invoke#5296": ("pull", 35, "no suite of models to test probing on"),
    # 39
    "invoke#6267": ("pull", 39, "two stray keys among 524"),
    # LAYOUTS 9
    "onetrainer#1544": ("issues", 14, "dotted path with kohya's leaves"),
    "diffusers#9803": ("issues", 3, "a mixture of layouts in one file"),
    "wanwrapper#445": ("issues", 1, "keys of .diff and .diff_b"),
    "musubi#124": ("issues", 1, "keys of another variant"),
    "diffusers#13484": ("issues", 1, "flattened names with to_q in them"),
    "comfy#11135": ("pull", 1, "prefixes of names"),
    "supermerger#157": ("issues", 24, "metadata is lost"),
    "diffusers#2765": ("issues", 6, "a LoRA trained with diffusers in A1111"),
    "comfy#5515": ("issues", 1, "keys not loaded and no effect"),
}

RULES = {
    "safetensors-format": ("https://github.com/huggingface/safetensors/blob/24b0b285/README.md", "the format: header length, JSON header, no holes, no overlap, exact size"),
    "torch-serialization": ("https://pytorch.org/docs/stable/notes/serialization.html", "layout of torch.save files"),
    "weights-only": ("https://pytorch.org/docs/stable/generated/torch.load.html", "weights_only: an allow-list of globals"),
    "pickle-danger": ("https://docs.python.org/3/library/pickle.html", "pickle is not secure: unpickling can run code"),
    "picklescan": ("https://github.com/advisories/GHSA-w8jq-xcqf-f792", "a scanner was passed by with a flag bit of the zip"),
    "kohya-merge": ("https://github.com/kohya-ss/sd-scripts/blob/48d368fa/networks/merge_lora.py", "W + ratio * (U @ D) * alpha / r, alpha missing is r"),
    "kohya-lora": ("https://github.com/kohya-ss/sd-scripts/blob/48d368fa/networks/lora.py", "alpha 0 or none means the rank"),
    "peft-layer": ("https://github.com/huggingface/peft/blob/5d602fdb/src/peft/tuners/lora/layer.py", "scaling alpha / r, or alpha / sqrt(r) with use_rslora; patterns per module"),
    "diffusers-alpha": ("https://github.com/huggingface/diffusers/blob/58eb52c0/src/diffusers/utils/peft_utils.py", "alpha = rank for every module without one"),
    "diffusers-lora": ("https://github.com/huggingface/diffusers/blob/58eb52c0/src/diffusers/loaders/lora_base.py", "lora_adapter_metadata"),
    "diffusers-kohya": ("https://github.com/huggingface/diffusers/blob/58eb52c0/src/diffusers/utils/state_dict_utils.py", "conversion of names between kohya and diffusers"),
    "comfy-lora": ("https://github.com/Comfy-Org/ComfyUI/blob/0323d874/comfy/weight_adapter/lora.py", "alpha / rank from the alpha tensor, else 1"),
    "sdcpp-lora": ("https://github.com/leejet/stable-diffusion.cpp/blob/97d29908/src/model/adapter/lora.hpp", "a .scale tensor wins over alpha"),
    "a1111-network": ("https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/master/extensions-builtin/Lora/network.py", "calc_scale: .scale, else alpha / dim, else 1"),
    "clone-lora": ("https://github.com/cloneofsimo/lora/blob/d84074b3/lora_diffusion/lora.py", "a list without names: up, down in module order; no alpha"),
    "lycoris": ("https://github.com/KohakuBlueleaf/LyCORIS/blob/f49d30d6/docs/Algo-Details.md", "LoHa, LoKr, GLoRA, (IA)3, OFT and their factors"),
    "omi": ("https://github.com/Open-Model-Initiative/OMI-Model-Standards/blob/16e78eea/src/omi_model_standards/convert/lora/convert_sd_lora.py", "OMI names"),
    "dora": ("https://arxiv.org/abs/2402.09353", "DoRA: magnitude times direction"),
    "rslora": ("https://arxiv.org/abs/2312.03732", "rsLoRA: alpha / sqrt(r)"),
    "lora": ("https://arxiv.org/abs/2106.09685", "W + (alpha / r) B A"),
    "higham": ("https://doi.org/10.1137/1.9780898718027", "|fl(x'y) - x'y| <= gamma(n) |x|'|y|, gamma(n) = n u / (1 - n u)"),
    "prompt-to-prompt": ("https://arxiv.org/abs/2208.01626", "cross-attention"),
    "blog-lora": ("https://huggingface.co/blog/lora", "the file of 3.29 MB, and 25 steps of DPMSolverMultistep"),
}


def src(*keys):
    """The `source` list of a case."""
    out = []
    for key in keys:
        if key in RULES:
            url, says = RULES[key]
            out.append({"url": url, "says": says})
            continue
        kind, demand, says = T[key]
        repo, number = key.split("#")
        item = {"url": f"https://github.com/{REPOS[repo]}/{kind}/{number}", "says": says}
        if demand is not None:
            item["demand"] = demand
        out.append(item)
    return out
