"""A fault of the matrix, and how one is brought about and judged."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import driver
from faults.bench import GRID, Bench, Tally, left_behind, prepare, until


@dataclass(frozen=True)
class Scenario:
    """One fault.

    Attributes:
        name: for `make faults FAULTS=...`.
        title: in the table.
        inject: brings it about, a number of times, and compares.
        times: how often in the whole matrix.
        quick: how often in `make integration`; 0: not there.
        why_not: why it cannot be had on this machine; empty where it can.
    """

    name: str
    title: str
    inject: Callable[[Bench, int], None]
    times: int = 1
    quick: int = 0
    why_not: Callable[[], str] = lambda: ""

    def run(self, times: int, seed: int, wholes: dict[str, Any], grid: str = GRID) -> Tally:
        """Inject it.

        Raises:
            AssertionError, TimeoutError: something else than was expected.
        """
        prepare()
        os.environ[driver.MARK] = str(os.getpid())
        folder = Path(tempfile.mkdtemp(prefix="gfjobs-fault-"))
        bench = Bench(folder / "runs", seed, wholes, grid)
        bench.folder.mkdir()
        try:
            self.inject(bench, times)
            with contextlib.suppress(TimeoutError):
                until(lambda: not left_behind(), "processes to end", 30)
            assert not left_behind(), f"left behind: {left_behind()}"
        finally:
            for process in left_behind():
                process.kill()
            shutil.rmtree(folder, ignore_errors=True)
        return bench.tally


def needs_root() -> str:
    """Mounts and namespaces need it."""
    return "" if os.geteuid() == 0 else "needs root"
