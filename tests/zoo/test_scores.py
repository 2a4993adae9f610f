"""What counts: strict inequalities, and nothing that is not a number."""

import math

import torch

from zoo.scores import best_of, correct, margin_to, proven, verified, worst_margin

LABELS = torch.tensor([0, 1])


def test_correct_needs_a_strict_maximum() -> None:
    assert correct(torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]]), LABELS).tolist() == [True, False]
    assert correct(torch.tensor([[2.0, 2.0, 0.0], [2.0, 2.0, 0.0]]), LABELS).tolist() == [False, False]


def test_nan_logits_are_errors_wherever_they_stand() -> None:
    logits = torch.tensor([[math.nan, 1.0, 0.0], [0.0, 1.0, math.nan]])
    assert correct(logits, LABELS).tolist() == [False, False]


def test_worst_margin_is_to_the_runner_up() -> None:
    assert worst_margin(torch.tensor([[5.0, 1.0, 3.0], [5.0, 1.0, 3.0]]), LABELS).tolist() == [2.0, -4.0]


def test_margin_to_is_to_the_target() -> None:
    logits = torch.tensor([[5.0, 1.0, 3.0], [5.0, 1.0, 3.0]])
    assert margin_to(logits, LABELS, torch.tensor([2, 0])).tolist() == [2.0, -4.0]


def test_the_best_bound_is_a_number_or_bounds_nothing() -> None:
    one = torch.tensor([[0.1, math.nan, math.inf, math.nan, -math.inf]])
    other = torch.tensor([[0.2, -3.0, -3.0, math.inf, -1e9]])
    expected = torch.tensor([[0.2, -3.0, -3.0, -math.inf, -1e9]])
    assert torch.equal(best_of(one, other), expected)
    assert torch.equal(best_of(other, one), expected)
    assert proven(best_of(torch.ones(1, 5), one)).tolist() == [True]


def test_verified_needs_every_margin_strictly_positive() -> None:
    logits = torch.tensor([[1.0, 0.0, 0.0]]).expand(5, 3)
    margins = torch.tensor([[0.1, 0.2], [0.1, 0.0], [0.1, -0.2], [0.1, math.nan], [0.1, math.inf]])
    labels = torch.zeros(5, dtype=torch.long)
    assert verified(logits, labels, margins).tolist() == [True, False, False, False, False]


def test_a_misclassified_example_is_never_verified() -> None:
    logits, labels = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([0])
    assert not verified(logits, labels, torch.ones(1, 2)).any()
