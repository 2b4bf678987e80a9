"""Golden values of representations, written from the papers' equations alone.

    SACCADE_TEST_DATA=... python3 test/golden/representations.py > test/golden/representations.json

(and then `npx prettier --write` on it). What `hotsFitted` and `estLearned` are given, a dictionary that is learned here and a
kernel out of a formula, stands under "given". Each representation of a few real recordings as its shape, sum, sum of squares, and some of its values.
"""
import json
import os

import numpy as np

# Recordings with the side of their square sensor.
RECORDINGS = {
    "nmnist/test/3": 34,
    "nmnist/test/8": 34,
    "gestures/air_guitar.bs2": 128,
    "actions/walk_away/alex_walking_again.aedat": 128,
}
BINS = 4
SIDE = None


def load(name):
    """A recording, or the first of a folder: its name, and t, x, y, polarity."""
    root = os.environ["SACCADE_TEST_DATA"]
    path = os.path.join(root, name)
    if os.path.isdir(path):
        path = os.path.join(path, sorted(os.listdir(path))[0])
    events = aedat2(path) if path.endswith(".aedat") else nmnist(path)
    t, x, y, p = events
    assert x.max() < SIDE and y.max() < SIDE and (np.diff(t) >= 0).all()
    return os.path.relpath(path, root), t.astype(float), x, y, p


def nmnist(path):
    """x, y, then polarity and 23 bits of time."""
    raw = np.fromfile(path, np.uint8).reshape(-1, 5).astype(np.int64)
    return (raw[:, 2] & 127) << 16 | raw[:, 3] << 8 | raw[:, 4], raw[:, 0], raw[:, 1], raw[:, 2] >> 7


def aedat2(path):
    """AEDAT 2.0 of a DVS128: comments, then big-endian address and time; the lowest bit is 0 where it is ON."""
    with open(path, "rb") as file:
        data = file.read()
    at = 0
    while data[at : at + 1] == b"#":
        at = data.index(b"\n", at) + 1
    raw = np.frombuffer(data, ">u4", (len(data) - at) // 8 * 2, at).reshape(-1, 2).astype(np.int64)
    raw = raw[raw[:, 0] < 1 << 15]
    return raw[:, 1], raw[:, 0] >> 1 & 127, raw[:, 0] >> 8, 1 - (raw[:, 0] & 1)


def bin_of(t, bins):
    edges = t[0] + (t[-1] - t[0]) * np.arange(1, bins) / bins
    return np.searchsorted(edges, t, side="right")


def ends(t):
    return t[0] + (t[-1] - t[0]) * np.arange(1, BINS + 1) / BINS


def histogram(t, x, y, p):
    out = np.zeros((BINS, 2, SIDE, SIDE))
    np.add.at(out, (bin_of(t, BINS), p, y, x), 1)
    return out


def voxel(t, x, y, p):
    """Zhu et al. 2019, eqs. 1-3."""
    position = (BINS - 1) * (t - t[0]) / (t[-1] - t[0])
    out = np.zeros((BINS, SIDE, SIDE))
    for b in range(BINS):
        np.add.at(out[b], (y, x), (2 * p - 1) * np.maximum(0, 1 - np.abs(b - position)))
    return out


def est(t, x, y, p):
    """Gehrig et al. 2019: measurement t*, trilinear kernel."""
    share = (t - t[0]) / (t[-1] - t[0])
    out = np.zeros((BINS, 2, SIDE, SIDE))
    for b in range(BINS):
        weight = np.maximum(0, 1 - np.abs(b / (BINS - 1) - share) * (BINS - 1))
        np.add.at(out[b], (p, y, x), share * weight)
    return out


def last_times(t, x, y, p, until):
    last = np.full((2, SIDE, SIDE), -np.inf)
    np.maximum.at(last, (p[until], y[until], x[until]), t[until])
    return last


def surfaces(value):
    def make(t, x, y, p):
        bins = bin_of(t, BINS)
        return np.stack(
            [value(last_times(t, x, y, p, bins <= b), end, t) for b, end in enumerate(ends(t))]
        )

    return make


def tore(t, x, y, p, depth=3):
    """Baldwin et al. 2022: log ages of the latest events, between 150 us and 5 s."""
    out = np.zeros((BINS, 2, depth, SIDE, SIDE))
    bins = bin_of(t, BINS)
    for b, end in enumerate(ends(t)):
        ages = np.full((2, depth, SIDE, SIDE), 5e6)
        for i in np.flatnonzero(bins <= b):
            queue = ages[p[i], :, y[i], x[i]]
            ages[p[i], :, y[i], x[i]] = np.concatenate(([end - t[i]], queue[:-1]))
        out[b] = np.maximum(0, np.log(np.minimum(ages, 5e6) + 1) - np.log(151))
    return out.reshape(BINS, 2 * depth, SIDE, SIDE)


def hats(t, x, y, p, cells=5, radius=2, tau=1e5, memory=5e4):
    """Sironi et al. 2018, eqs. 4-8, on 5 x 5 cells."""
    side = 2 * radius + 1
    out = np.zeros((BINS, 2, side, side, cells, cells))
    count = np.zeros((BINS, cells, cells))
    bins = bin_of(t, BINS)
    cx, cy = x * cells // SIDE, y * cells // SIDE
    first, after = np.searchsorted(t, t - memory), np.searchsorted(t, t)
    for i in range(len(t)):
        past = np.arange(first[i], after[i])
        near = (
            (p[past] == p[i])
            & (cx[past] == cx[i])
            & (cy[past] == cy[i])
            & (abs(x[past] - x[i]) <= radius)
            & (abs(y[past] - y[i]) <= radius)
        )
        past = past[near]
        place = (bins[i], p[i], y[past] - y[i] + radius, x[past] - x[i] + radius, cy[i], cx[i])
        np.add.at(out, place, np.exp(-(t[i] - t[past]) / tau))
        count[bins[i], cy[i], cx[i]] += 1
    out /= np.maximum(count, 1)[:, None, None, None]
    return out.reshape(BINS, 2 * side * side, cells, cells)


def time_surfaces(t, x, y, p, radius, tau):
    """Lagorce et al. 2017, eqs. 2-3: of each event in turn."""
    last = np.full((2, SIDE + 2 * radius, SIDE + 2 * radius), -np.inf)
    for i in range(len(t)):
        last[p[i], y[i] + radius, x[i] + radius] = t[i]
        around = last[:, y[i] : y[i] + 2 * radius + 1, x[i] : x[i] + 2 * radius + 1]
        yield np.exp((around - t[i]) / tau).ravel()


def hots(t, x, y, p, prototypes=4, radius=1, tau=2e4):
    """Lagorce et al. 2017, algorithm 1, one layer: the counts, and the prototypes at the end."""
    centres, uses = [], []
    out = np.zeros((BINS, prototypes, SIDE, SIDE))
    bins = bin_of(t, BINS)
    for i, surface in enumerate(time_surfaces(t, x, y, p, radius, tau)):
        if len(centres) < prototypes:
            k = len(centres)
            centres.append(surface)
            uses.append(1)
        else:
            k = int(np.argmin([np.sum((c - surface) ** 2) for c in centres]))
            c = centres[k]
            cosine = c @ surface / (np.linalg.norm(c) * np.linalg.norm(surface))
            centres[k] = c + 0.01 / (1 + uses[k] / 20000) * (surface - cosine * c)
            uses[k] += 1
        out[bins[i], k, y[i], x[i]] += 1
    return out, centres


def hots_fitted(t, x, y, p):
    """The same with prototypes that stay as they are."""
    given = GIVEN["hotsFitted"]
    centres = np.array(given["prototypes"])
    out = np.zeros((BINS, len(centres), SIDE, SIDE))
    bins = bin_of(t, BINS)
    for i, surface in enumerate(time_surfaces(t, x, y, p, given["radius"], given["tauUs"])):
        k = np.argmin(np.sum((centres - surface) ** 2, axis=1))
        out[bins[i], k, y[i], x[i]] += 1
    return out


def est_learned(t, x, y, p):
    """Gehrig et al. 2019, section 3.3: measurement t*, the kernel is a perceptron with leaky ReLU."""
    share = (t - t[0]) / (t[-1] - t[0])
    out = np.zeros((BINS, 2, SIDE, SIDE))
    layers = GIVEN["estLearned"]
    for b in range(BINS):
        values = (b / (BINS - 1) - share)[None]
        for layer, each in enumerate(layers):
            values = np.array(each["weights"]) @ values + np.array(each["biases"])[:, None]
            if layer < len(layers) - 1:
                values = np.where(values < 0, 0.1 * values, values)
        np.add.at(out[b], (p, y, x), share * values[0])
    return out


def kernel(sizes=(1, 6, 5, 1)):
    """Numbers without a pattern that matters, of both signs."""
    number = lambda *at: round(float(np.sin(np.dot(at, (12.9, 78.2, 37.7)) + 1)), 3)
    return [
        {
            "weights": [[number(layer, i, j) for j in range(before)] for i in range(after)],
            "biases": [number(layer, i, -1) for i in range(after)],
        }
        for layer, (before, after) in enumerate(zip(sizes, sizes[1:]))
    ]


def bina_rep(t, x, y, p, bits=6):
    """Barchid et al. 2022: the i-th binary frame weighs 2^i."""
    frames = np.zeros((BINS * bits, 2, SIDE, SIDE))
    frames[bin_of(t, BINS * bits), p, y, x] = 1
    weights = 2.0 ** np.arange(bits) / (2**bits - 1)
    return np.einsum("bnpyx,n->bpyx", frames.reshape(BINS, bits, 2, SIDE, SIDE), weights)


def mdes(t, x, y, p, levels=5):
    """Nam et al. 2022: the last N / 2^m events, the later one overwrites."""
    out = np.zeros((BINS, levels, SIDE, SIDE))
    bins = bin_of(t, BINS)
    for b in range(BINS):
        own = np.flatnonzero(bins == b)
        for level in range(levels):
            for i in own[len(own) - len(own) // 2**level :]:
                out[b, level, y[i], x[i]] = 2 * p[i] - 1
    return out


def afe(t, x, y, p, minimum=300, threshold=0.35):
    """Zhou et al. 2024: halve while the halves' counts differ."""

    def opened(image):
        padded = np.pad(image, ((1, 0), (1, 0)), constant_values=np.inf)
        eroded = np.minimum.reduce([padded[1:, 1:], padded[:-1, 1:], padded[1:, :-1], padded[:-1, :-1]])
        padded = np.pad(eroded, ((0, 1), (0, 1)))
        return np.maximum.reduce([padded[:-1, :-1], padded[1:, :-1], padded[:-1, 1:], padded[1:, 1:]])

    def image(run):
        total = np.zeros((SIDE, SIDE))
        for polarity in (0, 1):
            own = run[p[run] == polarity]
            counts = np.zeros((SIDE, SIDE))
            np.add.at(counts, (y[own], x[own]), 1)
            total += opened(counts)
        return total

    def divide(run):
        first, second = run[: len(run) // 2], run[len(run) // 2 :]
        if np.abs(image(first) - image(second)).sum() <= threshold * len(run):
            return [run]
        if len(first) <= minimum:
            return [first, second]
        return divide(first) + divide(second)

    runs = divide(np.arange(len(t)))
    if len(runs) > BINS:
        runs = [runs[int((b + 0.5) * len(runs) / BINS)] for b in range(BINS)]
    out = np.zeros((BINS, 3, SIDE, SIDE))
    for b, run in enumerate(runs):
        out[b, 2 * p[run], y[run], x[run]] = 1
        out[b, 1, y[run], x[run]] = 1
    return out


REPRESENTATIONS = {
    "histogram": histogram,
    "spikes": lambda *events: (histogram(*events) > 0) * 1.0,
    "frame": lambda *events: histogram(*events)[:, 1] - histogram(*events)[:, 0],
    "voxel": voxel,
    "est": est,
    "timeSurface:tauUs=40000": surfaces(lambda last, end, t: np.exp((last - end) / 40000)),
    "timeSurface:tauUs=40000,linear=1": surfaces(
        lambda last, end, t: np.maximum(0, 1 - (end - last) / 40000)
    ),
    "sae": surfaces(
        lambda last, end, t: np.where(np.isfinite(last), (last - t[0]) / (t[-1] - t[0]), 0)
    ),
    "tore:depth=3": tore,
    "hats:radius=2,tauUs=100000,memoryUs=50000": hats,
    "hots:prototypes=4,radius=1,tauUs=20000": lambda *events: hots(*events)[0],
    "hotsFitted": hots_fitted,
    "estLearned": est_learned,
    "binaRep:bits=6": bina_rep,
    "mdes:levels=5": mdes,
    "afe:minimumEvents=300,threshold=0.35": afe,
}


def digest(values):
    flat = values.ravel()
    chosen = np.flatnonzero(flat)[:: max(1, np.count_nonzero(flat) // 12)][:12]
    return {
        "shape": values.shape,
        "sum": round(float(flat.sum()), 6),
        "sumOfSquares": round(float((flat**2).sum()), 6),
        "samples": [[int(i), round(float(flat[i]), 7)] for i in chosen],
    }


first, SIDE = next(iter(RECORDINGS.items()))
fitted_to, *events = load(first)
centres = [[round(float(value), 9) for value in centre] for centre in hots(*events, radius=2)[1]]
GIVEN = {
    "fittedTo": fitted_to,
    "hotsFitted": {"radius": 2, "tauUs": 20000, "prototypes": centres},
    "estLearned": kernel(),
}
golden = {}
for recording, SIDE in RECORDINGS.items():
    name, *events = load(recording)
    golden[name] = {call: digest(make(*events)) for call, make in REPRESENTATIONS.items()}
print(json.dumps({"given": GIVEN, **golden}, indent=1))
