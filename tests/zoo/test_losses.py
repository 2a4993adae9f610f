"""The methods by name: each trains the weights, and is the loss of `boundgraph.training` that it names."""

from typing import Any

import pytest
import torch

from boundgraph import training
from zoo import losses
from zoo.config import CLIP, TrainingConfig, resolve
from zoo.data import Dataset, Split
from zoo.loop import train_epoch
from zoo.losses import METHODS, Batch, Moment
from zoo.state import begin
from zoo.terminal import NoDisplay

SETTINGS: dict[str, Any] = {"warmup": 0, "ramp": 1, "epochs": 1, "batch_size": 16, "eps": 0.05}


@pytest.fixture
def images() -> Split:
    return Split(torch.rand(48, 1, 8, 8), torch.arange(48) % 10)


def batch(config: TrainingConfig, images: Split, eps: float = 0.05, regularized: bool = False) -> Batch:
    bounded = begin(config, Dataset(images, images)).bounded
    moment = Moment(eps, config.kappa(eps), 0.5 if METHODS[config.method].walks else 0.0)
    return Batch(bounded, *images, moment, CLIP, regularized, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("extra", [{}, {"fused": True}, {"activation": "ramp", "batch_norm": True}], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains(method: str, extra: dict[str, Any], images: Split, tmp_path: Any) -> None:
    if "fused" in extra and not METHODS[method].walks:
        pytest.skip("only crown-ibp walks")
    regularizer = {} if method == "natural" else {"regularizer": 0.5, "l1": 1e-5, "clip_grad_norm": 1.0}
    config = resolve(SETTINGS | {"method": method, "out": str(tmp_path)} | regularizer | extra)
    run = begin(config, Dataset(images, images))
    before = [weight.clone() for weight in run.bounded.parameters()]
    record = train_epoch(run, NoDisplay())
    assert record["loss"] > 0
    assert all((weight != old).any() for weight, old in zip(run.bounded.parameters(), before, strict=True))


def test_names_lead_to_the_losses_they_name(images: Split) -> None:
    config = resolve(SETTINGS | {"method": "cc-ibp", "alpha": 0.3, "attack_steps": 2})
    given = batch(config, images)
    found = METHODS["cc-ibp"].loss(given, config)
    generator = torch.Generator().manual_seed(0)
    expected = training.cc_ibp_loss(
        given.bounded, *images, eps=0.05, alpha=0.3, clip=CLIP, steps=2, generator=generator
    )
    assert torch.equal(found.loss, expected.loss)
    ibp = training.ibp_loss(given.bounded, *images, eps=0.05, clip=CLIP)
    assert found.loss < ibp.loss


def test_margins_of_small_boxes_are_not_passed_on_as_bounds(images: Split) -> None:
    config = resolve(SETTINGS | {"method": "sabr", "ratio": 0.5})
    assert METHODS["sabr"].loss(batch(config, images), config).margins is None


def test_a_method_that_needs_no_walk_is_given_none() -> None:
    for name, method in losses.METHODS.items():
        config = resolve(SETTINGS | {"method": name})
        assert method.walks == (name == "crown-ibp")
        assert method.walks or config.beta(config.eps) == 0.0


@pytest.mark.parametrize("method", ["natural", "sabr"])
def test_what_is_no_bound_on_the_ball_is_not_reported_as_one(method: str, images: Split, tmp_path: Any) -> None:
    run = begin(resolve(SETTINGS | {"method": method, "out": str(tmp_path)}), Dataset(images, images))
    assert train_epoch(run, NoDisplay())["train_verified_error"] is None


def test_regularisers_compare_with_the_radius_of_the_region_itself(images: Split) -> None:
    """Clipping cuts the ball, and SABR's box is a part of it."""
    config = resolve(SETTINGS | {"method": "sabr", "ratio": 0.5})
    dark = Split(torch.zeros_like(images.images), images.labels)
    terms = METHODS["sabr"].loss(batch(config, dark, regularized=True), config)
    assert terms.input_radius is not None
    # from 0 to between 0.025 and 0.05, according to where the attack went
    assert 0.0125 - 1e-6 <= terms.input_radius.item() <= 0.025 + 1e-6
    ibp = resolve(SETTINGS | {"method": "ibp"})
    terms = METHODS["ibp"].loss(batch(ibp, dark, regularized=True), ibp)
    assert terms.input_radius is not None
    assert terms.input_radius.item() == pytest.approx(0.025)
