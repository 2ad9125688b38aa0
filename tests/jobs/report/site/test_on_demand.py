"""Comparisons on demand: of existing runs only, made once, one at a time."""

from __future__ import annotations

import threading
from http import HTTPStatus

import pytest

from jobs.common.errors import UsageError
from jobs.report.site.on_demand import (
    KEPT_PAGES,
    MAX_WAITING,
    AskedComparison,
    Comparisons,
    find_comparison,
)

DONE, OTHER = ("done", 1), ("done", 2)
RUNS = {"a": DONE, "b": OTHER, "a--b": DONE, "-c": DONE, "d-": DONE}


@pytest.mark.parametrize(
    ("path", "pair"),
    [
        ("comparisons/a--b.html", ("a", "b")),
        ("comparisons/b--a.html", ("b", "a")),
        ("comparisons/a--a.html", ("a", "a")),
        ("comparisons/a--b--b.html", ("a--b", "b")),
        ("comparisons/a---c.html", ("a", "-c")),
        ("comparisons/d---b.html", ("d-", "b")),
        ("comparisons/a--gone.html", None),
        ("comparisons/a.html", None),
        ("comparisons/a--.html", None),
        ("comparisons/--.html", None),
        ("comparisons/a--b.js", None),
        ("comparisons/x/a--b.html", None),
        ("runs/a--b.html", None),
        ("comparisons/a--b.html/", None),
    ],
)
def test_which_runs_a_path_names(path: str, pair: tuple[str, str] | None) -> None:
    """Two names that are in the list, wherever the dashes are."""
    asked = find_comparison(path, RUNS)
    assert pair == (asked and (asked.before, asked.after))
    if asked and pair:
        assert asked.state == (RUNS[pair[0]], RUNS[pair[1]])


def test_it_is_made_once_until_a_run_changes() -> None:
    """And then again."""
    made = []

    def make(before: str, after: str) -> bytes:
        made.append((before, after))
        return f"{before} {after} {len(made)}".encode()

    comparisons = Comparisons(make)
    first = AskedComparison("a", "b", (DONE, DONE))
    assert {comparisons.answer(first).content for _ in range(3)} == {b"a b 1"}
    assert comparisons.answer(AskedComparison("a", "b", (DONE, OTHER))).content == b"a b 2"
    assert comparisons.answer(AskedComparison("b", "a", (DONE, DONE))).content == b"b a 3"
    for number in range(KEPT_PAGES):
        comparisons.answer(AskedComparison("a", "b", (DONE, ("done", number + 10))))
    assert comparisons.answer(first).content != b"a b 1", "the oldest is forgotten"


def test_why_there_is_none() -> None:
    """Is said to the one who asks; a later request tries again."""
    problems = [UsageError("no setting in common \x1b[31m")]

    def make(_before: str, _after: str) -> bytes:
        if problems:
            raise problems.pop()
        return b"page"

    comparisons = Comparisons(make)
    asked = AskedComparison("a", "b", (DONE, DONE))
    answer = comparisons.answer(asked)
    assert answer.status is HTTPStatus.NOT_FOUND
    assert answer.content == b"a and b cannot be compared: no setting in common \\x1b[31m\n"
    assert comparisons.answer(asked).content == b"page"


def test_many_at_once() -> None:
    """One is made at a time, each once; when too many wait, the rest is sent away."""
    may_go, began = threading.Event(), threading.Event()
    at_once, most, made = [0], [0], []

    def make(before: str, after: str) -> bytes:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        made.append((before, after))
        began.set()
        may_go.wait(30)
        at_once[0] -= 1
        return b"page"

    comparisons = Comparisons(make)
    answers = []

    def ask(number: int) -> None:
        after = f"b{number // 2}"
        answers.append(comparisons.answer(AskedComparison("a", after, (DONE, DONE))))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(MAX_WAITING)]
    for each in threads:
        each.start()
    assert began.wait(30)
    while comparisons._waiting < MAX_WAITING:
        pass
    refused = comparisons.answer(AskedComparison("a", "c", (DONE, DONE)))
    assert refused.status is HTTPStatus.SERVICE_UNAVAILABLE
    may_go.set()
    for each in threads:
        each.join(30)
    assert most == [1]
    assert sorted(made) == [("a", f"b{number}") for number in range(MAX_WAITING // 2)]
    assert {answer.content for answer in answers} == {b"page"}
