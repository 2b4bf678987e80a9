"""SpikMamba with the settings of our `base` and `small` presets, in eager PyTorch."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import silu

from neurons import lif
from scan import selective_scan

TAPS = 4
EPSILON = 1.0


@dataclass(frozen=True)
class Settings:
    patch: int
    width: int
    depth: int
    heads: int
    channels: int
    states: int
    delta_rank: int
    hidden: int


BASE = Settings(patch=16, width=256, depth=2, heads=8, channels=2048, states=16, delta_rank=16, hidden=1024)
SMALL = Settings(patch=8, width=128, depth=2, heads=4, channels=256, states=16, delta_rank=8, hidden=512)


class RmsNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.scale


class Spiking(nn.Module):
    """Batch normalisation per feature, then neurons along the time axis of `[batch, time, ..., features]`."""

    def __init__(self, features):
        super().__init__()
        self.norm = nn.BatchNorm1d(features)

    def forward(self, x, membrane):
        normal = self.norm(x.flatten(0, -2)).view_as(x)
        if membrane is None:
            membrane = torch.zeros_like(normal[:, 0])
        return lif(normal, membrane)


def dense(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


class LinearAttention(nn.Module):
    """Spiking linear attention; each frame is a window."""

    def __init__(self, s, rows, columns):
        super().__init__()
        self.grid = (rows, columns)
        self.width, self.heads = s.width, s.heads
        self.input, self.gate, self.output, self.query, self.key = (
            dense(s.width, s.width) for _ in range(5)
        )
        self.convolution = nn.Conv2d(s.width, s.width, 3, padding=1, groups=s.width)
        self.query_neurons, self.key_neurons, self.output_neurons = (
            Spiking(s.width) for _ in range(3)
        )

    def forward(self, x, state):
        batch, time, tokens, _ = x.shape
        frames = self.input(x).transpose(2, 3).reshape(batch * time, self.width, *self.grid)
        u = silu(self.convolution(frames)).flatten(2).transpose(1, 2).reshape(x.shape)
        query, query_membrane = self.query_neurons(self.query(u), state.get("query"))
        key, key_membrane = self.key_neurons(self.key(u), state.get("key"))
        q, k, v = (
            part.reshape(batch * time, tokens, self.heads, self.width // self.heads).transpose(1, 2)
            for part in (query, key, u)
        )
        memory = k.transpose(-1, -2) @ v
        normaliser = q @ k.sum(2).unsqueeze(-1) + EPSILON
        attended = ((q @ memory) / normaliser).transpose(1, 2).reshape(x.shape)
        out, membrane = self.output_neurons(attended, state.get("output"))
        result = self.output(out * silu(self.gate(x)))
        return result, {"query": query_membrane, "key": key_membrane, "output": membrane}


class SpikeMamba(nn.Module):
    """Linear, neurons, causal convolution, SiLU, selective scan, neurons; gated."""

    def __init__(self, s):
        super().__init__()
        self.settings = s
        self.input, self.gate = dense(s.width, s.channels), dense(s.width, s.channels)
        self.output = dense(s.channels, s.width)
        self.input_neurons, self.output_neurons = Spiking(s.channels), Spiking(s.channels)
        self.convolution = nn.Conv1d(s.channels, s.channels, TAPS, groups=s.channels)
        self.projection = dense(s.channels, s.delta_rank + 2 * s.states)
        self.delta = dense(s.delta_rank, s.channels)
        first_steps = torch.exp(
            torch.empty(s.channels).uniform_(math.log(1e-3), math.log(1e-1))
        )
        self.delta_bias = nn.Parameter(first_steps + torch.log(-torch.expm1(-first_steps)))
        self.log_a = nn.Parameter(torch.log(torch.arange(1.0, s.states + 1)).repeat(s.channels, 1))
        self.skip = nn.Parameter(torch.ones(s.channels))

    def forward(self, x, state):
        s = self.settings
        batch, time, tokens, _ = x.shape
        entered, input_membrane = self.input_neurons(self.input(x), state.get("input"))
        sequence = entered.reshape(batch, time * tokens, s.channels)
        tail = state.get("tail", sequence.new_zeros(batch, TAPS - 1, s.channels))
        padded = torch.cat([tail, sequence], 1)
        u = silu(self.convolution(padded.transpose(1, 2)).transpose(1, 2))
        rank, b, c = self.projection(u).split([s.delta_rank, s.states, s.states], -1)
        hidden = state.get("hidden", u.new_zeros(batch, s.channels, s.states))
        y, hidden = selective_scan(
            u, self.delta(rank), -torch.exp(self.log_a), b, c, self.skip, self.delta_bias, hidden
        )
        left, output_membrane = self.output_neurons(
            y.reshape(batch, time, tokens, s.channels), state.get("output")
        )
        return self.output(left * silu(self.gate(x))), {
            "input": input_membrane,
            "output": output_membrane,
            "tail": padded[:, -(TAPS - 1) :],
            "hidden": hidden,
        }


class FeedForward(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.input, self.output = dense(s.width, s.hidden), dense(s.hidden, s.width)
        self.neurons = Spiking(s.hidden)

    def forward(self, x, state):
        spikes, membrane = self.neurons(self.input(x), state.get("hidden"))
        return self.output(spikes), {"hidden": membrane}


class Block(nn.Module):
    def __init__(self, s, rows, columns):
        super().__init__()
        self.mixer_norm, self.feed_forward_norm = RmsNorm(s.width), RmsNorm(s.width)
        self.attention = LinearAttention(s, rows, columns)
        self.mamba = SpikeMamba(s)
        self.feed_forward = FeedForward(s)

    def forward(self, x, state):
        normal = self.mixer_norm(x)
        attended, attention = self.attention(normal[:, :, :-1], state.get("attention", {}))
        scanned, mamba = self.mamba(
            torch.cat([attended, normal[:, :, -1:]], 2), state.get("mamba", {})
        )
        y = x + scanned
        fed, feed_forward = self.feed_forward(
            self.feed_forward_norm(y), state.get("feed_forward", {})
        )
        return y + fed, {"attention": attention, "mamba": mamba, "feed_forward": feed_forward}


class SpikMamba(nn.Module):
    """Causal: takes the state that earlier frames left behind and returns the next one."""

    def __init__(self, bins, channels, height, width, classes, settings=BASE):
        super().__init__()
        s = settings
        self.settings = s
        rows, columns = height // s.patch, width // s.patch
        self.bins = bins
        self.projection = dense(channels * s.patch * s.patch, s.width)
        self.neurons = Spiking(s.width)
        self.spatial_position = nn.Parameter(0.02 * torch.randn(rows * columns, s.width))
        self.temporal_position = nn.Parameter(0.02 * torch.randn(bins, 1, s.width))
        self.class_token = nn.Parameter(0.02 * torch.randn(s.width))
        self.blocks = nn.ModuleList(Block(s, rows, columns) for _ in range(s.depth))
        self.norm = RmsNorm(s.width)
        self.head = nn.Linear(s.width, classes)

    def forward(self, x, state=None):
        """x: `[batch, time, channels, height, width]`. Returns logits per frame and the next state."""
        s = self.settings
        state = state or {"frame": 0}
        batch, time, channels, height, width = x.shape
        cut = x.reshape(batch, time, channels, height // s.patch, s.patch, width // s.patch, s.patch)
        patches = cut.permute(0, 1, 3, 5, 2, 4, 6).reshape(batch, time, -1, channels * s.patch**2)
        spikes, membrane = self.neurons(self.projection(patches), state.get("membrane"))
        frames = torch.arange(state["frame"], state["frame"] + time, device=x.device) % self.bins
        tokens = spikes + self.spatial_position + self.temporal_position[frames]
        output = torch.cat([tokens, self.class_token.expand(batch, time, 1, s.width)], 2)
        following = {"frame": state["frame"] + time, "membrane": membrane}
        for index, block in enumerate(self.blocks):
            output, following[index] = block(output, state.get(index, {}))
        pooled = self.norm(output).mean(2)
        sums = pooled.cumsum(1) + state.get("sum", 0)
        following["sum"] = sums[:, -1:]
        counts = torch.arange(state["frame"] + 1, state["frame"] + time + 1, device=x.device).view(1, -1, 1)
        return self.head(sums / counts), following
