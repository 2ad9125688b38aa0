"""Progress lines, with a clock that ticks by hand."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from jobs.common.formatting import format_duration
from jobs.machine.slots import Slot
from jobs.plan.order import make_blocks
from jobs.plan.plan import Plan
from jobs.plan.task import Outcome, Task
from jobs.runs.progress import Progress

HERE = Slot("", "any")
GRID = """\
models: [flat.safetensors]
datasets: [{name: digits, split: train, limit: 1000}]
latency: {rounds: 2, images: 500}
"""


class Screen:
    """Progress of GRID on a screen or in a pipe."""

    def __init__(self, plan: Plan, *, is_terminal: bool) -> None:
        self.now_s = 100.0
        self.file = io.StringIO()
        size = {"width": 80, "height": 25}
        console = Console(file=self.file, force_terminal=is_terminal, color_system=None, **size)
        self.progress = Progress(plan, frozenset(), console, lambda: self.now_s)
        queue = make_blocks(plan, by_device=False)[0].tasks("r", frozenset())
        self.exits, self.first, self.second, *_ = queue

    def finish(self, task: Task, seconds: float, **outcome: object) -> None:
        """A task ends after some time."""
        self.now_s += seconds
        self.progress.update(task, Outcome({}, None, busy_s=seconds, **outcome))


@pytest.fixture
def screen(plan_of: Callable[[str], Plan]) -> Callable[..., Screen]:
    """Make one."""
    return lambda *, is_terminal=False: Screen(plan_of(GRID), is_terminal=is_terminal)


def test_the_time_left_is_told_once_each_kind_has_a_speed(screen: Callable[..., Screen]) -> None:
    """Worked by hand: batches run 1,000 images in 2 s; a routed round of 500 takes 50 s."""
    pipe = screen()
    with pipe.progress:
        pipe.finish(pipe.exits, 2)
        assert pipe.progress.line() == "1/2 cells, 1,000/2,000 images, 500 images/s"
        pipe.finish(pipe.first, 50)
        assert pipe.progress.line() == "1/2 cells, 1,500/2,000 images, 29 images/s, 50 s left"
        pipe.finish(pipe.second, 50)
        assert pipe.progress.line() == "2/2 cells, 2,000/2,000 images, 20 images/s"


def test_plain_lines_in_a_pipe(screen: Callable[..., Screen]) -> None:
    """Not more than one in five seconds, the last always, and no control characters."""
    pipe = screen()
    with pipe.progress:
        pipe.finish(pipe.exits, 2)
        pipe.finish(pipe.first, 4)
        pipe.finish(pipe.second, 1)
    lines = pipe.file.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == ["1/2 cells", "2/2 cells"]
    assert "\x1b" not in pipe.file.getvalue()


def test_a_live_line_on_a_terminal(screen: Callable[..., Screen]) -> None:
    """Redrawn in place with every task; the last count stays."""
    terminal = screen(is_terminal=True)
    with terminal.progress:
        terminal.finish(terminal.exits, 2)
        terminal.finish(terminal.first, 1)
    assert "\x1b" in terminal.file.getvalue()
    assert "1/2 cells, 1,500/2,000 images" in terminal.file.getvalue().splitlines()[-1]


def test_a_terminal_says_what_runs_now(screen: Callable[..., Screen]) -> None:
    """And, of a model's first task on an engine, what takes so long."""
    terminal = screen(is_terminal=True)
    with terminal.progress:
        terminal.progress.begin(terminal.exits, HERE)
        said = terminal.file.getvalue()
        assert "this machine  exits of flat on digits, preparing the model" in said
        terminal.progress.end(terminal.exits)
        terminal.finish(terminal.exits, 2)
        terminal.progress.begin(terminal.exits, HERE)
        since = terminal.file.getvalue()[len(said) :]
        assert "this machine  exits of flat on digits, 1,000/1,000 images" in since
    last = terminal.file.getvalue().splitlines()[-1].rpartition("\x1b[2K")[2]
    assert last.startswith("1/2 cells, 1,000/2,000 images"), "what ran is not left behind"


def test_a_terminal_is_drawn_ten_times_a_second_at_most(screen: Callable[..., Screen]) -> None:
    """After some tasks in a row; drawing takes longer than a short task's share of the driver."""
    terminal = screen(is_terminal=True)
    drawn: list[float] = []
    with terminal.progress:
        refresh = terminal.progress._live.refresh

        def noted() -> None:
            drawn.append(terminal.now_s)
            refresh()

        terminal.progress._live.refresh = noted
        for _ in range(1000):
            terminal.now_s += 0.01
            terminal.progress.begin(terminal.exits, HERE)
    assert 149 <= len(drawn) <= 152


def test_the_view_fits_the_terminal(screen: Callable[..., Screen]) -> None:
    """Of many devices as many lines as have room, and how many are left; a note stays above."""
    terminal = screen(is_terminal=True)
    with terminal.progress:
        for number in range(40):
            terminal.progress.begin(
                replace(terminal.exits, round=number), Slot(f"board-{number:02}", "cuda")
            )
        terminal.progress.note("node board-03 is slow")
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.file.getvalue())
        view = shown.rpartition("node board-03 is slow")[2].splitlines()
    assert view[1].endswith(" 0/2 cells, 0/2,000 images")
    assert view[2].startswith("board-00/cuda  exits of flat on digits, ")
    assert view[-1].strip() == "and 20 more"
    assert len(view) - 1 == 22, "of a terminal of 25 rows"
    assert max(map(len, view)) <= 80


def test_a_pipe_is_not_told_what_runs_now(screen: Callable[..., Screen]) -> None:
    """It would be a line per task."""
    pipe = screen()
    with pipe.progress:
        said = pipe.file.getvalue()
        pipe.progress.begin(pipe.exits, HERE)
        assert pipe.file.getvalue() == said


def test_failures_and_notes_are_said_at_once(screen: Callable[..., Screen]) -> None:
    """With the last line of what went wrong."""
    pipe = screen()
    with pipe.progress:
        pipe.finish(pipe.exits, 1, error="Traceback\nValueError: broken")
        pipe.finish(pipe.first, 1, error="NodeDiedError", is_lost=True)
        for task in (pipe.first, pipe.exits):
            pipe.finish(task, 1, note="odd", undecoded=("a.png not decoded: broken",))
    text = pipe.file.getvalue()
    assert "exits of flat on digits failed: ValueError: broken" in text
    assert "latency of flat on digits was lost: NodeDiedError" in text
    assert text.count("latency of flat on digits: odd\n") == text.count(": odd") == 1
    assert "a.png" not in text, "the ladder names it"
    assert text.count(" images not decoded\n") == 2


def test_the_varying_axes_name_a_cell(plan_of: Callable[[str], Plan]) -> None:
    """Of several engines it is said which one is skipped."""
    screen = Screen(plan_of(f"{GRID}runtimes: [torch, onnx]\n"), is_terminal=False)
    with screen.progress:
        screen.finish(replace(screen.exits, runtime="onnx"), 1, skipped="no such package")
    assert (
        f"{screen.exits.kind} of flat on digits (onnx) is skipped: no such"
        in screen.file.getvalue()
    )


def test_a_long_message_is_not_broken_inside_a_name(screen: Callable[..., Screen]) -> None:
    """A path can be searched for, and copied."""
    pipe, path = screen(), f"/folder/{'a' * 90}.png"
    with pipe.progress:
        pipe.finish(pipe.first, 1, error=f"ValueError: {path} is broken")
    assert f"\n  {path}\n  is broken\n" in pipe.file.getvalue()


def test_durations() -> None:
    """Each can be read in one way: `0:02 min` was taken for minutes, and 60574:11 h for nothing."""
    assert format_duration(0) == "0 s"
    assert format_duration(2.4) == "2 s"
    assert format_duration(59.6) == "1:00 min"
    assert format_duration(61.4) == "1:01 min"
    assert format_duration(60_574 * 3600) == "2,523.9 days"
    assert format_duration(3600 * 26 + 62) == "26:01:02 h"


def test_what_starts_anew_is_counted_again(screen: Callable[..., Screen]) -> None:
    """A cell that was done is not, until all of it is done once more."""
    pipe = screen()
    with pipe.progress:
        for task in (pipe.exits, pipe.first, pipe.second):
            pipe.finish(task, 1)
        assert pipe.progress.line().startswith("2/2 cells, 2,000/2,000 images")
        pipe.progress.restart([pipe.first, pipe.second])
        assert pipe.progress.line().startswith("1/2 cells, 2,000/3,000 images")
        pipe.finish(pipe.first, 1)
        assert pipe.progress.line().startswith("1/2 cells, 2,500/3,000 images")
        pipe.finish(pipe.second, 1)
        assert pipe.progress.line().startswith("2/2 cells, 3,000/3,000 images")
