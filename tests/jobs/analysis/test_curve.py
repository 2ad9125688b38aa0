"""The curve of a run: which axes, which models, and that it can be read."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import storage
from jobs.analysis.curve import LISTED_POINTS, Curves, make_curves, read_curves
from jobs.common.errors import UsageError
from jobs.common.formatting import SETTING
from jobs.report.figures.curve import drawing_of_curves, save_figure
from jobs.report.terminal.curve import draw_curves

GRID = """\
models: [flat.safetensors, dynn.safetensors]
datasets: [{name: digits, limit: 30}]
threads: [1]
latency: {rounds: 1, warmup_images: 2, images: 12}
"""


def grid_of(measure: str) -> str:
    """The grid with some measures."""
    # Nothing is routed of the model with gates: a time of few images would confirm nothing.
    written = "[{start: 0, stop: 1, num: 3}]" if "accuracy" in measure else "[0.5]"
    return f"{GRID}thresholds: {written}\nmeasure: [{measure}]\n"


@pytest.fixture(scope="module")
def curves_of(ran: Callable[[str], Path]) -> Callable[[str], list[Curves]]:
    """The curves of a run of the grid with some measures, read once."""
    return functools.cache(lambda measure: read_curves(ran(grid_of(measure)), "r"))


def test_milliseconds_where_exit_costs_were_measured(
    curves_of: Callable[[str], list[Curves]],
) -> None:
    """Then the static model stands beside; the first and the last point are those of the run."""
    (curves,) = curves_of("accuracy, latency, exit_costs")
    assert curves.cost == "forward_ms"
    assert len(curves.models["flat"]) == 1
    dynn = curves.models["dynn"]
    assert dynn[0]["threshold"] == float("inf")
    assert dynn[0]["mean_blocks"] == 5
    assert [row["mean_blocks"] for row in dynn] == sorted(
        (row["mean_blocks"] for row in dynn), reverse=True
    )
    text = draw_curves(curves)
    assert "forward latency, ms" in text
    assert "flat" in text
    assert max(map(len, text.splitlines())) <= 80


def test_blocks_otherwise_and_only_models_that_they_tell_apart(
    curves_of: Callable[[str], list[Curves]],
) -> None:
    """Blocks of two models of different widths are no common axis."""
    (curves,) = curves_of("accuracy")
    assert curves.cost == "mean_blocks"
    assert list(curves.models) == ["dynn"]
    text = draw_curves(curves, is_all=True)
    assert "mean blocks" in text
    assert any("measure: [exit_costs]" in note for note in curves.notes)
    assert max(map(len, text.splitlines())) <= 80
    listed = text[text.index("some of all") :]
    assert "dominated" in listed
    assert 2 <= listed.count(" dynn ") <= LISTED_POINTS


def test_the_frontier_comes_first_and_says_what_it_leaves_out(
    curves_of: Callable[[str], list[Curves]],
) -> None:
    """Points that others beat are not listed unless asked for; both columns of figures fall."""
    (curves,) = curves_of("accuracy")
    points = curves.models["dynn"]
    best = [row for row in points if not row["is_dominated"]]
    assert len(best) < len(points)
    listed = draw_curves(curves).partition("the frontier: ")[2]
    rows = [line.split() for line in listed.splitlines() if line.startswith(" dynn")]
    assert 1 <= len(rows) <= LISTED_POINTS
    assert [row[2:4] for row in (rows[0], rows[-1])] == [
        [f"{row['acc1']:.2f}", f"{row['mean_blocks']:.2f}"] for row in (best[0], best[-1])
    ]
    accuracies, blocks = ([float(row[column]) for row in rows] for column in (2, 3))
    assert accuracies == sorted(accuracies, reverse=True)
    assert blocks == sorted(blocks, reverse=True)
    told = f"{best[0]['undominated_points']} of {best[0]['points']} points are on the frontier"
    assert told in listed
    shown = f" ({LISTED_POINTS} listed)" if len(best) > LISTED_POINTS else ""
    assert f"{told}{shown}; for each other one" in " ".join(listed.split())
    assert "score is at least t" in listed


def test_what_was_routed_stands_beside_what_is_composed() -> None:
    """The error of each threshold, and which of them forbids composing."""
    point = {"threshold": 0.5, "acc1": 90.0, "mean_blocks": 3.0, "forward_ms": 1.0}
    routed = {"model": "dynn", "thresholds": None, "forward_ms": 2.0}
    rows = (
        routed | {"threshold": 0.5, "composed_ms": 1.98, "error_pct": -1.0, "is_within": True},
        routed | {"threshold": 0.75, "composed_ms": 2.2, "error_pct": 10.0, "is_within": False},
    )
    ends = ((None, None), (8.1, 12.0))
    rows = tuple(
        row | {"error_low_pct": low, "error_high_pct": high, "verdict": verdict}
        for row, (low, high), verdict in zip(rows, ends, ("unclear", "beyond"), strict=True)
    )
    points = {"dynn": [point | {"is_dominated": False, "points": 1, "undominated_points": 1}]}
    text = draw_curves(Curves("digits on cpu", "forward_ms", points, routed=rows))
    listed = [line.split() for line in text.splitlines()[-2:]]
    assert listed[0] == ["dynn", "0.5", "2.000", "1.980", "-1.0", "%,", "unclear", "–"]
    far = ["+10.0", "%,", "too", "much", "+8.1", "to", "+12.0", "%"]
    assert listed[1] == ["dynn", "0.75", "2.000", "2.200", *far]
    assert max(map(len, text.splitlines())) <= 80


def test_an_error_that_is_not_tolerable_stands_beside_the_milliseconds() -> None:
    """With a mark if they are not promised; and what the mark means, in 80 columns."""
    common: dict[str, Any] = {"cell_id": "c", "acc1": 90.0, "mean_blocks": 3.0, "forward_ms": 0.383}
    common |= dict.fromkeys(SETTING, "x") | {"energy_mj": None, "forward_ms_note": "why"}
    common |= {"is_dominated": False, "points": 1, "undominated_points": 1, "threshold": 0.5}
    rows = [
        common | {"model": model, "forward_ms_verdict": verdict, "forward_ms_error_pct": error}
        for model, verdict, error in (
            ("sure", "within", 0.5),
            ("fair", "unclear", 1.25),
            ("off", "beyond", -3.8),
            ("unchecked", None, None),
        )
    ]
    text = draw_curves(make_curves(rows))
    listed = [line.split() for line in text.splitlines() if "0.383" in line]
    assert [line[:1] + line[4:] for line in listed] == [
        ["sure", "0.383"],
        ["fair", "0.383", "+1.2", "%"],
        ["off", "0.383", "?-3.8", "%"],
        ["unchecked", "0.383"],
    ]
    assert "– ?: beyond 2 %, so these ms are not promised" in text
    assert max(map(len, text.splitlines())) <= 80
    unmarked = draw_curves(make_curves(rows[:1]))
    assert "error" not in unmarked
    assert "promised" not in unmarked


def test_a_model_without_milliseconds_leaves_the_others_theirs() -> None:
    """It is listed, with its blocks; the static model stays, too."""
    common: dict[str, Any] = {"cell_id": "c", "acc1": 90.0, "mean_blocks": 3.0}
    common |= dict.fromkeys(SETTING, "x") | {"energy_mj": None, "forward_ms_note": None}
    common |= {"is_dominated": False, "points": 1, "undominated_points": 1}
    rows = [
        common | {"model": model, "threshold": threshold, "forward_ms": ms}
        for model, threshold, ms in (("one", 0.5, 1.0), ("two", 0.5, None), ("flat", None, 4.0))
    ]
    curves = make_curves(rows)
    assert (curves.cost, list(curves.models)) == ("forward_ms", ["one", "flat"])
    assert list(curves.untimed) == ["two"]
    listed = [line.split() for line in draw_curves(curves).splitlines() if "90.00" in line]
    assert [line[0] for line in listed] == ["one", "flat", "two"]
    assert listed[-1] == ["two", "0.5", "90.00", "3.00", "–"]


def test_energy_stands_there_too_where_it_was_measured() -> None:
    """In a table of its own, below that of the latency."""
    point = {"threshold": 0.5, "acc1": 90.0, "mean_blocks": 3.0, "forward_ms": 1.0}
    row = {"model": "dynn", "threshold": 0.5, "thresholds": None, "energy_mj": 5.5}
    energies = (row | {"composed_mj": 5.61, "error_pct": 2.0, "is_within": True},)
    points = {"dynn": [point | {"is_dominated": False, "points": 1, "undominated_points": 1}]}
    text = draw_curves(Curves("digits on cpu", "forward_ms", points, energies=energies))
    assert "composed of exit energies, compared with" in text
    assert text.splitlines()[-1].split() == ["dynn", "0.5", "5.500", "5.610", "+2.0", "%"]
    assert "routed ms" not in text


def test_a_run_without_a_pass_has_no_curve(curves_of: Callable[[str], list[Curves]]) -> None:
    """And what makes one is said."""
    with pytest.raises(UsageError, match=r"measure: \[accuracy\]"):
        curves_of("latency")


@pytest.mark.parametrize(("name", "start"), [("c.png", b"\x89PNG"), ("c.svg", b"<svg")])
def test_a_figure_is_written(
    name: str, start: bytes, curves_of: Callable[[str], list[Curves]], tmp_path: Path
) -> None:
    """In the form that its suffix says."""
    every = curves_of("accuracy, latency, exit_costs")
    save_figure([*map(drawing_of_curves, every)], tmp_path / name)
    content = (tmp_path / name).read_bytes()
    assert content.startswith(start)
    assert len(content) > 2000


def test_what_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another suffix, a folder that is not there, a library that is not installed."""
    points = [{"mean_blocks": 1.0, "acc1": 50.0}]
    curves = Curves("t", "mean_blocks", {"m": points})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match=r"\.png or \.svg"):
        save_figure([drawing_of_curves(curves)], tmp_path / "c.pdf")
    with pytest.raises(UsageError, match="cannot be written"):
        save_figure([drawing_of_curves(curves)], tmp_path / "nowhere" / "c.svg")
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(UsageError, match=r"gfjobs\[plot\]"):
        save_figure([drawing_of_curves(curves)], tmp_path / "c.svg")


def test_the_curve_query_keeps_the_ends(ran: Callable[[str], Path]) -> None:
    """However few points are asked for, the first and the last are among them."""
    root = ran(grid_of("accuracy"))
    every = storage.query(root, "from frontier('latest') where model = 'dynn'").to_pylist()
    for most in (2, 7):
        some = storage.named_query(root, "curve", run_id="r", most=most, undominated=0).to_pylist()
        thresholds = [row["threshold"] for row in some if row["model"] == "dynn"]
        assert thresholds[0] == every[0]["threshold"]
        assert thresholds[-1] == every[-1]["threshold"]
        assert len(thresholds) <= most + 1
