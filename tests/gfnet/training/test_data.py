"""What is held out, and how images are moved."""

import pytest
import torch

from gfnet import Preprocessing
from gfnet.training.data import Augment, Samples, hold_out
from gfnet.training.settings import Augmentation, HoldOut

PREPROCESSING = Preprocessing(8, 8, mean=(0.5, 0.25, 0.5), std=(0.5, 0.5, 0.25))


def _numbered(labels: list[int]) -> Samples:
    """Samples whose images hold their own row number."""
    rows = torch.arange(len(labels), dtype=torch.float32)
    return Samples(rows.view(-1, 1, 1, 1).expand(-1, 3, 8, 8), torch.tensor(labels))


def test_hold_out_takes_the_same_share_of_each_class() -> None:
    """A quarter of twelve and of eight images are three and two."""
    data = hold_out(_numbered([0] * 12 + [1] * 8), HoldOut(0.25, seed=0))
    assert data.validation.labels.bincount().tolist() == [3, 2]
    assert data.train.labels.bincount().tolist() == [9, 6]


def test_hold_out_parts_are_disjoint_and_whole() -> None:
    """Every image is on exactly one side."""
    data = hold_out(_numbered([0, 1] * 10), HoldOut(0.3, seed=0))
    rows = [side.images[:, 0, 0, 0].tolist() for side in data]
    assert sorted(rows[0] + rows[1]) == list(range(20))


def test_hold_out_follows_from_its_seed() -> None:
    """The same seed holds out the same images; another one others."""
    samples = _numbered([0] * 50)
    first, again, other = (hold_out(samples, HoldOut(0.2, seed)) for seed in (1, 1, 2))
    assert torch.equal(first.validation.images, again.validation.images)
    assert not torch.equal(first.validation.images, other.validation.images)


def test_hold_out_keeps_an_image_of_a_small_class_back() -> None:
    """A share that rounds to nothing still holds out one of two."""
    data = hold_out(_numbered([0] * 20 + [1] * 2), HoldOut(0.1, seed=0))
    assert data.validation.labels.bincount().tolist() == [2, 1]


def test_hold_out_refuses_to_leave_a_side_empty() -> None:
    """Classes of one image each leave nothing to choose by."""
    with pytest.raises(ValueError, match="holds out 0 of 3 images"):
        hold_out(_numbered([0, 1, 2]), HoldOut(0.2, seed=0))


def test_batches_serve_every_sample_in_order() -> None:
    """Five samples in batches of two end with a batch of one."""
    batches = list(_numbered([0, 1, 2, 3, 4]).batches(2))
    assert [labels.tolist() for _, labels in batches] == [[0, 1], [2, 3], [4]]


def test_shuffled_keeps_each_image_with_its_label() -> None:
    """Images and labels are permuted alike."""
    torch.manual_seed(0)
    images, labels = _numbered(list(range(30))).shuffled()
    assert images[:, 0, 0, 0].long().equal(labels)
    assert not labels.equal(torch.arange(30))


def test_augment_without_movement_is_the_identity() -> None:
    """Zeros leave images as they are, to the last bit."""
    images = torch.randn(2, 3, 8, 8)
    assert Augment(Augmentation(), PREPROCESSING)(images) is images


def test_augment_moves_each_image_by_its_own_amount() -> None:
    """Two equal images differ afterwards."""
    torch.manual_seed(0)
    moved = Augment(Augmentation(shift=0.4), PREPROCESSING)(
        torch.randn(1, 3, 8, 8).repeat(2, 1, 1, 1)
    )
    assert moved.shape == (2, 3, 8, 8)
    assert not torch.equal(moved[0], moved[1])


def test_augment_fills_with_black_as_it_was_normalised() -> None:
    """A black image stays black wherever it is moved."""
    black = torch.tensor([-1.0, -0.5, -2.0]).view(1, 3, 1, 1).expand(4, 3, 8, 8)
    torch.manual_seed(0)
    moved = Augment(Augmentation(rotate_degrees=30, shift=0.3), PREPROCESSING)(black)
    torch.testing.assert_close(moved, black)
