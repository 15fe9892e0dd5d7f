"""The torch side of bench/training-torch.mjs: diffusers' UNet with PEFT factors, one answer line for each command line."""
import json
import sys
import time

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig
from safetensors.torch import load_file

unet_file = sys.argv[1]
model = batch = None


def status(key):
    return int([l for l in open("/proc/self/status") if l.startswith(key)][0].split()[1]) / 1024


def load(pixels, count, memory):
    global model, batch
    if model is None:
        with torch.device("meta"):
            model = UNet2DConditionModel(attention_head_dim=8, cross_attention_dim=768, sample_size=64)
        model.load_state_dict({k: v.float() for k, v in load_file(unet_file).items()}, assign=True)
        model.requires_grad_(False)
        model.add_adapter(
            LoraConfig(r=4, lora_alpha=4, init_lora_weights="gaussian", target_modules=["to_k", "to_q", "to_v", "to_out.0"])
        )
        model.train()
    if memory == "lean":
        model.enable_gradient_checkpointing()
    else:
        model.disable_gradient_checkpointing()
    g = torch.Generator().manual_seed(1)
    side = pixels // 8
    batch = (
        torch.randn(count, 4, side, side, generator=g),
        torch.randn(count, 4, side, side, generator=g),
        torch.full((count,), 501),
        torch.randn(count, 77, 768, generator=g),
    )


def step():
    latents, noise, timesteps, states = batch
    schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
    prediction = model(schedule.add_noise(latents, noise, timesteps), timesteps, states).sample
    loss = torch.nn.functional.mse_loss(prediction, noise)
    loss.backward()
    for p in model.parameters():
        p.grad = None


print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
for line in sys.stdin:
    command, *args = json.loads(line)
    began = time.perf_counter()
    {"load": load, "step": step}[command](*args)
    print(json.dumps({"ms": (time.perf_counter() - began) * 1000, "peak": status("VmHWM"), "now": status("VmRSS")}), flush=True)
