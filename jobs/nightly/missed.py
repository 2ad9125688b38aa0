"""Which nights were missed lately: what the overview of a results root's site is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import storage
from jobs.common.errors import BadInputError
from jobs.nightly.daemon import root_of, utc_now
from jobs.nightly.ledger import Ledger, default_path
from jobs.nightly.records import Night
from jobs.report.site.overview import MissedNight

LATELY = timedelta(days=7)
"""Older nights no longer need a look."""

_NEWEST = 500  # nights of all schedules that are looked through


def missed_nights(ledger: Ledger, results: storage.Root, now: datetime) -> list[MissedNight]:
    """Return the nights of a results root that were missed lately, the last first."""
    return [
        MissedNight(night.schedule, night.due_at, night.note)
        for night in ledger.nights(newest=_NEWEST)
        if night.state == "missed" and now - night.due_at <= LATELY and _is_of(night, results)
    ]


def missed_here(results: storage.Root) -> list[MissedNight]:
    """Return those that this user's ledger knows; none if there is no ledger."""
    path = Path(os.environ.get("GFJOBS_LEDGER") or default_path())
    try:
        is_there = path.is_file()
    except OSError:  # an impossible path: it holds nothing
        return []
    return list(_read(path, results)) if is_there else []


def _read(path: Path, results: storage.Root) -> Iterator[MissedNight]:
    ledger = Ledger(path)
    try:
        yield from missed_nights(ledger, results, utc_now())
    finally:
        ledger.close()


def _is_of(night: Night, results: storage.Root) -> bool:
    try:
        root = root_of(night)
    except BadInputError:  # this version cannot read its schedule
        return False
    return _full_name(root) == _full_name(results)


def _full_name(root: storage.Root) -> str:
    """Name a root the same whether it was written as `results` or `x/../results`."""
    return os.path.normpath(storage.checked_root(root))
