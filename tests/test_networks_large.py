"""Whole networks, captured and bounded as they are, and models of the library `transformers` by their embeddings."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from benchmarks.whole_networks import NETWORKS, build, language_model
from boundgraph.testing import check_sound


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
def test_networks(name: str, method: str) -> None:
    network = NETWORKS[name]
    x = torch.rand(2, *network.shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    assert_bounded(build(name), x, network.eps, method, network.examples)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet-18", "densenet", "vit", "u-net", "sequence-first"])
def test_soundness(name: str) -> None:
    network = NETWORKS[name]
    x = torch.rand(2, *network.shape, generator=torch.Generator().manual_seed(1))
    check_sound(build(name), boundgraph.LpBall(x, network.eps), samples=16, rows=2)


def test_a_deep_transformer_compiles_in_seconds() -> None:
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 12, enable_nested_tensor=False), nn.Linear(64, 2)).eval()
    start = time.process_time()
    boundgraph.compile(model, "crown-ibp")
    assert time.process_time() - start < 10


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_language_models(name: str, attention: str) -> None:
    pytest.importorskip("transformers", reason="the library transformers is not installed")
    model, x = language_model(name, attention), torch.randn(2, 5, 16, dtype=torch.double)
    for method in ("ibp", "crown-ibp"):
        assert_bounded(model, x, 1e-3, method, examples=True)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_language_models_need_example_inputs_and_say_so(name: str) -> None:
    pytest.importorskip("transformers", reason="the library transformers is not installed")
    with pytest.raises(boundgraph.CaptureError, match=r"pass example_inputs=\(x, \.\.\.\) to boundgraph\.compile"):
        boundgraph.compile(language_model(name))
