"""Energy end to end: replayed power into the ladder, bad sensors, and a meter's log afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import storage
from jobs.analysis.thresholds.choose import Limits, read_pass
from jobs.cli import main
from jobs.common.errors import BadInputError, UsageError
from jobs.machine.power.discovery import PowerChoice, check_setting
from jobs.machine.power.meter_import import _by_node, import_log
from jobs.machine.power.meter_log import LogLine
from jobs.machine.power.source import PowerError, PowerReading, PowerSource
from jobs.plan.estimate import estimate
from jobs.plan.plan import Plan
from jobs.runs.submit import resume, submit
from jobs.runs.target import Target
from jobs.worker import kinds

LADDER = """\
models: [digits-gfnet, digits-dynn]
datasets: [{name: digits, limit: 40}]
thresholds: [0.5]
threads: [1]
measure: [accuracy, energy, exit_costs]
energy: {idle_s: 0.06, active_s: 0.08, settle_s: 0.0}
latency: {rounds: 2, warmup_images: 4, images: 12}
"""
WATTS = {"digits-gfnet": 13.2, "digits-dynn": 11.0}
SMALL = """\
models: [flat.safetensors]
datasets: [{name: digits, limit: 8}]
threads: [1]
measure: [latency, energy]
energy: {idle_s: 0.05, active_s: 0.05, settle_s: 0.0}
latency: {rounds: 2, warmup_images: 2}
"""


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Leave torch's threads as they were."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(grid: Path, root: Path, run_id: str = "r") -> None:
    """Run a grid here."""
    assert submit(grid, root, Target(is_inline=True), lambda _: None, run_id).is_done


def rows_of(root: Path, question: str) -> list[dict[str, Any]]:
    """Ask."""
    rows: list[dict[str, Any]] = storage.query(root, question).to_pylist()
    return rows


def test_the_ladder_has_energy_and_savings_of_replayed_power(
    write_grid: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(power - idle) x its own latency, to 1 %; by exit too; the node says that it is a replay."""
    replay = tmp_path / "power.csv"
    lines = [f"active,{model},{watts}" for model, watts in WATTS.items()]
    replay.write_text("\n".join(["phase,model,watts", "idle,,8.0", *lines, ""]))
    monkeypatch.setenv("GFJOBS_POWER", f"replay:{replay}")
    root = tmp_path / "results"
    run(write_grid(LADDER), root)
    ladder = {row["model"]: row for row in rows_of(root, "from ladder")}
    assert set(ladder) == set(WATTS)
    means = {
        mean["model"]: mean["ms"]
        for mean in rows_of(root, "select model, avg(forward_ms) ms from records group by model")
    }
    base_mj = (13.2 - 8) * ladder["digits-gfnet"]["forward_ms"]
    for model, watts in WATTS.items():
        row = ladder[model]
        energy_mj = (watts - 8) * means[model]
        assert row["energy_mj"] == pytest.approx(energy_mj, rel=0.01)
        assert row["energy_gross_mj"] == pytest.approx(watts * means[model], rel=0.01)
        assert row["energy_saving_pct"] == pytest.approx(100 * (1 - energy_mj / base_mj), abs=0.5)
    assert ladder["digits-gfnet"]["energy_saving_pct"] == pytest.approx(0)
    (node,) = rows_of(root, "from nodes")
    assert node["power_source"] == f"replay: {replay}"
    assert "power" not in (node["note"] or "").replace("power mode", "")
    for exit_ in rows_of(root, "from exit_energies"):
        assert exit_["windows"] == 2
        assert exit_["energy_mj"] == pytest.approx(3.0 * exit_["forward_ms"], rel=0.01)
    windows = rows_of(
        root,
        "select kind, phase, exit_block, count(*) n from power_windows join"
        " cells using (run_id, cell_id) group by all",
    )
    counts = {(w["kind"], w["phase"], w["exit_block"]): w["n"] for w in windows}
    assert counts == {
        **{("latency", phase, None): 4 for phase in ("idle_before", "active", "idle_after")},
        **{("exit_costs", phase, None): 2 for phase in ("idle_before", "idle_after")},
        **{("exit_costs", "active", block): 2 for block in (1, 3, 5, 7)},
    }
    assert len(rows_of(root, "from records")) == 2 * 2 * 12, "lengthened passes leave no rows"
    (trusted,) = rows_of(
        root,
        "from trusted_exit_energies('r') join cells using (run_id, cell_id)"
        " where model = 'digits-dynn'",
    )
    if trusted["exit_mj"] is None:  # a busy machine: what was routed and forced differ in time
        with pytest.raises(UsageError, match="a routed mean energy is missed by"):
            read_pass(root, "r", Limits(max_energy_mj=1e9), {})
    else:
        (limit,) = read_pass(root, "r", Limits(max_energy_mj=1e9), {}).constraints.cost_limits
        assert limit.costs == pytest.approx(trusted["exit_mj"])


class Dying(PowerSource):
    """A sensor that is there at first, and gone after some readings."""

    name, period_ms, summed = "made: VDD_IN", 2.0, ("VDD_IN",)

    def __init__(self, answers: int) -> None:
        self.answers = answers

    def read(self) -> PowerReading:
        """Answer so often."""
        import time

        now_ns = time.monotonic_ns()
        self.answers -= 1
        if self.answers < 0:
            raise PowerError("/sys/class/hwmon/hwmon1/in1_input: No such file or directory")
        return PowerReading(now_ns, now_ns, {"VDD_IN": 5000.0, "total": 5000.0})


def test_a_sensor_that_vanishes_costs_energy_and_not_the_run(
    write_grid: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its figures are NULL, and the cell says why; latency is as ever."""
    source = Dying(4)
    monkeypatch.setattr(kinds, "describe_power", lambda _device: PowerChoice(source, source.name))
    root = tmp_path / "results"
    run(write_grid(SMALL), root)
    (row,) = rows_of(root, "from ladder")
    assert (row["energy_mj"], row["power_w"], row["idle_w"]) == (None, None, None)
    assert row["forward_ms"] > 0
    assert row["is_valid"]
    assert "energy: made: VDD_IN gave fewer than 3 good samples in window" in row["note"]
    assert "in1_input: No such file or directory" in row["note"]
    assert 0 < len(rows_of(root, "from power")) <= 4, "what it did say is kept, on its own rail"


def test_without_a_source_energy_is_null_with_all_reasons(
    write_grid: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody waits for windows."""
    monkeypatch.setenv("GFJOBS_POWER", "ina3221")
    monkeypatch.setattr("jobs.machine.power.discovery.ROOT", tmp_path)
    monkeypatch.setattr("jobs.machine.power.recorder.time.sleep", lambda _: pytest.fail("waited"))
    root = tmp_path / "results"
    run(write_grid(SMALL), root)
    (row,) = rows_of(root, "from ladder")
    assert row["energy_mj"] is None
    assert "power: no source: ina3221 (no hwmon device of that name)" in row["note"]
    assert rows_of(root, "from power") == []


def test_settings_are_refused_before_anything_runs(
    write_grid: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where energy is asked for."""
    monkeypatch.setenv("GFJOBS_POWER", "replay:none.csv")
    grid = write_grid(SMALL)
    with pytest.raises(BadInputError, match=r"none\.csv: No such file"):
        run(grid, tmp_path / "results")
    assert not (tmp_path / "results" / "runs").exists()
    with pytest.raises(UsageError):
        check_setting("sensor")
    run(write_grid(SMALL.replace(", energy]", "]")), tmp_path / "results")


def test_cells_with_energy_are_others_and_take_longer(
    plan_of: Callable[[str], Plan], write_grid: Callable[[str], Path], tmp_path: Path
) -> None:
    """Another digest; and the windows are in the estimate of a run that was timed without them."""
    root = tmp_path / "results"
    text = SMALL.replace("[latency, energy]", "[latency]")
    run(write_grid(text), root)
    plain, wanting = plan_of(text), plan_of(SMALL.replace("idle_s: 0.05", "idle_s: 5"))
    assert {cell.cell_id for cell in plain.cells}.isdisjoint(cell.cell_id for cell in wanting.cells)
    longer = estimate(wanting, root).seconds - estimate(plain, root).seconds
    assert 2 * 2 * 5 <= longer <= 2 * (2 * 5 + 0.05)


def log_of(windows: list[dict[str, Any]], every_s: float = 0.004, late_s: float = 0.0) -> str:
    """What a meter would have written: 8 W, and 11.5 W in active windows."""
    first = min(window["begins_at"] for window in windows)
    last = max(window["ends_at"] for window in windows)
    lines, moment = ["time;watts"], first - timedelta(seconds=0.1)
    while moment < last + timedelta(seconds=0.1):
        is_active = any(
            w["begins_at"] <= moment <= w["ends_at"] for w in windows if w["phase"] == "active"
        )
        shown = (moment + timedelta(seconds=late_s)).isoformat()
        lines.append(f"{shown}Z;{'11,5' if is_active else '8'}")
        moment += timedelta(seconds=every_s)
    return "\n".join(lines)


@pytest.fixture(scope="module")
def waiting(ran: Callable[[str], Path]) -> Path:
    """A root with a run whose windows wait for a meter's log."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GFJOBS_POWER", "meter")
        return ran(SMALL)


@pytest.fixture
def metered(waiting: Path, tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """A copy of it, and its windows."""
    root = Path(shutil.copytree(waiting, tmp_path / "results"))
    windows = storage.named_query(root, "power_marks", run_id="r").to_pylist()
    assert [w["phase"] for w in windows] == 2 * ["idle_before", "active", "idle_after"]
    return root, windows


def test_a_meters_log_is_imported_once(
    metered: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """Its energy is in the ladder; a second time nothing changes; a resume has nothing to do."""
    root, windows = metered
    (row,) = rows_of(root, "from ladder")
    assert row["energy_mj"] is None
    assert "power: from a meter; import its log with gfjobs power import" in row["note"]
    log = tmp_path / "meter.csv"
    log.write_text(log_of(windows))
    imported = import_log(root, "r", log)
    assert (imported.tasks, imported.had_power, imported.too_few, imported.no_rise) == (2, 0, 0, 0)
    (row,) = rows_of(root, "from ladder")
    assert (row["power_w"], row["idle_w"]) == (pytest.approx(11.5), pytest.approx(8.0))
    assert row["energy_mj"] == pytest.approx(3.5 * row["forward_ms"])
    (node,) = rows_of(root, "from nodes")
    assert node["power_source"] == "meter: meter.csv"
    count = len(rows_of(root, "from power"))
    again = CliRunner().invoke(
        main, ["power", "import", str(log), "--run", "latest", "--results", str(root)]
    )
    assert again.exit_code == 0
    assert "2 timed tasks already had power: left unchanged" in again.output
    assert len(rows_of(root, "from power")) == count
    assert resume(root, "r", Target(is_inline=True), lambda _: None).is_done


def test_a_log_of_another_time_is_refused(
    metered: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """It says how far away the nearest line is; nothing is written. So is one too coarse."""
    root, windows = metered
    log = tmp_path / "meter.csv"
    log.write_text(log_of(windows, every_s=0.05, late_s=-300))
    with pytest.raises(UsageError, match=r"nearest line is (4:5\d|5:0\d) min too early: check the"):
        import_log(root, "r", log)
    log.write_text(log_of(windows, every_s=0.03))
    with pytest.raises(UsageError, match=r"a line every 0\.03 s.*energy: \{idle_s: 10"):
        import_log(root, "r", log)
    bad = CliRunner().invoke(
        main, ["power", "import", str(log), "--run", "r", "--results", str(root)]
    )
    assert bad.exit_code == 2
    log.write_text(log_of(windows).replace("11,5", "0"))
    with pytest.raises(BadInputError, match="watts: 0, while the node was at work"):
        import_log(root, "r", log)
    assert {row["power_mw"] for row in rows_of(root, "from power")} == {None}
    log.write_text(log_of(windows).replace("11,5", "7,5"))
    assert import_log(root, "r", log).no_rise == 2


def test_a_log_that_ends_in_mid_task_is_said_to(
    metered: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """Not that it is too coarse; and a gap of less than a minute is not "0 s"."""
    root, windows = metered
    log = tmp_path / "meter.csv"
    head, *lines = log_of(windows).splitlines()
    active = next(number for number, line in enumerate(lines) if "11,5" in line)
    log.write_text("\n".join([head, *lines[: active + 5]]))
    with pytest.raises(UsageError, match="covers no task completely: it goes from"):
        import_log(root, "r", log)
    log.write_text("\n".join([head, *lines[:5]]))
    with pytest.raises(UsageError, match=r"nearest line is 0\.\d s too early"):
        import_log(root, "r", log)


def test_a_wrong_log_is_replaced(
    metered: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """By the right one, whole; by an unfit one not at all; the node names what counts now."""
    root, windows = metered
    wrong, right, late = (tmp_path / f"{name}.csv" for name in ("wrong", "right", "late"))
    late.write_text(log_of(windows, late_s=300))
    wrong.write_text(log_of(windows).replace("11,5", "20"))
    right.write_text(log_of(windows, every_s=0.003))
    import_log(root, "r", wrong)
    before = rows_of(root, "from power order by all")
    with pytest.raises(UsageError, match="Nothing was written"):
        import_log(root, "r", late, is_replacing=True)
    assert rows_of(root, "from power order by all") == before
    command = ["power", "import", str(right), "--run", "r", "--results", str(root)]
    assert "--replace replaces earlier" in CliRunner().invoke(main, command).output
    done = CliRunner().invoke(main, [*command, "--replace"])
    assert done.exit_code == 0, done.output
    assert "readings imported into 2 timed tasks" in done.output
    (row,) = rows_of(root, "from ladder")
    assert (row["power_w"], row["idle_w"]) == (pytest.approx(11.5), pytest.approx(8.0))
    power = rows_of(root, "from power")
    assert {row["power_mw"] for row in power} == {None, 8000.0, 11_500.0}
    marks = [row for row in power if row["power_mw"] is None]
    assert len(marks) == 2 * len(windows), "the windows stay for another log"
    (node,) = rows_of(root, "from nodes")
    assert node["power_source"] == "meter: right.csv"


def test_whose_power_it_is_must_be_clear(
    metered: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """Names of the log against those of the run; a node with a sensor of its own is refused."""
    root, windows = metered
    name = windows[0]["node"]
    log = tmp_path / "meter.csv"
    head, *lines = log_of(windows).splitlines()
    log.write_text("\n".join([f"{head};node", *(f"{line};shelf" for line in lines)]))
    with pytest.raises(UsageError, match=f"the log names shelf, but run r was timed on {name}"):
        import_log(root, "r", log)
    log.write_text("\n".join([head, *lines]))
    with pytest.raises(UsageError, match=f"--node shelf: run r was timed on {name}"):
        import_log(root, "r", log, "shelf")
    with storage.RunStore.open(root, "r") as store:
        with pytest.raises(storage.RunLockedError):
            import_log(root, "r", log)
        nodes = store.nodes
        store.save_nodes([replace(row, power_source="rapl: package-0") for row in nodes])
    with pytest.raises(UsageError, match=r"measured its power itself \(rapl: package-0\)"):
        import_log(root, "r", log)


def test_lines_go_to_the_nodes_that_they_name() -> None:
    """Lines that name none are of whichever node is asked for; of several somebody must say."""
    moment = datetime(2026, 11, 25)  # noqa: DTZ001 (naive UTC)
    named = [LogLine(n, moment, 1.0, node) for n, node in enumerate(("a", "b", "c"), start=2)]
    assert _by_node(named, {"a", "b", "d"}, "r", None) == {"a": named[:1], "b": named[1:2]}
    assert _by_node(named, {"a", "b"}, "r", "b") == {"b": named[1:2]}
    unnamed = [LogLine(2, moment, 1.0, None)]
    assert _by_node(unnamed, {"a"}, "r", None) == {"a": unnamed}
    assert _by_node(unnamed, {"a", "b"}, "r", "b") == {"b": unnamed}
    with pytest.raises(UsageError, match="run r was timed on a, b: choose one with --node"):
        _by_node(unnamed, {"a", "b"}, "r", None)
    with pytest.raises(UsageError, match="no timed rounds"):
        _by_node(unnamed, set(), "r", None)


def test_a_run_without_windows_has_gross_energy_alone(
    write_grid: Callable[[str], Path], tmp_path: Path
) -> None:
    """Its rounds say when it ran, and nothing when it idled."""
    root = tmp_path / "results"
    run(write_grid(SMALL.replace(", energy]", "]")), root)
    windows = storage.named_query(root, "power_marks", run_id="r").to_pylist()
    assert [w["phase"] for w in windows] == ["active", "active"]
    assert isinstance(windows[0]["begins_at"], datetime)
    log = tmp_path / "meter.csv"
    log.write_text(log_of(windows, every_s=0.0005))
    assert import_log(root, "r", log, windows[0]["node"]).tasks == 2
    (row,) = rows_of(root, "from ladder")
    assert row["energy_mj"] is None
    assert row["energy_gross_mj"] == pytest.approx(11.5 * row["forward_ms"])
    assert "energy: no idle power samples, only gross energy is known" in row["note"]
