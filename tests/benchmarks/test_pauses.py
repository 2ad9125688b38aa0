"""The benchmark of pauses: each thing before a pass has its line."""

from __future__ import annotations

from collections.abc import Callable


def test_each_thing_has_a_line(printed: Callable[..., str]) -> None:
    """Two turns of a model at two exits; without anything before, the ratio is 1."""
    said = printed("pauses", "--models", "digits-dynn", "--turns", "2", "--pause-ms", "2")
    lines = said.splitlines()
    assert len(lines) == 20
    assert lines[1].startswith("nothing ")
    assert lines[1].split()[-2:] == ["1.00", "1.00"]
