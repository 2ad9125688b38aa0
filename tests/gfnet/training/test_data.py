"""What is held out, and how a batch is changed."""

import pytest
import torch

from gfnet import Preprocessing
from gfnet.training.data import Augment, Batch, Prepare, Samples, hold_out
from gfnet.training.settings import Augmentation, HoldOut

PREPROCESSING = Preprocessing(8, 8, mean=(0.5, 0.25, 0.5), std=(0.5, 0.5, 0.25))


def _numbered(labels: list[int]) -> Samples:
    """Samples whose images hold their own row number."""
    rows = torch.arange(len(labels), dtype=torch.uint8)
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


def test_shuffled_rows_are_every_row_once() -> None:
    """Thirty rows in batches of eight, in another order; each image comes with its label."""
    torch.manual_seed(0)
    samples = _numbered(list(range(30)))
    rows = samples.shuffled_rows(8)
    assert [len(batch) for batch in rows] == [8, 8, 8, 6]
    assert sorted(torch.cat(rows).tolist()) == list(range(30)) != torch.cat(rows).tolist()
    images, labels = samples.take(rows[0])
    assert images[:, 0, 0, 0].long().equal(labels)


GREY = Samples(torch.full((64, 3, 8, 8), 128, dtype=torch.uint8), torch.arange(64) % 4)


def _changed(augmentation: Augmentation, samples: Samples = GREY) -> Batch:
    torch.manual_seed(0)
    return Augment(augmentation, PREPROCESSING, 4)(samples)


def test_prepare_normalises_and_does_no_more() -> None:
    """White, 255, is (1 - mean) / std of each channel: 1, 1.5 and 2."""
    white = Samples(torch.full((2, 3, 8, 8), 255, dtype=torch.uint8), torch.tensor([0, 1]))
    images, targets = Prepare(PREPROCESSING)(white)
    expected = torch.tensor([1.0, 1.5, 2.0]).view(3, 1, 1).expand(2, 3, 8, 8)
    torch.testing.assert_close(images, expected)
    assert targets is white.labels


def test_augment_without_changes_only_normalises() -> None:
    """Zeros leave images as they are, to the last bit."""
    assert torch.equal(_changed(Augmentation()).images, Prepare(PREPROCESSING)(GREY).images)


def test_augment_changes_each_image_by_its_own_amount() -> None:
    """Two equal images differ afterwards."""
    noise = torch.randint(256, (1, 3, 8, 8), dtype=torch.uint8).repeat(2, 1, 1, 1)
    images, _ = _changed(Augmentation(shift=0.4), Samples(noise, torch.zeros(2).long()))
    assert images.shape == (2, 3, 8, 8)
    assert not torch.equal(images[0], images[1])


@pytest.mark.parametrize(
    "augmentation", [Augmentation(rotate_degrees=30, shift=0.3), Augmentation(crop_padding=3)]
)
def test_what_moves_in_is_black(augmentation: Augmentation) -> None:
    """A black image stays black wherever it is moved; a grey one gets black edges."""
    images, _ = _changed(augmentation, Samples(torch.zeros_like(GREY.images), GREY.labels))
    black = torch.tensor([-1.0, -0.5, -2.0]).view(1, 3, 1, 1).expand(64, 3, 8, 8)
    torch.testing.assert_close(images, black)
    assert _changed(augmentation).images.eq(black).any()


@pytest.mark.parametrize(("flip", "axis"), [("horizontal", 3), ("vertical", 2)])
def test_flips_mirror_half_of_the_images(flip: str, axis: int) -> None:
    """Each image is as it was or mirrored along the axis, and both occur."""
    ramp = torch.arange(192, dtype=torch.uint8).view(1, 3, 8, 8).expand(64, -1, -1, -1)
    plain = Prepare(PREPROCESSING)(Samples(ramp, GREY.labels)).images
    images, _ = _changed(Augmentation(flips=(flip,)), Samples(ramp, GREY.labels))
    is_plain = (images == plain).flatten(1).all(dim=1)
    is_mirrored = (images == plain.flip(axis)).flatten(1).all(dim=1)
    assert (is_plain ^ is_mirrored).all()
    assert 16 < is_plain.sum() < 48


def test_trivial_augment_changes_most_images_each_in_its_way() -> None:
    """Of 64 equal images: some stay as they were, the others differ from each other."""
    noise = torch.randint(256, (1, 3, 8, 8), dtype=torch.uint8).repeat(64, 1, 1, 1)
    images, _ = _changed(Augmentation(trivial=True), Samples(noise, GREY.labels))
    assert images.shape == (64, 3, 8, 8)
    assert len(images.unique(dim=0)) > 16


def test_erasing_leaves_a_rectangle_of_the_mean_colour() -> None:
    """What differs from the image is 0 after normalisation, to half a step of 255."""
    images, _ = _changed(Augmentation(erase=1.0))
    is_erased = images != Prepare(PREPROCESSING)(GREY).images
    assert is_erased.flatten(1).any(dim=1).all()
    assert images[is_erased].abs().max() < 0.5 / 255 / min(PREPROCESSING.std)


@pytest.mark.parametrize("augmentation", [Augmentation(mixup=1.0), Augmentation(cutmix=1.0)])
def test_mixing_mixes_targets_as_it_mixes_images(augmentation: Augmentation) -> None:
    """Of a black class 0 and a white class 1, the share of white is the target of class 1."""
    labels = torch.arange(8) % 2
    pixels = (labels * 255).byte().view(8, 1, 1, 1).expand(8, 3, 8, 8)
    images, targets = _changed(augmentation, Samples(pixels, labels))
    assert targets.shape == (8, 4)
    assert targets.sum(dim=1).tolist() == pytest.approx([1.0] * 8)
    red = images[:, 0].mean(dim=(1, 2)) / 2 + 0.5  # normalised, black is -1 and white is 1
    torch.testing.assert_close(red, targets[:, 1])
    assert ((targets > 0) & (targets < 1)).any()


def test_with_both_mixes_each_batch_takes_one() -> None:
    """Over some batches targets are mixed every time, and images now and then cut sharply."""
    labels = torch.arange(8) % 2
    pixels = (labels * 255).byte().view(8, 1, 1, 1).expand(8, 3, 8, 8)
    torch.manual_seed(0)
    augment = Augment(Augmentation(mixup=1.0, cutmix=1.0), PREPROCESSING, 2)
    is_sharp = [
        bool(augment(Samples(pixels, labels)).images[:, 0].abs().eq(1).all()) for _ in range(16)
    ]
    assert 0 < sum(is_sharp) < 16
