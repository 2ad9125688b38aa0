"""`python -m tests.mutants [MODULE …]`: mutants killed by each module's own tests, in tables.

A module of Python, as jobs/driver/placement.py, or a query, as storage/queries/ladder/ladder.sql.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import yaml

from jobs.common.tables import text_table
from tests.mutants import sql
from tests.mutants.modules import MODULES
from tests.mutants.python import Mutated, mutate

ENOUGH_PERCENT = 90.0
COLUMNS = ("module", "mutants", "killed", "timed out", "survivors", "killed %", "seconds")
_LIST = Path(__file__).with_name("survivors.yaml")


def main() -> int:
    """Run them; 1 where too many survive, or one that is not listed with its reason."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="default: all")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    wanted = parser.parse_args()
    queries = [Path(module).stem for module in wanted.modules if module.endswith(".sql")]
    modules = [module for module in wanted.modules if not module.endswith(".sql")]
    if unknown := [module for module in modules if module not in MODULES]:
        parser.error(f"{', '.join(unknown)}: no module of tests/mutants/modules.py")
    known = {query.name for query in sql.queries()}
    if unknown := [query for query in queries if query not in known]:
        parser.error(f"{', '.join(unknown)}: no query of tests/mutants/queries")
    is_sound = _try_modules(modules if wanted.modules else list(MODULES), wanted.workers)
    if queries or not wanted.modules:
        is_sound &= sql.main([*queries, "--processes", str(wanted.workers)]) == 0
    return 0 if is_sound else 1


def _try_modules(modules: list[str], workers: int) -> bool:
    """Run the mutants of some modules; whether enough are killed and the others explained."""
    listed = read_survivors()
    rows: list[tuple[object, ...]] = []
    is_sound = True
    for module in modules:
        began = time.monotonic()
        result = mutate(module, MODULES[module], workers)
        rows.append((*_row(result), round(time.monotonic() - began)))
        is_sound &= _report(result, listed.get(module, {}))
        sys.stdout.flush()
    if rows:
        sys.stdout.write(text_table(COLUMNS, rows))
    return is_sound


def read_survivors() -> dict[str, dict[str, str]]:
    """Read the reason of each survivor, by module."""
    modules = yaml.safe_load(_LIST.read_text()) or {}
    return {
        module: {mutant: group["reason"] for group in groups for mutant in group["mutants"]}
        for module, groups in modules.items()
    }


def _row(result: Mutated) -> tuple[object, ...]:
    percent = f"{result.killed_percent:.1f}"
    survivors = len(result.survivors)
    return result.module, result.mutants, result.killed, result.timed_out, survivors, percent


def _report(result: Mutated, listed: dict[str, str]) -> bool:
    """Write what is wrong with it; whether nothing is."""
    unlisted = [mutant for mutant in result.survivors if mutant not in listed]
    gone = [mutant for mutant in listed if mutant not in result.survivors]
    lines = [f"{result.module}: {result.killed} of {result.mutants} mutants killed"]
    lines += [f"  survived, without a reason in {_LIST.name}:"] * bool(unlisted)
    lines += [f"    {mutant}" for mutant in unlisted]
    lines += [f"  listed in {_LIST.name}, but killed or no longer made:"] * bool(gone)
    lines += [f"    {mutant}" for mutant in gone]
    sys.stdout.write("\n".join(lines) + "\n")
    return not unlisted and result.killed_percent >= ENOUGH_PERCENT


if __name__ == "__main__":
    sys.exit(main())
