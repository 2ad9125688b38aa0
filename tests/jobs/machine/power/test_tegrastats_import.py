"""A log of tegrastats into a run: power into its windows, temperature and clocks into rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import storage
from jobs.cli import main
from jobs.common.errors import BadInputError, UsageError
from jobs.machine.power.meter_import import import_log
from jobs.machine.power.tegrastats_times import LogTimes

START = datetime(2026, 11, 25, 8)  # noqa: DTZ001 (naive UTC)
WINDOWS = (("idle_before", 0, 5), ("active", 6, 16), ("idle_after", 17, 22))
UTC = LogTimes.parse(zone="UTC")
DATED = LogTimes()
ROUND_S = 60
NODE = storage.NodeRow(
    "r",
    "nano",
    "jetson-orin-nano",
    accelerator="Orin",
    power_source="meter",
    note="power: from a meter; not readable here: clock (no devfreq of the GPU)",
)


def second(number: float) -> datetime:
    """A moment of the run."""
    return START + timedelta(seconds=number)


def commit(store: storage.RunStore, round_: int, **state: Any) -> None:
    """One timed task of 20 images, with the marks of its windows."""
    base, key = round_ * ROUND_S, {"run_id": "r", "cell_id": "c", "round": round_}
    marks = [(phase, base + end) for phase, *ends in WINDOWS for end in ends]
    tables = {
        "records": {"image_id": list(range(20)), "forward_ms": 2.0, "elapsed_ms": 3.0},
        "rounds": {"started_at": second(base + 5.5), "ended_at": second(base + 16.5), **state},
        "power": {
            "phase": [phase for phase, _ in marks],
            "sampled_at": [second(moment) for _, moment in marks],
            "rail": "total",
            "shard": 0,
        },
    }
    made = {
        name: storage.build_table(name, key | {"node": "nano"} | columns)
        for name, columns in tables.items()
    }
    assert store.commit(storage.CommitEntry("c", round_, 0, node="nano", rows=20), made)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run of two rounds on a board that read none of its state but one temperature."""
    cell = storage.CellRow(
        "r",
        "c",
        kind="latency",
        model="m",
        dataset="digits",
        dataset_sha256="d",
        device="jetson-orin-nano",
        node="nano",
        runtime="torch",
        precision="float32",
        batch_size=1,
        images=20,
        rounds=2,
        status="done",
        is_valid=True,
    )
    made = tmp_path / "results"
    run = storage.RunRow("r", status="done", submitted_at=START)
    with storage.RunStore.create(made, run, [cell], {}) as store:
        store.save_nodes([NODE])
        commit(store, 0)
        commit(store, 1, temperature_c=44.0)
    return made


def line(moment: float, stamp: str, *, idle_mw: int = 4500, active_mw: int = 9000) -> str:
    """A line of tegrastats: hotter and faster while the run is at work."""
    within = moment % ROUND_S
    is_active = 5.5 <= within < 16.8
    power_mw = active_mw if is_active else idle_mw
    gpu_c, mhz = (51.5, 1020) if is_active else (40.0, 306)
    return (
        f"{stamp} RAM 2467/7471MB (lfb 2x4MB) CPU [2%@729,1%@1729,off] EMC_FREQ 0%@2133"
        f" GR3D_FREQ 12%@[{mhz}] cpu@47.5C gpu@{gpu_c}C tj@52C VDD_IN {power_mw}mW/4000mW"
        f" VDD_SOC 1400mW/1400mW"
    ).strip()


def log_of(path: Path, stamp: str = "iso", *, late_s: float = 0.0, **watts: int) -> Path:
    """A log of ten lines a second that covers both rounds."""

    def lines() -> Iterator[str]:
        for tenth in range(-20, 10 * (ROUND_S + 30)):
            moment = tenth / 10 + 0.05
            at = second(moment + late_s)
            form = {"iso": f"{at.isoformat(timespec='milliseconds')}Z", "none": ""}
            yield line(moment, form.get(stamp, f"{at:%m-%d-%Y %H:%M:%S}"), **watts)

    path.write_text("\n".join(lines()) + "\n")
    return path


def rows_of(root: Path, sql: str) -> list[dict[str, Any]]:
    """Ask."""
    rows: list[dict[str, Any]] = storage.query(root, sql).to_pylist()
    return rows


STATE = "select clock_mhz, temperature_c, cpu_clock_mhz, emc_clock_mhz, trip_c from rounds"


@pytest.mark.parametrize(
    ("stamp", "times"),
    [
        ("iso", DATED),
        ("local", UTC),
        ("none", LogTimes.parse(start="2026-11-25T07:59:58.050Z", interval_ms=100)),
    ],
)
def test_a_log_gives_power_and_state(
    root: Path, tmp_path: Path, stamp: str, times: LogTimes
) -> None:
    """In each form of its times: 9 W against 4.5 W for 2 ms; what a round has itself stays."""
    log = log_of(tmp_path / "board.log", stamp)
    imported = import_log(root, "r", log, board_times=times)
    assert (imported.tasks, imported.too_few, imported.no_rise, imported.rounds) == (2, 0, 0, 2)
    (row,) = rows_of(root, "from ladder")
    assert (row["power_w"], row["idle_w"]) == (pytest.approx(9), pytest.approx(4.5))
    assert row["energy_mj"] == pytest.approx(9)
    assert row["energy_source"] == "energy: tegrastats: VDD_IN of board.log"
    rails = rows_of(root, "select rail, count(*) n from power where power_mw > 0 group by rail")
    assert {rail["rail"]: rail["n"] for rail in rails} == dict.fromkeys(
        ("VDD_IN", "VDD_SOC", "total"), imported.samples
    )
    assert [tuple(row.values()) for row in rows_of(root, f"{STATE} order by round")] == [
        (1020, 51.5, 1229, 2133, None),
        (1020, 44.0, 1229, 2133, None),
    ]
    clocks = "clock_mhz, cpu_clock_mhz, emc_clock_mhz"
    given = rows_of(root, "select from_log from rounds order by round")
    assert [row["from_log"] for row in given] == [f"{clocks}, temperature_c", clocks]
    before = rows_of(root, "from power order by all")
    again = import_log(root, "r", log, board_times=times)
    assert (again.had_power, again.samples, again.rounds) == (2, 0, 0)
    assert rows_of(root, "from power order by all") == before


def test_a_processors_rounds_get_its_own_figures(root: Path, tmp_path: Path) -> None:
    """The same board where its GPU was not in use."""
    with storage.RunStore.open(root, "r") as store:
        store.save_nodes([replace(NODE, accelerator=None)])
    import_log(root, "r", log_of(tmp_path / "board.log"), board_times=DATED)
    assert [tuple(row.values()) for row in rows_of(root, f"{STATE} order by round")] == [
        (1229, 47.5, 1229, 2133, None),
        (1229, 44.0, 1229, 2133, None),
    ]


def test_a_wrong_log_is_replaced_whole(root: Path, tmp_path: Path) -> None:
    """Rails, clocks and the name of the source; not what the board read itself."""
    wrong = log_of(tmp_path / "wrong.log", late_s=3, active_mw=7000)
    right = log_of(tmp_path / "right.log")
    right.write_text(right.read_text().replace("EMC_FREQ 0%@2133", "EMC_FREQ 0%"))
    import_log(root, "r", wrong, board_times=DATED)
    assert rows_of(root, f"{STATE} order by round")[0]["clock_mhz"] < 1000
    done = CliRunner().invoke(
        main,
        [
            *("power", "import", str(right), "--run", "r", "--results", str(root)),
            *("--format", "tegrastats", "--replace"),
        ],
    )
    assert done.exit_code == 0, done.output
    assert "readings imported into 2 timed tasks\n" in done.output
    assert "clock_mhz, cpu_clock_mhz, temperature_c filled in for 2 timed rounds" in (
        " ".join(done.output.split())
    )
    (row,) = rows_of(root, "from ladder")
    assert row["power_w"] == pytest.approx(9)
    assert row["energy_source"] == "energy: tegrastats: VDD_IN of right.log"
    assert {row["power_mw"] for row in rows_of(root, "from power where rail = 'VDD_IN'")} == {
        4500,
        9000,
    }
    assert [tuple(row.values()) for row in rows_of(root, f"{STATE} order by round")] == [
        (1020, 51.5, 1229, None, None),
        (1020, 44.0, 1229, None, None),
    ]
    assert len(rows_of(root, "from rounds")) == 2


def test_power_that_a_node_measured_stays(root: Path, tmp_path: Path) -> None:
    """The log gives what it alone has; a meter's log beside one of tegrastats is refused."""
    with storage.RunStore.open(root, "r") as store:
        store.save_nodes([replace(NODE, power_source="ina3221: VDD_IN")])
    log = log_of(tmp_path / "board.log")
    imported = import_log(root, "r", log, board_times=DATED)
    assert (imported.samples, imported.rounds) == (0, 2)
    assert "node nano measured its power itself (ina3221: VDD_IN): its power stays" in (
        imported.describe()
    )
    assert rows_of(root, "select power_mw from power where power_mw is not null") == []
    again = import_log(root, "r", log, board_times=DATED)
    assert (again.rounds, again.complete) == (0, 2)
    assert "2 timed rounds had all that this log could give them" in again.describe()
    (node,) = rows_of(root, "from nodes")
    assert node["power_source"] == "ina3221: VDD_IN"
    late = log_of(tmp_path / "late.log", late_s=3600)
    with pytest.raises(UsageError, match=r"its nearest line is .* too late: check the clocks"):
        import_log(root, "r", late, board_times=DATED)
    with storage.RunStore.open(root, "r") as store:
        store.save_nodes([replace(NODE, power_source="meter: shelf.csv")])
    with pytest.raises(UsageError, match=r"another source \(meter: shelf.csv\).*--replace drops"):
        import_log(root, "r", log, board_times=DATED)


def test_what_a_log_gave_is_not_said_to_be_missing(root: Path, tmp_path: Path) -> None:
    """The node could not read it, the rounds have it: the note says both, and --replace follows."""
    said = "not readable here: clock, temperature (no thermal zone)"
    with storage.RunStore.open(root, "r") as store:
        store.save_nodes([replace(NODE, power_source="ina3221: VDD_IN", note=said)])
        store.merge()
    ask = "select note from ladder"
    assert said in rows_of(root, ask)[0]["note"]
    log = log_of(tmp_path / "board.log")
    import_log(root, "r", log, board_times=DATED)
    given = "clock_mhz, cpu_clock_mhz, emc_clock_mhz, temperature_c"
    (row,) = rows_of(root, ask)
    assert f"; a log gave its rounds {given}; " in row["note"]
    assert "; not readable on the node itself: clock, temperature (no thermal zone)" in row["note"]
    assert "not readable here" not in row["note"]
    log.write_text(log.read_text().replace("EMC_FREQ 0%@2133", "EMC_FREQ 0%"))
    import_log(root, "r", log, board_times=DATED, is_replacing=True)
    (row,) = rows_of(root, ask)
    assert "a log gave its rounds clock_mhz, cpu_clock_mhz, temperature_c; not" in row["note"]


def unchanged(root: Path, ask: Callable[[], object]) -> str:
    """What an import says that is refused; the run is as it was."""
    before = [rows_of(root, f"from {name} order by all") for name in ("power", "rounds", "nodes")]
    with pytest.raises((UsageError, BadInputError)) as caught:
        ask()
    assert before == [
        rows_of(root, f"from {name} order by all") for name in ("power", "rounds", "nodes")
    ]
    return str(caught.value)


def test_what_does_not_fit_writes_nothing(root: Path, tmp_path: Path) -> None:
    """Another hour, as by a wrong zone; no zone; damage at the end; nobody's total."""
    log = log_of(tmp_path / "board.log", "local")
    other = LogTimes.parse(zone="+01:00")
    said = unchanged(root, lambda: import_log(root, "r", log, board_times=other))
    assert "check the clocks and the time zone of the log. Nothing was written" in said
    assert "--zone" in unchanged(root, lambda: import_log(root, "r", log, board_times=DATED))
    text = log.read_text()
    log.write_text(text.replace("VDD_IN 9000mW", "VDD_IN 0mW"))
    said = unchanged(root, lambda: import_log(root, "r", log, board_times=UTC))
    assert "0, while the node was at work" in said
    log.write_text(f"{text}11-25-2026 08:09:00 Segmentation fault\n")
    said = unchanged(root, lambda: import_log(root, "r", log, board_times=UTC))
    assert "board.log:921: no line of tegrastats" in said


def test_rails_of_no_known_total_give_their_state_alone(root: Path, tmp_path: Path) -> None:
    """It is said which totals are known."""
    log = log_of(tmp_path / "board.log")
    log.write_text(log.read_text().replace("VDD_IN", "GPU"))
    imported = import_log(root, "r", log, board_times=DATED)
    assert (imported.samples, imported.rounds) == (0, 2)
    assert "no power imported: the rails GPU, VDD_SOC sum to no known total (known: VIN; " in (
        imported.describe()
    )


def test_lines_that_may_lie_outside_a_window_do_not_count(root: Path, tmp_path: Path) -> None:
    """One line a second, of whole seconds: none is of a second that a window cuts."""
    lines = [line(moment, f"{second(moment):%m-%d-%Y %H:%M:%S}") for moment in range(ROUND_S + 30)]
    log = tmp_path / "board.log"
    log.write_text("\n".join(lines) + "\n")
    imported = import_log(root, "r", log, board_times=UTC)
    assert (imported.tasks, imported.samples) == (2, 2 * (5 + 10 + 5))
    (row,) = rows_of(root, "from ladder")
    assert (row["power_w"], row["idle_w"]) == (pytest.approx(9), pytest.approx(4.5))


def test_options_of_one_format_are_refused_with_the_other(root: Path, tmp_path: Path) -> None:
    """Before the log is read."""
    command = ["power", "import", str(tmp_path / "x"), "--run", "r", "--results", str(root)]
    for options, why in (
        (("--zone", "UTC"), "--zone, --start and --interval-ms are for --format tegrastats"),
        (("--format", "tegrastats", "--decimal", "comma"), "--decimal is for a meter's log"),
        (("--format", "tegrastats", "--zone", "Mars"), "no such zone here"),
    ):
        said = CliRunner().invoke(main, [*command, *options])
        assert said.exit_code == 2
        assert why in " ".join(said.output.split())
