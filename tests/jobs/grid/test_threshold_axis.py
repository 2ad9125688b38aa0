"""The threshold axis by itself: what its entries come to, and what is said of those that do not."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from jobs.common.yaml_document import Document, Value
from jobs.grid import threshold_axis as module
from jobs.grid.threshold_axis import Threshold, float32, read_thresholds

Read = Callable[[str], tuple[list[Threshold], list[str]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read entries written as YAML: the thresholds, and the problems in words."""

    def read_text(text: str) -> tuple[list[Threshold], list[str]]:
        path = tmp_path / "grid.yaml"
        path.write_text(text)
        document = Document.read(path)
        node = yaml.compose(text)
        values = [Value(document, f"t[{n}]", item) for n, item in enumerate(node.value)]
        found = [threshold for _, threshold in read_thresholds(values)]
        return found, [f"{it.key}: {it.found}; {it.allowed}" for it in document.problems]

    return read_text


def model(gates: int, thresholds: tuple[float, ...] = ()) -> SimpleNamespace:
    """As much of a model as a threshold asks for."""
    metadata = SimpleNamespace(thresholds=thresholds)
    config = SimpleNamespace(default_rule="gate")
    return SimpleNamespace(gates=gates, metadata=metadata, exit_rule="gate", config=config)


def test_entries_by_hand(read: Read) -> None:
    """Numbers in float32, vectors, the default and ranges; ranges come after all else."""
    found, problems = read("[{start: 0, stop: 1, num: 3}, 0.1, [0.25, .inf, inf], default]")
    assert problems == []
    tenth = float(np.float32(0.1))
    assert found == [
        Threshold((tenth,), is_written=True),
        Threshold((0.25, math.inf, math.inf), is_written=True),
        Threshold((), is_written=True),
        Threshold((0.0,), is_written=False),
        Threshold((0.5,), is_written=False),
        Threshold((1.0,), is_written=False),
    ]
    assert type(found[0].values[0]) is float


def test_equal_entries_count_once(read: Read) -> None:
    """As written, where one of them is; in the order of the first."""
    found, _ = read("[{start: 0.5, stop: 0.5, num: 2}, 0.75, 0.5, 0.75, [0.5, 0.5], [0.5, 0.5]]")
    assert found == [
        Threshold((0.75,), is_written=True),
        Threshold((0.5,), is_written=True),
        Threshold((0.5, 0.5), is_written=True),
    ]
    assert read("[{start: 0.5, stop: 1, num: 1}]") == ([Threshold((0.5,), is_written=False)], [])
    found, _ = read("[{start: 0, stop: 0.3, num: 4}]")
    assert [it.values[0] for it in found] == [
        float(np.float32(number)) for number in np.linspace(0, 0.3, 4)
    ]


@pytest.mark.parametrize("text", ["-0.001", "1.001", "Default", "high", ".inf", ".nan"])
def test_what_is_no_number(read: Read, text: str) -> None:
    """The message says all that an entry may be."""
    _, problems = read(f"[{text}]")
    allowed = "a number from 0 to 1, a list with one per exit, {start, stop, num}, or default"
    assert problems == [f"t[0]: {text!r}; {allowed}"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("[0.5]", "t[0]: a list of one number; one number per exit, or a plain number"),
        ("[]", None),
        ("{start: 0, stop: 1}", "t[0]: the key num is missing; required: start, stop, num"),
        ("{start: -1, stop: 1, num: 2}", "t[0].start: '-1'; "),
        ("{start: 0, stop: 2, num: 2}", "t[0].stop: '2'; "),
        ("{start: 0, stop: 1, num: 0}", "t[0].num: '0'; "),
        ("{start: 0, stop: 1, num: 2, end: 1}", "t[0].end: unknown key"),
        ("[0.5, 2]", "t[0][1]: '2'; "),
        ("[0.5, -1]", "t[0][1]: '-1'; "),
        ("[0.5, [.inf]]", "t[0][1]: "),
    ],
)
def test_what_is_no_threshold(read: Read, entry: str, expected: str | None) -> None:
    """One problem each, at its place; the message says what is allowed."""
    _, problems = read(f"[{entry}]")
    if expected is None:
        assert len(problems) <= 1
    else:
        assert len(problems) == 1
        assert problems[0].startswith(expected)


def test_an_earlier_problem_stays(read: Read) -> None:
    """Each wrong number is told by itself."""
    _, problems = read("[2, 3, 0.5]")
    assert [problem.partition(";")[0] for problem in problems] == ["t[0]: '2'", "t[1]: '3'"]


def test_too_many(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """In all, not in each range; as many as allowed are read, and what comes after is."""
    monkeypatch.setattr(module, "MAX_THRESHOLDS", 5)
    two = "{start: 0, stop: 1, num: 2}"
    found, problems = read(f"[0.5, {two}, {{start: 0.1, stop: 0.2, num: 2}}]")
    assert (len(found), problems) == (5, [])
    found, problems = read(f"[0.5, {{start: 0, stop: 1, num: 5}}, {two}]")
    assert problems == ["t[1]: too many thresholds; at most 5 in all"]
    assert [it.values for it in found] == [(0.5,), (0.0,), (1.0,)]
    _, problems = read("[{start: 0, stop: 1, num: 6}]")
    assert problems[0].startswith("t[0].num: '6'; ")


def test_one_number_a_gate() -> None:
    """One for all, one each, the checkpoint's, or a half; none, for a static model."""
    assert Threshold((0.3,), is_written=True).of(model(2)) == (float32(0.3),) * 2
    assert Threshold((0.25, 0.5), is_written=True).of(model(2)) == (0.25, 0.5)
    assert Threshold((0.25, 0.5), is_written=True).of(model(0)) == ()
    assert Threshold((), is_written=True).of(model(2, (0.75, 0.125))) == (0.75, 0.125)
    assert Threshold((), is_written=True).of(model(3)) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("numbers", "gates", "fits"),
    [(0, 3, True), (1, 3, True), (3, 3, True), (2, 3, False), (2, 0, True), (2, 1, False)],
)
def test_what_fits(numbers: int, gates: int, *, fits: bool) -> None:
    """A vector has as many numbers as the model has gates; what is static has none to fit."""
    assert Threshold((0.5,) * numbers, is_written=True).fits(model(gates)) is fits
