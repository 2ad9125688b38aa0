"""Each rule of JEI-DNN against numbers worked by hand."""

import math

import pytest
import torch

from gfnet.training import rules


def test_cost_shares_count_the_blocks_that_an_exit_has_run() -> None:
    """The exit after block b of a model of d blocks costs (b + 1) / d of it."""
    shares = rules.cost_shares((0, 2, 4), depth=8)
    assert shares.tolist() == [1 / 8, 3 / 8, 5 / 8, 1.0]


def test_exit_losses_are_each_images_cross_entropy_at_each_exit() -> None:
    """Logits of ln 3 and 0 answer the first of two classes with probability 3/4."""
    sure = [math.log(3), 0.0]
    logits = torch.tensor([[sure, sure], [[0.0, 0.0], sure]])
    losses = rules.exit_losses(logits, torch.tensor([0, 1]))
    expected = [[math.log(4 / 3), math.log(4)], [math.log(2), math.log(4)]]
    torch.testing.assert_close(losses, torch.tensor(expected))


def test_target_exits_weigh_loss_against_cost() -> None:
    """At lambda 0.4 the sums are 1.1/0.4/0.45 and 0.3/0.3/0.7; of equals the earliest wins."""
    losses = torch.tensor([[1.0, 0.2], [0.2, 0.1], [0.05, 0.3]])
    shares = torch.tensor([0.25, 0.5, 1.0])
    assert rules.target_exits(losses, shares, 0.4).tolist() == [1, 0]


@pytest.mark.parametrize(("cost_weight", "target"), [(0.0, 2), (0.4, 1), (10.0, 0)])
def test_a_greater_cost_weight_asks_for_earlier_exits(cost_weight: float, target: int) -> None:
    """Lambda 0 asks for the least loss, a large one for the first exit."""
    losses = torch.tensor([[1.0], [0.2], [0.05]])
    shares = torch.tensor([0.25, 0.5, 1.0])
    assert rules.target_exits(losses, shares, cost_weight).tolist() == [target]


def test_gate_labels_are_one_from_the_target_onward() -> None:
    """Targets 0, 1 and the last exit, which has no gate, of three exits with two gates."""
    labels = rules.gate_labels(torch.tensor([0, 1, 2]), gates=2)
    assert labels.tolist() == [[1, 0, 0], [1, 1, 0]]


def test_positive_weights_make_both_sides_weigh_the_same() -> None:
    """Six zeros on two ones: each one counts three times; a side never seen counts as one."""
    weights = rules.positive_weights(torch.tensor([6.0, 0.0, 8.0]), torch.tensor([2.0, 8.0, 0.0]))
    assert weights.tolist() == [3.0, 1 / 8, 8.0]


def test_exit_probabilities_take_what_earlier_exits_left() -> None:
    """Scores 0.25 and 0.5 leave 0.25 to the last exit; 0.75 and 0.5 leave 0.25 to the second."""
    scores = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    probabilities = rules.exit_probabilities(scores)
    assert probabilities.tolist() == [[0.25, 0.75], [0.5, 0.25], [0.25, 0.0]]


def test_exit_probabilities_are_never_negative() -> None:
    """Scores that sum to more than 1 leave nothing to the exits after them."""
    probabilities = rules.exit_probabilities(torch.tensor([[0.75], [0.75], [0.5]]))
    assert probabilities.squeeze(1).tolist() == [0.75, 0.25, 0.0, 0.0]


def test_weighted_losses_keep_the_sum_of_each_image() -> None:
    """Losses 2 and 1 weighted by 1/4 and 1/2 are 0.5 and 0.5; times 3 they sum to 3 again."""
    losses = torch.tensor([[2.0, 1.0], [1.0, 1.0]])
    probabilities = torch.tensor([[0.25, 0.0], [0.5, 1.0]])
    weighted = rules.weighted_losses(losses, probabilities)
    assert weighted.tolist() == [[1.5, 0.0], [1.5, 2.0]]


def test_the_gradient_of_weighted_losses_is_weighted() -> None:
    """The rescaling is a constant: each loss is learned by its weight times the image's factor."""
    losses = torch.tensor([[2.0], [1.0]], requires_grad=True)
    rules.weighted_losses(losses, torch.tensor([[0.25], [0.5]])).sum().backward()
    assert losses.grad is not None
    assert losses.grad.squeeze(1).tolist() == [0.75, 1.5]


def test_weighted_losses_of_a_perfect_answer_are_finite() -> None:
    """An image that leaves where its loss is exactly 0 has nothing to rescale."""
    weighted = rules.weighted_losses(torch.tensor([[0.0], [80.0]]), torch.tensor([[1.0], [0.0]]))
    assert weighted.tolist() == [[0.0], [0.0]]
