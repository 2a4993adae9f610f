"""Products by oneDNN against torch's own, and where they are used."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from boundgraph import products

LARGE = (160, 96, 128)  # worth another library: more than 2**20 products


@pytest.mark.parametrize("shape", [(LARGE[0],), (2, LARGE[0] // 2), (2, 3)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_affine_has_the_values_and_gradients_of_linear(shape: tuple[int, ...], with_bias: bool) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(*shape, LARGE[1]), torch.randn(LARGE[2], LARGE[1]), torch.randn(LARGE[2])]
    inputs = [value.requires_grad_() for value in inputs[: 2 + with_bias]]
    upstream = torch.randn(*shape, LARGE[2])
    found, expected = products.affine(*inputs), F.linear(*inputs)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    pairs = zip(*(torch.autograd.grad(value, inputs, upstream) for value in (found, expected)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)


def test_affine_has_second_derivatives() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(LARGE[0], LARGE[1], requires_grad=True), torch.randn(LARGE[2], LARGE[1], requires_grad=True)
    seconds = []
    for function in (products.affine, F.linear):
        (first,) = torch.autograd.grad(function(x, weight).square().mean(), x, create_graph=True)
        seconds.append(torch.autograd.grad(first.square().sum(), weight)[0])
    torch.testing.assert_close(*seconds, rtol=1e-4, atol=1e-7)


def test_double_precision_and_transforms_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> bool:
        raise AssertionError("not here")

    monkeypatch.setattr(products, "onednn_is_exact", refuse)
    x, weight = torch.randn(*LARGE[:2]), torch.randn(LARGE[2], LARGE[1])
    products.affine(x.double(), weight.double())
    torch.func.grad(lambda value: products.affine(value, weight).sum())(x)
    torch.func.vmap(lambda value: products.affine(value, weight))(torch.stack((x, x)))


def test_nan_stays_nan() -> None:
    x, weight = torch.randn(*LARGE[:2]), torch.randn(LARGE[2], LARGE[1])
    x[3, 5] = torch.nan
    assert products.affine(x, weight)[3].isnan().all()
    assert products.matrix_product(x, weight.mT)[3].isnan().all()
