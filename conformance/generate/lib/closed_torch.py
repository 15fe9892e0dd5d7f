"""
Second, separately written computation: torch, float64, adapters run as layers. Where it can, a delta is read off by
sending unit vectors (or unit pictures) through the adapter as a network would run it, not by multiplying matrices.
"""

import torch
import torch.nn.functional as F


def _t(a):
    return torch.from_numpy(a.copy()).double()


def _linear_response(layers, width):
    """Columns of a chain of linear layers."""
    x = torch.eye(width, dtype=torch.float64)
    for w in layers:
        x = F.linear(x, w)
    return x.T


def _conv_response(layers, channels, kernel):
    """
    Kernel of a chain of convolutions of which one has a kernel and the others are 1x1: the answer to one lit pixel,
    read back mirrored, as a correlation answers.
    """
    kh, kw = kernel
    size = (2 * kh - 1, 2 * kw - 1)
    x = torch.zeros(channels, channels, *size, dtype=torch.float64)
    for c in range(channels):
        x[c, c, kh - 1, kw - 1] = 1.0
    for w in layers:
        x = F.conv2d(x, w, padding=((w.shape[2] - 1) // 2, (w.shape[3] - 1) // 2))
    top, left = (kh - 1) - (kh - 1) // 2, (kw - 1) - (kw - 1) // 2
    patch = x[:, :, top : top + kh, left : left + kw]
    return patch.flip(2, 3).permute(1, 0, 2, 3)


def _as4(w):
    return w if w.ndim == 4 else w.reshape(*w.shape, 1, 1)


def delta(family, factors, shape, weight=None, scaling=1.0):
    f = {k: _t(v) for k, v in factors.items()}
    w = None if weight is None else _t(weight)
    if family == "lora":
        if len(shape) == 2:
            out = _linear_response([f["down"].reshape(f["down"].shape[0], -1), f["up"].reshape(f["up"].shape[0], -1)], shape[1])
        else:
            down = f["down"].reshape(f["down"].shape[0], shape[1], *shape[2:])
            out = _conv_response([down, _as4(f["up"])], shape[1], shape[2:])
        return (out * scaling).reshape(shape).numpy()
    if family == "locon":
        out = _conv_response([_as4(f["down"]), f["mid"], _as4(f["up"])], shape[1], shape[2:])
        return (out * scaling).numpy()
    if family == "loha":
        if "hada_t1" in f:
            one = torch.einsum("abyx,ao,bi->oiyx", f["hada_t1"], f["hada_w1_a"], f["hada_w1_b"])
            two = torch.einsum("abyx,ao,bi->oiyx", f["hada_t2"], f["hada_w2_a"], f["hada_w2_b"])
            out = one.mul(two)
        else:
            out = torch.einsum("oa,ai,ob,bi->oi", f["hada_w1_a"], f["hada_w1_b"], f["hada_w2_a"], f["hada_w2_b"])
        return (out * scaling).reshape(shape).numpy()
    if family == "lokr":
        w1 = f["lokr_w1"] if "lokr_w1" in f else torch.einsum("ar,rc->ac", f["lokr_w1_a"], f["lokr_w1_b"])
        if "lokr_w2" in f:
            w2 = f["lokr_w2"]
        elif "lokr_t2" in f:
            w2 = torch.einsum("ijyx,ib,jd->bdyx", f["lokr_t2"], f["lokr_w2_a"], f["lokr_w2_b"])
        else:
            w2 = torch.einsum("br,rk->bk", f["lokr_w2_a"], f["lokr_w2_b"])
        if len(shape) == 4:
            d = shape[1] // w1.shape[1]
            w2 = w2.reshape(w2.shape[0], d, *shape[2:])
            w1 = w1.reshape(*w1.shape, 1, 1)
        return (torch.kron(w1.contiguous(), w2.contiguous()) * scaling).reshape(shape).numpy()
    if family in ("full", "norm"):
        return f["diff"].reshape(shape).numpy()
    if family in ("dora-out", "dora-in"):
        v = w + torch.from_numpy(delta("lora", factors, shape, None, scaling))
        if family == "dora-out":
            norm = torch.linalg.vector_norm(v.flatten(1), dim=1)
            merged = v * (f["magnitude"].flatten() / norm).reshape(-1, *([1] * (v.ndim - 1)))
        else:
            norm = torch.linalg.vector_norm(v.transpose(0, 1).flatten(1), dim=1)
            merged = v * (f["magnitude"].flatten() / norm).reshape(1, -1, *([1] * (v.ndim - 2)))
        return (merged - w).numpy()
    if family == "ia3-out":
        return torch.einsum("o,o...->o...", f["weight"].flatten(), w).numpy()
    if family == "ia3-in":
        return torch.einsum("i,oi...->oi...", f["weight"].flatten(), w).numpy()
    if family == "peft-ia3":
        return (w * f["ia3_l"].expand_as(w) - w).numpy()
    if family == "oft":
        q = f["oft_blocks"] - f["oft_blocks"].transpose(1, 2)
        eye = torch.eye(q.shape[1], dtype=torch.float64).expand_as(q)
        # (I+Q)(I-Q)^-1 = (I-Q)^-1 (I+Q): the two commute
        r = torch.linalg.solve(eye - q, eye + q)
        blocks = w.reshape(q.shape[0], q.shape[1], -1)
        return (torch.einsum("knm,kni->kmi", r, blocks).reshape(shape) - w).numpy()
    if family == "glora":
        x = torch.eye(shape[1], dtype=torch.float64)
        b = F.linear(F.linear(x, f["glora_b2"]), f["glora_b1"])
        a = F.linear(F.linear(F.linear(x, f["glora_a2"]), f["glora_a1"]), w)
        return ((a + b).T * scaling).numpy()
    raise ValueError(family)
