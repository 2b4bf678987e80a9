"""
Times the works of `../works.ts` in eager PyTorch, as it is asked to on standard input: a line `WORK REPEATS` is
answered by a line with the milliseconds of each repeat, as a JSON list. The first line says which version this is.

Usage: bench.py THREADS
"""

import json
import sys

import torch
from torch.nn.functional import conv2d

from neurons import lif
from scan import selective_scan
from timing import durations_ms
from works import forward_and_backward, scan_inputs, streaming_inference, training_step


def matmul(size):
    a, b = torch.randn(size, size), torch.randn(size, size)
    return lambda: a @ b


def convolution(groups):
    channels = 64 if groups == 1 else groups
    x = torch.randn(8, channels, 56, 56)
    weight = torch.randn(channels, channels // groups, 3, 3)
    return forward_and_backward(lambda x, w: conv2d(x, w, padding=1, groups=groups), x, weight)


def neurons():
    x, membrane = torch.randn(1, 16, 262144), torch.zeros(1, 262144)
    return forward_and_backward(lambda x: lif(x, membrane)[0], x)


def scan():
    return forward_and_backward(lambda *values: selective_scan(*values)[0], *scan_inputs(16, 1024, 512))


def spike_matmul():
    spikes = (torch.rand(4096, 1024) < 0.1).float()
    weight = torch.randn(1024, 1024)
    return lambda: spikes @ weight


WORKS = {
    "matMul512": lambda: matmul(512),
    "matMul1024": lambda: matmul(1024),
    "matMul2048": lambda: matmul(2048),
    "conv2d": lambda: convolution(1),
    "depthwiseConv2d": lambda: convolution(128),
    "lif": neurons,
    "selectiveScan": scan,
    "spikeMatMul": spike_matmul,
    "trainingStep": lambda: training_step(4),
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
