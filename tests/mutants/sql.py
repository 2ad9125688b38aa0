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
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import yaml

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]
QUERIES = Path("storage/queries")
TESTS = Path("tests/storage")
ENOUGH = 0.9
"""The share of a query's mutants that must be killed."""

_KILLERS: dict[str, list[str]] = {}
"""Of each query the tests that killed a mutant of it in this process: they come first."""

LIMIT_S = 300
"""A mutant that takes more processor seconds is dead, too."""

REFUSED = ("Binder Error", "Parser Error", "Catalog Error")
"""Words of DuckDB where a mutant is no SQL: that says nothing of the tests."""

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
        sql = file_of(query.name, tree).read_text(encoding="utf-8")
        if len({mutant.of(sql) for mutant in query.mutants}) < len(query.mutants):
            raise ValueError(f"{query.name}: two mutants are the same")
    return chosen


def file_of(query: str, tree: Path) -> Path:
    """Where a query stands: its folder says what it is about."""
    (file,) = (tree / QUERIES).glob(f"*/{query}.sql")
    return file


def fates(chosen: Sequence[Query], processes: int = 1) -> Iterator[Fate]:
    """Run the tests of each query with each of its mutants; fates come in this order.

    At the end each test that killed one is run over what is not changed.

    Raises: ValueError: it fails there too, or DuckDB refuses a mutant.
    """
    work = [(mutant, query.tests) for query in chosen for mutant in query.mutants]
    unchanged = Mutant(chosen[0].name, "", "", NOTHING, None)
    killers: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        fork = multiprocessing.get_context("fork")
        pool = ProcessPoolExecutor(processes, fork, _settle, (Path(folder),))
        try:
            for done in [pool.submit(_try, *each) for each in work]:
                fate = done.result()
                killers.update([fate.killer] if fate.killer else [])
                yield fate
            killers.discard(TOO_LONG)
            if killers and (
                failed := pool.submit(_try, unchanged, sorted(killers)).result().killer
            ):
                raise ValueError(f"fails though nothing is changed: {failed}")
        finally:
            pool.shutdown(cancel_futures=True)


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
    """Try the mutants of the named queries, or of all; 1 where some survive unexplained."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.sql", description=__doc__)
    parser.add_argument("queries", nargs="*", metavar="QUERY", help="default: all with mutants")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args(arguments)
    chosen = queries(asked.queries)
    results = []
    for fate in fates(chosen, asked.processes):
        results.append(fate)
        said = f"killed by {fate.killer}" if fate.killer else "SURVIVES"
        line = f"{fate.mutant.query}: {fate.mutant.breaks}: {said} ({fate.seconds:.1f} s)"
        print(line, flush=True)  # noqa: T201 (its product is what it prints)
    text, is_good = table(chosen, results)
    print(f"\n{text}")  # noqa: T201
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
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(TREE)))]
    import duckdb  # noqa: F401 (no connection is opened: its threads would not live on in a fork)
    import hypothesis.strategies  # noqa: F401
    import numpy as np  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import pytest  # noqa: F401

    import storage

    if Path(storage.__file__).parent != copy / "storage":
        raise RuntimeError(f"storage is imported from {storage.__file__}")


def _try(mutant: Mutant, tests: Sequence[str]) -> Fate:
    """Write a mutant into the copy, run the tests, and put the query back."""
    began = time.monotonic()
    file = file_of(mutant.query, Path.cwd())
    sql = file.read_text(encoding="utf-8")
    if mutant.breaks != NOTHING:
        file.write_text(mutant.of(sql), encoding="utf-8")
    try:
        killer = _forked(lambda: _killer(mutant, tests))
    finally:
        file.write_text(sql, encoding="utf-8")
    if killer and killer.startswith("!"):
        raise ValueError(f"{mutant.query}: {mutant.breaks}: {killer}")
    known = _KILLERS.setdefault(mutant.query, [])
    if killer and killer not in known:
        known.insert(0, killer)
    return Fate(mutant, killer, time.monotonic() - began)


def _forked(work: Callable[[], str | None]) -> str | None:
    """What `work` returns, from a process of its own."""
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        os.close(source)
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S))
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
        seen = _Failures(_KILLERS.get(mutant.query, []))
        code = pytest.main(
            ["-x", "-q", "-p", "no:cacheprovider", "-p", "_hypothesis_pytestplugin"]
            + [
                "--hypothesis-seed=0",
                "-W",
                "ignore::pytest.PytestAssertRewriteWarning",
            ]  # hypothesis came before pytest
            + [f"{TESTS}/{test}" for test in tests],
            plugins=[seen],
        )
    if code not in (0, 1) or any(error in seen.said for error in REFUSED):
        return f"! pytest ends with {code!r}: {seen.first}: {seen.said}"
    return seen.first


class _Failures:
    """A plugin of pytest: has the likely tests run first, and knows the first that failed."""

    def __init__(self, likely: Sequence[str]) -> None:
        self.first: str | None = None
        self.said = ""
        self._likely = likely

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: _name(item.nodeid) not in self._likely)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self._see(report)

    def pytest_collectreport(self, report: Any) -> None:
        self._see(report)

    def _see(self, report: Any) -> None:
        if report.failed and self.first is None:
            self.first, self.said = _name(report.nodeid), str(report.longrepr)


def _name(node: str) -> str:
    return node.removeprefix(f"{TESTS}/")


if __name__ == "__main__":
    sys.exit(main())
