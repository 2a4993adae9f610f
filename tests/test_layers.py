"""Layers that are written out while a model is captured: attention, transformers, recurrent layers."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import boundgraph
from boundgraph.testing import check_sound

LENGTH, SIZE = 4, 6
CAUSAL = nn.Transformer.generate_square_subsequent_mask(LENGTH, dtype=torch.double)
PADDING = torch.tensor([[False] * 4, [False, False, True, True], [False, True, True, True]])


class Reads(nn.Module):
    """forward(x) = fc(body(layer, x)) of x (batch, length, features)."""

    def __init__(self, layer: nn.Module, body: Callable[[Any, Tensor], Tensor], outputs: int = SIZE) -> None:
        super().__init__()
        self.layer, self.body, self.fc = layer, body, nn.Linear(outputs, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(self.layer, x))


def sequences(batch: int = 3) -> Tensor:
    return torch.randn(batch, LENGTH, SIZE, generator=torch.Generator().manual_seed(batch), dtype=torch.double)


def assert_bounded(networks: ModuleType, model: nn.Module, exported: bool, method: str = "crown-ibp") -> None:
    """The graph computes the model, bounds at radius 0 are its output, and others hold it."""
    model, x = model.double().eval(), sequences()
    bounded = boundgraph.compile(model, method, example_inputs=(x,) if exported else None)
    networks.assert_exact(bounded, x, atol=1e-10)
    found = bounded(x, eps=0.02)
    assert torch.isfinite(found.lower).all()
    for _ in range(10):
        with torch.no_grad():
            y = model(x + 0.04 * torch.rand_like(x) - 0.02)
        assert (found.lower <= y).all()
        assert (y <= found.upper).all()


# what export sees where tracing fails; a decision on the shape makes it take over
def exported_too(body: Callable) -> Callable:
    return lambda layer, x: body(layer, x) if x.dim() == 3 else x


def run(networks: ModuleType, layer: nn.Module, body: Callable, outputs: int = SIZE) -> None:
    assert_bounded(networks, Reads(layer, body, outputs), False)
    assert_bounded(networks, Reads(layer, exported_too(body), outputs), True)


ATTENTION: dict[str, dict[str, Any]] = {
    "plain": {},
    "no bias": {"bias": False},
    "bias_kv": {"add_bias_kv": True},
    "zero": {"add_zero_attn": True},
    "both": {"add_bias_kv": True, "add_zero_attn": True},
    "dimensions": {"kdim": SIZE, "vdim": SIZE, "num_heads": 3},
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(networks: ModuleType, name: str) -> None:
    layer = nn.MultiheadAttention(**{"embed_dim": SIZE, "num_heads": 2, "batch_first": True, **ATTENTION[name]})
    run(networks, layer, lambda layer, x: layer(x, x, x)[0][:, 0])


MASKS: dict[str, Callable[[Any, Tensor], Any]] = {
    "cross": lambda layer, x: layer(x[:, :2], x, x * 2, need_weights=False)[0],
    "causal": lambda layer, x: layer(x, x, x, attn_mask=CAUSAL, need_weights=False)[0],
    "bool": lambda layer, x: layer(x, x, x, attn_mask=CAUSAL < 0)[0],
    "hint": lambda layer, x: layer(x, x, x, attn_mask=CAUSAL, is_causal=True, need_weights=False)[0],
    "padding": lambda layer, x: layer(x, x, x, key_padding_mask=PADDING)[0],
    "both": lambda layer, x: layer(x, x, x, key_padding_mask=PADDING, attn_mask=CAUSAL, need_weights=False)[0],
    "per head": lambda layer, x: layer(x, x, x, attn_mask=(CAUSAL < 0).repeat(6, 1, 1))[0],
    "weights": lambda layer, x: layer(x, x, x)[1] @ x,
    "weights of heads": lambda layer, x: (layer(x, x, x, average_attn_weights=False)[1] @ x[:, None])[:, 1],
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_and_weights_of_attention(networks: ModuleType, name: str) -> None:
    run(networks, nn.MultiheadAttention(SIZE, 2, batch_first=True), lambda layer, x: MASKS[name](layer, x)[:, 0])


def test_attention_that_sees_nothing_gives_what_the_layer_gives() -> None:
    """Zero, or NaN where the layer also returns its weights."""
    layer, x = nn.MultiheadAttention(SIZE, 2, batch_first=True), sequences()
    blind = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu()  # the first position does not even see itself
    for need_weights in (False, True):
        model = (
            Reads(layer, lambda m, x, w=need_weights: m(x, x, x, attn_mask=blind, need_weights=w)[0]).double().eval()
        )
        bounded, expected = boundgraph.compile(model), model(x)
        torch.testing.assert_close(bounded.primal(x), expected, equal_nan=True)
        assert expected.isnan().any() == need_weights
        assert bounded(x, eps=0.0).lower[expected.isnan()].isnan().all()


def test_attention_with_its_length_first(networks: ModuleType) -> None:
    layer = nn.MultiheadAttention(SIZE, 2)
    for body in (
        lambda layer, x: layer(x.transpose(0, 1), x.transpose(0, 1), x.transpose(0, 1))[0].transpose(0, 1)[:, 0],
        lambda layer, x: (lambda v: layer(v, v, v, need_weights=False)[0][-1])(x.permute(1, 0, 2)),
    ):
        run(networks, layer, body)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_transformer_encoders(networks: ModuleType, norm_first: bool, batch_first: bool) -> None:
    def body(layer: Any, x: Tensor) -> Tensor:
        return layer(x, mask=CAUSAL)[:, -1] if batch_first else layer(x.transpose(0, 1), CAUSAL)[-1]

    layer = nn.TransformerEncoderLayer(SIZE, 2, 8, norm_first=norm_first, batch_first=batch_first, activation=F.relu)
    encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(SIZE), enable_nested_tensor=False)
    run(networks, encoder, body)


def test_padded_sequences(networks: ModuleType) -> None:
    layer = nn.TransformerEncoderLayer(SIZE, 2, 8, batch_first=True, activation=nn.Tanh())
    encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    run(networks, encoder, lambda layer, x: layer(x, src_key_padding_mask=PADDING)[:, 0])


def test_nested_tensors_are_refused() -> None:
    """What they give at padded positions depends on whether gradients are recorded."""
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(SIZE, 2, 8, batch_first=True), 1).eval()
    with pytest.raises(boundgraph.CaptureError, match="enable_nested_tensor=False"):
        boundgraph.compile(Reads(encoder, lambda layer, x: layer(x, src_key_padding_mask=PADDING)[:, 0]).eval())


@pytest.mark.parametrize("batch_first", [False, True])
def test_transformer_decoders(networks: ModuleType, batch_first: bool) -> None:
    model = nn.Transformer(SIZE, 2, 1, 1, 8, batch_first=batch_first)

    def body(layer: Any, x: Tensor) -> Tensor:
        if batch_first:
            return layer(x, x[:, :2], tgt_mask=CAUSAL[:2, :2], tgt_is_causal=True)[:, -1]
        v = x.transpose(0, 1)
        return layer(v, v[1:])[0]

    run(networks, model, body)


def test_dropout_in_train_mode_is_refused_and_told() -> None:
    model = Reads(nn.TransformerEncoderLayer(SIZE, 2, 8, batch_first=True), lambda layer, x: layer(x)[:, 0])
    bounded = boundgraph.compile(model.train())
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="dropout"):
        bounded(sequences().float(), eps=0.1)


RECURRENT: dict[str, Callable[[], Any]] = {
    "tanh": lambda: nn.RNN(SIZE, 5, batch_first=True),
    "relu": lambda: nn.RNN(SIZE, 5, batch_first=True, nonlinearity="relu", bias=False),
    "gru": lambda: nn.GRU(SIZE, 5, batch_first=True),
    "gru both ways": lambda: nn.GRU(SIZE, 3, batch_first=True, bidirectional=True, num_layers=2, dropout=0.5),
    "lstm": lambda: nn.LSTM(SIZE, 5, batch_first=True),
    "lstm projected": lambda: nn.LSTM(SIZE, 5, batch_first=True, proj_size=3, bidirectional=True),
    "length first": lambda: nn.LSTM(SIZE, 5),
}


@pytest.mark.parametrize("last", ["output", "state"])
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers(networks: ModuleType, name: str, last: str) -> None:
    def body(layer: Any, x: Tensor) -> Tensor:
        output, state = layer(x if layer.batch_first else x.transpose(0, 1))
        if last == "state":
            return (state[0] if isinstance(state, tuple) else state)[-1]
        return output[:, -1] if layer.batch_first else output[-1]

    layer = RECURRENT[name]()
    size = getattr(layer, "proj_size", 0) or layer.hidden_size
    outputs = size * (2 if layer.bidirectional and last == "output" else 1)
    assert_bounded(networks, Reads(layer, body, outputs), True)


def test_recurrent_layers_need_to_know_the_length() -> None:
    model = Reads(nn.LSTM(SIZE, 5, batch_first=True), lambda layer, x: layer(x)[0][:, -1], 5)
    with pytest.raises(boundgraph.CaptureError, match=r"length of its sequence must be known: pass example_inputs"):
        boundgraph.compile(model)


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_cells(networks: ModuleType, cell: Any) -> None:
    def body(layer: Any, x: Tensor) -> Tensor:
        state = layer(x[:, 1], layer(x[:, 0]))
        return state[0] if cell is nn.LSTMCell else state

    for bias in (True, False):
        run(networks, cell(SIZE, 5, bias=bias), body, 5)


def test_initial_states_may_be_perturbed_too(networks: ModuleType) -> None:
    class Started(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start, self.gru = nn.Linear(SIZE, 5), nn.GRU(SIZE, 5, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.gru(x, self.start(x[:, 0]).unsqueeze(1).transpose(0, 1))[0][:, -1]

    assert_bounded(networks, Started(), True)


SOUND: dict[str, Callable[[], nn.Module]] = {
    "encoder": lambda: Reads(
        nn.TransformerEncoderLayer(SIZE, 2, 8, batch_first=True), lambda layer, x: layer(x, CAUSAL < 0)[:, 1]
    ),
    "cell": lambda: Reads(nn.LSTMCell(SIZE, 5), lambda layer, x: layer(x[:, 1], layer(x[:, 0]))[0], 5),
    "length first": lambda: Reads(
        nn.MultiheadAttention(SIZE, 2), lambda layer, x: (lambda v: layer(v, v, v)[0][0])(x.transpose(0, 1))
    ),
}


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("name", SOUND)
def test_soundness(name: str, method: str) -> None:
    found = check_sound(SOUND[name]().eval(), boundgraph.LpBall(sequences(2), 0.02), method=method)
    assert found.width < 20


def test_embeddings_are_exact(networks: ModuleType) -> None:
    class Embeds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places, self.fc = (
                nn.Embedding(9, SIZE, padding_idx=0),
                nn.Embedding(7, SIZE),
                nn.Linear(SIZE, 2),
            )

        def forward(self, x: Tensor, words: Tensor) -> Tensor:
            return self.fc((x + self.words(words) + self.places(torch.arange(LENGTH))).relu().mean(1))

    words = torch.randint(9, (3, LENGTH))
    networks.assert_exact(
        boundgraph.compile(Embeds().double().eval(), example_inputs=(sequences(), words)), sequences(), words
    )


@pytest.mark.parametrize("wrap", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_layers_wrapped_by_hooks(networks: ModuleType, wrap: Callable) -> None:
    """The older way to normalise weights: hooks that run before the layer."""
    model = nn.Sequential(wrap(nn.Linear(SIZE, SIZE)), nn.ReLU(), wrap(nn.Linear(SIZE, 2))).double().eval()
    networks.assert_captured(model, torch.randn(3, SIZE, dtype=torch.double))


def test_containers(networks: ModuleType) -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(SIZE, SIZE) for _ in range(2))
            self.named = nn.ModuleDict({"act": nn.ReLU(), "out": nn.Sequential(nn.Linear(SIZE, 3), nn.Linear(3, 2))})
            self.shifts = nn.ParameterList(torch.randn(SIZE) for _ in range(2))
            self.scales = nn.ParameterDict({"one": torch.randn(SIZE)})

        def forward(self, x: Tensor) -> Tensor:
            for layer, shift in zip(self.layers, self.shifts, strict=True):
                x = self.named["act"](layer(x) + shift) * self.scales["one"]
            return self.named["out"](x)

    networks.assert_captured(Held().double().eval(), torch.randn(3, SIZE, dtype=torch.double))
