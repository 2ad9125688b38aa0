"""Rules by which exits and gates learn in JEI-DNN (Regol et al., ICLR 2024), as pure functions.

Letters in shapes: E exits, the last block's included and last; B images; K classes. All losses are
in nats. Written from the paper and from a description; the published code was not used.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cost_shares(exit_blocks: tuple[int, ...], depth: int) -> Tensor:
    """Return the (E,) share of the full cost that each exit takes: blocks run / all blocks.

    Args:
        exit_blocks: E - 1 early exits; the last block is added to them.
        depth: number of blocks.
    """
    return torch.tensor([(block + 1) / depth for block in (*exit_blocks, depth - 1)])


def exit_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the (E, B) cross entropy at each exit, for (E, B, K) logits and (B,) labels."""
    by_image = functional.cross_entropy(
        logits.flatten(0, 1), labels.repeat(len(logits)), reduction="none"
    )
    return by_image.view(logits.shape[:2])


def target_exits(losses: Tensor, shares: Tensor, cost_weight: float) -> Tensor:
    """Return the (B,) exit that each image should take: the one of the least loss plus cost.

    Args:
        losses: (E, B) cross entropy.
        shares: (E,) shares of the full cost.
        cost_weight: lambda, nats.

    Returns: indices into the exits; the earliest of equals.
    """
    return (losses + cost_weight * shares.unsqueeze(1)).argmin(dim=0)


def gate_labels(targets: Tensor, gates: int) -> Tensor:
    """Return the (E - 1, B) label of each gate: 1 from an image's target exit onward, 0 before.

    Args:
        targets: (B,) indices of exits.
        gates: E - 1; the last exit has none.
    """
    return (torch.arange(gates, device=targets.device).unsqueeze(1) >= targets).float()


def positive_weights(zeros: Tensor, ones: Tensor) -> Tensor:
    """Return the (E - 1,) ratios of zeros to ones in the gates' labels, to weigh both the same.

    Args:
        zeros: (E - 1,) how often each gate should have kept an image. 0 counts as 1.
        ones: (E - 1,) how often it should have let an image exit. 0 counts as 1.
    """
    return zeros.clamp(min=1) / ones.clamp(min=1)


def exit_probabilities(scores: Tensor) -> Tensor:
    """Return the (E, B) probability that an image exits at each exit.

    p_l = max(0, min(g_l, 1 - sum of g_j over j < l)); the last exit, which every remaining image
    takes, has g = 1, so that an image's probabilities sum to 1.

    Args:
        scores: (E - 1, B) gate scores, 0..1.
    """
    everyone = torch.cat([scores, torch.ones_like(scores[:1])])
    before = everyone.cumsum(dim=0) - everyone
    return torch.minimum(everyone, 1 - before).clamp(min=0)


def weighted_losses(losses: Tensor, probabilities: Tensor) -> Tensor:
    """Return (E, B) losses, weighted by an image's exit probabilities, with their former sum.

    The scale factor of an image is a constant, not differentiated: otherwise the gradient would be
    that of the unweighted sum again.

    Args:
        losses: (E, B) cross entropy.
        probabilities: (E, B) from exit_probabilities.
    """
    weighted = losses * probabilities
    # If an image is answered perfectly at its exit, the sum is 0; the factor must stay finite.
    least = torch.finfo(losses.dtype).eps
    factor = losses.detach().sum(dim=0) / weighted.detach().sum(dim=0).clamp(min=least)
    return weighted * factor
