"""Runs a query so that Ctrl-C ends it within moments."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

T = TypeVar("T")

_INTERRUPT_EVERY_S = 0.1


def run_interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[], T]) -> T:
    """Run queries of a connection in a thread of their own, which Ctrl-C ends.

    DuckDB 2.0 looks for signals itself, but one of its threads may miss the interrupt and run to
    its end, for as long as that takes, while the main thread waits for it out of Python's reach.
    """
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            return working.result()
        except KeyboardInterrupt:
            while not working.done():
                connection.interrupt()
                wait([working], timeout=_INTERRUPT_EVERY_S)
            raise
