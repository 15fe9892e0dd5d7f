"""kohya sd-scripts (a snapshot): networks/lora.py create_network_from_weights, apply_to, load_state_dict."""
import os, sys

import interop_common as c


def setup(report):
    source = os.environ.get("LORAKIT_KOHYA", "")
    if not os.path.exists(os.path.join(source, "networks", "lora.py")):
        raise c.Skip("no snapshot of kohya-ss/sd-scripts: give --kohya SRC")
    c.need("torch")
    c.need("transformers")
    c.need("diffusers", "networks/lora.py imports it: give --diffusers SRC")
    sys.path.insert(0, source)
    stood_in = c.stand_in("cv2", "toml", "imagesize", "torchvision", "einops")
    lora = c.need("networks.lora")
    report.versions("torch", "transformers", **{"sd-scripts": "snapshot", "stand-ins": ", ".join(stood_in) or "none"})
    return lora


def check(lora, job):
    import torch

    # Class names and paths of sd-scripts' own SD1 UNet are those of diffusers; text_model. is a level of its text encoder.
    unet, text = c.unet(job), c.text_encoder(job)
    network, weights = lora.create_network_from_weights(1.0, job["main"], None, text, unet, for_inference=True)
    network.apply_to(text, unet, any(k.startswith("lora_te") for k in weights), any(k.startswith("lora_unet") for k in weights))
    result = network.load_state_dict(weights, False)
    why = ""
    out_of_reach = beyond(lora, unet)
    unexpected = [k for k in result.unexpected_keys if not k.startswith("bundle_emb.") and k.split(".")[0] not in out_of_reach]
    if unexpected or result.missing_keys:
        why = "unexpected keys %s, missing keys %s" % (unexpected[:2], result.missing_keys[:2])
    deltas = {}
    names = {}
    for component, prefix, model in (("unet", "lora_unet", unet), ("text_encoder", "lora_te", text)):
        for path, _ in model.named_modules():
            names["%s_%s" % (prefix, path.replace(".", "_"))] = "%s.%s.weight" % (component, path)
    for module in network.unet_loras + network.text_encoder_loras:
        up, down = module.lora_up.weight.double(), module.lora_down.weight.double()
        if down.dim() == 2:
            delta = up @ down
        else:  # the composition of the two convolutions, as its get_weight makes it
            delta = torch.nn.functional.conv2d(down.permute(1, 0, 2, 3), up).permute(1, 0, 2, 3)
        deltas[names[module.lora_name]] = delta * module.multiplier * float(module.scale)
        own = module.get_weight()
        if (own.double() - deltas[names[module.lora_name]]).abs().max() > 1e-5 * max(1.0, own.abs().max().item()):
            why = why or "get_weight of %s differs" % module.lora_name
    loader = "sd-scripts create_network_from_weights"
    leave = {names[k.split(".")[0]] for k in result.unexpected_keys if k.split(".")[0] in out_of_reach}
    out = c.compare(job, deltas, loader, why, leave)
    if leave:
        out.append(dict(loader=loader, status="note", why="its LoRANetwork adapts no module outside %s, so these are not loaded: %s" % (", ".join(classes_of(lora)), ", ".join(sorted(leave)))))
    return out


def classes_of(lora):
    # A list of its own each time: the constructor of LoRANetwork appends to the class's.
    return list(dict.fromkeys(lora.LoRANetwork.UNET_TARGET_REPLACE_MODULE + lora.LoRANetwork.UNET_TARGET_REPLACE_MODULE_CONV2D_3X3))


def beyond(lora, unet):
    """Names of convolutions and linear layers in no class that its network adapts: conv_in, conv_out, time_embedding."""
    import torch

    layers = (torch.nn.Linear, torch.nn.Conv2d)
    inside = {id(m) for parent in unet.modules() if parent.__class__.__name__ in classes_of(lora) for m in parent.modules()}
    return {"lora_unet_" + path.replace(".", "_") for path, m in unet.named_modules() if isinstance(m, layers) and id(m) not in inside}


c.main("sd-scripts", lambda job: job["to"] == "kohya" and job["families"] == ["lora"], setup, check)
