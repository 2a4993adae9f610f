"""No step looks at numbers on the host, which would stall an accelerator: tensors without numbers pass through it."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

import boundgraph
from boundgraph.training import (
    cc_ibp_loss,
    crown_ibp_loss,
    exp_ibp_loss,
    l1,
    mtl_ibp_loss,
    sabr_loss,
    warmup_regularizer,
)


@pytest.mark.parametrize(
    ("loss", "coefficients"),
    [
        (crown_ibp_loss, {"kappa": 0.5, "beta": 0.5}),
        (crown_ibp_loss, {"kappa": 0.5, "beta": 0.5, "fused": True}),
        (sabr_loss, {"ratio": 0.3}),
        (mtl_ibp_loss, {"alpha": 0.3}),
        (cc_ibp_loss, {"alpha": 0.3}),
        (exp_ibp_loss, {"alpha": 0.3}),
    ],
)
def test_steps_look_at_no_numbers(loss, coefficients: dict) -> None:
    with FakeTensorMode():
        body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        bounded = boundgraph.compile(nn.Sequential(*body, nn.Linear(144, 3)))
        x, labels = torch.rand(6, 1, 8, 8), torch.zeros(6, dtype=torch.long)
        with pytest.raises(DataDependentOutputException):
            bool(x.sum() > 0)
        terms = loss(bounded, x, labels, eps=0.1, clip=(0, 1), preactivations=True, **coefficients)
        total = terms.loss + warmup_regularizer(terms.preactivations, eps=0.1, eps_max=0.2) + 1e-5 * l1(bounded.model)
        total.backward()
        assert all(parameter.grad is not None for parameter in bounded.parameters())
