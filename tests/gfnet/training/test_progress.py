"""Reports of epochs, with a clock that is told the time."""

import math

import pytest

from gfnet.training.progress import EpochProgress, EpochReport, LossNotFiniteError, Validation

FOUND = Validation(accuracy=75.0, loss=0.5, blocks=None, is_best=True)


class _Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_report_says_how_far_and_how_fast() -> None:
    """The second of five epochs of 10 s, with losses 1 of 30 images and 2 of 10."""
    clock = _Clock()
    progress = EpochProgress(5, images=40, clock=clock)
    progress.step("model", 7.0, 40, learning_rate=0.1)
    clock.now_s = 10.0
    progress.finish("model", FOUND)
    progress.step("gates", 1.0, 30, learning_rate=0.2)
    clock.now_s = 11.0
    assert progress.step("gates", 2.0, 10, learning_rate=0.3) is None  # told of it a second ago
    clock.now_s = 20.0
    assert progress.finish("gates", FOUND) == EpochReport(
        phase="gates",
        epoch=2,
        epochs=5,
        share=1.0,
        loss=1.25,
        learning_rate=0.3,
        images_per_s=4.0,
        seconds_left=30.0,
        seconds=10.0,
        validation=FOUND,
    )


def test_a_long_epoch_reports_within() -> None:
    """A quarter of the first of two epochs took 5 s: seven quarters are left."""
    clock = _Clock()
    progress = EpochProgress(2, images=40, clock=clock)
    clock.now_s = 5.0
    report = progress.step("model", 1.5, 10, learning_rate=0.1)
    assert report is not None
    assert (report.epoch, report.share, report.validation) == (1, 0.25, None)
    assert (report.images_per_s, report.seconds_left) == (2.0, 35.0)


def test_a_resumed_training_reckons_with_its_own_speed() -> None:
    """Three of five epochs were done before; the fourth took 10 s, so one of 10 s is left."""
    clock = _Clock()
    progress = EpochProgress(5, images=40, done=3, clock=clock)
    progress.step("model", 1.0, 40, learning_rate=0.1)
    clock.now_s = 10.0
    report = progress.finish("model", FOUND)
    assert (report.epoch, report.seconds_left) == (4, 10.0)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_training(loss: float) -> None:
    """The message says in which epoch, and what to change."""
    progress = EpochProgress(3, images=1, clock=lambda: 0.0)
    progress.step("model", 1.0, 1, learning_rate=0.1)
    progress.finish("model", FOUND)
    with pytest.raises(LossNotFiniteError, match=r"in epoch 2 of 3; lower learning_rate"):
        progress.step("model", loss, 1, learning_rate=0.1)
