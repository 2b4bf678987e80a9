"""Mamba's selective scan (S6): as an eager loop over the sequence, and over chunks of it at once."""

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


def chunked_selective_scan(u, delta, A, B, C, D, delta_bias, state, longest=32):
    """
    The same in `size + length / size` steps rather than `length`: all chunks of `size` steps at once, each from a state of
    zero; then from chunk to chunk; then every step gets what is left of the state before its chunk. A compiler, which
    unrolls loops, has that much less to compile; memory is that of all states.
    """
    batch, length, channels = u.shape
    states = A.shape[1]
    size = max(count for count in range(1, min(longest, length) + 1) if length % count == 0)
    step = softplus(delta + delta_bias)

    def in_chunks(values):
        return values.view(batch, length // size, size, channels, states).unbind(2)

    decays = in_chunks(torch.exp(step.unsqueeze(-1) * A))
    drives = in_chunks((step * u).unsqueeze(-1) * B.unsqueeze(2))
    hidden, left = drives[0], decays[0]
    hiddens, lefts = [hidden], [left]
    for decay, drive in zip(decays[1:], drives[1:]):
        hidden, left = decay * hidden + drive, decay * left
        hiddens.append(hidden)
        lefts.append(left)
    before = []
    for last_left, last_hidden in zip(left.unbind(1), hidden.unbind(1)):
        before.append(state)
        state = last_left * state + last_hidden
    entering = torch.stack(before, 1)
    outputs = [
        (((hidden + left * entering) * c.unsqueeze(2)).sum(-1))
        for hidden, left, c in zip(hiddens, lefts, C.view(batch, length // size, size, states).unbind(2))
    ]
    return torch.stack(outputs, 2).view(batch, length, channels) + D * u, state


def associative_selective_scan(u, delta, A, B, C, D, delta_bias, state):
    """The same by PyTorch's operator for recurrences whose steps may be joined in any order; for compilers alone."""
    from torch._higher_order_ops.associative_scan import associative_scan

    step = softplus(delta + delta_bias)
    decay = torch.exp(step.unsqueeze(-1) * A)
    drive = (step * u).unsqueeze(-1) * B.unsqueeze(2)
    # The state before enters with the first step.
    drive = torch.cat([drive[:, :1] + decay[:, :1] * state.unsqueeze(1), drive[:, 1:]], 1)

    def joined(first, second):
        return first[0] * second[0], second[0] * first[1] + second[1]

    mode = "pointwise" if u.is_cuda else "generic"
    _, hidden = associative_scan(joined, (decay, drive), 1, combine_mode=mode)
    return (hidden * C.unsqueeze(2)).sum(-1) + D * u, hidden[:, -1]
