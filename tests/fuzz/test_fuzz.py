"""A few inputs of every target; tests/integration has more, and `make faults` the most."""

from __future__ import annotations

import faulthandler
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import strategies as st

from tests.fuzz import __main__ as program
from tests.fuzz import harness
from tests.fuzz.targets import Target

INPUTS = 800


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The program has a process of its own, and sets it up as it likes."""
    monkeypatch.setattr(faulthandler, "enable", lambda: None)
    for name in ("GFJOBS_DATA", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # put back at the end
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        yield
    torch.set_num_threads(threads)


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    """As `python -m tests.fuzz`: its exit code."""
    monkeypatch.setattr(sys, "argv", ["fuzz", *options])
    return program.main()


def test_inputs_are_each_accepted_or_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Of every reader of files that a stranger could have written."""
    code = run(monkeypatch, "--inputs", str(INPUTS), "--failures", str(tmp_path))
    out, said = capsys.readouterr()
    assert code == 0, said
    lines = [line.split() for line in out.splitlines()]
    names = ["grid", "recipe", "schedule", "cluster", "safetensors", "pth", "bundle", "all"]
    assert [line[0] for line in lines if line[0] in names] == names
    inputs, accepted, refused, failures = map(int, lines[-2][1:5])
    assert inputs > 0.9 * INPUTS  # hypothesis leaves out what it has tried already
    assert accepted + refused == inputs
    assert accepted > INPUTS / 50
    assert failures == 0
    assert list(tmp_path.iterdir()) == []


def broken(path: Path) -> None:
    """A reader that stumbles over an A, is slow at a B, greedy at a C, and refuses a D."""
    content = path.read_bytes()
    if b"A" in content:
        raise KeyError("A")
    if b"B" in content:
        while True:
            pass
    if b"C" in content:
        bytearray(8 * harness.MEMORY_BYTES)
    if b"D" in content:
        raise ValueError("D" * (harness.MOST_WORDS + content.count(b"E")))


@pytest.mark.parametrize(
    ("letters", "failure"),
    [
        ("AF", "KeyError: 'A'"),
        ("BF", "SlowError: more than 0.1 s of processor time"),
        ("CF", "MemoryError"),
        ("DE", "a refusal of 200,001 characters"),
        ("DF", None),
    ],
)
def test_what_is_no_answer_is_found(
    letters: str, failure: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An error of another kind, too much time, memory or words; the smallest such input is kept."""
    monkeypatch.setattr(harness, "DEADLINE_S", 0.1)
    texts = st.text(letters, min_size=1, max_size=4).map(str.encode)
    target = Target("broken", texts, ".txt", broken, ValueError, 1)
    result = harness.run(target, 20, 7, tmp_path)
    if failure is None:
        assert (result.failure, result.found) == (None, None)
        assert result.accepted + result.refused == result.inputs
        assert min(result.accepted, result.refused) > 0
    else:
        assert failure in (result.failure or "")
        assert result.found == letters[: 2 if "E" in letters else 1].encode()
