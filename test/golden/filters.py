#!/usr/bin/env python3
"""What the filters must give, worked out in NumPy from the equations that their papers (or, where there is
no paper, their descriptions) state, independently of the project's code.

    SACCADE_TEST_DATA=... python3 test/golden/filters.py > test/golden/filters.json

Of every result only the number of events and a SHA-256 are kept, over the columns t (float64), x, y (uint16),
polarity (uint8), each in one piece, little-endian. Recordings are read where SACCADE_TEST_DATA has them.
"""

import hashlib
import json
import os
import sys

import numpy as np

NEVER = -np.inf


def synthetic(count=20_000, width=48, height=40):
    """A bar that moves, noise, a hot pixel and a lamp, out of a linear congruential generator."""
    state = 1

    def draw(bound):
        nonlocal state
        state = (state * 1664525 + 1013904223) % 2**32
        return (state >> 8) % bound

    rows = []
    time = 0
    for _ in range(count):
        time += draw(60)
        kind = draw(10)
        if kind < 6:
            x, y, p = (time // 2000 + draw(2)) % width, draw(height), draw(4) // 3
        elif kind < 8:
            x, y, p = draw(width), draw(height), draw(2)
        elif kind < 9:
            x, y, p = 7, 9, 1
        else:
            x, y, p = 30 + draw(3), 20 + draw(3), time // 5000 % 2
        rows.append((time, x, y, p))
    t, x, y, p = np.array(rows, dtype=np.int64).T
    return (width, height), t.astype(np.float64), x, y, p


def nmnist(path, width, height):
    """Records of 5 bytes: x, y, polarity in the highest bit of 23 bits of time, µs."""
    raw = np.fromfile(path, dtype=np.uint8).reshape(-1, 5).astype(np.int64)
    assert not (raw[:, 1] == 240).any(), "overflow records are not read here"
    time = ((raw[:, 2] & 0x7F) << 16) | (raw[:, 3] << 8) | raw[:, 4]
    return (width, height), time.astype(np.float64), raw[:, 0], raw[:, 1], raw[:, 2] >> 7


# Filters that keep events. Each gives a boolean for each event.


def refractory(size, t, x, y, p, period):
    passed = np.full((size[1], size[0]), NEVER)
    keep = np.zeros(len(t), bool)
    for i in range(len(t)):
        if abs(t[i] - passed[y[i], x[i]]) >= period:
            passed[y[i], x[i]] = t[i]
            keep[i] = True
    return keep


def patch_filter(size, t, x, y, p, radius, decide, per_polarity):
    """`decide(ages, radius)` sees |t - last| of the square around each event."""
    last = np.full((2, size[1] + 2 * radius, size[0] + 2 * radius), NEVER)
    keep = np.zeros(len(t), bool)
    side = 2 * radius + 1
    for i in range(len(t)):
        surface = last[p[i] if per_polarity else 0]
        ages = np.abs(t[i] - surface[y[i] : y[i] + side, x[i] : x[i] + side])
        keep[i] = decide(ages)
        surface[y[i] + radius, x[i] + radius] = t[i]
    return keep


def around(values, radius=1):
    """The square without its middle, flat, in the order of rows."""
    return np.delete(values.ravel(), values.size // 2)


def background_activity(size, t, x, y, p, window, neighbours=1):
    decide = lambda ages: np.count_nonzero(around(ages) <= window) >= neighbours
    return patch_filter(size, t, x, y, p, 1, decide, False)


def stcf(size, t, x, y, p, window, support=2, same=0):
    decide = lambda ages: np.count_nonzero(around(ages) <= window) >= support
    return patch_filter(size, t, x, y, p, 1, decide, bool(same))


def y_noise(size, t, x, y, p, window, density=2, radius=2):
    def decide(ages):
        recent = ages <= window
        inner = recent[radius - 1 : radius + 2, radius - 1 : radius + 2]
        return np.count_nonzero(recent) >= density and around(inner).any()

    return patch_filter(size, t, x, y, p, radius, decide, True)


def time_decay(size, t, x, y, p, tau, threshold, radius=1):
    decide = lambda ages: np.exp(-around(ages) / tau).sum() >= threshold
    return patch_filter(size, t, x, y, p, radius, decide, True)


def double_window(size, t, x, y, p, length, distance, support=1):
    windows = {True: [], False: []}
    keep = np.zeros(len(t), bool)
    for i in range(len(t)):
        places = np.array(windows[True] + windows[False]).reshape(-1, 2)
        near = np.abs(places - [x[i], y[i]]).sum(axis=1) <= distance
        keep[i] = np.count_nonzero(near) >= support
        windows[keep[i]] = (windows[keep[i]] + [(x[i], y[i])])[-length:]
    return keep


def hot_pixels(size, t, x, y, p, minimum_hz, factor=5, interval=100_000):
    slow = minimum_hz * interval / 1e6
    shape = (size[1] + 2, size[0] + 2)
    counts, hot = np.zeros(shape), np.zeros(shape, bool)
    keep = np.zeros(len(t), bool)
    start = None

    def exceeds():
        total = np.zeros(shape)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if (dx, dy) != (0, 0):
                    total += np.roll(counts, (dy, dx), (0, 1))
        return (counts > slow) & (counts > factor * total / 8)

    for i in range(len(t)):
        if start is None or abs(t[i] - start) >= interval:
            hot = exceeds()
            counts[:] = 0
            start = t[i]
        row, column = y[i] + 1, x[i] + 1
        counts[row, column] += 1
        own = counts[row, column]
        mean = (counts[row - 1 : row + 2, column - 1 : column + 2].sum() - own) / 8
        hot[row, column] |= own > slow and own > factor * mean
        keep[i] = not hot[row, column]
    return keep


def anti_flicker(size, t, x, y, p, low, high, cycles=3):
    keep = np.zeros(len(t), bool)
    for pixel in np.unique(y * size[0] + x):
        own = np.flatnonzero(y * size[0] + x == pixel)
        turn, before, row = NEVER, 0, 0
        for i in own:
            since = abs(t[i] - turn)
            if since > 1e6 / low:
                row = 0
            if p[i] == 1 and before == 0:
                row = row + 1 if 1e6 / high <= since <= 1e6 / low else 0
                turn = t[i]
            before = p[i]
            keep[i] = row < cycles
    return keep


def decimate(size, t, x, y, p, every, per_pixel=0):
    if not per_pixel:
        return np.arange(len(t)) % every == 0
    keep = np.zeros(len(t), bool)
    for pixel in np.unique(y * size[0] + x):
        keep[np.flatnonzero(y * size[0] + x == pixel)[::every]] = True
    return keep


def murmur_finaliser(value):
    value = np.uint64(value) & np.uint64(0xFFFFFFFF)
    value = (value ^ (value >> np.uint64(16))) * np.uint64(0x85EBCA6B) & np.uint64(0xFFFFFFFF)
    value = (value ^ (value >> np.uint64(13))) * np.uint64(0xC2B2AE35) & np.uint64(0xFFFFFFFF)
    return value ^ (value >> np.uint64(16))


def random_drop(size, t, x, y, p, share, seed=1):
    index = np.arange(len(t), dtype=np.uint64)
    return murmur_finaliser(murmur_finaliser(seed) + index) >= share * 2**32


def rate_limit(size, t, x, y, p, rate, interval=10_000):
    """For times that never go back."""
    budget = np.floor(rate * interval / 1e6)
    number = np.floor((t - t[0]) / interval)
    keep = np.zeros(len(t), bool)
    for each in np.unique(number):
        own = np.flatnonzero(number == each)
        before = np.count_nonzero(number == each - 1)
        share = min(1, budget / before) if before else 1
        n = np.arange(len(own))
        due = np.floor((n + 1) * share) > np.floor(n * share)
        keep[own] = due & (np.cumsum(due) <= budget)
    return keep


def mask(size, t, x, y, p, pixels):
    keep = np.ones(len(t), bool)
    for part in pixels.split("+"):
        columns, row = part.split("/")
        first, last = (columns.split("-") * 2)[:2]
        keep &= ~((y == int(row)) & (x >= int(first)) & (x <= int(last)))
    return keep


def polarity(size, t, x, y, p, kept):
    return p == kept


def region(size, t, x, y, p, x0, y0, width, height):
    return (x >= x0) & (x < x0 + width) & (y >= y0) & (y < y0 + height)


# Filters that move events. Each gives keep, x, y, and the new size.


def inside(size, x, y):
    x, y = np.floor(x + 0.5), np.floor(y + 0.5)
    return (x >= 0) & (x < size[0]) & (y >= 0) & (y < size[1]), x, y, size


def everything(size, x, y):
    return np.ones(len(x), bool), x, y, size


def rotate(size, t, x, y, p, degrees):
    if degrees % 90 == 0:
        image = np.rot90(np.arange(size[0] * size[1]).reshape(size[1], size[0]), -degrees // 90)
        place = np.argsort(image.ravel())[y * size[0] + x]
        return everything(image.shape[::-1], place % image.shape[1], place // image.shape[1])
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([[(size[0] - 1) / 2], [(size[1] - 1) / 2]])
    return inside(size, *(matrix @ (np.stack([x, y]) - middle) + middle))


def undistort(size, t, x, y, p, fx, fy, cx, cy, k1=0, k2=0, p1=0, p2=0, k3=0):
    """Newton's method with a numerical Jacobian, where the project iterates to a fixed point."""

    def project(a, b):
        r2 = a * a + b * b
        radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        return (
            a * radial + 2 * p1 * a * b + p2 * (r2 + 2 * a * a),
            b * radial + p1 * (r2 + 2 * b * b) + 2 * p2 * a * b,
        )

    seen = np.stack([(x - cx) / fx, (y - cy) / fy])
    ray, h = seen.copy(), 1e-6
    for _ in range(50):
        error = np.stack(project(*ray)) - seen
        da = (np.stack(project(ray[0] + h, ray[1])) - np.stack(project(ray[0] - h, ray[1]))) / (2 * h)
        db = (np.stack(project(ray[0], ray[1] + h)) - np.stack(project(ray[0], ray[1] - h))) / (2 * h)
        determinant = da[0] * db[1] - db[0] * da[1]
        ray[0] -= (db[1] * error[0] - db[0] * error[1]) / determinant
        ray[1] -= (da[0] * error[1] - da[1] * error[0]) / determinant
    return inside(size, fx * ray[0] + cx, fy * ray[1] + cy)


def smaller(size, factor):
    return -(-size[0] // factor), -(-size[1] // factor)


def downsample(size, t, x, y, p, factor):
    return everything(smaller(size, factor), x // factor, y // factor)


def downsample_count(size, t, x, y, p, factor, threshold=0):
    limit = threshold or factor**2
    new = smaller(size, factor)
    keep = np.zeros(len(t), bool)
    sums = np.zeros(new[::-1], int)
    for i in range(len(t)):
        place = y[i] // factor, x[i] // factor
        sums[place] += 2 * p[i] - 1
        if abs(sums[place]) >= limit:
            keep[i] = True
            sums[place] = 0
    return keep, x // factor, y // factor, new


KEEPING = {
    "refractory": refractory,
    "backgroundActivity": background_activity,
    "spatiotemporalCorrelation": stcf,
    "doubleWindow": double_window,
    "yNoise": y_noise,
    "timeDecay": time_decay,
    "hotPixels": hot_pixels,
    "mask": mask,
    "antiFlicker": anti_flicker,
    "polarity": polarity,
    "region": region,
    "decimate": decimate,
    "randomDrop": random_drop,
    "rateLimit": rate_limit,
}

MOVING = {
    "downsample": downsample,
    "downsampleCount": downsample_count,
    "undistort": undistort,
    "flipX": lambda size, t, x, y, p: everything(size, size[0] - 1 - x, y),
    "flipY": lambda size, t, x, y, p: everything(size, x, size[1] - 1 - y),
    "rotate": rotate,
    "transpose": lambda size, t, x, y, p: everything(size[::-1], y, x),
}

CALLS = [
    "refractory:1000",
    "backgroundActivity:2000",
    "backgroundActivity:10000,3",
    "spatiotemporalCorrelation:5000",
    "spatiotemporalCorrelation:10000,3,1",
    "doubleWindow:36,9",
    "doubleWindow:100,4,3",
    "yNoise:10000",
    "yNoise:5000,4,3",
    "timeDecay:5000,1",
    "timeDecay:20000,4,2",
    "hotPixels:100",
    "hotPixels:20,3,50000",
    "mask:pixels=7/9+0-20/3",
    "antiFlicker:50,150",
    "antiFlicker:20,2000,2",
    "polarity:1",
    "region:5,7,20,9",
    "decimate:3",
    "decimate:4,1",
    "randomDrop:0.3",
    "randomDrop:0.9,42",
    "rateLimit:20000",
    "rateLimit:5000,20000",
    "downsample:3",
    "downsampleCount:2",
    "downsampleCount:4,3",
    "undistort:100,101,60.2,54.9,-0.2,0.05,0.003,-0.002,0.01",
    "flipX",
    "flipY",
    "rotate:90",
    "rotate:180",
    "rotate:270",
    "rotate:33",
    "transpose",
]


def result(recording, call):
    size, t, x, y, p = recording
    name, _, text = call.partition(":")
    arguments = [
        each.partition("=")[2] if "=" in each else float(each) if "." in each else int(each)
        for each in text.split(",")
        if each
    ]
    if name in KEEPING:
        keep, new = KEEPING[name](size, t, x, y, p, *arguments), size
    else:
        keep, x, y, new = MOVING[name](size, t, x, y, p, *arguments)
    columns = (t[keep].astype("<f8"), x[keep].astype("<u2"), y[keep].astype("<u2"), p[keep].astype("u1"))
    digest = hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest()
    return {"events": int(np.count_nonzero(keep)), "sensor": [int(side) for side in new], "sha256": digest}


def main():
    recordings = {"synthetic": synthetic()}
    root = os.environ["SACCADE_TEST_DATA"]
    for path, width, height in (
        ("gestures/hand_clapping.bs2", 128, 128),
        ("nmnist/train/5/1.bs2", 34, 34),
    ):
        recordings[path] = nmnist(os.path.join(root, path), width, height)
    golden = {}
    for name, recording in recordings.items():
        print(name, file=sys.stderr)
        golden[name] = {call: result(recording, call) for call in CALLS}
    json.dump(golden, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
