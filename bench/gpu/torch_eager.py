"""
The works of `bench.ts` and `check.ts steps` in eager PyTorch on the GPU: medians in milliseconds, one JSON line each.

Usage: torch_eager.py (from anywhere; needs PyTorch with CUDA)
"""

import json
import pathlib
import statistics
import sys
import time

import torch
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "torch"))

from neurons import lif  # noqa: E402
from scan import selective_scan  # noqa: E402
from spikmamba import SpikMamba  # noqa: E402


def report(name, work, repeats=10, warmups=3):
    durations = []
    for i in range(warmups + repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        if i >= warmups:
            durations.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"work": name, "milliseconds": statistics.median(durations)}), flush=True)


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


def training_step(batch):
    torch.manual_seed(1)
    model = SpikMamba(bins=16, channels=2, height=128, width=128, classes=11)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    x = (torch.rand(batch, 16, 2, 128, 128) < 0.1).float()
    labels = torch.arange(batch) % 11

    def work():
        optimiser.zero_grad(set_to_none=True)
        logits, _ = model(x)
        cross_entropy(logits[:, -1], labels, label_smoothing=0.1).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return work


def streaming():
    model = SpikMamba(bins=16, channels=2, height=128, width=128, classes=11).eval()
    frame = torch.rand(1, 1, 2, 128, 128)
    with torch.no_grad():
        _, state = model(frame)

    def work():
        with torch.no_grad():
            model(frame, state)[0].cpu()

    return work


torch.set_default_device("cuda")
print(json.dumps({"torch": torch.__version__, "device": torch.cuda.get_device_name()}), flush=True)
neurons = torch.randn(1, 32, 4 << 20)
membrane = torch.zeros(1, 4 << 20)
report("lif forward + backward", forward_and_backward(lambda x: lif(x, membrane, decay_input=True)[0], neurons))
del neurons
inputs = scan_inputs(16, 1024, 512)
scan = forward_and_backward(lambda *values: selective_scan(*values)[0], *inputs)
report("selectiveScan forward + backward 16 × 1024 × 512", scan, repeats=3, warmups=1)
del inputs, scan
torch.cuda.empty_cache()
square = torch.randn(4096, 4096)
report("matMul 4096", lambda: square @ square)
report("streaming inference, base", streaming(), repeats=30)
for batch in (4, 32):
    try:
        report(f"training step, base, batch {batch}", training_step(batch), repeats=3, warmups=1)
    except torch.OutOfMemoryError as error:
        print(json.dumps({"work": f"training step, base, batch {batch}", "error": str(error)[:200]}), flush=True)
