"""Runs the fault matrix and prints one table; exit code 1 where a row is lost or doubled.

PYTHONPATH=.:tests python -m faults.table [NAME ...] [--seed N] [--times N]
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from typing import Any

from faults.scenario import Scenario
from faults.scenarios import ALL

COLUMNS = ("fault", "times", "rows", "lost", "doubled", "recovery s", "most s")
WIDTHS = (32, 5, 8, 5, 7, 10, 7)


def main() -> int:
    """Run those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(s.name for s in ALL))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--times", type=int, help="instead of as often as each is due")
    given = parser.parse_args()
    unknown = set(given.names) - {scenario.name for scenario in ALL}
    if unknown:
        parser.error(f"no fault {', '.join(sorted(unknown))}; there are: {parser.format_help()}")
    chosen = [scenario for scenario in ALL if not given.names or scenario.name in given.names]
    print(f"seed {given.seed}")
    print(_line(COLUMNS))
    print(_line(["-" * width for width in WIDTHS]))
    wholes: dict[str, Any] = {}
    results = [_row(each, given.times or each.times, given.seed, wholes) for each in chosen]
    failed = results.count(False)
    print(f"{len(chosen) - failed} of {len(chosen)} faults: nothing lost, nothing doubled")
    return 1 if failed else 0


def _row(scenario: Scenario, times: int, seed: int, wholes: dict[str, Any]) -> bool:
    """Inject one fault and print its line; whether all was well."""
    if why_not := scenario.why_not():
        print(f"{scenario.title}: not here, {why_not}", flush=True)
        return True
    began_s = time.monotonic()
    try:
        tally = scenario.run(times, seed, wholes)
    except Exception as err:  # noqa: BLE001 - the other faults go on
        traceback.print_exc()
        print(f"{scenario.title}: {type(err).__name__}: {str(err)[-3000:]}", flush=True)
        return False
    recoveries = sorted(tally.recoveries_s)
    cells = (
        scenario.title,
        f"{tally.times}",
        f"{tally.expected:,}",
        f"{tally.lost:,}",
        f"{tally.doubled:,}",
        f"{recoveries[len(recoveries) // 2]:.1f}" if recoveries else "–",  # nothing to recover from
        f"{recoveries[-1]:.1f}" if recoveries else "–",
    )
    print(_line(cells), flush=True)
    for remark in tally.remarks:
        print(f"  {remark}")
    print(f"{scenario.name} took {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    return not (tally.lost or tally.doubled or tally.remarks) and tally.expected > 0


def _line(cells: Any) -> str:
    first, *rest = zip(cells, WIDTHS, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])


if __name__ == "__main__":
    sys.exit(main())
