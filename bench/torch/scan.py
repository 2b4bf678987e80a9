"""Mamba's selective scan (S6) as an eager loop over the sequence."""

import torch
from torch.nn.functional import softplus


def selective_scan(u, delta, A, B, C, D, delta_bias, state):
    """
    u, delta: `[batch, length, channels]`; A: `[channels, states]`; B, C: `[batch, length, states]`;
    D, delta_bias: `[channels]`; state: `[batch, channels, states]`. Returns y like `u` and the last state.
    """
    step = softplus(delta + delta_bias)
    drive = step * u
    outputs = []
    for dt, entering, b, c in zip(step.unbind(1), drive.unbind(1), B.unbind(1), C.unbind(1)):
        decay = torch.exp(dt.unsqueeze(-1) * A)
        state = decay * state + entering.unsqueeze(-1) * b.unsqueeze(1)
        outputs.append(torch.matmul(state, c.unsqueeze(-1)).squeeze(-1))
    return torch.stack(outputs, 1) + D * u, state
