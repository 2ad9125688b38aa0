"""How long a worker takes to start, by a clock that ticks when it is told to."""

from __future__ import annotations

from jobs.worker.startup import Startup


class Clock:
    """Seconds that pass when a test says so."""

    now_s = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def test_first_answer_includes_loading_and_building() -> None:
    """But not what lies between them, such as an idle window; later batches do not count."""
    clock = Clock()
    startup = Startup(clock)
    with startup.loading():
        clock.now_s += 2
    with startup.building():
        clock.now_s += 3
    clock.now_s += 50
    for took_s in (0.5, 7):
        with startup.answering():
            clock.now_s += took_s
    assert (startup.load_s, startup.build_s, startup.first_answer_s) == (2, 3, 5.5)


def test_a_kept_engine_has_no_first_answer() -> None:
    """What did not have to start has no figure, rather than 0."""
    clock = Clock()
    startup = Startup(clock)
    with startup.answering():
        clock.now_s += 1
    assert (startup.load_s, startup.build_s, startup.first_answer_s) == (None, None, None)


def test_an_engine_may_be_built_for_a_kept_model() -> None:
    """The first answer then starts with the engine."""
    clock = Clock()
    startup = Startup(clock)
    with startup.building():
        clock.now_s += 3
    with startup.answering():
        clock.now_s += 1
    assert (startup.load_s, startup.build_s, startup.first_answer_s) == (None, 3, 4)
