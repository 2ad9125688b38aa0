"""The learnable uncertainty gate: whether an exit's answer is good enough to leave with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gfnet.config import GATE_FEATURES


def gate_features(logits: Tensor) -> Tensor:
    """Describe how sure an exit is (JEI-DNN: Regol et al., ICLR 2024).

    Args:
        logits: (..., K) of one exit.

    Returns: (..., 4) float32: maximum probability, entropy (nats), margin between the two largest
        probabilities, entropy of the squared and renormalised probabilities.
    """
    logits = logits.float()
    probabilities = logits.softmax(dim=-1)
    top = probabilities.topk(2, dim=-1).values
    # Squared and renormalised probabilities are softmax(2 logits).
    sharpened = (2 * logits).softmax(dim=-1)
    features = (
        top[..., 0],
        torch.special.entr(probabilities).sum(dim=-1),
        top[..., 0] - top[..., 1],
        torch.special.entr(sharpened).sum(dim=-1),
    )
    return torch.stack(features, dim=-1)


class UncertaintyGate(nn.Module):
    """One exit's gate: sigmoid(Linear(4, 1)) of `gate_features`.

    Shape:
        (..., K) logits to (...) gate scores in 0..1, float32; NaN where the logits are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(GATE_FEATURES, 1)

    def forward(self, logits: Tensor) -> Tensor:
        """Score (..., K) logits."""
        return torch.sigmoid(self.score_logit(logits))

    def score_logit(self, logits: Tensor) -> Tensor:
        """The score before its sigmoid, for losses that want it so."""
        # Not as a matrix product, which autocast and engines would run in half precision.
        products = gate_features(logits) * self.linear.weight[0]
        score: Tensor = products.sum(dim=-1) + self.linear.bias[0]
        return score
