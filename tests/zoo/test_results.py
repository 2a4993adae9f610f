"""From verdicts to numbers: counted by hand."""

import json

import torch

from zoo import results
from zoo.verification import Attack, Verdicts

LETTERS = "xxa?iiiicC"
SECONDS = {"prediction": 0.5, "ibp": 1.0, "attack": 2.0, "crown-ibp zero": 3.0, "crown zero": 4.0, "cross-check": 5.0}
ATTACK = Attack(steps=40, restarts=4, step_size=0.01, seed=2)


def found() -> dict:
    return results.evaluation(Verdicts(LETTERS, SECONDS, torch.zeros(10, 9)), eps=0.1, attack=ATTACK)


def test_errors_count_what_they_should() -> None:
    evaluation = found()
    assert evaluation["standard"] == {"errors": 2, "error": 0.2}
    assert (evaluation["pgd"]["errors"], evaluation["pgd"]["error"], evaluation["pgd"]["seconds"]) == (3, 0.3, 2.0)
    assert (evaluation["verified"]["errors"], evaluation["verified"]["error"]) == (4, 0.4)
    assert evaluation["verified"]["by"] == {"ibp": 4, "crown-ibp zero": 1, "crown zero": 1}
    assert evaluation["verified"]["seconds"] == {"ibp": 1.0, "crown-ibp zero": 3.0, "crown zero": 4.0}
    assert (evaluation["cross_check"]["examples"], evaluation["cross_check"]["seed"]) == (6, 3)
    assert evaluation["verdicts"] == LETTERS
    assert results.is_verified(LETTERS) == [False] * 4 + [True] * 6


def test_survives_json() -> None:
    assert json.loads(json.dumps(found())) == found()


def test_nothing_verified_is_said() -> None:
    nothing = results.evaluation(Verdicts("x?", {"ibp": 1.0}, torch.zeros(2, 9)), eps=0.1, attack=ATTACK)
    text = results.report({"examples": 2, "dtype": "float64", "evaluations": [nothing]}, "a model")
    assert text.splitlines() == [
        "a model: 2 test examples, float64",
        "eps 0.1",
        "  standard error   50.00%",
        "  PGD error        50.00%  4 x 40 steps from 0.01, leak 0.03, 0.0 s",
        "  verified error  100.00%  verified by none, 1.0 s",
    ]
