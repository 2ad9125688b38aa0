"""Exit rules other than a learned gate: what an exit's own logits say about how sure it is."""

from __future__ import annotations

import math

from torch import Tensor, nn

from gfnet.config import ModelConfig


class Confidence(nn.Module):
    """One exit's score under a rule of `gfnet.EXIT_RULES` but `gate`; it has no parameters.

    Shape:
        (..., K) logits to (...) float32; NaN if a logit is NaN or infinite. Under `patience` the
        number of the predicted class; `gfnet.routing.Streaks` counts how many agree.
    """

    def __init__(self, rule: str, num_classes: int) -> None:
        super().__init__()
        self.rule = rule
        self._share = 1 / math.log(num_classes)

    def forward(self, logits: Tensor) -> Tensor:
        """Score (..., K) logits."""
        logits = logits.float()
        logs = logits.log_softmax(dim=-1)
        probabilities = logs.exp()
        if self.rule == "max_prob":
            return probabilities.amax(dim=-1)
        if self.rule == "margin":
            largest = probabilities.topk(2, dim=-1).values
            return largest[..., 0] - largest[..., 1]
        # The logarithm of a probability that underflows to 0 is finite: the product is 0, not NaN.
        entropy = -(probabilities * logs).sum(dim=-1)
        if self.rule == "entropy":
            return 1 - entropy * self._share
        return logits.argmax(dim=-1).float() + 0 * entropy  # NaN where the entropy is


def confidences(rule: str, config: ModelConfig) -> nn.ModuleDict:
    """Return what scores each exit under a rule, by its block; nothing if its gates do."""
    blocks = config.exit_blocks if rule != "gate" else ()
    return nn.ModuleDict({str(block): Confidence(rule, config.num_classes) for block in blocks})
