"""
Times the works of `../works.ts` in eager PyTorch, as it is asked to on standard input: a line `WORK REPEATS` is
answered by a line with the milliseconds of each repeat, as a JSON list. The first line says which version this is.

Usage: bench.py THREADS
"""

import json
import sys

import torch
from torch.nn.functional import conv2d, cross_entropy

from neurons import lif
from scan import selective_scan
from spikmamba import SpikMamba
from timing import durations_ms


def matmul(size):
    a, b = torch.randn(size, size), torch.randn(size, size)
    return lambda: a @ b


def forward_and_backward(forward, *inputs):
    with torch.no_grad():
        gradient = torch.randn(forward(*inputs).shape)
    leaves = [value.requires_grad_() for value in inputs]

    def work():
        for leaf in leaves:
            leaf.grad = None
        forward(*leaves).backward(gradient)

    return work


def convolution(groups):
    channels = 64 if groups == 1 else groups
    x = torch.randn(8, channels, 56, 56)
    weight = torch.randn(channels, channels // groups, 3, 3)
    return forward_and_backward(lambda x, w: conv2d(x, w, padding=1, groups=groups), x, weight)


def neurons():
    x, membrane = torch.randn(1, 16, 262144), torch.zeros(1, 262144)
    return forward_and_backward(lambda x: lif(x, membrane)[0], x)


def scan():
    batch, length, channels, states = 16, 1024, 512, 16
    inputs = [
        torch.randn(batch, length, channels),
        torch.randn(batch, length, channels),
        -torch.arange(1.0, states + 1).repeat(channels, 1),
        torch.randn(batch, length, states),
        torch.randn(batch, length, states),
        torch.randn(channels),
        torch.randn(channels) - 4,
        torch.zeros(batch, channels, states),
    ]
    return forward_and_backward(lambda *values: selective_scan(*values)[0], *inputs)


def spike_matmul():
    spikes = (torch.rand(4096, 1024) < 0.1).float()
    weight = torch.randn(1024, 1024)
    return lambda: spikes @ weight


def training_step():
    torch.manual_seed(1)
    model = SpikMamba(bins=16, channels=2, height=128, width=128, classes=11)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    x, labels = torch.rand(4, 16, 2, 128, 128), torch.randint(11, (4,))

    def work():
        optimiser.zero_grad(set_to_none=True)
        logits, _ = model(x)
        cross_entropy(logits[:, -1], labels, label_smoothing=0.1).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return work


def streaming_inference():
    torch.manual_seed(1)
    model = SpikMamba(bins=16, channels=2, height=128, width=128, classes=11).eval()
    frame = torch.rand(1, 1, 2, 128, 128)
    with torch.no_grad():
        _, state = model(frame)

    def work():
        with torch.no_grad():
            model(frame, state)

    return work


WORKS = {
    "matMul512": lambda: matmul(512),
    "matMul1024": lambda: matmul(1024),
    "matMul2048": lambda: matmul(2048),
    "conv2d": lambda: convolution(1),
    "depthwiseConv2d": lambda: convolution(128),
    "lif": neurons,
    "selectiveScan": scan,
    "spikeMatMul": spike_matmul,
    "trainingStep": training_step,
    "streamingInference": streaming_inference,
}


def main():
    torch.set_num_threads(int(sys.argv[1]))
    print(json.dumps(torch.__version__), flush=True)
    prepared, work = None, None
    for line in sys.stdin:
        name, repeats = line.split()
        if name != prepared:
            prepared, work = name, WORKS[name]()
        print(json.dumps(durations_ms(work, int(repeats))), flush=True)


if __name__ == "__main__":
    main()
