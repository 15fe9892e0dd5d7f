"""First of two computations of what an adapter does to a weight: numpy, float64, matrices written out."""

import numpy as np


def _mat(t):
    return t.reshape(t.shape[0], -1)


def _tucker(mid, up, down):
    # mid (p, q, kh, kw): first axis meets up (o, p), second meets down (q, i)
    kh, kw = mid.shape[2:]
    out = np.zeros((up.shape[0], down.shape[1], kh, kw))
    for y in range(kh):
        for x in range(kw):
            out[:, :, y, x] = up @ mid[:, :, y, x] @ down
    return out


def _cayley(blocks):
    out = np.zeros_like(blocks)
    for k in range(blocks.shape[0]):
        q = blocks[k] - blocks[k].T
        eye = np.eye(q.shape[0])
        out[k] = (eye + q) @ np.linalg.inv(eye - q)
    return out


def delta(family, f, shape, weight=None, scaling=1.0):
    """The difference of the weight, scaling included, in the weight's shape."""
    if family == "lora":
        return scaling * (_mat(f["up"]) @ _mat(f["down"])).reshape(shape)
    if family == "locon":
        return scaling * _tucker(f["mid"], _mat(f["up"]), _mat(f["down"])).reshape(shape)
    if family == "loha":
        if "hada_t1" in f:
            one = _tucker(f["hada_t1"], f["hada_w1_a"].T, f["hada_w1_b"])
            two = _tucker(f["hada_t2"], f["hada_w2_a"].T, f["hada_w2_b"])
        else:
            one = f["hada_w1_a"] @ f["hada_w1_b"]
            two = f["hada_w2_a"] @ f["hada_w2_b"]
        return scaling * (one * two).reshape(shape)
    if family == "lokr":
        w1 = f["lokr_w1"] if "lokr_w1" in f else f["lokr_w1_a"] @ f["lokr_w1_b"]
        if "lokr_w2" in f:
            w2 = f["lokr_w2"]
        elif "lokr_t2" in f:
            w2 = _tucker(f["lokr_t2"], f["lokr_w2_a"].T, f["lokr_w2_b"])
        else:
            w2 = f["lokr_w2_a"] @ f["lokr_w2_b"]
        b = w2.shape[0]
        kernel = int(np.prod(shape[2:], dtype=np.int64))
        d = w2.reshape(b, -1).shape[1] // kernel
        w2 = w2.reshape(b, d, kernel)
        a, c = w1.shape
        out = np.zeros((a * b, c * d, kernel))
        for p in range(a):
            for q in range(c):
                out[p * b : (p + 1) * b, q * d : (q + 1) * d] = w1[p, q] * w2
        return scaling * out.reshape(shape)
    if family in ("full", "norm"):
        return f["diff"].reshape(shape) * 1.0
    if family in ("dora-out", "dora-in"):
        v = weight + scaling * (_mat(f["up"]) @ _mat(f["down"])).reshape(shape)
        m = v.reshape(shape[0], shape[1], -1)
        if family == "dora-out":
            norm = np.sqrt((m * m).sum(axis=2).sum(axis=1))
            g = (f["magnitude"].reshape(-1) / norm).reshape(-1, 1, 1)
        else:
            norm = np.sqrt((m * m).sum(axis=2).sum(axis=0))
            g = (f["magnitude"].reshape(-1) / norm).reshape(1, -1, 1)
        return (g * m).reshape(shape) - weight
    if family == "ia3-out":
        return (f["weight"].reshape(-1, 1) * weight.reshape(shape[0], -1)).reshape(shape)
    if family == "ia3-in":
        return (f["weight"].reshape((1, -1) + (1,) * (len(shape) - 2)) * weight).reshape(shape)
    if family == "peft-ia3":
        # (o, 1) by rows, (1, i) by columns; convolutions (1, o, 1, 1)
        l = f["ia3_l"]
        l = l.reshape(-1, 1) if l.ndim == 2 and l.shape[1] == 1 else l.reshape(1, -1)
        out = np.zeros(shape)
        for p in range(shape[0]):
            for q in range(shape[1]):
                out[p, q] = weight[p, q] * (l[p, 0] if l.shape[1] == 1 else l[0, q]) - weight[p, q]
        return out
    if family == "oft":
        r = _cayley(f["oft_blocks"])
        n, b = r.shape[:2]
        w = weight.reshape(n, b, -1)
        out = np.zeros_like(w)
        for k in range(n):
            out[k] = r[k].T @ w[k]
        return out.reshape(shape) - weight
    if family == "glora":
        return scaling * (f["glora_b1"] @ f["glora_b2"] + (weight @ f["glora_a1"]) @ f["glora_a2"])
    raise ValueError(family)


def magnitude(family, f, shape, weight=None, scaling=1.0):
    """max over elements of |scaling| * the same sum with absolute values: what rounding errors are a fraction of."""
    if family in ("lora", "locon", "loha", "lokr", "glora"):
        g = {k: np.abs(v) for k, v in f.items()}
        return float(np.max(delta(family, g, shape, None if weight is None else np.abs(weight), abs(scaling))))
    if family in ("dora-out", "dora-in"):
        g = {k: np.abs(v) for k, v in f.items()}
        v = np.abs(weight) + abs(scaling) * (_mat(g["up"]) @ _mat(g["down"])).reshape(shape)
        w = weight + delta(family, f, shape, weight, scaling)
        return float(np.max(np.abs(w)) + np.max(np.abs(w)) * np.max(v) / max(np.max(np.abs(weight)), 1e-30))
    if family == "oft":
        return float(np.max(np.abs(weight)) * f["oft_blocks"].shape[1] * 2)
    return float(np.max(np.abs(delta(family, f, shape, weight, scaling))))
