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
        # examples, loss, standard errors, examples with margins, verified errors among these
        self.sums = torch.zeros(5, dtype=torch.float64, device=device)

    def add(self, logits: Tensor, labels: Tensor, margins: Tensor | None, loss: Tensor | None = None) -> None:
        """margins: lower bounds over the ball, or None where a loss has computed none."""
        wrong = ~correct(logits, labels)
        examples = torch.full((), len(labels), device=logits.device)
        nothing = torch.zeros_like(examples)
        total = nothing if loss is None else loss.detach() * examples
        unproven = nothing if margins is None else (~verified(logits, labels, margins)).sum()
        counts = examples, total, wrong.sum(), nothing if margins is None else examples, unproven
        self.sums += torch.stack([part.double() for part in counts])

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
        """Among the examples with margins; NaN if there are none."""
        return float(self.sums[4] / self.sums[3])


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
