"""Works that are timed on the CPU (`bench.py`) and on the GPU (`../gpu/torch_gpu.py`), as functions to call again and again."""

import torch
from torch.nn.functional import cross_entropy

from spikmamba import SpikMamba


def forward_and_backward(forward, *inputs):
    with torch.no_grad():
        gradient = torch.ones_like(forward(*inputs))
    leaves = [value.requires_grad_() for value in inputs]

    def work():
        for leaf in leaves:
            leaf.grad = None
        forward(*leaves).backward(gradient)

    return work


def scan_inputs(batch, length, channels, states=16):
    return [
        torch.randn(batch, length, channels),
        torch.randn(batch, length, channels),
        -torch.arange(1.0, states + 1).repeat(channels, 1),
        torch.randn(batch, length, states),
        torch.randn(batch, length, states),
        torch.randn(channels),
        torch.randn(channels) - 4,
        torch.zeros(batch, channels, states),
    ]


def clips(batch, size=128):
    return (torch.rand(batch, 16, 2, size, size) < 0.1).float()


def training_step(batch, size=128, prepare=lambda model: model, **settings):
    """Steps of AdamW on one batch; `prepare` may compile the model, which is `base` where `settings` say nothing."""
    torch.manual_seed(1)
    model = SpikMamba(bins=16, channels=2, height=size, width=size, classes=11, **settings)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    x, labels = clips(batch, size), torch.arange(batch) % 11
    forward = prepare(model)

    def work():
        optimiser.zero_grad(set_to_none=True)
        logits, _ = forward(x)
        cross_entropy(logits[:, -1].float(), labels, label_smoothing=0.1).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return work


def streaming_inference(size=128):
    model = SpikMamba(bins=16, channels=2, height=size, width=size, classes=11).eval()
    frame = torch.rand(1, 1, 2, size, size)
    with torch.no_grad():
        _, state = model(frame)

    def work():
        with torch.no_grad():
            return model(frame, state)[0]

    return work
