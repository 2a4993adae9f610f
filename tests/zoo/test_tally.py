"""Counting errors: shares of what was seen, and of what has margins."""

import math

import pytest
import torch

from zoo.tally import Tally

LABELS = torch.tensor([0, 1])
LOGITS = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])  # right, wrong


def test_shares_of_all_examples() -> None:
    tally = Tally()
    tally.add(LOGITS, LABELS, torch.tensor([[0.1, 0.2], [0.1, 0.2]]), torch.tensor(2.0))
    tally.add(LOGITS[:1], LABELS[:1], torch.tensor([[0.1, -0.2]]), torch.tensor(5.0))
    assert (tally.examples, tally.loss) == (3, pytest.approx(3.0))
    # of three examples one is wrong, and one more is not verified
    assert (tally.standard_error, tally.verified_error) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_a_loss_without_margins_says_nothing_about_verification() -> None:
    tally = Tally()
    tally.add(LOGITS, LABELS, None, torch.tensor(2.0))
    assert tally.standard_error == 0.5
    assert math.isnan(tally.verified_error)
    tally.add(LOGITS[:1], LABELS[:1], torch.tensor([[0.1, 0.2]]), torch.tensor(2.0))
    assert tally.verified_error == 0.0
