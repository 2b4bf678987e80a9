"""
The works of `bench.ts` and `check.ts steps` in PyTorch on the GPU, eager and compiled, in float32, TF32 and bf16: one JSON
line each, with the median in milliseconds on the device's clock after warm-up. A part that takes longer than its
limit, as the compilation of a long loop does, says so.

Usage: torch_eager.py [--only WORD] [--part SECONDS] [--all SECONDS] [--device cuda|cpu] [--tiny]
       (from anywhere; needs PyTorch, 2 or later for what is compiled)
"""

import argparse
import contextlib
import json
import pathlib
import signal
import statistics
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "torch"))

import spikmamba  # noqa: E402
from neurons import lif  # noqa: E402
from scan import associative_selective_scan, chunked_selective_scan, selective_scan  # noqa: E402
from works import (  # noqa: E402
    forward_and_backward,
    scan_inputs,
    streaming_inference,
    training_step,
)

parser = argparse.ArgumentParser()
parser.add_argument("--only", default="", help="works whose name has this word")
parser.add_argument("--part", type=int, default=60, help="seconds for one work, compilation included")
parser.add_argument("--all", type=int, default=3600, help="seconds for all of them")
parser.add_argument("--device", default="cuda")
parser.add_argument("--tiny", action="store_true", help="small sizes, to see whether it runs")
options = parser.parse_args()
BEGIN = time.monotonic()
PRECISIONS = ("float32", "tf32", "bf16")


def milliseconds(work):
    if options.device == "cpu":
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) * 1e3
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    events[0].record()
    work()
    events[1].record()
    events[1].synchronize()
    return events[0].elapsed_time(events[1])


def out_of_time(*_):
    raise TimeoutError


signal.signal(signal.SIGALRM, out_of_time)


def report(name, make, repeats=10, warmups=3):
    """Times the work that `make()` gives."""
    if options.only not in name:
        return
    limit = min(options.part, int(options.all - (time.monotonic() - BEGIN)))
    line = {"work": name}
    if limit < 5:
        print(json.dumps({**line, "skipped": "no time left"}), flush=True)
        return
    start = time.monotonic()
    signal.alarm(limit)
    try:
        work = make()
        for _ in range(warmups):
            work()
        line["milliseconds"] = statistics.median(milliseconds(work) for _ in range(repeats))
    except BaseException as error:  # Compilers wrap what stops them.
        if isinstance(error, KeyboardInterrupt):
            raise
        stopped = time.monotonic() - start >= limit - 1
        line["error"] = f"not done in {limit} s" if stopped else f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        signal.alarm(0)
    line["seconds"] = round(time.monotonic() - start, 1)
    print(json.dumps(line), flush=True)
    if hasattr(torch, "_dynamo"):
        torch._dynamo.reset()
    if options.device == "cuda":
        torch.cuda.empty_cache()


def in_precision(precision, make):
    """A work whose products are in a precision; bf16 by autocast, so that parameters stay in float32."""

    def made():
        work = make()

        def run():
            torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
            torch.backends.cudnn.allow_tf32 = precision == "tf32"
            casting = torch.autocast(options.device, dtype=torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
            with casting:
                return work()

        return run

    return made


def compiled(function, mode=None):
    return torch.compile(function, mode=mode)


def values_in(precision, values):
    return [value.bfloat16() for value in values] if precision == "bf16" else values


def neurons(precision, prepare=lambda function: function):
    count = 4096 if options.tiny else 4 << 20
    x, membrane = values_in(precision, [torch.randn(1, 32, count), torch.zeros(1, count)])
    return forward_and_backward(prepare(lambda x: lif(x, membrane, decay_input=True)[0]), x)


SCANS = {"chunked": chunked_selective_scan, "associative": associative_selective_scan}


def scan(precision, prepare=lambda function: function, form=selective_scan):
    sizes = (2, 16, 8) if options.tiny else (16, 1024, 512)
    inputs = values_in(precision, scan_inputs(*sizes))
    return forward_and_backward(prepare(lambda *values: form(*values)[0]), *inputs)


def square_product():
    square = torch.randn(256, 256) if options.tiny else torch.randn(4096, 4096)
    return lambda: square @ square


def outside_of_compiler(function):
    """A compiler unrolls the loop of a scan; outside of what it is given, the loop stays eager."""
    return torch._dynamo.disable(function)


def step(preset, prepare=lambda model: model, form=selective_scan):
    size, batch = (32, 2) if options.tiny else (128, 32)

    def make():
        spikmamba.selective_scan = form
        return training_step(batch, size, prepare, settings=preset)

    return make


try:
    torch.set_default_device(options.device)
except AttributeError:
    pass  # PyTorch 1 has no such setting; its default is the CPU.
device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
print(json.dumps({"torch": torch.__version__, "device": device}), flush=True)
PRESETS = {"base": spikmamba.BASE, "small": spikmamba.SMALL}
MODES = ("default", "max-autotune-no-cudagraphs") if hasattr(torch, "compile") else ()

for precision in PRECISIONS:
    report(f"matMul 4096, {precision}", in_precision(precision, square_product))
for precision in ("float32", "bf16"):
    report(f"lif forward + backward, {precision}", lambda: neurons(precision))
    for mode in MODES:
        report(f"lif forward + backward, {precision}, compiled, {mode}", lambda: neurons(precision, lambda f: compiled(f, mode)))
report("streaming inference, base, float32", lambda: streaming_inference(32 if options.tiny else 128), repeats=30)
for precision in PRECISIONS:
    report(f"selectiveScan 16 × 1024 × 512, {precision}", in_precision(precision, lambda: scan(precision)), repeats=3, warmups=1)
for name, preset in PRESETS.items():
    for precision in PRECISIONS:
        title = f"training step, {name}, batch 32, {precision}"
        report(title, in_precision(precision, step(preset)), repeats=3, warmups=1)
if MODES:
    for form, function in SCANS.items():
        title = f"selectiveScan 16 × 1024 × 512, float32, {form}"
        report(f"{title}, compiled", lambda: scan("float32", compiled, function))
    report("selectiveScan 16 × 1024 × 512, float32, chunked", lambda: scan("float32", form=chunked_selective_scan))
for name, preset in PRESETS.items() if MODES else ():
    for form, function in SCANS.items():
        for precision in PRECISIONS:
            title = f"training step, {name}, batch 32, {precision}, {form} scan, compiled"
            report(title, in_precision(precision, step(preset, compiled, function)), repeats=5, warmups=2)
    for precision in PRECISIONS:
        title = f"training step, {name}, batch 32, {precision}, compiled but for the scan"
        work = step(preset, compiled, outside_of_compiler(selective_scan))
        report(title, in_precision(precision, work), repeats=3, warmups=2)
