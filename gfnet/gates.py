"""The learnable uncertainty gate: whether an exit's logits are good enough to exit with."""

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
    scales = torch.tensor(_SCALES, device=logits.device)
    largest, second, negative, negative_sharpened = _statistics(logits, scales).unbind(dim=-1)
    features = (largest, -negative, largest - second, -negative_sharpened)
    return torch.stack(features, dim=-1)


def _statistics(logits: Tensor, scales: Tensor) -> Tensor:
    """(..., 4): the two largest probabilities, then the negatives of both entropies.

    Few, large operations: at batch 1 each costs an engine one call, whatever its size.
    """
    logs = (logits.float().unsqueeze(-2) * scales).log_softmax(dim=-1)
    probabilities = logs.exp()
    # The logarithm of a probability that underflows to 0 is finite: the product is 0, not NaN.
    negative_entropies = (probabilities * logs).sum(dim=-1)
    largest = probabilities[..., 0, :].topk(2, dim=-1).values
    return torch.cat([largest, negative_entropies], dim=-1)


# Squared and renormalised probabilities are softmax(2 logits).
_SCALES = ((1.0,), (2.0,))

# Coefficients of each feature (row) in the statistics (columns), in the order of both.
_FEATURES_OF_STATISTICS = ((1, 0, 0, 0), (0, 0, -1, 0), (1, -1, 0, 0), (0, 0, 0, -1))


class UncertaintyGate(nn.Module):
    """One exit's gate: sigmoid(Linear(4, 1)) of `gate_features`.

    Shape:
        (..., K) logits to (...) gate scores in 0..1, float32; NaN if the logits are.
    """

    of_statistics: Tensor
    scales: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(GATE_FEATURES, 1)
        of_statistics = torch.tensor(_FEATURES_OF_STATISTICS, dtype=torch.float32)
        self.register_buffer("of_statistics", of_statistics, persistent=False)
        self.register_buffer("scales", torch.tensor(_SCALES), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """Score (..., K) logits."""
        return torch.sigmoid(self.score_logit(logits))

    def score_logit(self, logits: Tensor) -> Tensor:
        """Return the score before the sigmoid, for losses that need it in this form."""
        # The features are sums of statistics, so the weights are summed once, instead of the
        # features for each image. No matrix products: autocast and engines round those to half.
        weights = (self.linear.weight.mT * self.of_statistics).sum(dim=0)
        statistics = _statistics(logits, self.scales)
        score: Tensor = (statistics * weights).sum(dim=-1) + self.linear.bias[0]
        return score
