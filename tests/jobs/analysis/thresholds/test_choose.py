"""Choosing thresholds from a run: what is read, what is refused, what is written."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support import bundles

import gfnet
import storage
from jobs.analysis.thresholds.choose import Limits, read_pass, storable, write_thresholds
from jobs.analysis.thresholds.exit_answers import ExitAnswers
from jobs.analysis.thresholds.search import search
from jobs.analysis.thresholds.view import describe_choice, drop_interval
from jobs.cli import main
from jobs.common.errors import UsageError
from jobs.runs.submit import submit
from jobs.runs.target import Target

GRID = """\
models: [flat.safetensors, dynn.safetensors]
datasets: [{name: digits, limit: 40}, {name: digits, split: train, limit: 20}]
thresholds: [{start: 0, stop: 1, num: 3}]
threads: [1]
measure: [accuracy, latency, exit_costs]
latency: {rounds: 1, warmup_images: 2, images: 8}
"""
TEST = {"dataset": "digits/test@40"}


TINY = """\
models: [MODEL.safetensors]
datasets: [{name: digits, limit: 2}]
threads: [1]
measure: [accuracy]
"""


@pytest.fixture(scope="module")
def root(ran: Callable[[str], Path]) -> Path:
    """Results with the run `r`."""
    return ran(GRID)


def test_answers_are_those_of_the_pass(root: Path) -> None:
    """Scores and answers by exit and image; any vector gives what SQL gives."""
    chosen = read_pass(root, "r", Limits(max_drop=5.0), TEST)
    answers = chosen.answers
    assert answers.exit_blocks == (1, 3, 4)
    assert (answers.images, answers.cost_name) == (40, "forward_ms")
    vector = [float(np.float32(x)) for x in (0.4, 0.6)]
    rows = storage.query(root, f"from at_thresholds({vector})").to_pylist()
    (row,) = [row for row in rows if (row["model"], row["dataset"]) == ("dynn", "digits/test@40")]
    point = answers.point(vector)
    assert row["acc1"] == pytest.approx(point.accuracy_pct)
    assert [row["exit_counts"][block] for block in (1, 3, 4)] == list(point.exit_counts)
    means = storage.query(
        root,
        "select avg(forward_ms) ms from exit_costs join cells using (run_id, cell_id)"
        " where dataset = 'digits/test@40' group by exit_block order by exit_block",
    ).column(0)
    assert answers.costs == pytest.approx(means.to_pylist())


@pytest.mark.parametrize(
    ("limits", "narrowing", "words"),
    [
        (Limits(max_drop=1), {}, "2 all-exit passes; choose one of"),
        (Limits(max_drop=1), {"dataset": "mnist"}, "0 all-exit passes with --dataset mnist"),
        (Limits(), TEST, "nothing is limited"),
        (Limits(max_energy_mj=1), TEST, "energy by exit was not measured"),
    ],
)
def test_what_cannot_be_chosen_is_said(
    limits: Limits, narrowing: dict[str, str], words: str, root: Path
) -> None:
    """Which pass, which limit, and what to give."""
    with pytest.raises(UsageError, match=words):
        read_pass(root, "r", limits, narrowing)


def test_milliseconds_need_exit_costs(ran: Callable[[str], Path]) -> None:
    """And a run without gates has nothing to choose."""
    dynn, flat = (ran(TINY.replace("MODEL", model)) for model in ("dynn", "flat"))
    with pytest.raises(UsageError, match=r"measure: \[exit_costs\]"):
        read_pass(dynn, "r", Limits(max_forward_ms=1), {})
    assert read_pass(dynn, "r", Limits(max_blocks=3), {}).answers.cost_name == "blocks"
    with pytest.raises(UsageError, match="nothing to choose"):
        read_pass(flat, "r", Limits(max_blocks=3), {})


def test_a_latency_that_is_off_is_shown_and_not_promised(
    made_run: Callable[..., Path], tmp_path: Path
) -> None:
    """A limit on it is refused, with the interval; blocks are minimised, and it stands there."""
    root = made_run(tmp_path / "results", has_power=False, forced_factor=1.1)
    refused = r"no latency of dynn is promised: .* missed by \+10\.\d %, more than 2 % \(95 %: "
    with pytest.raises(UsageError, match=refused):
        read_pass(root, "made", Limits(max_forward_ms=1.5), {})
    chosen = read_pass(root, "made", Limits(max_drop=5.0), {})
    assert chosen.answers.cost_name == "blocks"
    text = describe_choice(chosen, search(chosen.answers, chosen.constraints))
    assert re.search(r"forward latency, error \?\+10\.\d %", text)
    assert re.search(r"mean +\d\.\d{3} +\d\.\d{3} to", text)


def test_latency_is_composed_as_sql_composes_it(root: Path) -> None:
    """Of the samples of the same cell: mean and percentiles, at a vector of thresholds."""
    chosen = read_pass(root, "r", Limits(max_drop=5.0), TEST)
    assert [costs.shape for costs in chosen.exit_ms] == [(8, 3)]
    scores = chosen.answers.gate_scores
    vector = [float(np.median(scores[0])), float(np.quantile(scores[1], 0.8))]
    everything = replace(chosen, cell=dict(chosen.cell) | {"samples_for": [(50, 1), (90, 8)]})
    estimates = everything.latency_of(chosen.answers.point(vector).exit_counts)
    question = f"from composed_latency('r', {vector}) where cell_id = '{chosen.cell['cell_id']}'"
    (row,) = storage.query(root, question).to_pylist()
    assert list(estimates) == ["mean", "p50", "p90"]
    assert estimates["mean"].value == pytest.approx(row["forward_ms"])
    assert row["p50_ms"] is None
    assert (row["samples"], len(chosen.latency_of([1, 1, 1]))) == (8, 1)


def test_the_checkpoint_is_written_with_its_thresholds(
    copy_of: Callable[[str], Path], write_grid: Callable[[str], Path], tmp_path: Path
) -> None:
    """A copy; the original is untouched, and one that was changed since is not taken."""
    root = copy_of(GRID)
    write_grid(GRID)
    with storage.RunStore.open(root, "r") as store:
        store.save_submission(dict(store.submission) | {"base": str(tmp_path)})
    cell = read_pass(root, "r", Limits(max_drop=1), TEST).cell
    path = tmp_path / "chosen.safetensors"
    write_thresholds(root, "r", cell, (-math.inf, math.inf), path)
    assert gfnet.inspect_checkpoint(path).metadata.thresholds == (0.0, math.inf)
    with pytest.raises(UsageError, match="cannot be written"):
        write_thresholds(root, "r", cell, (0.5, 0.5), tmp_path / "nowhere" / "c.safetensors")
    with pytest.raises(UsageError, match=r"dynn is a checkpoint: .* must end in \.safetensors"):
        write_thresholds(root, "r", cell, (0.5, 0.5), tmp_path / "c.gfbundle")
    (tmp_path / "dynn.safetensors").unlink()
    (tmp_path / "dynn.safetensors").write_bytes(path.read_bytes())
    changed = gfnet.inspect_checkpoint(path).sha256[:12]
    with pytest.raises(UsageError) as caught:
        write_thresholds(root, "r", cell, (0.5, 0.5), path)
    assert str(caught.value) == (
        f"--write: the checkpoint of dynn, {tmp_path / 'dynn.safetensors'}, was changed since the"
        f" run: its digest is {changed}, the run's {cell['checkpoint_sha256'][:12]}; restore it,"
        " or submit a new run"
    )
    (tmp_path / "dynn.safetensors").unlink()
    with pytest.raises(UsageError) as caught:
        write_thresholds(root, "r", cell, (0.5, 0.5), path)
    assert "dynn with the digest" in str(caught.value)
    assert "no such checkpoint or bundle: 'dynn.safetensors'" in str(caught.value)
    assert f"looked at {tmp_path / 'dynn.safetensors'}" in str(caught.value)
    with storage.RunStore.open(root, "r") as store:
        store.save_submission({})
    with pytest.raises(UsageError, match="does not record where its grid is"):
        write_thresholds(root, "r", cell, (0.5, 0.5), path)


def test_a_changed_bundle_is_called_a_bundle(tmp_path: Path) -> None:
    """With its path and both digests."""
    folder = bundles.write(tmp_path / "tiny", bundles.files())
    bundles.write_images(tmp_path / "images", 2)
    grid = tmp_path / "grid.yaml"
    grid.write_text('models: [tiny]\ndatasets: ["imagefolder:images"]\nmeasure: [accuracy]\n')
    root = tmp_path / "results"
    assert submit(grid, root, Target(is_inline=True), lambda _: None, "r").is_done
    cell = read_pass(root, "r", Limits(max_drop=1), {}).cell
    bundles.write(folder, bundles.files(thresholds=[0.8]))
    changed = gfnet.inspect_bundle(folder).digest[:12]
    with pytest.raises(UsageError) as caught:
        write_thresholds(root, "r", cell, (0.5,), tmp_path / "c.gfbundle")
    assert f"the bundle of tiny, {folder}, was changed since the run" in str(caught.value)
    assert f"its digest is {changed}, the run's {cell['checkpoint_sha256'][:12]};" in str(
        caught.value
    )


def test_a_model_with_fewer_exits_is_written_with_these(
    ran: Callable[[str], Path], tmp_path: Path
) -> None:
    """The grid enabled one of two exits: so does the checkpoint, and `default` is its threshold."""
    root = ran(
        "models: [{name: one, checkpoint: dynn.safetensors, exit_blocks: [3]}]\n"
        "datasets: [{name: digits, limit: 5}]\nthreads: [1]\nmeasure: [accuracy]\n"
    )
    cell = read_pass(root, "r", Limits(max_drop=1), {}).cell
    path = tmp_path / "chosen.safetensors"
    write_thresholds(root, "r", cell, (0.25,), path)
    metadata = gfnet.inspect_checkpoint(path).metadata
    assert (metadata.config.exit_blocks, metadata.thresholds) == ((3,), (0.25,))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-drop", "nan"], "--max-drop nan: give a finite number"),
        (["--min-acc1", "inf"], "--min-acc1 inf: give a finite number"),
        (["--max-forward-ms", "nan"], "--max-forward-ms nan: give a finite number"),
        (["--max-drop", "5", "--confidence", "0.9"], "2 images"),
        (["--max-drop", "5", "--seed", "-1", "--confidence", "0.9"], "--seed"),
    ],
)
def test_impossible_numbers_end_with_2(
    arguments: list[str], words: str, ran: Callable[[str], Path]
) -> None:
    """Said in a line, not in a traceback."""
    root = ran(TINY.replace("MODEL", "dynn"))
    command = ["choose", "r", "--results", str(root), *arguments]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2, result.output
    assert words in result.output


def test_a_grid_and_a_checkpoint_hold_what_is_chosen() -> None:
    """Scores lie in 0..1, so that 0 lets out whom -inf does."""
    assert storable((-math.inf, 0.25, math.inf)) == (0.0, 0.25, math.inf)


def test_the_interval_of_a_drop() -> None:
    """By hand: 100 images, 10 lose their right answer, none gains: 10 points, 1.96 x 3 around."""
    is_correct = np.ones((2, 100), np.bool_)
    is_correct[0, :10] = False
    answers = ExitAnswers(
        np.ones((1, 100), np.float32), is_correct, (0, 1), np.array([1.0, 2.0]), "mean_blocks"
    )
    low, high = drop_interval(answers, (0.5,))
    assert low == pytest.approx(10 - 1.96 * 3, abs=1)
    assert high == pytest.approx(10 + 1.96 * 3, abs=1)
    assert drop_interval(answers, (math.inf,)) == (0.0, 0.0)


def test_the_command_prints_and_writes(root: Path, tmp_path: Path) -> None:
    """Both ways; a grid then takes the thresholds as default."""

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(
            main, ["choose", "r", "--results", str(root), "--dataset", "digits/test@40", *arguments]
        )
        assert result.exit_code == 0, result.output
        assert max(map(len, result.stdout.splitlines())) <= 80
        return result.stdout

    path = tmp_path / "chosen.safetensors"
    text = run("--max-drop", "5", "--bands", "5", "--write", str(path))
    assert "asked: a drop of at most 5 points" in text
    assert "exact: every pair of thresholds" in text
    assert "needs 11 samples, has 8" in text
    assert "95 %, by round then image" in text
    listed = text[text.index("one threshold for all gates") :].splitlines()[4:]
    assert len(listed) == 5
    assert listed[0].split()[0] == "inf"
    assert listed[0].endswith("0.00 to 0.00")
    assert len(gfnet.inspect_checkpoint(path).metadata.thresholds) == 2
    promised = run("--max-drop", "90", "--confidence", "0.8")
    assert "guaranteed for images held out, in 80 % of random splits" in promised
    refused = CliRunner().invoke(
        main,
        ["choose", "r", "--results", str(root), "--dataset", "digits/test@40", "--min-acc1", "100"],
    )
    assert refused.exit_code == 1
    assert "no thresholds have an accuracy of at least 100 %" in refused.output
