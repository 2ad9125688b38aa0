"""Exits in training: who learns, what a step of each phase is, and how good the exits are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from gfnet.model import GFNetDistilDynn
from gfnet.training import rules
from gfnet.training.data import Samples
from gfnet.training.optimisation import adamw
from gfnet.training.settings import ExitTraining, Schedule

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from gfnet.gates import UncertaintyGate

THRESHOLD = 0.5  # a gate that learned by cross entropy says: more likely than not


@dataclass(frozen=True)
class ExitOutcome:
    """What the best epoch was; the model holds its weights.

    Attributes:
        best_epoch: counted from 1.
        validation_accuracy: top-1 of the held-out images, routed at THRESHOLD, percent.
        validation_blocks: blocks that a held-out image runs so, on average.
    """

    best_epoch: int
    validation_accuracy: float
    validation_blocks: float


class ExitStage:
    """The exits in training: their two optimisers, and what a step of each phase is."""

    def __init__(self, model: GFNetDistilDynn, schedule: Schedule, training: ExitTraining) -> None:
        self._model = model
        self._blocks = model.config.exit_blocks
        self._cost_weight = training.cost_weight
        self._shares = rules.cost_shares(self._blocks, model.config.depth)
        self._phase = ""
        # Heads and a gate exist for every block; only those of the enabled exits may learn.
        model.requires_grad_(False)
        heads = [
            (model.intermediate_heads[b], model.intermediate_heads_dist[b]) for b in self._blocks
        ]
        self._gates = [cast("UncertaintyGate", model.gates[b]) for b in self._blocks]
        self._optimizers = {
            "heads": _optimizer([head for pair in heads for head in pair], schedule),
            "gates": _optimizer(self._gates, schedule),
        }

    def step(self, phase: str, batch: Samples) -> float:
        """Learn from one batch; returns its loss."""
        if phase != self._phase:
            # How often gates were to say 0 and 1 is forgotten: the heads are others now.
            self._phase = phase
            self._zeros = torch.zeros(len(self._blocks))
            self._ones = torch.zeros(len(self._blocks))
        optimizer = self._optimizers["gates" if phase == "gates" else "heads"]
        logits = self._logits(batch.images)
        if phase == "gates":
            loss = self._gate_loss(logits.detach(), batch.labels)
        elif phase == "warm-up":
            loss = rules.exit_losses(logits, batch.labels)[:-1].mean()
        else:
            loss = self._head_loss(logits, batch.labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.item()

    def validate(self, epoch: int, samples: Samples) -> tuple[float, ExitOutcome]:
        """Mean cross entropy plus lambda times cost (nats) as routed, and what that came to."""
        routed = self._model.route(samples.images, THRESHOLD)
        loss = functional.cross_entropy(routed.logits, samples.labels).item()
        accuracy = (routed.logits.argmax(dim=1) == samples.labels).float().mean().item() * 100
        blocks = (routed.exit_block + 1).float().mean().item()
        objective = loss + self._cost_weight * blocks / self._model.config.depth
        return objective, ExitOutcome(epoch, accuracy, blocks)

    def _logits(self, images: Tensor) -> Tensor:
        """(E, B, K) of all exits, of which only the early heads can be differentiated."""
        tokens, read = self._model.embed(images), []
        for number, block in enumerate(self._model.blocks):
            tokens = block(tokens)
            if number in self._blocks:
                read.append(self._model.early_logits(tokens, number))
        return torch.stack([*read, self._model.readout(tokens)])

    def _score_logits(self, logits: Tensor) -> Tensor:
        pairs = zip(self._gates, logits[:-1], strict=True)
        return torch.stack([gate.score_logit(exit_logits) for gate, exit_logits in pairs])

    def _gate_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = rules.exit_losses(logits, labels)
        targets = rules.target_exits(losses, self._shares, self._cost_weight)
        wanted = rules.gate_labels(targets, len(self._blocks))
        # Counted over the phase: one batch has too few of the rarer side. The published code counts
        # on held-out images; here hardly any of those should stay, and late gates never opened.
        self._ones += wanted.sum(dim=1)
        self._zeros += (1 - wanted).sum(dim=1)
        return functional.binary_cross_entropy_with_logits(
            self._score_logits(logits),
            wanted,
            pos_weight=rules.positive_weights(self._zeros, self._ones).unsqueeze(1),
        )

    def _head_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        scores = self._score_logits(logits.detach()).detach().sigmoid()
        losses = rules.exit_losses(logits, labels)
        weighted = rules.weighted_losses(losses, rules.exit_probabilities(scores))
        return weighted.sum(dim=0).mean()


def _optimizer(modules: Sequence[nn.Module], schedule: Schedule) -> Optimizer:
    parameters = [p for module in modules for p in module.requires_grad_().parameters()]
    return adamw(parameters, schedule)
