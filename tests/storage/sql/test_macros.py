"""The digest of the SQL behind stored summaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from storage.sql import macros
from tests.storage.plain_ladder import CACHES


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """The digest with one text of the ladder's query replaced by another."""
    text = macros.query_text

    def definition(old: str, new: str) -> str:
        assert old in text("ladder")
        query = text("ladder").replace(old, new)
        monkeypatch.setattr(macros, "query_text", lambda n: query if n == "ladder" else text(n))
        for each in CACHES:
            each.cache_clear()
        return macros.definition()

    yield definition
    monkeypatch.undo()
    for each in CACHES:
        each.cache_clear()


def test_a_reworded_query_is_the_same(changed: Callable[[str, str], str]) -> None:
    """Summaries of a year are not computed again for a comment or a line break."""
    same = changed("SELECT", "SELECT")
    assert changed("SELECT", "-- in other words\nSELECT") == same
    assert changed("\n    ", "\n        ") == same
    assert changed("SELECT", "SELECT DISTINCT") != same
