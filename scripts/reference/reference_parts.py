"""What the scripts beside this one share: values that are made up, losses, rows of learned tokens, figures."""

import numpy
import torch
from torch.nn import functional as F

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
ADAMW = {"betas": (0.9, 0.999), "weight_decay": 1e-2, "eps": 1e-8}
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT_ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]
TEXT_MLP = ["fc1", "fc2"]


def hashed(name, count, scale):
    """Float32 values that any program makes again exactly: a 32-bit mix (constants of Chris Wellons' lowbias32) of the index,
    started by FNV-1a of the name; the top 24 bits / 2^24 - 0.5, times a power of two."""
    start = 0x811C9DC5
    for byte in name.encode("ascii"):
        start = ((start ^ byte) * 0x01000193) & 0xFFFFFFFF
    x = (numpy.arange(count, dtype=numpy.uint64) + numpy.uint64(start)) & numpy.uint64(0xFFFFFFFF)
    mask = numpy.uint64(0xFFFFFFFF)
    x ^= x >> numpy.uint64(16)
    x = (x * numpy.uint64(0x7FEB352D)) & mask
    x ^= x >> numpy.uint64(15)
    x = (x * numpy.uint64(0x846CA68B)) & mask
    x ^= x >> numpy.uint64(16)
    return torch.from_numpy(((x >> numpy.uint64(8)).astype(numpy.float64) / 2**24 - 0.5) * scale)


def mean_loss(pred, target, _):
    return F.mse_loss(pred, target, reduction="mean")


def prior_loss(pred, target, batch):
    """diffusers' train_dreambooth_lora.py: instance and class halves, the sum of two means."""
    pred, pred_prior = torch.chunk(pred, 2)
    target, target_prior = torch.chunk(target, 2)
    return F.mse_loss(pred, target, reduction="mean") + batch["prior_weight"] * F.mse_loss(pred_prior, target_prior, reduction="mean")


class Rows(torch.nn.Module):
    """The table of token embeddings with trained rows below it; only the rows are a parameter."""

    def __init__(self, table, rows):
        super().__init__()
        self.register_buffer("table", table.detach().clone())
        self.rows = torch.nn.Parameter(rows.clone())

    def forward(self, ids):
        return F.embedding(ids, torch.cat([self.table, self.rows]))


def lora(rank, targets, alpha=None, **more):
    return {"r": rank, "lora_alpha": rank if alpha is None else alpha, "target_modules": targets, **more}


def norm(t):
    return float(f"{t.double().norm().item():.7g}")


def apart(one, other):
    return max(((one[k].double() - other[k].double()).abs().max().item() for k in one), default=0.0)
