"""The key `accuracy` of a grid: what it says, and each way in which it can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.common.errors import BadInputError
from jobs.common.yaml_document import Document
from jobs.grid.grid import Borrowing, Grid
from jobs.grid.reader import read_grid

BASE = """\
models: [dynn.safetensors]
datasets: [{name: digits, limit: 50}]
"""


@pytest.fixture
def read_text(write_grid: Callable[[str], Path]) -> Callable[[str], Grid]:
    """Read a grid of these lines after models and data sets, for a cluster of any devices."""

    def reading(text: str) -> Grid:
        path = write_grid(BASE + text)
        return read_grid(Document.read(path), None, path.parent)

    return reading


def test_a_sample_is_of_500_unless_it_is_said(read_text: Callable[[str], Grid]) -> None:
    """The lender need not be one of the devices."""
    grid = read_text("devices: [jetson]\naccuracy: {borrow: cuda}\n")
    assert grid.borrowing == Borrowing("cuda", 500)
    assert grid.devices == ("jetson",)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("devices: [a, b]\naccuracy: {sample: 9}", "accuracy", "the key borrow is missing"),
        ("devices: [a, b]\naccuracy: b", "accuracy", "a mapping with the keys borrow, sample"),
        ("devices: [a]\naccuracy: {borrow: any}", "accuracy.borrow", "any of the devices"),
        ("devices: [a]\naccuracy: {borrow: A b}", "accuracy.borrow", "is not a device name"),
        ("devices: [a]\naccuracy: {borrow: b, sample: 0}", "accuracy.sample", "from 1"),
        ("devices: [any, a]\naccuracy: {borrow: b}", "devices", "devices by name"),
        ("accuracy: {borrow: b}", "accuracy", "devices by name"),
        ("devices: [b]\naccuracy: {borrow: b}", "accuracy", "b is the only device"),
        (
            "devices: [a]\nmeasure: [latency]\naccuracy: {borrow: b}",
            "accuracy",
            "without accuracy in `measure`",
        ),
        (
            "devices: [a, b]\naccuracy: {borrow: b}\nexclude: [{device: b, model: dynn}]",
            "exclude",
            "b is left out for dynn on digits, which a borrows from it",
        ),
    ],
)
def test_each_wrong_value_is_named_with_its_line(
    text: str, key: str, words: str, read_text: Callable[[str], Grid]
) -> None:
    """File, line, key, what was found and what is allowed."""
    with pytest.raises(BadInputError) as caught:
        read_text(f"{text}\n")
    lines = (BASE + text).splitlines()
    line = next(
        number for number, each in enumerate(lines, 1) if key.split(".", maxsplit=1)[0] in each
    )
    assert f":{line}: {key}" in str(caught.value)
    assert words in str(caught.value)


def test_all_problems_at_once(read_text: Callable[[str], Grid]) -> None:
    """Also those between keys."""
    with pytest.raises(BadInputError) as caught:
        read_text("devices: [any]\nmeasure: [latency]\naccuracy: {borrow: any, sample: no}\n")
    assert len(caught.value.problems) == 4


def test_both_may_be_left_out(read_text: Callable[[str], Grid]) -> None:
    """A pair that no borrower runs needs no lender."""
    grid = read_text(
        "devices: [a, b]\naccuracy: {borrow: b}\nexclude: [{model: dynn, device: b, threads: 0},"
        " {model: dynn, device: a, threads: 0}]\nthreads: [0, 1]\n"
    )
    assert grid.borrowing == Borrowing("b", 500)
