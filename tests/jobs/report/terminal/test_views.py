"""What plan, summary and status print, and that it fits 80 columns."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import storage
from jobs.common import formatting, tables
from jobs.common.errors import NEW_BUNDLE, UsageError
from jobs.plan.estimate import Estimate, estimate
from jobs.plan.plan import Plan
from jobs.plan.view import describe_plan
from jobs.report.terminal import agreement, profile, status, summary
from tests.jobs.conftest import SMALL_GRID


@pytest.fixture(scope="module")
def root(ran: Callable[[str], Path]) -> Path:
    """Results with the run `r` of the small grid."""
    return ran(SMALL_GRID)


def test_plan(plan_of: Callable[[str], Plan]) -> None:
    """Points, cells, how thresholds fold, tasks, and time."""
    plan = plan_of(
        "name: p\nmodels: [flat.safetensors, dynn.safetensors]\ndatasets: [digits]\n"
        "thresholds: [[0.25, 0.5], {start: 0, stop: 1, num: 9}]\n"
    )
    text = describe_plan(plan, Estimate(90, 3, 1))
    assert text.startswith("p: 20 points → 4 cells: 2 all-exit passes, 2 routed\n")
    assert "8 tasks of at most 1,000 images\n" in text
    assert "about 1:30 min of device time, by earlier runs, without 1 new cell\n" in text
    assert "[0.25, 0.5]" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_long_first_line_of_a_plan_is_wrapped(plan_of: Callable[[str], Plan]) -> None:
    """All kinds at once, in 80 columns."""
    plan = plan_of(
        "name: a-name-of-some-length\nmodels: [flat.safetensors, dynn.safetensors]\n"
        "datasets: [digits]\nmeasure: [accuracy, latency, exit_costs, profile]\n"
    )
    text = describe_plan(plan, Estimate(0, 0, 7))
    first = " ".join(text.splitlines()[:2])
    folded = "2 all-exit passes, 2 routed, 1 of exit costs, 2 profiles"
    assert first == f"a-name-of-some-length: 2 points → 7 cells: {folded}"
    assert max(map(len, text.splitlines())) <= 80


def test_a_terminal_gets_the_first_cells_of_a_plan(
    plan_of: Callable[[str], Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe gets all, and so does whoever asks."""
    thresholds = ", ".join(f"{number / 60}" for number in range(60))
    grid = "models: [dynn.safetensors]\ndatasets: [digits]\nmeasure: [latency]\n"
    plan = plan_of(f"{grid}thresholds: [{thresholds}]\n")
    piped = describe_plan(plan, Estimate(0, 0, 60))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    drawn = describe_plan(plan, Estimate(0, 0, 60))
    assert drawn.splitlines()[-1] == " … and 20 more cells (--all shows them)"
    assert drawn.count("dynn") == 40
    assert describe_plan(plan, Estimate(0, 0, 60), is_all=True) == piped
    assert piped.count("dynn") == 60


def test_a_terminal_gets_some_of_what_a_run_gave(
    shown_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of status, histograms and runs; each says how many more there are."""
    root = shown_root
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(summary, "DRAWN_HISTOGRAMS", 0)
    monkeypatch.setattr(tables, "take_first", partial(tables.take_first, most=1))
    assert " more cells (--all shows them)" in status.status(root, "made")
    assert " more cells (--all" not in status.status(root, "made", is_all=True)
    assert " more rows (--all shows them)" in summary.ladder(root, "made")
    assert " more rows (--all" not in summary.ladder(root, "made", is_all=True)
    histogram = summary.exit_histogram(root, "made")
    assert "more cells with exits (--all shows them)" in histogram
    assert "after block" not in histogram
    assert "after block" in summary.exit_histogram(root, "made", is_all=True)


def test_a_plan_says_what_it_skips(plan_of: Callable[[str], Plan]) -> None:
    """How many cells and why, each reason once; they are no part of tasks, time and table."""
    text = (
        "name: p\nmodels: [flat.safetensors, dynn.safetensors]\ndatasets: [digits]\n"
        "measure: [accuracy]\nruntimes: [torch, onnx]\nprecisions: [float32, bfloat16]\n"
    )
    plan = plan_of(text)
    assert estimate(plan, Path("nowhere")) == Estimate(0.0, 0, 6)
    lines = describe_plan(plan, Estimate(0, 0, 6)).splitlines()
    assert lines[:3] == [
        "p: 8 points → 8 cells: 8 all-exit passes, 0 routed",
        "2 cells will be skipped: runtime onnx supports float32, float16 and int8, not",
        "  bfloat16",
    ]
    assert "6 tasks of at most 1,000 images" in lines
    assert len([line for line in lines if line.startswith(" exits ")]) == 6
    waiting = plan_of(text + "energy: {idle_s: 9}\n")
    told = "`energy` has no effect: `measure` does not include energy"
    assert told in describe_plan(waiting, Estimate(0, 0, 6))
    assert told not in describe_plan(plan, Estimate(0, 0, 6))
    nothing = plan_of(text.replace("[torch, onnx]", "[onnx]").replace("float32, ", ""))
    assert describe_plan(nothing, Estimate(0, 0, 0)) == (
        "p: 2 points → 2 cells: 2 all-exit passes, 0 routed\n"
        "2 cells will be skipped: runtime onnx supports float32, float16 and int8, not\n"
        "  bfloat16\n"
        "nothing is left to run\n"
    )


PROFILE = """\
models: [flat.safetensors, dynn.safetensors]
datasets: [{name: digits, limit: 9}]
threads: [1]
measure: [profile]
latency: {warmup_images: 2}
"""


@pytest.fixture(scope="module")
def profiled(ran: Callable[[str], Path]) -> Path:
    """Results with the run `r`, which has profiles alone."""
    return ran(PROFILE)


def test_profile(profiled: Path) -> None:
    """A table a model, blocks summed, in the order of a pass; what profiling took is apart."""
    text = profile.profile(profiled, "r")
    assert max(map(len, text.splitlines())) <= 80
    flat, dynn = text.split("\n\n")
    assert flat.startswith("flat on digits on cpu of ")
    assert "exit_gate" not in flat
    words = [line.split() for line in dynn.splitlines() if line.startswith(" ")]
    del words[1]  # the rule below the names
    calls = {name: (int(called), float(ms), float(share)) for name, called, ms, share in words[1:]}
    assert {name: called for name, (called, _, _) in calls.items()} == {
        "patch_embed": 1,
        **dict.fromkeys(("norm1", "filter_forward", "filter_product", "filter_inverse"), 5),
        **dict.fromkeys(("norm2", "mlp", "residual"), 5),
        **dict.fromkeys(("exit_norm", "exit_heads", "exit_gate", "exit_decision"), 2),
        **dict.fromkeys(("norm", "head", "other"), 1),
    }
    assert list(calls)[:2] == ["patch_embed", "norm1"]
    assert list(calls)[-2:] == ["head", "other"]
    assert sum(share for _, _, share in calls.values()) == pytest.approx(100, abs=1)
    (row,) = storage.query(
        profiled,
        "select sum(total_ms) / 9 mlp from profile join cells using (run_id, cell_id)"
        " where model = 'dynn' and component = 'mlp'",
    ).to_pylist()
    assert calls["mlp"][1] == pytest.approx(row["mlp"], abs=1e-4)
    assert " ms per image, mean of 9; profiling itself took " in dynn.splitlines()[-1]


def test_no_profile_says_what_to_do(root: Path, copy_of: Callable[[str], Path]) -> None:
    """A run that never had one, and one whose profile is not done."""
    profiled = copy_of(PROFILE)
    assert not profile.has_profile(root, "r")
    with pytest.raises(UsageError, match=r"run r has no profile; set measure: .*profile\] in its"):
        profile.profile(root, "r")
    assert profile.has_profile(profiled, "r")
    cell = storage.CellRow("new", "c", kind="profile", status="failed")
    with storage.RunStore.create(profiled, storage.RunRow("new"), [cell], {}):
        pass
    with pytest.raises(UsageError, match=r"no profile yet \(failed\): see gfjobs status new"):
        profile.profile(profiled, "new")


def test_estimate_of_a_profile(profiled: Path, plan_of: Callable[[str], Plan]) -> None:
    """Its images tell its speed, as with every other kind."""
    plan = plan_of(
        "models: [flat.safetensors]\ndatasets: [{name: digits, limit: 18}]\nthreads: [1]\n"
        "measure: [profile]\n"
    )
    found = estimate(plan, profiled)
    (row,) = storage.query(
        profiled,
        "select busy_s from commits join cells using (run_id, cell_id) where model = 'flat'",
    ).to_pylist()
    assert (found.known, found.unknown) == (1, 0)
    assert found.seconds == pytest.approx(2 * row["busy_s"])


def test_estimate_comes_from_earlier_runs(root: Path, plan_of: Callable[[str], Plan]) -> None:
    """A plan of the same cells is known, one of another batch size is not."""
    plan = plan_of(SMALL_GRID)
    known = estimate(plan, root)
    assert (known.known, known.unknown) == (4, 0)
    busy_s = storage.query(root, "select sum(busy_s) s from commits").to_pylist()[0]["s"]
    assert 0.2 * busy_s < known.seconds < 2 * busy_s
    other = plan_of(SMALL_GRID + "batch_sizes: {latency: 2, accuracy: 7}\n")
    assert estimate(other, root) == Estimate(0.0, 0, 4)
    assert estimate(plan, root / "nowhere") == Estimate(0.0, 0, 4)
    assert "no earlier run" in describe_plan(plan, Estimate(0.0, 0, 4))


def test_ladder_and_histogram(root: Path) -> None:
    """A line a model, figures from SQL, a reason for what is missing, 80 columns."""
    ladder = summary.ladder(root, "r")
    rows = {row["model"]: row for row in storage.query(root, "from ladder").to_pylist()}
    for model in ("flat", "dynn"):
        line, _latency = [line for line in ladder.splitlines() if line.startswith(f" {model} ")]
        assert f"{rows[model]['acc1']:.2f}" in line
        assert f"{rows[model]['forward_ms']:.2f}" in line
    assert "digits on cpu of " in ladder
    assert "– energy: no power samples" in ladder
    assert "– p99 needs 662 samples, has 40" in ladder
    assert "– power: no source: ina3221 (" in ladder
    assert max(map(len, ladder.splitlines())) <= 80
    assert agreement.agreement(root, "r") == "", "nothing is held against itself"
    histogram = summary.exit_histogram(root, "r")
    assert histogram.startswith("dynn at 0.5 on digits: exits\n")
    assert "flat" not in histogram
    rows = [re.split(" {2,}", line) for line in histogram.splitlines() if re.match(" [0-9]", line)]
    assert [row[:2] for row in rows] == [[" 1", "2"], [" 3", "4"], [" 4, full depth", "5"]]
    assert sum(int(row[2]) for row in rows) == 30
    assert max(map(len, (ladder + histogram).splitlines())) <= 80


def test_status_counts_cells(root: Path) -> None:
    """Every cell with its rows of so many, and how the run stands."""
    text = status.status(root, "r")
    assert text.startswith("run r is done: 4 done\n")
    assert "resume" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_status_keeps_words_whole_on_a_narrow_terminal(
    ran: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many axes it leaves columns out, the data set only if all cells have the same."""
    grid = (
        "models: [dynn.safetensors]\nthresholds: [[0.25, 0.5]]\nthreads: [1, 2]\n"
        "precisions: [float32, bfloat16]\nlatency: {rounds: 1, warmup_images: 1, images: 10}\n"
    )
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "70")
    one = status.status(ran(f"{grid}datasets: [{{name: digits, limit: 12}}]\n"), "r")
    heads = next(line for line in one.splitlines() if line.startswith(" kind")).split()
    assert heads == ["kind", "model", "precision", "threads", "t", "status", "rows", "of"]
    assert " left out for the width: tries, dataset\n" in one
    assert re.search(
        r"^ latency  dynn   bfloat16         2  \[0.25, 0.5\]  done", one, re.MULTILINE
    )
    sets = "datasets: [{name: digits, limit: 12}, {name: digits, split: train, limit: 9}]\n"
    two = status.status(ran(grid + sets), "r")
    assert "dataset" in next(line for line in two.splitlines() if line.startswith(" kind"))


def test_settings_tell_cells_of_one_model_apart(
    ran: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the status and above each chart of exits, where a run has more than one."""
    root = ran(
        "models: [dynn.safetensors]\ndatasets: [{name: digits, limit: 12}]\n"
        "thresholds: [0.5]\nthreads: [1, 2]\nprecisions: [float32, bfloat16]\n"
        "latency: {rounds: 1, warmup_images: 1, images: 10}\n"
    )
    lines = status.status(root, "r").splitlines()
    kind, *rest = [line for line in lines if line.startswith((" kind", " latency"))]
    names = ["kind", "model", "dataset", "precision", "threads", "t", "status", "tries"]
    assert kind.split() == [*names, "rows", "of"]
    assert [line.split()[3:5] for line in rest] == [
        [precision, count] for precision in ("float32", "bfloat16") for count in ("1", "2")
    ]
    histogram = summary.exit_histogram(root, "r")
    titles = [line for line in histogram.splitlines() if line.endswith(": exits")]
    assert titles == [
        f"dynn at 0.5 on digits ({precision}, {threads}): exits"
        for precision in ("float32", "bfloat16")
        for threads in ("1 thread", "2 threads")
    ]
    assert "– median ms: not shown for fewer than 11 good timings at an exit" in histogram
    text = summary.ladder(root, "r")
    assert len(re.findall(r"^digits.* on cpu of .*: torch, batch 1$", text, re.MULTILINE)) == 1
    assert text.count("acc@1") == 1, "one table"
    header = next(line for line in text.splitlines() if line.startswith(" model"))
    assert header.split()[:5] == ["model", "precision", "threads", "params", "t"]
    shown = text.partition("forward latency")[0]
    words = [line.split()[1:3] for line in shown.splitlines() if line.startswith(" dynn")]
    settings = [[precision, count] for precision in ("float32", "bfloat16") for count in "12"]
    assert sorted(words) == sorted(settings)
    rows = storage.query(root, "from speedups('r')").to_pylist()
    for row in rows:
        assert f" {row['speedup']:.2f} " in shown
        assert (row["speedup"] == 1) == (row["precision"] == "float32")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    narrow = summary.ladder(root, "r")
    assert max(map(len, narrow.splitlines())) <= 80
    assert "left out for the width: " in narrow
    assert narrow.count("precision") == text.count("precision")
    assert max(map(len, (*lines, *histogram.splitlines()))) <= 80


def test_status_of_a_run_that_was_cut_off(copy_of: Callable[[str], Path]) -> None:
    """It is interrupted, what failed says why, and the way on is named."""
    root = copy_of(SMALL_GRID)
    with storage.RunStore.open(root, "r") as store:
        store.save_run(replace(store.run, status="running"))
        first, *rest = store.cells
        failed = replace(first, status="failed", error="Traceback\nValueError: broken")
        store.save_cells([failed, *rest])
    text = status.status(root, "r")
    assert text.startswith("run r is interrupted: 1 failed, 3 done\n")
    assert "exits of flat on digits failed: ValueError: broken" in text
    assert "resume with: gfjobs resume r\n" in text
    elsewhere = status.status(root, "r", options=" --results DIR")
    assert "resume with: gfjobs resume r --results DIR\n" in elsewhere


def test_nothing_of_a_stopped_run_is_running(cut_before: Callable[[str], Path]) -> None:
    """Its cells are queued wherever they are shown, also those that had begun."""
    root = cut_before("dynn")
    stored = {(cell.kind, cell.model): cell.status for cell in storage.read_cells(root, "cut")}
    assert stored["latency", "dynn"] == "running"
    assert status.status(root, "cut").startswith("run cut is interrupted: 2 done, 2 queued\n")
    assert "(cell is queued)" in summary.ladder(root, "cut")
    assert "running" not in summary.ladder(root, "cut")


def test_a_repaired_bundle_is_not_resumed(copy_of: Callable[[str], Path]) -> None:
    """It is another bundle; but what failed for another reason, or was not run, is resumed."""
    root = copy_of(SMALL_GRID)
    error = f"tiny: stage_0.onnx: broken; {NEW_BUNDLE}"
    with storage.RunStore.open(root, "r") as store:
        store.save_run(replace(store.run, status="failed"))
        first, second, *rest = store.cells
        failed = replace(first, status="failed", error=error)
        store.save_cells([failed, second, *rest])
    text = status.status(root, "r")
    assert "a repaired bundle has another digest: submit a new run" in " ".join(text.split())
    assert "gfjobs resume" not in text
    for other in (replace(second, status="failed", error="x"), replace(second, status="queued")):
        with storage.RunStore.open(root, "r") as store:
            store.save_cells([failed, other, *rest])
        assert "resume the other cells with: gfjobs resume r\n" in status.status(root, "r")


def test_an_image_that_cannot_be_decoded_is_named_once(copy_of: Callable[[str], Path]) -> None:
    """However many cells met it; what one cell alone has is said of that cell."""
    root = copy_of(SMALL_GRID)
    broken = "a.png of digits (image_id 3) not decoded: no image"
    with storage.RunStore.open(root, "r") as store:
        cells = [replace(cell, note=broken) for cell in store.cells]
        cells[1] = replace(cells[1], note=f"late; {broken}", status="failed", error="out of luck")
        store.save_cells(cells)
    said = status.status(root, "r").split("\n\n")[-1].replace("\n  ", " ").splitlines()
    assert said[:3] == [
        f"exits of flat on digits and 3 more cells: {broken}",
        "latency of flat on digits failed: out of luck",
        "latency of flat on digits: late",
    ]
    assert summary.ladder(root, "r").count("a.png") == 1


def test_reference_figures_as_the_table_shows_them() -> None:
    """Parameters in millions or thousands, fixed digits, a dash for NULL."""
    assert formatting.format_count(15_604_618) == "15.60M"
    assert formatting.format_count(71_300) == "71.3k"
    assert formatting.format_count(None) == formatting.format_fixed(None, 2) == "–"
    assert formatting.format_fixed(26.306, 2) == "26.31"
    assert formatting.round_digits(1.9073e-06, 2) == 1.9e-06
    assert formatting.round_digits(None, 2) is None


def test_a_median_needs_as_many_images_as_in_sql(tmp_path: Path) -> None:
    """What the footnote says is what exit_histogram.sql asks for."""
    (row,) = storage.query(tmp_path, "select samples_for(50) as images").to_pylist()
    assert row["images"] == summary.MEDIAN_IMAGES


def test_a_plan_describes_its_data_sets_and_varied_axes(plan_of: Callable[[str], Plan]) -> None:
    """Images and classes tell a folder one level too high; an axis of one value has no column."""
    text = (
        "models: [flat.safetensors]\nmeasure: [accuracy]\n"
        "datasets: [{name: digits, limit: 20}, {name: digits, split: train}]\n"
    )
    lines = describe_plan(plan_of(text), Estimate(0, 0, 2)).splitlines()
    assert "digits/test@20: 20 of 450 images, 10 classes" in lines
    assert "digits/train: 1,347 images, 10 classes" in lines
    (header,) = (line for line in lines if line.startswith(" kind"))
    assert "runtime" not in header
    several = plan_of(f"{text}runtimes: [torch, onnx]\nthreads: [1, 2]\n")
    (header,) = (
        line for line in describe_plan(several, Estimate(0, 0, 8)).splitlines() if "kind" in line
    )
    assert header.split() == [
        "kind", "model", "dataset", "threshold", "device", "runtime", "threads", "batch", "images",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("known", "unknown", "said"),
    [
        (9, 0, "about 2:00 min of device time, by earlier runs"),
        (9, 1, "about 2:00 min of device time, by earlier runs, without 1 new cell"),
        (2, 7, "no time estimate: 7 cells are new, and the other 2 take about 2:00 min"),
        (0, 9, "no time estimate: no earlier run has timed such cells"),
    ],
)
def test_an_estimate_is_of_most_cells(
    plan_of: Callable[[str], Plan], known: int, unknown: int, said: str
) -> None:
    """Of a few of them it would be much too short."""
    plan = plan_of("models: [flat.safetensors]\ndatasets: [digits]\n")
    assert said in describe_plan(plan, Estimate(120, known, unknown)).splitlines()
    until = plan_of("models: [flat.safetensors]\ndatasets: [digits]\nlatency: {until: 1%}\n")
    at_most = said.replace("about", "at most")
    assert at_most in describe_plan(until, Estimate(120, known, unknown)).splitlines()
    assert said in describe_plan(until, Estimate(120, known, unknown, rounds=8)).splitlines()


def test_a_model_that_was_not_routed_is_at_full_depth(ran: Callable[[str], Path]) -> None:
    """That is said, with where its thresholds are; where nobody exits early, no histogram."""
    root = ran(
        "models: [flat.safetensors, dynn.safetensors]\ndatasets: [{name: digits, limit: 9}]\n"
        "thresholds: [0.5]\nmeasure: [accuracy]\n"
    )
    text = " ".join(summary.ladder(root, "r").split())
    assert "– dynn: at full depth, since no image was routed" in text
    assert "`gfjobs curve`" in text
    assert summary.exit_histogram(root, "r") == ""
    routed = summary.ladder(ran(SMALL_GRID), "r")
    assert "at full depth" not in routed


def test_a_lender_is_at_full_depth_though_the_grid_measures_latency() -> None:
    """Where it lends its accuracy, nothing is routed: that is not for want of a measure."""
    row = {"cell_id": "lent", "model": "dynn"}
    lent = {"cell_id": "lent", "kind": "exits", "depth": 8, "exit_blocks": [1, 7]}
    own = {**lent, "cell_id": "own", "kind": "latency"}
    assert "(`measure` has no latency)" in summary._at_full_depth([row], [lent])[0]
    (said,) = summary._at_full_depth([row], [lent, own])
    assert "no image was routed there; " in said


def test_a_baseline_is_not_said_to_be_known_by_its_ratio_to_itself() -> None:
    """That is 1 after any number of rounds. Its mean is another matter."""
    cell = {"until_pct": 1.0, "reached_pct": 0.0, "rounds": 5, "max_rounds": 5}
    assert summary.describe_known({**cell, "until_of": "ratio"}) is None
    assert summary.describe_known({**cell, "until_of": "mean"})
    known = summary.describe_known({**cell, "until_of": "ratio", "reached_pct": 0.5})
    assert known == "until 1 % of each ratio to the baseline: known after 5 of at most 5 rounds"


def test_skipped_cells_are_a_column_of_runs(copy_of: Callable[[str], Path]) -> None:
    """They are no cells that are still to do; without any there is no column."""
    root = copy_of(SMALL_GRID)
    assert "skipped" not in status.runs(root)
    with storage.RunStore.open(root, "r") as store:
        cells = store.cells
        store.save_cells([replace(cells[0], status="skipped", note="of one; and two"), *cells[1:]])
    header, _, row, *_ = status.runs(root).splitlines()
    count = len(cells) - 1
    assert header.split()[-2:] == ["skipped", "images"]
    assert f"{count} of {count}" in row
    assert row.split()[-2] == "1"
    assert ": of one; and two" in status.status(root, "r")


def test_a_failed_run_without_failed_cells_says_why(copy_of: Callable[[str], Path]) -> None:
    """As after a repair."""
    root = copy_of(SMALL_GRID)
    assert "no cell failed" not in status.status(root, "r")
    with storage.RunStore.open(root, "r") as store:
        store.save_cells([replace(cell, status="queued") for cell in store.cells])
        store.save_run(replace(store.run, status="failed"))
    assert "no cell failed: rows are missing" in status.status(root, "r")


def test_an_empty_ladder_names_the_profile(profiled: Path) -> None:
    """Not only what it is not."""
    assert "\n  gfjobs summary r --profile\n" in summary.ladder(profiled, "r")


def test_a_device_of_another_machine_is_announced(plan_of: Callable[[str], Plan]) -> None:
    """Such as a GPU by another name."""
    plan = plan_of("models: [flat.safetensors]\ndatasets: [digits]\n")
    absent = replace(plan, grid=replace(plan.grid, devices=("gpu",)))
    said = " ".join(describe_plan(absent, Estimate(0, 0, 1)).split())
    assert "device gpu is not one of this machine" in said
    assert "a GPU is called cuda" in said


def test_a_reason_names_the_rows_that_have_it() -> None:
    """Thresholds and data sets only where they distinguish; all rows need no name."""
    rows = [
        {"model": model, "threshold": t, "thresholds": None, "dataset": dataset, "note": note}
        | {"forward_ms": None, "is_valid": None, "until_pct": None, "reached_pct": None}
        for model, t, dataset, note in (
            ("flat", None, "a", "every; of a"),
            ("dynn", 0.5, "a", "every; of a"),
            ("dynn", 0.75, "a", "every; of a; late"),
            ("flat", None, "b", "every"),
            ("dynn", 0.5, "b", "every; gates"),
            ("dynn", 0.75, "b", "every; gates"),
        )
    ]
    assert [*summary.reasons(rows, {})] == [
        "– every",
        "– of a (all on a)",
        "– late (dynn at 0.75 on a)",
        "– gates (dynn on b)",
    ]
    assert [*summary.reasons(rows[:3], {})][-1] == "– late (dynn at 0.75)"


def test_an_estimate_says_what_it_leaves_out(plan_of: Callable[[str], Plan]) -> None:
    """New cells are not in it."""
    plan = plan_of("models: [flat.safetensors]\ndatasets: [digits]\n")
    assert "by earlier runs, without 1 new cell\n" in describe_plan(plan, Estimate(6, 2, 1))
