"""Wall-clock timing of eager PyTorch work."""

import time


def durations_ms(work, repeats, warmups=1):
    """Durations of `work()` in milliseconds, `repeats` of them, after `warmups` unmeasured ones."""
    for _ in range(warmups):
        work()
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        durations.append((time.perf_counter() - start) * 1e3)
    return durations
