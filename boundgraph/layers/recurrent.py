"""Recurrent cells and layers by their formulas, one step after the other.

The number of steps is the length of the sequence, which `torch.export` knows from example inputs.
Hochreiter and Schmidhuber, Long short-term memory, 1997. Cho et al., Learning phrase representations using RNN
encoder-decoder, 2014.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from boundgraph.layers.registry import written_as

State = tuple[Any, ...]
Step = Callable[[Any, State], State]  # (what the input adds to the gates, state) -> state; the first part is the output


def plain_step(activation: Callable[[Any], Any], weight: Any, bias: Any) -> Step:
    """h' = activation(W x + b + U h + c); the input's part comes in, U and c are `weight` and `bias`."""

    def step(of_input: Any, state: State) -> State:
        return (activation(of_input + F.linear(state[0], weight, bias)),)

    return step


def gru_step(weight: Any, bias: Any) -> Step:
    """h' = (1 - z) n + z h, with gates r, z and n = tanh(W x + b + r (U h + c))."""

    def step(of_input: Any, state: State) -> State:
        (hidden,) = state
        reset_x, update_x, new_x = of_input.chunk(3, -1)
        reset_h, update_h, new_h = F.linear(hidden, weight, bias).chunk(3, -1)
        reset, update = torch.sigmoid(reset_x + reset_h), torch.sigmoid(update_x + update_h)
        new = torch.tanh(new_x + reset * new_h)
        return ((1 - update) * new + update * hidden,)

    return step


def lstm_step(weight: Any, bias: Any, projection: Any) -> Step:
    """c' = f c + i g, h' = o tanh(c'), with a projection if there is one."""

    def step(of_input: Any, state: State) -> State:
        hidden, cell = state
        admit, forget, new, show = (of_input + F.linear(hidden, weight, bias)).chunk(4, -1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(admit) * torch.tanh(new)
        hidden = torch.sigmoid(show) * torch.tanh(cell)
        return (hidden if projection is None else F.linear(hidden, projection), cell)

    return step


def _activation(nonlinearity: str) -> Callable[[Any], Any]:
    return torch.tanh if nonlinearity == "tanh" else torch.relu


@written_as(nn.RNNCell, nn.GRUCell, nn.LSTMCell)
def cell(layer: Any, input: Any, hx: Any = None) -> Any:
    """One step, of (batch, features)."""
    if isinstance(layer, nn.LSTMCell):
        step, parts = lstm_step(layer.weight_hh, layer.bias_hh, None), 2
    elif isinstance(layer, nn.GRUCell):
        step, parts = gru_step(layer.weight_hh, layer.bias_hh), 1
    else:
        step, parts = plain_step(_activation(layer.nonlinearity), layer.weight_hh, layer.bias_hh), 1
    state = _zeros(input, [layer.hidden_size] * parts) if hx is None else tuple(hx) if parts == 2 else (hx,)
    state = step(F.linear(input, layer.weight_ih, layer.bias_ih), state)
    return state if parts == 2 else state[0]


def _zeros(like: Any, sizes: list[int]) -> State:
    return tuple(like.new_zeros((like.shape[0], size)) for size in sizes)


@written_as(nn.RNN, nn.GRU, nn.LSTM)
def recurrent(layer: Any, input: Any, hx: Any = None) -> tuple[Any, Any]:
    """(output, last state), as the layer gives them; states are (layers * directions, batch, features).

    Raises:
        ValueError: the length of the sequence is not known, or there is no batch.
    """
    sequence = input if layer.batch_first else input.transpose(0, 1)
    if isinstance(sequence, fx.Proxy):
        raise ValueError(
            f"{type(layer).__name__} takes one step for each position, so the length of its sequence must be known: "
            "pass example_inputs=(x, ...) with sequences of the length you want to bound"
        )
    if sequence.dim() != 3:
        raise ValueError(f"{type(layer).__name__} of a sequence without a batch has no per-example bounds")
    directions = 2 if layer.bidirectional else 1
    last: list[State] = []
    for level in range(layer.num_layers):
        outputs = []
        for direction in ("", "_reverse")[:directions]:
            output, state = _run(layer, f"_l{level}{direction}", sequence, _initial(layer, sequence, hx, len(last)))
            outputs.append(output)
            last.append(state)
        sequence = torch.cat(outputs, -1) if layer.bidirectional else outputs[0]
        if level < layer.num_layers - 1:
            sequence = F.dropout(sequence, layer.dropout, layer.training)
    states = tuple(torch.stack(parts, 1).transpose(0, 1) for parts in zip(*last, strict=True))
    output = sequence if layer.batch_first else sequence.transpose(0, 1)
    return output, states if isinstance(layer, nn.LSTM) else states[0]


def _initial(layer: Any, sequence: Any, hx: Any, index: int) -> State:
    if hx is not None:
        return tuple(part[index] for part in (hx if isinstance(layer, nn.LSTM) else (hx,)))
    sizes = [layer.proj_size or layer.hidden_size, layer.hidden_size]
    return _zeros(sequence, sizes if isinstance(layer, nn.LSTM) else sizes[:1])


def _run(layer: Any, suffix: str, sequence: Any, state: State) -> tuple[Any, State]:
    """All steps of one layer in one direction: outputs (batch, length, features), and the state after the last."""

    def weight(name: str) -> Any:
        return getattr(layer, name + suffix, None)

    if isinstance(layer, nn.LSTM):
        step = lstm_step(weight("weight_hh"), weight("bias_hh"), weight("weight_hr"))
    elif isinstance(layer, nn.GRU):
        step = gru_step(weight("weight_hh"), weight("bias_hh"))
    else:
        step = plain_step(_activation(layer.nonlinearity), weight("weight_hh"), weight("bias_hh"))
    of_inputs = F.linear(sequence, weight("weight_ih"), weight("bias_ih"))
    positions = range(sequence.shape[1])
    outputs: list[Any] = [None] * len(positions)
    for position in reversed(positions) if suffix.endswith("reverse") else positions:
        state = step(of_inputs[:, position], state)
        outputs[position] = state[0]
    return torch.stack(outputs, 1), state
