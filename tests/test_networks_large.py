"""Whole networks, captured and bounded as they are, and models of the library `transformers` by their embeddings."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.testing import check_sound


@pytest.fixture(scope="session")
def networks_large() -> ModuleType:
    """The module `tests/networks_large.py`, which import mode `importlib` does not put on the path."""
    name = "boundgraph_test_networks_large"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("networks_large.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def assert_bounded(model: nn.Module, x: Tensor, eps: float, method: str, examples: bool) -> None:
    bounded = boundgraph.compile(model, method, example_inputs=(x,) if examples else None)
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(bounded.primal(x), expected, rtol=1e-9, atol=1e-9)
        for side in bounded(x, eps=0.0)[:2]:
            torch.testing.assert_close(side, expected, rtol=1e-7, atol=1e-7)
        found = bounded(x, eps=eps)
        assert torch.isfinite(found.lower).all()
        assert torch.isfinite(found.upper).all()
        for _ in range(10):
            y = model(x + eps * (2 * torch.rand_like(x) - 1))
            assert (found.lower <= y).all()
            assert (y <= found.upper).all()


@pytest.mark.parametrize("method", ["ibp", "crown-ibp"])
@pytest.mark.parametrize("name", ["resnet-18", "densenet", "vit", "u-net", "sequence-first", "tagger"])
def test_networks(networks_large: ModuleType, name: str, method: str) -> None:
    network = networks_large.NETWORKS[name]
    x = torch.rand(2, *network.shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    assert_bounded(networks_large.build(name), x, network.eps, method, network.examples)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet-18", "densenet", "vit", "u-net", "sequence-first"])
def test_soundness(networks_large: ModuleType, name: str) -> None:
    network = networks_large.NETWORKS[name]
    x = torch.rand(2, *network.shape, generator=torch.Generator().manual_seed(1))
    check_sound(networks_large.build(name), boundgraph.LpBall(x, network.eps), samples=16, rows=2)


def test_a_deep_transformer_compiles_in_seconds() -> None:
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 12, enable_nested_tensor=False), nn.Linear(64, 2)).eval()
    start = time.process_time()
    boundgraph.compile(model, "crown-ibp")
    assert time.process_time() - start < 10


class FromEmbeddings(nn.Module):
    """A model of `transformers` as a function of the embeddings of its words, with a linear layer on one position."""

    def __init__(self, model: Any, position: int) -> None:
        super().__init__()
        self.model, self.position, self.head = model, position, nn.Linear(16, 3)

    def forward(self, embeddings: Tensor) -> Tensor:
        return self.head(self.model(inputs_embeds=embeddings).last_hidden_state[:, self.position])


def transformer(name: str, attention: str) -> nn.Module:
    """BERT or GPT-2, tiny, with random weights."""
    library = pytest.importorskip("transformers", reason="the library transformers is not installed")
    torch.manual_seed(0)
    shared = {"vocab_size": 20, "attn_implementation": attention}
    if name == "bert":
        config = library.BertConfig(
            **shared, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=16,
        )  # fmt: skip
        return FromEmbeddings(library.BertModel(config), 0).double().eval()
    config = library.GPT2Config(
        **shared, n_embd=16, n_layer=2, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0, use_cache=False
    )
    return FromEmbeddings(library.GPT2Model(config), -1).double().eval()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_language_models(name: str, attention: str) -> None:
    model, x = transformer(name, attention), torch.randn(2, 5, 16, dtype=torch.double)
    for method in ("ibp", "crown-ibp"):
        assert_bounded(model, x, 1e-3, method, examples=True)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_language_models_need_example_inputs_and_say_so(name: str) -> None:
    with pytest.raises(boundgraph.CaptureError, match=r"pass example_inputs=\(x, \.\.\.\) to boundgraph\.compile"):
        boundgraph.compile(transformer(name, "sdpa"))
