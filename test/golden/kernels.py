#!/usr/bin/env python3
"""Kernels that go by one name and are not the same: what each of two published implementations gives on small inputs,
worked out in NumPy float64 from its equations, independently of the project's code.

    python3 test/golden/kernels.py > test/golden/kernels.json

Hedgehog: two softmaxes, of W x and -W x (its authors), or one over [2 W x, -2 W x] (flash-linear-attention).
Lightning: slopes 2^(-8 (h+1) / H) (1 - l / (L-1) + 1e-5), unscaled (its authors), or 8 h / H (1 - l / L), scaled by
1 / sqrt(d) (flash-linear-attention).
Flowformer: sigmoid features, sources competing with each other (its authors' PyTorch code), or ReLU features, heads
competing (their JAX code).
"""

import json
import math

import numpy as np

HEADS, TOKENS, WIDTH = 2, 6, 4


def values(seed, *shape):
    """Numbers between -1.5 and 1.5 that any language can make again."""
    i = np.arange(np.prod(shape), dtype=np.float64)
    return (1.5 * np.sin(1.7 * i + seed + 0.3 * i * i % 5)).reshape(shape)


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


q, k, v = (values(seed, HEADS, TOKENS, WIDTH) for seed in (1, 2, 3))


def causal(scores):
    """Rows of weights, each token's over itself and those before it."""
    kept = np.tril(scores)
    return kept / kept.sum(-1, keepdims=True)


weight = np.eye(WIDTH) + 0.3 * values(4, 2, HEADS, WIDTH, WIDTH)


def hedgehog(of):
    query, key = of(q @ weight[0]), of(k @ weight[1])
    return {
        "query": query,
        "weights": causal(query @ key.swapaxes(1, 2)),
    }


def alibi(heads):
    """Press et al. 2022: where the number of heads is no power of 2, those of the power below, then every other of
    the power above."""
    if math.log2(heads).is_integer():
        return [2 ** (-8 * (h + 1) / heads) for h in range(heads)]
    below = 2 ** math.floor(math.log2(heads))
    return alibi(below) + alibi(2 * below)[0::2][: heads - below]


def annealed(heads, layer, layers):
    return [s * (1 - layer / (layers - 1) + 1e-5) for s in alibi(heads)]


def linear_slopes(heads, layer, layers):
    return [8 / heads * (1 - layer / layers) * h for h in range(heads)]


def decayed(slopes, scale):
    t = np.arange(TOKENS)
    factors = np.tril(np.exp(-np.array(slopes)[:, None, None] * np.maximum(t[:, None] - t, 0)))
    return scale * (q @ k.swapaxes(1, 2) * factors) @ v


def flow(features, competition, eps=1e-6):
    a, b = features(q), features(k)
    dot = lambda x, total: ((x + eps) * (total + eps)).sum(-1, keepdims=True)
    total = lambda x: x.sum(1, keepdims=True)
    incoming, outgoing = dot(a, total(b)), dot(b, total(a))
    sink, source = dot(a, total(b / outgoing)), dot(b, total(a / incoming))
    shares = competition(source) * TOKENS
    return (a / incoming) @ (b.swapaxes(1, 2) @ (v * shares)) * sigmoid(sink)


golden = {
    "inputs": {"q": q, "k": k, "v": v, "weight": weight},
    "hedgehog": {
        "hedgehog": hedgehog(lambda y: np.concatenate([softmax(y), softmax(-y)], -1)),
        "hedgehogJoint": hedgehog(lambda y: softmax(np.concatenate([2 * y, -2 * y], -1))),
    },
    "slopes": [
        {
            "heads": heads,
            "layer": layer,
            "layers": 4,
            "alibi": alibi(heads),
            "annealed": annealed(heads, layer, 4),
            "linearSlopes": linear_slopes(heads, layer, 4),
        }
        for heads in (1, 2, 3, 6, 8)
        for layer in (0, 2, 3)
    ],
    "lightning": {
        "annealed": decayed(annealed(HEADS, 1, 4), 1),
        "linearSlopes": decayed(linear_slopes(HEADS, 1, 4), WIDTH**-0.5),
    },
    "flow": {
        "sources": flow(sigmoid, lambda x: softmax(np.clip(x, -1, 1), 1)),
        "heads": flow(lambda x: np.maximum(x, 0) + 1e-6, lambda x: softmax(x, 0)),
    },
}


def plain(x):
    if isinstance(x, dict):
        return {name: plain(value) for name, value in x.items()}
    if isinstance(x, list):
        return [plain(value) for value in x]
    if isinstance(x, np.ndarray):
        return plain(x.tolist())
    return round(x, 9) if isinstance(x, float) else x


print(json.dumps(plain(golden)))
