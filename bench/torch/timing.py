"""Wall-clock timing of eager PyTorch work."""

import statistics
import time


def median_ms(work, repeats, warmups=1):
    """Median duration of `work()` in milliseconds over `repeats` runs, after `warmups` unmeasured ones."""
    for _ in range(warmups):
        work()
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        durations.append((time.perf_counter() - start) * 1e3)
    return statistics.median(durations)
