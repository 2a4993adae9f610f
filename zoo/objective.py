"""What a training step minimises."""

import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.training import l1, warmup_regularizer
from zoo.config import CLIP, TrainingConfig
from zoo.losses import METHODS, Batch, Moment


class Objective(nn.Module):
    """The loss of a step, as a module: what `DistributedDataParallel` needs around what is differentiated."""

    def __init__(self, config: TrainingConfig, bounded: boundgraph.BoundedModule) -> None:
        super().__init__()
        self.config, self.bounded = config, bounded
        self.loss = METHODS[config.method].loss

    def forward(
        self, x: Tensor, labels: Tensor, moment: Moment, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The loss, the logits, and the margins if the loss has any."""
        config, growing = self.config, moment.eps < self.config.eps
        regularized = config.regularizer > 0 and growing
        batch = Batch(self.bounded, x, labels, moment, CLIP, regularized, generator)
        terms = self.loss(batch, config)
        loss = terms.loss
        if regularized:
            assert terms.preactivations is not None
            loss = loss + warmup_regularizer(
                terms.preactivations,
                eps=moment.eps,
                eps_max=config.eps,
                weight=config.regularizer,
                input_radius=terms.input_radius,
            )
        if config.l1:
            loss = loss + config.l1 * l1(self.bounded.model)
        return loss, terms.logits.detach(), None if terms.margins is None else terms.margins.detach()
