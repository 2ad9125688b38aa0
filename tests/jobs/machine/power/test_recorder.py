"""The sampler and the windows, on sources that say what a test tells them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from jobs.common.clock import now
from jobs.machine.power import recorder as meter_module
from jobs.machine.power.discovery import PowerChoice
from jobs.machine.power.protocol import ACTIVE, IDLE_AFTER, IDLE_BEFORE, EnergyProtocol
from jobs.machine.power.recorder import Meter
from jobs.machine.power.sampler import Sampler
from jobs.machine.power.source import PowerError, PowerReading, PowerSource, Scene
from jobs.worker.cpu_pinning import pin_threads

HAS_AFFINITY = hasattr(os, "sched_getaffinity")
ALLOWED = frozenset(os.sched_getaffinity(0)) if HAS_AFFINITY else frozenset()
SHORT = EnergyProtocol(idle_s=0.02, active_s=0.0, settle_s=0.0)
Rails = Mapping[str, float]


class Source(PowerSource):
    """Says what a function says of the scene."""

    name = "made: A"
    summed: tuple[str, ...] = ("A",)

    def __init__(self, say: Callable[[Scene], Rails], period_ms: float = 2.0) -> None:
        self.say, self.period_ms = say, period_ms
        self.scene = Scene("", is_active=False)

    def attend(self, scene: Scene) -> None:
        """Be told."""
        self.scene = scene

    def read(self) -> PowerReading:
        """Say it."""
        begin_ns, scene = time.monotonic_ns(), self.scene
        return PowerReading(begin_ns, time.monotonic_ns(), self.say(scene))


def steady(scene: Scene) -> Rails:
    """5 W idle, 9 W while running, on one rail of two."""
    total_mw = 9000.0 if scene.is_active else 5000.0
    return {"A": total_mw, "B": 700.0, "total": total_mw}


def run(
    source: PowerSource, energy: EnergyProtocol = SHORT, pass_s: float = 0.0
) -> tuple[Meter, list[dict[str, Any]], int]:
    """One task whose timed part sleeps; gives the meter, its rows, and how many passes it took."""
    meter, passes = Meter("m", energy, PowerChoice(source, source.name)), 1
    with meter:
        meter.idle(IDLE_BEFORE)
        with meter.active() as window:
            time.sleep(pass_s)
            while window.is_short():
                passes += 1
                time.sleep(max(pass_s, 0.001))
        meter.idle(IDLE_AFTER)
    columns = meter.columns()
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    return meter, rows, passes


def test_every_rail_has_a_row_a_reading_in_its_window() -> None:
    """What is read between windows is of none; times lie in their window, in naive UTC."""
    before = now()
    meter, rows, _ = run(Source(steady), pass_s=0.03)
    after = now()
    assert meter.why_not() == ""
    assert {row["rail"] for row in rows} == {"A", "B", "total"}
    for rail in ("A", "B", "total"):
        for phase in (IDLE_BEFORE, ACTIVE, IDLE_AFTER):
            mine = [r for r in rows if (r["rail"], r["phase"]) == (rail, phase)]
            assert len(mine) >= 3
            expected = 700 if rail == "B" else 9000 if phase == ACTIVE else 5000
            assert {row["power_mw"] for row in mine} == {expected}
            slack = timedelta(milliseconds=50)  # the windows have a clock of their own
            assert all(before - slack <= row["sampled_at"] <= after + slack for row in mine)
    phases = [r["phase"] for r in sorted(rows, key=lambda row: row["sampled_at"])]
    assert phases == sorted(phases, key=[IDLE_BEFORE, ACTIVE, IDLE_AFTER].index)


def test_a_sensor_that_never_moves_is_stuck() -> None:
    """Idle and running alike, to the last digit; a replay may say so."""
    source = Source(lambda _: {"A": 8125.0, "B": 700.0, "total": 8125.0})
    meter, rows, _ = run(source)
    assert meter.why_not() == "energy: made: A always reads 8.125 W, idle and running: stuck"
    assert {row["rail"] for row in rows} == {"A", "B"}
    source.is_sensor = False
    assert run(source)[0].why_not() == ""


def test_a_step_of_the_wall_clock_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at once a task; an hour back in the middle moves no reading."""
    looks: list[None] = []

    def stepping() -> datetime:
        looks.append(None)
        return datetime(2026, 11, 25, 12) - timedelta(hours=len(looks))  # noqa: DTZ001 (naive UTC)

    monkeypatch.setattr(meter_module, "now", stepping)
    _, rows, _ = run(Source(steady))
    assert len(looks) == 1
    times = [row["sampled_at"] for row in rows if row["rail"] == "total"]
    assert times == sorted(times)
    assert times[0] >= datetime(2026, 11, 25, 11)  # noqa: DTZ001 (naive UTC)
    assert times[-1] < datetime(2026, 11, 25, 11, 10)  # noqa: DTZ001


def test_a_short_active_window_is_lengthened_by_more_passes() -> None:
    """Until the grid's length has passed, and until a slow sensor has said enough."""
    meter, _, passes = run(Source(steady), EnergyProtocol(0.0, 0.05, 0.0))
    assert passes > 1
    assert meter.why_not() == ""
    meter, rows, passes = run(Source(steady, period_ms=30.0))
    assert passes > 1
    assert meter.why_not() == ""
    assert len([r for r in rows if (r["rail"], r["phase"]) == ("total", ACTIVE)]) >= 3


def test_what_windows_add_is_counted_apart() -> None:
    """Settling, idling and lengthening; not the pass that is timed."""
    energy = EnergyProtocol(idle_s=0.05, active_s=0.1, settle_s=0.03)
    began_s = time.monotonic()
    meter, _, _ = run(Source(steady), energy, pass_s=0.04)
    passed_s = time.monotonic() - began_s
    assert 0.16 + 0.06 - 0.001 <= meter.added_s <= passed_s - 0.04
    assert energy.added_s(0, 0.04) == pytest.approx(0.22)
    assert energy.added_s(3, 0.04) == pytest.approx(0.16 + 0.3)


def test_a_sensor_too_slow_for_any_window_gives_no_total(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stated maximum ends the lengthening; the reason is said, other rails stay."""
    monkeypatch.setattr(meter_module, "MAX_WINDOW_S", 0.05)
    meter, rows, _ = run(Source(steady, period_ms=400.0))
    assert "total" not in {row["rail"] for row in rows}
    assert meter.why_not().startswith(
        "energy: made: A gave fewer than 3 good samples in window idle_before, active, idle_after"
    )


def vanishing() -> Callable[[Scene], Rails]:
    """Answers until the task runs."""

    def say(scene: Scene) -> Rails:
        if scene.is_active:
            raise PowerError("in1_input: No such device")
        return steady(scene)

    return say


def zero(_scene: Scene) -> Rails:
    """Say 0 on every rail."""
    return {"A": 0.0, "total": 0.0}


def negative(scene: Scene) -> Rails:
    """Say less than nothing while it runs."""
    return {"A": -5.0, "total": -5.0} if scene.is_active else steady(scene)


def nonsense(_scene: Scene) -> Rails:
    """Break in a way of its own."""
    raise ZeroDivisionError("division by zero")


def not_a_number(_scene: Scene) -> Rails:
    """Say NaN."""
    return {"A": float("nan"), "total": float("nan")}


def absurd(scene: Scene) -> Rails:
    """Say what a register of ones is as a number, while it runs."""
    return {"A": 5000.0, "total": 5000.0 * (2**32 - 1)} if scene.is_active else steady(scene)


@pytest.mark.parametrize(
    ("say", "why"),
    [
        (vanishing(), "in window active (in1_input: No such device)"),
        (zero, "energy: rail A of made: A always reads 0 W"),
        (negative, "in window active (power that is not above 0)"),
        (nonsense, "(ZeroDivisionError: division by zero)"),
        (not_a_number, "(power that is not above 0)"),
        (absurd, "in window active (power above 1,000,000 W)"),
    ],
    ids=["vanishes", "zero", "negative", "breaks", "nan", "absurd"],
)
def test_a_bad_sensor_costs_the_figure_and_not_the_run(
    say: Callable[[Scene], Rails], why: str
) -> None:
    """NULL with its reason, never 0: no row of the total is left to make a figure of."""
    meter, rows, _ = run(Source(say), pass_s=0.02)
    assert why in meter.why_not()
    assert "total" not in {row["rail"] for row in rows}


def test_a_few_bad_readings_are_left_out() -> None:
    """Where enough good ones remain the window is believed, without them."""
    count = iter(range(10**6))

    def say(scene: Scene) -> Rails:
        rails = dict(steady(scene))
        return rails if next(count) % 3 else rails | {"total": 0.0}

    meter, rows, _ = run(Source(say), EnergyProtocol(0.1, 0.1, 0.0))
    assert meter.why_not() == ""
    assert 0 not in {row["power_mw"] for row in rows if row["rail"] == "total"}


def test_a_source_without_a_total_leaves_its_rails() -> None:
    """And the reason why none of them is the machine."""
    source = Source(lambda _: {"B": 700.0})
    source.summed, source.name = (), "made: no total among B"
    meter, rows, _ = run(source)
    assert {row["rail"] for row in rows} == {"B"}
    assert meter.why_not() == "energy: made: no total among B that covers the whole machine"


def test_for_a_meter_windows_leave_their_ends() -> None:
    """Two rows without power each, where windows of exits say which."""
    meter = Meter("m", SHORT, PowerChoice(None, "meter", keeps_marks=True))
    with meter:
        meter.idle(IDLE_BEFORE)
        for block in (1, 3):
            with meter.active(block) as window:
                assert not window.is_short()
        meter.idle(IDLE_AFTER)
    columns = meter.columns()
    assert columns["phase"] == [
        phase for phase in (IDLE_BEFORE, ACTIVE, ACTIVE, IDLE_AFTER) for _ in range(2)
    ]
    assert columns["exit_block"] == [None, None, 1, 1, 3, 3, None, None]
    assert columns["power_mw"] == [None] * 8
    assert columns["sampled_at"] == sorted(columns["sampled_at"])
    assert meter.why_not() == ""


@pytest.mark.parametrize("energy", [None, SHORT])
def test_without_a_wish_or_a_source_nothing_is_waited_for(energy: EnergyProtocol | None) -> None:
    """No windows, no rows, no thread."""
    source = Source(steady)
    choice = (
        PowerChoice(source, source.name) if energy is None else PowerChoice(None, None, "none here")
    )
    before = set(threading.enumerate())
    meter = Meter("m", energy, choice)
    with meter:
        meter.idle(IDLE_BEFORE)
        with meter.active() as window:
            assert not window.is_short()
        assert set(threading.enumerate()) <= before  # an earlier test's may end meanwhile
    assert (meter.columns(), meter.why_not()) == ({}, "")
    assert meter.added_s == pytest.approx(0, abs=1e-3)


@pytest.fixture
def stopped() -> Iterator[list[Sampler]]:
    """Samplers that are stopped at the end, whatever a test finds."""
    started: list[Sampler] = []
    yield started
    for sampler in started:
        sampler.stop()


def test_the_sampler_reads_at_its_period_and_ends(stopped: list[Sampler]) -> None:
    """No more often than its period, at no processor time to speak of, and its thread is gone."""
    sampler = Sampler(Source(steady, period_ms=5.0))
    stopped.append(sampler)
    began_s = time.monotonic()
    sampler.start()
    while len(sampler.readings) < 5:
        time.sleep(0.001)
    sampler.stop()
    passed_s = time.monotonic() - began_s
    assert len(sampler.readings) <= passed_s / 0.005 + 1
    assert 0 < sampler.cpu_s < passed_s
    assert "gfjobs-power" not in {thread.name for thread in threading.enumerate()}


def test_a_sensor_that_hangs_does_not_hang_the_task(
    monkeypatch: pytest.MonkeyPatch, stopped: list[Sampler]
) -> None:
    """Its thread is left behind, and said so."""
    monkeypatch.setattr("jobs.machine.power.sampler._PATIENCE_S", 0.05)
    release = threading.Event()

    def hang(_scene: Scene) -> Rails:
        release.wait(10)
        return {"A": 1.0, "total": 1.0}

    sampler = Sampler(Source(hang))
    stopped.append(sampler)
    sampler.start()
    sampler.stop()
    assert sampler.errors == {"no answer within 0.05 s": 1}
    release.set()


@pytest.mark.skipif(len(ALLOWED) < 2, reason="one processor: nowhere to go")
def test_the_sampler_leaves_the_timed_processor(stopped: list[Sampler]) -> None:
    """A task that is pinned to one has it alone; afterwards nothing stays pinned."""
    sampler = Sampler(Source(steady), ALLOWED)
    stopped.append(sampler)
    with pin_threads(1):
        timed = frozenset(os.sched_getaffinity(0))
        sampler.start()
        while not sampler.readings:
            time.sleep(0.001)
        place = frozenset(os.sched_getaffinity(sampler._thread.native_id or 0))
        sampler.stop()
    assert place == ALLOWED - timed
    assert frozenset(os.sched_getaffinity(0)) == ALLOWED
