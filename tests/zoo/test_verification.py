"""Verification in stages: what each may decide, what their best is worth, and the alarm."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import boundgraph
import zoo
from zoo import data, verification
from zoo.config import CLIP
from zoo.data import Split
from zoo.models import build
from zoo.results import is_verified
from zoo.scores import correct
from zoo.verification import STAGES, VERIFIED, Attack, SoundnessError, Verdicts, choose, in_precision, verify

ATTACK = Attack(steps=10, restarts=2, step_size=0.02)
STRONG = Attack(steps=30, restarts=2, step_size=0.1)
ALL = choose(thorough=True)
EPS = 0.03
Doctored = Callable[[Callable[[Tensor], Tensor]], None]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return build("digits_cnn", "digits").eval()


@pytest.fixture(scope="module")
def test(model: nn.Module) -> Split:
    """Random images, labelled as the model sees them but for every tenth: margins near 0, so every verdict occurs."""
    images = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        labels = model(images).argmax(1)
    labels[::10] = (labels[::10] + 1) % 10
    return Split(images, labels)


@pytest.fixture
def doctored(monkeypatch: pytest.MonkeyPatch) -> Doctored:
    """Pass the margins of every bound through a function before verification sees them."""
    original = boundgraph.BoundedModule.margins

    def doctor(change: Callable[[Tensor], Tensor]) -> None:
        def changed(self: boundgraph.BoundedModule, *args: Tensor, **settings: object) -> Tensor:
            return change(original(self, *args, **settings))

        monkeypatch.setattr(boundgraph.BoundedModule, "margins", changed)

    return doctor


def decide(model: nn.Module, test: Split, *, eps: float = EPS, attack: Attack = ATTACK, **settings: object) -> Verdicts:
    return verify(model, test, eps=eps, attack=attack, **settings)


def single(model: nn.Module, test: Split, stage: verification.Stage, eps: float = EPS) -> Tensor:
    """Margins of one bound for every example."""
    bounded = boundgraph.compile(in_precision(model, torch.float64), method=stage.pipeline)
    with torch.no_grad():
        return bounded.margins(test.images.double(), test.labels, eps=eps, clip=CLIP)


def test_the_best_is_at_least_each_bound_that_was_computed(model: nn.Module, test: Split) -> None:
    verdicts = decide(model, test, stages=ALL)
    undecided = [index for index, letter in enumerate(verdicts.letters) if letter == "?"]
    assert undecided  # they went through every stage
    best = torch.stack([single(model, test, stage)[undecided] for stage in ALL]).amax(0)
    torch.testing.assert_close(verdicts.margins[undecided], best)


def test_every_example_is_decided_by_the_first_stage_that_can() -> None:
    model, test, eps = zoo.load("digits-0.1"), data.load("digits").test, 0.15
    letters = decide(model, test, stages=ALL, eps=eps).letters
    assert set(letters) >= set("xa?icC")
    right = correct(in_precision(model, torch.float64)(test.images.double()), test.labels)
    proofs = {stage.letter: (single(model, test, stage, eps) > 0).all(1) & right for stage in ALL}
    for index, letter in enumerate(letters):
        assert (letter == "x") == (not right[index])
        provers = "".join(name for name, proof in proofs.items() if proof[index])
        assert (letter in VERIFIED) >= bool(provers)
        # the best of several may prove what the last of them alone does not
        assert not provers or list(VERIFIED).index(letter) <= list(VERIFIED).index(provers[0])


def test_two_bounds_together_prove_what_neither_does_alone(model: nn.Module, test: Split, doctored: Doctored) -> None:
    calls = []

    def one_half_each(margins: Tensor) -> Tensor:
        calls.append(len(margins))
        halves = torch.full_like(margins, -1.0)
        halves[:, len(calls) % 2 :: 2] = 1.0
        return halves

    doctored(one_half_each)
    verdicts = decide(model, test, stages=choose(["crown-ibp"]), eps=0.0)
    assert set(verdicts.letters) == {"x", "d"}
    assert calls == [54, 54]


def test_what_is_decided_costs_nothing_more(model: nn.Module, test: Split, doctored: Doctored) -> None:
    sizes = []

    def nothing(margins: Tensor) -> Tensor:
        sizes.append(len(margins))
        return margins

    doctored(nothing)
    letters = decide(model, test, stages=ALL, batch_size=1000).letters
    expected = [sum(letter != "x" for letter in letters)]
    left = [letter for letter in letters if letter not in "xia"]
    for stage in ALL[1:]:
        expected.append(len(left))
        left = [letter for letter in left if letter != stage.letter]
    assert sizes == expected
    sizes.clear()
    assert set(decide(model, test, stages=ALL, eps=0.0).seconds) == {"prediction", "ibp", "cross-check"}
    assert sizes == [54]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1e-300])
def test_only_strictly_positive_numbers_certify(
    model: nn.Module, test: Split, doctored: Doctored, value: float
) -> None:
    doctored(lambda margins: torch.cat([torch.full_like(margins[:, :1], value), margins[:, 1:].abs() + 1], dim=1))
    verdicts = decide(model, test, stages=ALL, eps=0.0)
    assert not any(is_verified(verdicts.letters))
    assert (verdicts.margins[:, 0] <= 0).all()


def test_nan_of_one_bound_does_not_spoil_another(model: nn.Module, test: Split, doctored: Doctored) -> None:
    calls = []

    def nan_at_first(margins: Tensor) -> Tensor:
        calls.append(len(margins))
        return margins if len(calls) > 1 else margins * math.nan

    doctored(nan_at_first)
    verdicts = decide(model, test, stages=choose(["ibp", "crown-ibp"]), eps=0.0, batch_size=60)
    assert set(verdicts.letters) == {"x", "c"}


def test_a_broken_example_that_a_bound_verifies_raises_the_alarm(
    model: nn.Module, test: Split, doctored: Doctored
) -> None:
    doctored(lambda margins: margins.abs() + 1)  # "verifies" everything
    alarm = r"test example \d+ is verified by ibp at eps 0\.3 although an attack breaks it: the bounds are unsound\."
    with pytest.raises(SoundnessError, match=alarm):
        decide(model, test, eps=0.3)
    with pytest.raises(SoundnessError, match=alarm):
        decide(model, test, eps=0.3, audit=True)


def test_an_audit_bounds_broken_examples_too(model: nn.Module, test: Split, doctored: Doctored) -> None:
    doctored(lambda margins: margins.abs() + 1)
    settings = {"eps": 0.5, "attack": STRONG, "stages": choose(["crown-ibp"])}
    assert set(decide(model, test, **settings).letters) == {"x", "a"}  # the attack came first and left nothing
    with pytest.raises(SoundnessError, match=r"is verified by crown-ibp zero at eps 0\.5"):
        decide(model, test, **settings, audit=True)


def test_an_audit_of_sound_bounds_changes_no_verdict(model: nn.Module, test: Split) -> None:
    assert is_verified(decide(model, test, audit=True).letters) == is_verified(decide(model, test).letters)


def test_verdicts_do_not_depend_on_the_batch_size(model: nn.Module, test: Split) -> None:
    assert decide(model, test, batch_size=7).letters == decide(model, test).letters


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_verdicts_do_not_depend_on_the_device(model: nn.Module, test: Split) -> None:
    there = decide(model, test.to(torch.device("cuda")))
    here = decide(model, test)
    assert there.letters == here.letters
    torch.testing.assert_close(there.margins.cpu(), here.margins, rtol=1e-9, atol=1e-9)
    assert all(weight.device.type == "cpu" for weight in model.parameters())


def test_computations_are_in_double_precision_and_the_model_is_left_alone(model: nn.Module, test: Split) -> None:
    assert decide(model, test).margins.dtype == torch.float64
    assert decide(model, test, dtype=torch.float32).margins.dtype == torch.float32
    assert all(weight.dtype == torch.float32 and weight.requires_grad for weight in model.parameters())


def test_a_model_in_train_mode_is_verified_as_in_eval_mode(test: Split) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 10))
    expected = decide(model.eval(), test).letters
    assert decide(model.train(), test).letters == expected
    assert model.training


def test_stages_run_from_cheap_to_dear_and_have_letters_of_their_own() -> None:
    assert [stage.name for stage in choose()] == ["ibp", "crown-ibp zero", "crown-ibp adaptive", "crown zero"]
    assert [stage.name for stage in choose(["crown", "ibp"], thorough=True)] == ["ibp", "crown zero", "crown adaptive"]
    assert len(VERIFIED) == len(STAGES)
    assert not set("xa?") & set(VERIFIED)
    with pytest.raises(ValueError, match=r"unknown bound 'magic' to verify with; there are: ibp, crown-ibp, crown$"):
        choose(["ibp", "magic"])
