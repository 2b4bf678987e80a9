"""Leaky integrate-and-fire neurons as an eager loop over time."""

import math

import torch


class ArcTangentSpike(torch.autograd.Function):
    """Step function forward; the derivative of atan(pi x) / pi backward."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(context, gradient):
        (x,) = context.saved_tensors
        return gradient / (1 + (math.pi * x).square())


def lif(x, membrane, tau=2.0, threshold=1.0, decay_input=False):
    """
    Hard, detached reset; arc-tangent surrogate of width 1.

    x: `[batch, time, ...]`; membrane: `[batch, ...]`. Returns spikes like `x` and the next membrane.
    """
    leak = 1 - 1 / tau
    gain = 1 / tau if decay_input else 1.0
    spikes = []
    for step in x.unbind(1):
        charged = leak * membrane + gain * step
        spike = ArcTangentSpike.apply(charged - threshold)
        membrane = charged * (1 - spike.detach())
        spikes.append(spike)
    return torch.stack(spikes, 1), membrane
