"""Trains exits: what learns in each phase, its steps, and the validation of the exits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gfnet.config import EXIT_PARTS
from gfnet.model import GFNet
from gfnet.preprocess import Preprocessing
from gfnet.training import rules
from gfnet.training.data import VALIDATION_BATCH, Batch, Prepare, Samples
from gfnet.training.engine import Engine
from gfnet.training.exits import phase_of
from gfnet.training.loop import EpochScore
from gfnet.training.optimisation import Optimisation, block_matrices
from gfnet.training.settings import EpochSchedule, ExitTraining

THRESHOLD = 0.5  # of a gate that learned by cross entropy: more likely than not


class ExitStage:
    """Trains the exits, with an optimiser and a kind of step for each phase.

    Among the epochs with trained gates and a frozen backbone, the best has the least mean of cross
    entropy plus lambda times cost over the held-out images, each routed at THRESHOLD.

    Args:
        model: on the engine's device; only the parameters that a phase trains ever change.
        schedule: how fast to learn; its warm-up is that of the heads.
        training: lambda, and how phases alternate.
        images: number of images per epoch.
        preprocessing: of validation images.
        engine: device and precision of the backbone; heads and gates compute in float32.
    """

    def __init__(
        self,
        model: GFNet,
        *,
        schedule: EpochSchedule,
        training: ExitTraining,
        images: int,
        preprocessing: Preprocessing,
        engine: Engine,
    ) -> None:
        self.model: GFNet = model
        self._blocks = model.config.exit_blocks
        self._schedule, self._training, self._engine = schedule, training, engine
        self._prepare = Prepare(preprocessing)
        self._shares = rules.cost_shares(self._blocks, model.config.depth).to(engine.device)
        self._phase = ""
        self._forget()
        # Heads and a gate may exist for every block; only those of the enabled exits may learn.
        self._gates = [model.gate(block) for block in self._blocks]
        of_heads = _parameters(head for block in self._blocks for head in model.exit_heads(block))
        backbone = [
            parameter
            for name, parameter in model.named_parameters()
            if name.partition(".")[0] not in EXIT_PARTS
        ]
        self._trained = {
            "warm-up": of_heads,
            "joint": [*backbone, *of_heads],
            "gates": _parameters(self._gates),
            "heads": of_heads,
        }
        model.requires_grad_(True)  # an optimiser takes only what requires gradients
        self._optimisations = {
            phase: Optimisation(self._trained[phase], schedule, block_matrices(model))
            for phase in ("joint", "gates", "heads")
        }
        span = replace(schedule, epochs=max(training.joint_epochs, 1), warmup_epochs=0)
        self._optimisations["joint"].follow(span, steps=-(-images // schedule.batch_size))

    @property
    def learning_rate(self) -> float:
        """Learning rate of the phase's next step."""
        return self._optimisation.learning_rate

    def begin(self, epoch: int) -> str:
        """Start an epoch, and return its phase."""
        phase = phase_of(epoch, self._schedule.warmup_epochs, self._training)
        if phase != self._phase:
            # The counts of the gates' labels are reset: the heads have changed.
            self._forget()
            self._phase = phase
        self.model.requires_grad_(False)
        for parameter in self._trained[phase]:
            parameter.requires_grad_(True)
        return phase

    def step(self, batch: Batch) -> float:
        """Learn from one batch, whose labels are not mixed, and return its loss."""
        images, labels = batch.to(self._engine.device)
        logits = self._logits(images)
        losses = rules.exit_losses(logits, labels)
        if self._phase == "gates":
            loss = self._gate_loss(logits.detach(), losses.detach())
        elif self._phase == "heads":
            loss = self._head_loss(logits, losses)
        elif self._phase == "joint":
            loss = losses.mean()
        else:
            loss = losses[:-1].mean()
        self._optimisation.step(loss)
        return loss.item()

    @torch.no_grad()
    def validate(self, validation: Samples) -> EpochScore:
        """Score the model as routed on the held-out images."""
        self.model.eval()
        logits, blocks = [], []
        for samples in validation.batches(VALIDATION_BATCH):
            images, _ = self._prepare(samples).to(self._engine.device)
            routed = self.model.route(images, THRESHOLD)
            logits.append(routed.logits.cpu())
            blocks.append(routed.exit_block.cpu() + 1)
        answers = torch.cat(logits)
        loss = functional.cross_entropy(answers, validation.labels).item()
        accuracy = (answers.argmax(dim=1) == validation.labels).float().mean().item() * 100
        mean_blocks = torch.cat(blocks).float().mean().item()
        cost = self._training.cost_weight * mean_blocks / self.model.config.depth
        has_gates = self._phase in {"gates", "heads"}
        return EpochScore(accuracy, loss, mean_blocks, (-(loss + cost),) if has_gates else None)

    def weights(self) -> Mapping[str, Tensor]:
        """Return the model's weights."""
        return self.model.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Return weights, optimisers, phase, and the counts of the gates' labels."""
        return {
            "model": self.model.state_dict(),
            "optimisations": {name: o.state_dict() for name, o in self._optimisations.items()},
            "phase": self._phase,
            "zeros": self._zeros,
            "ones": self._ones,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        for name, optimisation in self._optimisations.items():
            optimisation.load_state_dict(state["optimisations"][name])
        self._phase = state["phase"]
        self._zeros = state["zeros"].to(self._engine.device)
        self._ones = state["ones"].to(self._engine.device)

    @property
    def _optimisation(self) -> Optimisation:
        return self._optimisations["heads" if self._phase == "warm-up" else self._phase]

    def _forget(self) -> None:
        self._zeros = torch.zeros(len(self._blocks), device=self._engine.device)
        self._ones = torch.zeros(len(self._blocks), device=self._engine.device)

    def _logits(self, images: Tensor) -> Tensor:
        """Return the (E, B, K) logits of all exits; differentiable in what the phase trains."""
        read = []
        with self._engine.autocast(), torch.set_grad_enabled(self._phase == "joint"):
            tokens = self.model.embed(images)
            for first, last in self.model.stage_ends():
                tokens = self.model.run_blocks(tokens, first, last)
                if last in self._blocks:
                    read.append(self.model.exit_tokens(tokens).float())
        early = [self.model.early_logits(*pair) for pair in zip(read, self._blocks, strict=True)]
        return torch.stack([*early, self.model.readout(tokens.float())])

    def _score_logits(self, logits: Tensor) -> Tensor:
        pairs = zip(self._gates, logits[:-1], strict=True)
        return torch.stack([gate.score_logit(exit_logits) for gate, exit_logits in pairs])

    def _gate_loss(self, logits: Tensor, losses: Tensor) -> Tensor:
        targets = rules.target_exits(losses, self._shares, self._training.cost_weight)
        wanted = rules.gate_labels(targets, len(self._blocks))
        # Counted over the phase, since one batch has too few of the rarer label. The published code
        # counts on held-out images; here hardly any of those should stay, and late gates never
        # opened.
        self._ones += wanted.sum(dim=1)
        self._zeros += (1 - wanted).sum(dim=1)
        return functional.binary_cross_entropy_with_logits(
            self._score_logits(logits),
            wanted,
            pos_weight=rules.positive_weights(self._zeros, self._ones).unsqueeze(1),
        )

    def _head_loss(self, logits: Tensor, losses: Tensor) -> Tensor:
        scores = self._score_logits(logits.detach()).detach().sigmoid()
        weighted = rules.weighted_losses(losses, rules.exit_probabilities(scores))
        return weighted.sum(dim=0).mean()


def _parameters(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters()]
