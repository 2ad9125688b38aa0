"""JEI-DNN's rules (Regol et al., ICLR 2024), each a pure function: how exits and gates learn.

Letters in shapes: E exits, the last block's included and last; B images; K classes. All losses are
in nats. Written from the paper and from a description; its published code was not used.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cost_shares(exit_blocks: tuple[int, ...], depth: int) -> Tensor:
    """(E,) the share of the full cost that each exit takes: blocks run / all blocks.

    Args:
        exit_blocks: E - 1 early exits; the last block is added to them.
        depth: number of blocks.
    """
    return torch.tensor([(block + 1) / depth for block in (*exit_blocks, depth - 1)])


def exit_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """(E, B) cross entropy of each image at each exit, of (E, B, K) logits and (B,) labels."""
    by_image = functional.cross_entropy(
        logits.flatten(0, 1), labels.repeat(len(logits)), reduction="none"
    )
    return by_image.view(logits.shape[:2])


def target_exits(losses: Tensor, shares: Tensor, cost_weight: float) -> Tensor:
    """(B,) the exit where each image should leave: the one of the least loss plus cost.

    Args:
        losses: (E, B) cross entropy.
        shares: (E,) of the full cost.
        cost_weight: lambda, nats.

    Returns: indices into the exits; of equals, the earliest.
    """
    return (losses + cost_weight * shares.unsqueeze(1)).argmin(dim=0)


def gate_labels(targets: Tensor, gates: int) -> Tensor:
    """(E - 1, B) what each gate should say: 1 from an image's target exit onward, 0 before it.

    Args:
        targets: (B,) indices of exits.
        gates: E - 1; the last exit has none.
    """
    return (torch.arange(gates, device=targets.device).unsqueeze(1) >= targets).float()


def positive_weights(zeros: Tensor, ones: Tensor) -> Tensor:
    """(E - 1,) zeros per one of each gate's labels, so that both sides weigh the same.

    Args:
        zeros: (E - 1,) how often each gate should have kept an image. None counts as once.
        ones: (E - 1,) how often it should have let one go. None counts as once.
    """
    return zeros.clamp(min=1) / ones.clamp(min=1)


def exit_probabilities(scores: Tensor) -> Tensor:
    """(E, B) the probability that an image leaves at each exit.

    p_l = max(0, min(g_l, 1 - sum of g_j over j < l)); the last exit, which every remaining image
    takes, has g = 1, so that an image's probabilities sum to 1.

    Args:
        scores: (E - 1, B) gate scores, 0..1.
    """
    everyone = torch.cat([scores, torch.ones_like(scores[:1])])
    before = everyone.cumsum(dim=0) - everyone
    return torch.minimum(everyone, 1 - before).clamp(min=0)


def weighted_losses(losses: Tensor, probabilities: Tensor) -> Tensor:
    """(E, B) losses weighted by where an image leaves, rescaled to the sum that they had.

    The factor of an image is a number, not a function to differentiate: through it the gradient
    would be that of the unweighted sum again.

    Args:
        losses: (E, B) cross entropy.
        probabilities: (E, B) of exit_probabilities.
    """
    weighted = losses * probabilities
    # An image that is answered perfectly where it leaves weighs 0, and the factor must stay finite.
    least = torch.finfo(losses.dtype).eps
    factor = losses.detach().sum(dim=0) / weighted.detach().sum(dim=0).clamp(min=least)
    return weighted * factor
