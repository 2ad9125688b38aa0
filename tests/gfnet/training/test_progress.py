"""Reports of epochs, with a clock that is told the time."""

import math

import pytest

from gfnet.training.progress import EpochReport, LossNotFiniteError, Progress


def test_a_report_says_how_far_and_how_fast() -> None:
    """Two epochs of 10 s, the second with losses 1 of 30 images and 2 of 10."""
    times = iter([0.0, 10.0, 20.0])
    reports: list[EpochReport] = []
    progress = Progress(5, reports.append, clock=lambda: next(times))
    progress.step(7.0, images=40)
    progress.finish("model", 50.0)
    progress.step(1.0, images=30)
    progress.step(2.0, images=10)
    progress.finish("gates", 75.0)
    assert reports[1] == EpochReport(
        phase="gates",
        epoch=2,
        epochs=5,
        loss=1.25,
        validation_accuracy=75.0,
        images_per_s=4.0,
        seconds_left=30.0,
    )


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_training(loss: float) -> None:
    """The message says in which epoch, and what to change."""
    progress = Progress(3, lambda _: None, clock=lambda: 0.0)
    progress.step(1.0, images=1)
    progress.finish("model", 0.0)
    with pytest.raises(LossNotFiniteError, match=r"in epoch 2 of 3; lower learning_rate"):
        progress.step(loss, images=1)
