"""Verification of a test set by several sound bounds, cheapest first, each for what is still undecided.

Every stage gives lower bounds of an example's margins f_label - f_j over the ball. All are sound, hence so is their
elementwise maximum, and an example is verified as soon as the prediction at its center is right and all its best
margins are strictly positive numbers. That can be more than any single stage verifies.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

import boundgraph
from zoo.attack import pgd
from zoo.config import CLIP
from zoo.data import Split
from zoo.errors import ZooError
from zoo.models import CLASSES
from zoo.scores import best_of, correct, proven

MISCLASSIFIED, BROKEN, UNDECIDED = "x", "a", "?"
PREDICTION_BATCH_SIZE = 500
LEAK = 0.03  # share of the gradient; 0.01 and 0.1 break about as many examples
WALK_MEMORY = 256 * 2**20  # bytes for the walks of pre-activations in CROWN


class SoundnessError(Exception):
    """An attack succeeded on a verified example: the bounds are wrong, which must never happen."""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Settings of PGD; step_size is in pixel units, leak as for `pgd`."""

    steps: int
    restarts: int
    step_size: float
    seed: int = 0
    leak: float = LEAK


class Stage(NamedTuple):
    """One bound: the letter of examples it verifies, its passes, and examples per computation."""

    name: str
    letter: str
    method: str
    pipeline: tuple
    batch_size: int
    by_default: bool = True


def _relaxed(method: str, slope: str, letter: str, batch_size: int, by_default: bool = True) -> Stage:
    budget = {"memory_budget": WALK_MEMORY} if method == "crown" else {}
    passes = boundgraph.method(method, slope=slope, **budget)
    return Stage(f"{method} {slope}", letter, method, passes, batch_size, by_default)


# From cheap to dear. Slope zero comes first: its CROWN-IBP margins are never below those of IBP, for which these
# networks are trained, and on them it is mostly the tightest. CROWN with adaptive slopes costs as much as with slope
# zero and on such networks adds next to nothing, so it must be asked for.
STAGES = (
    Stage("ibp", "i", "ibp", boundgraph.method("ibp"), 500),
    _relaxed("crown-ibp", "zero", "c", 100),
    _relaxed("crown-ibp", "adaptive", "d", 100),
    _relaxed("crown", "zero", "C", 20),
    _relaxed("crown", "adaptive", "D", 20, by_default=False),
)
VERIFIED = {stage.letter: stage.name for stage in STAGES}


def choose(methods: Sequence[str] = (), *, thorough: bool = False) -> tuple[Stage, ...]:
    """The stages of these methods (of all, if none is named), without those only thoroughness asks for, by cost.

    Raises:
        ZooError: (a ValueError) a method is unknown.
    """
    known = list(dict.fromkeys(stage.method for stage in STAGES))
    if unknown := [name for name in methods if name not in known]:
        raise ZooError(f"unknown bound {unknown[0]!r} to verify with; there are: {', '.join(known)}")
    wanted = methods or known
    return tuple(stage for stage in STAGES if stage.method in wanted and (stage.by_default or thorough))


@dataclass(frozen=True)
class Verdicts:
    """What was found out about each example, in the order of the data.

    letters: one per example. `x` misclassified, `a` broken by the attack, `?` undecided; verified, with the stage that
    completed the proof: `i` IBP, `c` CROWN-IBP slope zero, `d` CROWN-IBP adaptive, `C` CROWN slope zero, `D` CROWN
    adaptive. seconds: per stage that ran, "prediction", "attack" and "cross-check" among them. margins: the best lower
    bounds, (N, classes - 1), classes other than the label ascending; -inf where none was computed.
    """

    letters: str
    seconds: dict[str, float]
    margins: Tensor = field(repr=False, compare=False)


# Told the name of a pass and how many examples it has; the answer is told how many more are done.
Progress = Callable[[str, int], Callable[[int], None]]


def _silent(name: str, examples: int) -> Callable[[int], None]:
    return lambda done: None


def in_precision(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A frozen copy of a model in eval mode, its weights converted exactly where `dtype` has room for them."""
    return copy.deepcopy(model).to(dtype).eval().requires_grad_(False)


def verify(
    model: nn.Module,
    test: Split,
    *,
    eps: float,
    attack: Attack | None,
    stages: Sequence[Stage] = choose(),
    dtype: torch.dtype = torch.float64,
    batch_size: int | None = None,
    audit: bool = False,
    progress: Progress = _silent,
) -> Verdicts:
    """Decide every example: l_inf balls of radius eps round the images, cut to [0, 1].

    Predictions, IBP, the attack on what is left, the other stages on what is left then. Verified examples cannot be
    broken, so the attack need not try; a short one still does, with points of its own, as a check of the bounds.
    Without an attack there are bounds alone, and what they leave is undecided.
    It is all done on the device of the images. dtype is that of all computations; images and weights are float32 and
    become float64 exactly. batch_size overrides that of every stage. With `audit` nothing is left out that could expose
    a wrong bound: broken examples are bounded too, and verified ones get the whole attack.

    Raises:
        SoundnessError: an example is both verified and broken.
    """
    images, labels = test
    search = _Search(in_precision(model, dtype).to(images.device), images.to(dtype), labels, eps, audit, progress)
    search.predict()
    for stage in stages:
        if stage.method == "ibp":
            search.bound(stage, batch_size or stage.batch_size)
    if attack is not None:
        search.attack(attack)
    for stage in stages:
        if stage.method != "ibp":
            search.bound(stage, batch_size or stage.batch_size)
    if attack is not None:
        search.cross_check(attack)
    return Verdicts("".join(search.letters), search.seconds, search.margins)


def cross_check_of(attack: Attack, eps: float) -> Attack:
    """The short attack on verified examples: one restart of ten steps from other points than those of the attack."""
    return Attack(steps=10, restarts=1, step_size=eps / 4, seed=attack.seed + 1, leak=attack.leak)


class _Search:
    """The state between stages: letters and best margins so far."""

    def __init__(
        self, model: nn.Module, images: Tensor, labels: Tensor, eps: float, audit: bool, progress: Progress
    ) -> None:
        self._model, self._images, self._labels = model, images, labels
        self._eps, self._audit, self._progress = eps, audit, progress
        self.letters = [UNDECIDED] * len(labels)
        self.margins = images.new_full((len(labels), CLASSES - 1), -math.inf)
        self.seconds: dict[str, float] = {}

    def predict(self) -> None:
        with torch.no_grad():
            for batch in self._batches("prediction", self._having(UNDECIDED), PREDICTION_BATCH_SIZE):
                wrong = ~correct(self._model(self._images[batch]), self._labels[batch])
                self._mark(batch[wrong], MISCLASSIFIED)

    def bound(self, stage: Stage, batch_size: int) -> None:
        chosen = self._having(UNDECIDED, *(BROKEN if self._audit else ""))
        if not len(chosen):
            return
        bounded = boundgraph.compile(self._model, method=stage.pipeline)
        with torch.no_grad():
            for batch in self._batches(stage.name, chosen, batch_size):
                x, labels = self._images[batch], self._labels[batch]
                margins = bounded.margins(x, labels, eps=self._eps, clip=CLIP, num_classes=CLASSES)
                self.margins[batch] = best_of(self.margins[batch], margins)
                self._mark(batch[proven(self.margins[batch])], stage.letter)

    def attack(self, attack: Attack) -> None:
        self._run_attack("attack", self._having(UNDECIDED, *(VERIFIED if self._audit else ())), attack)

    def cross_check(self, attack: Attack) -> None:
        self._run_attack("cross-check", self._having(*VERIFIED), cross_check_of(attack, self._eps))

    def _run_attack(self, name: str, chosen: Tensor, attack: Attack) -> None:
        generator = torch.Generator().manual_seed(attack.seed)
        find = partial(
            pgd,
            self._model,
            eps=self._eps,
            clip=CLIP,
            steps=attack.steps,
            step_size=attack.step_size,
            restarts=attack.restarts,
            generator=generator,
            leak=attack.leak,
        )
        for batch in self._batches(name, chosen, PREDICTION_BATCH_SIZE):
            self._mark(batch[find(self._images[batch], self._labels[batch])], BROKEN)

    def _having(self, *letters: str) -> Tensor:
        """Indices of the examples with one of these letters."""
        found = [index for index, letter in enumerate(self.letters) if letter in letters]
        return torch.tensor(found, dtype=torch.long, device=self._labels.device)

    def _batches(self, name: str, chosen: Tensor, size: int) -> Iterator[Tensor]:
        """The chosen indices, `size` at a time, timed and shown; nothing at all if there are none."""
        if not len(chosen):
            return
        advance, started = self._progress(name, len(chosen)), time.perf_counter()
        for batch in chosen.split(size):
            yield batch
            advance(len(batch))
        self.seconds[name] = time.perf_counter() - started

    def _mark(self, chosen: Tensor, letter: str) -> None:
        """Give examples their letter.

        Raises:
            SoundnessError: one is verified, and now broken, or the reverse.
        """
        for index in chosen.tolist():
            before = self.letters[index]
            if {before, letter} & {BROKEN} and {before, letter} & VERIFIED.keys():
                stage = VERIFIED.get(before) or VERIFIED[letter]
                raise SoundnessError(
                    f"test example {index} is verified by {stage} at eps {self._eps:g} although an attack breaks it: "
                    "the bounds are unsound. Please report this with the checkpoint."
                )
            self.letters[index] = letter
