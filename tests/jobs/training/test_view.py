"""Lines of a training, with a clock that ticks by hand."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from gfnet.training.progress import EpochReport, Validation
from jobs.training.view import TrainingDisplay, epoch_line

FINISHED = EpochReport(
    phase="heads",
    epoch=3,
    epochs=12,
    share=1.0,
    loss=0.51234,
    learning_rate=0.001,
    images_per_s=1234.5,
    seconds_left=75.0,
    seconds=10.0,
    validation=Validation(accuracy=98.765, loss=0.1, blocks=5.4321, is_best=True),
)
LIVE = replace(FINISHED, share=0.25, validation=None)


def test_a_finished_epoch_says_what_it_came_to() -> None:
    """Phase, epoch, loss, accuracy, blocks where images leave early, speed, time left."""
    assert epoch_line(FINISHED) == (
        "heads 3/12: loss 0.5123, validation 98.77 %, 5.43 blocks, 1,234 images/s, 1:15 min left"
    )
    static = replace(FINISHED, validation=Validation(98.765, 0.1, None, is_best=True))
    assert "blocks" not in epoch_line(static)


def test_an_epoch_under_way_says_how_far_it_is() -> None:
    """In the place of what only its end can tell."""
    assert epoch_line(LIVE) == "heads 3/12: 25%, loss 0.5123, 1,234 images/s, 1:15 min left"


class Screen:
    """A display on a terminal or in a pipe, and its clock."""

    def __init__(self, *, is_terminal: bool) -> None:
        self.now_s = 0.0
        self.file = io.StringIO()
        console = Console(file=self.file, force_terminal=is_terminal, width=100, color_system=None)
        self.display = TrainingDisplay(console, lambda: self.now_s)

    def lines(self) -> list[str]:
        """What stands there."""
        return self.file.getvalue().splitlines()


def test_a_pipe_gets_every_epoch_and_a_long_one_now_and_then() -> None:
    """Reports within an epoch come every 2 s; a line of them every 30 s is enough."""
    screen = Screen(is_terminal=False)
    with screen.display as display:
        for screen.now_s in (2.0, 4.0, 31.0, 33.0):
            display.report(LIVE)
        display.report(FINISHED)
    assert screen.lines() == [epoch_line(LIVE), epoch_line(FINISHED)]


@pytest.mark.parametrize("report", [LIVE, FINISHED])
def test_a_terminal_has_a_live_line(report: EpochReport) -> None:
    """Every report moves it; only finished epochs stay."""
    screen = Screen(is_terminal=True)
    with screen.display as display:
        display.report(report)
    shown = screen.file.getvalue()
    assert epoch_line(report) in shown
    assert (epoch_line(FINISHED) in shown) == (report is FINISHED)
