"""Errors counted as they come, and on a whole split."""

import torch
from torch import Tensor

import boundgraph
from boundgraph.training import mixed_margins
from zoo.config import CLIP
from zoo.data import Split
from zoo.models import CLASSES
from zoo.scores import correct, verified

# Enough examples to keep the processor busy, few enough for the widest model of the zoo.
BATCH_SIZE = 500


class Tally:
    """Running sums over the examples seen so far, kept on the device: reading them waits for it."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)  # examples, loss, standard and verified errors

    def add(self, logits: Tensor, labels: Tensor, margins: Tensor | None, loss: Tensor | None = None) -> None:
        """margins: lower bounds, or None where none are known, which verifies nothing."""
        right = correct(logits, labels)
        proven = torch.zeros_like(right) if margins is None else verified(logits, labels, margins)
        examples = torch.full((), len(labels), device=logits.device)
        total = torch.zeros_like(examples) if loss is None else loss.detach() * examples
        self.sums += torch.stack([part.double() for part in (examples, total, (~right).sum(), (~proven).sum())])

    @property
    def examples(self) -> int:
        return int(self.sums[0])

    @property
    def loss(self) -> float:
        return float(self.sums[1] / self.sums[0])

    @property
    def standard_error(self) -> float:
        return float(self.sums[2] / self.sums[0])

    @property
    def verified_error(self) -> float:
        return float(self.sums[3] / self.sums[0])


def errors_on(bounded: boundgraph.BoundedModule, split: Split, *, eps: float, beta: float) -> Tally:
    """Standard and verified errors on a split, by margins beta * m_crown_ibp + (1 - beta) * m_ibp."""
    tally = Tally(split.images.device)
    bounded.eval()
    with torch.no_grad():
        for x, labels in split.batches(BATCH_SIZE):
            spec = boundgraph.margin_spec(labels, CLASSES)
            margins = mixed_margins(bounded, x, spec, eps=eps, beta=beta, clip=CLIP)
            tally.add(bounded.model(x), labels, margins)
    return tally
