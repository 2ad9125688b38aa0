"""Hand-made mutants of the SQL in `storage/queries`: does a query's own test file notice each?

    python -m tests.mutants.sql [QUERY ...] [--processes N]

A mutant is data (`tests/mutants/queries/*.yaml`): a text that stands in a query once, what replaces
it, and what that breaks. Each is written into a copy of the tree, where the tests of its query run
in a process forked after everything was imported; the first that fails kills it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import yaml

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]
QUERIES = Path("storage/queries")
TESTS = Path("tests/storage")
ENOUGH = 0.9
"""The share of a query's mutants that must be killed."""

LIMIT_S = 300
"""A mutant that runs for longer is dead, too."""

NOTHING = "nothing is changed"
TOO_LONG = "a limit of time"


class Mutant(NamedTuple):
    """One change of one query."""

    query: str
    text: str
    replacement: str
    breaks: str
    survives: str | None
    """Why no test can notice it, where that is so."""

    def of(self, sql: str) -> str:
        """Change a query.

        Raises: ValueError: the text does not stand there once, or the change is none.
        """
        if (found := sql.count(self.text)) != 1:
            raise ValueError(f"{self.query}: stands there {found} times, not once: {self.text!r}")
        if self.text == self.replacement:
            raise ValueError(f"{self.query}: changes nothing: {self.text!r}")
        return sql.replace(self.text, self.replacement)


class Query(NamedTuple):
    """One query with the tests that are its own, and its mutants."""

    name: str
    tests: tuple[str, ...]
    mutants: tuple[Mutant, ...]


class Fate(NamedTuple):
    """What became of a mutant."""

    mutant: Mutant
    killer: str | None
    """The first test that failed."""

    seconds: float


def queries(names: Collection[str] = (), tree: Path = TREE) -> list[Query]:
    """Read the mutants, of some queries or of all, and hold each against its query.

    Raises: ValueError: a mutant does not fit, or there is none of a query.
    """
    found = []
    for file in sorted((HERE / "queries").glob("*.yaml")):
        for name, entry in yaml.safe_load(file.read_text(encoding="utf-8")).items():
            mutants = tuple(
                Mutant(name, each["text"], each["with"], each["breaks"], each.get("survives"))
                for each in entry["mutants"]
            )
            found.append(Query(name, tuple(entry["tests"]), mutants))
    if unknown := set(names) - {query.name for query in found}:
        raise ValueError(f"no mutants of {', '.join(sorted(unknown))}")
    chosen = [query for query in found if not names or query.name in names]
    for query in chosen:
        sql = (tree / QUERIES / f"{query.name}.sql").read_text(encoding="utf-8")
        if len({mutant.of(sql) for mutant in query.mutants}) < len(query.mutants):
            raise ValueError(f"{query.name}: two mutants are the same")
    return chosen


def fates(chosen: Sequence[Query], processes: int = 1) -> Iterator[Fate]:
    """Run the tests of each query with each of its mutants; fates come in this order.

    At the end each test that killed one is run over what is not changed.

    Raises: ValueError: it fails there too, or DuckDB refuses a mutant.
    """
    work = [(mutant, query.tests) for query in chosen for mutant in query.mutants]
    unchanged = Mutant(chosen[0].name, "", "", NOTHING, None)
    killers: set[str] = set()
    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as folder,
        ProcessPoolExecutor(
            processes, multiprocessing.get_context("fork"), _settle, (Path(folder),)
        ) as pool,
    ):
        for done in [pool.submit(_try, *each) for each in work]:
            fate = done.result()
            killers.update([fate.killer] if fate.killer else [])
            yield fate
        killers.discard(TOO_LONG)
        if killers and (failed := pool.submit(_try, unchanged, sorted(killers)).result().killer):
            raise ValueError(f"fails though nothing is changed: {failed}")


def table(chosen: Sequence[Query], results: Iterable[Fate]) -> tuple[str, bool]:
    """A line a query, and its survivors; whether enough were killed and all others explained."""
    survivors = {fate.mutant for fate in results if not fate.killer}
    lines = [f"{'query':<28}{'mutants':>8}{'killed':>8}{'%':>6}  survivors"]
    is_good = True
    total = [0, 0]
    for query in chosen:
        left = [mutant for mutant in query.mutants if mutant in survivors]
        count, killed = len(query.mutants), len(query.mutants) - len(left)
        total = [total[0] + count, total[1] + killed]
        is_good &= killed >= ENOUGH * count
        lines.append(_line(query.name, count, killed) + "; ".join(each.breaks for each in left))
    lines.append(_line("all", *total))
    for mutant in sorted(survivors):
        is_good &= mutant.survives is not None
        lines.append(f"{mutant.query}: {mutant.breaks}: {mutant.survives or 'no reason is given'}")
    for query in chosen:
        for mutant in query.mutants:
            if mutant.survives and mutant not in survivors:
                is_good = False
                lines.append(f"{query.name}: {mutant.breaks}: is killed, though said to survive")
    return "\n".join(lines), is_good


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants of the queries that are named, or of all; 1 where some survive unexplained."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.sql", description=__doc__)
    parser.add_argument("queries", nargs="*", metavar="QUERY", help="default: all with mutants")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args(arguments)
    chosen = queries(asked.queries)
    results = []
    for fate in fates(chosen, asked.processes):
        results.append(fate)
        said = f"killed by {fate.killer}" if fate.killer else "SURVIVES"
        print(
            f"{fate.mutant.query}: {fate.mutant.breaks}: {said} ({fate.seconds:.1f} s)", flush=True
        )
    text, is_good = table(chosen, results)
    print(f"\n{text}")
    return 0 if is_good else 1


def _line(name: str, count: int, killed: int) -> str:
    return f"{name:<28}{count:>8}{killed:>8}{100 * killed / max(count, 1):>6.0f}  "


def _settle(folder: Path) -> None:
    """Give this process a copy of the tree, and import from there what tests import."""
    copy = folder / str(os.getpid())
    for part in ("storage", "tests"):
        shutil.copytree(TREE / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TREE / "pyproject.toml", copy)
    os.chdir(copy)
    os.environ.pop("PYTHONPATH", None)
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(TREE)))]
    sys.dont_write_bytecode = True
    import duckdb  # noqa: F401 (no connection is opened: its threads would not live on in a fork)
    import hypothesis.strategies
    import numpy as np  # noqa: F401
    import pyarrow.parquet
    import pytest  # noqa: F401

    import storage

    if Path(storage.__file__).parent != copy / "storage":
        raise RuntimeError(f"storage is imported from {storage.__file__}")


def _try(mutant: Mutant, tests: Sequence[str]) -> Fate:
    """Write a mutant into the copy, run the tests, and put the query back."""
    began = time.monotonic()
    file = Path.cwd() / QUERIES / f"{mutant.query}.sql"
    sql = file.read_text(encoding="utf-8")
    if mutant.breaks != NOTHING:
        file.write_text(mutant.of(sql), encoding="utf-8")
    try:
        killer = _forked(lambda: _killer(mutant, tests))
    finally:
        file.write_text(sql, encoding="utf-8")
    if killer and killer.startswith("!"):
        raise ValueError(f"{mutant.query}: {mutant.breaks}: {killer}")
    return Fate(mutant, killer, time.monotonic() - began)


def _forked(work: Callable[[], str | None]) -> str | None:
    """What `work` returns, from a process of its own."""
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        os.close(source)
        signal.alarm(LIMIT_S)
        try:
            answer = work()
        except BaseException:  # noqa: BLE001 (it is told by the parent)
            answer = f"! {traceback.format_exc()}"
        os.write(sink, json.dumps(answer).encode()[:60_000])
        os._exit(0)
    os.close(sink)
    with os.fdopen(source, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said) if said else TOO_LONG


def _killer(mutant: Mutant, tests: Sequence[str]) -> str | None:
    """The first test that fails; runs in a process of its own."""
    import pytest

    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]  # those of the copy are meant
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        _bind(mutant.query)
        seen = _Failures()
        code = pytest.main(
            ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--hypothesis-seed=0"]
            + ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis came before pytest
            + [f"{TESTS}/{test}" for test in tests],
            plugins=[seen],
        )
    if code not in (0, 1):
        return f"! pytest ends with {code!r}; {seen.first}"
    return seen.first


def _bind(query: str) -> None:
    """Let DuckDB read all queries: a mutant that is no SQL says nothing of the tests."""
    import storage
    from storage.questions import EXPRESSIONS, MACROS, VIEWS
    from storage.sql import query_text

    with tempfile.TemporaryDirectory() as folder, storage.connect(folder) as connection:
        if query not in (*EXPRESSIONS, *MACROS, *VIEWS):
            connection.execute(f"PREPARE mutant AS {query_text(query)}")


class _Failures:
    """A plugin of pytest that knows the first test that failed."""

    first: str | None = None

    def pytest_runtest_logreport(self, report: object) -> None:
        if getattr(report, "failed", False) and self.first is None:
            self.first = str(getattr(report, "nodeid", "")).rpartition("/")[2]

    def pytest_collectreport(self, report: object) -> None:
        if getattr(report, "failed", False) and self.first is None:
            self.first = str(getattr(report, "longrepr", ""))


if __name__ == "__main__":
    sys.exit(main())
