"""Standard streams that are closed, or whose encoding lacks characters."""

from __future__ import annotations

import io
import sys

import pytest

from jobs.cli.streams import prepare_streams

WRITTEN = "a – b ─ → … █ ±1 \xd7 é Ж •⣿\u2800|"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", WRITTEN),
        ("latin-1", "a - b - > ~ # ±1 \xd7 é \\u0416 \\u2022* |"),
        ("ascii", "a - b - > ~ # ~1 \\xd7 \\xe9 \\u0416 \\u2022* |"),
    ],
)
def test_characters_that_an_encoding_lacks(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables stay in line, one character for one; letters are not lost."""
    written = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(written, encoding, write_through=True))
    prepare_streams()
    print(WRITTEN, end="")  # noqa: T201
    assert written.getvalue().decode(encoding) == shown


def test_a_closed_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a daemon's can be: Python then has none."""
    monkeypatch.setattr(sys, "stdout", None)
    prepare_streams()
    assert not sys.stdout.isatty()
    print("nobody reads this")  # noqa: T201
    sys.stdout.close()
