"""`python -m tests.fuzz --inputs 100000`: all targets, a table, and what failed in a file."""

from __future__ import annotations

import argparse
import faulthandler
import random
import sys
import tempfile
from pathlib import Path

import torch

from jobs.common.tables import text_table
from tests.fuzz.harness import run
from tests.fuzz.targets import targets

COLUMNS = ("target", "inputs", "accepted", "refused", "failures", "seconds")


def main() -> int:
    """Run them; 1 where an input was neither accepted nor refused."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=5000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--only", help="one target")
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="a folder")
    wanted = parser.parse_args()
    faulthandler.enable()  # a reader in C that crashes names its place
    torch.set_num_threads(1)
    rows: list[tuple[object, ...]] = []
    is_sound = True
    with tempfile.TemporaryDirectory(prefix="gfjobs-fuzz-") as name:
        folder = Path(name)
        chosen = [t for t in targets(folder) if wanted.only in (None, t.name)]
        whole = sum(target.share for target in chosen)
        for target in chosen:
            inputs = round(wanted.inputs * target.share / whole)
            result = run(target, inputs, wanted.seed, folder)
            failures = int(result.failure is not None)
            rows.append(
                (
                    result.name,
                    result.inputs,
                    result.accepted,
                    result.refused,
                    failures,
                    round(result.elapsed_s, 1),
                )
            )
            if result.failure is not None and result.found is not None:
                is_sound = False
                wanted.failures.mkdir(exist_ok=True)
                path = wanted.failures / f"{target.name}-{wanted.seed}{target.suffix}"
                path.write_bytes(result.found)
                sys.stderr.write(f"{path}: {result.found[:200]!r}\n{result.failure}\n")
    columns = list(zip(*(row[1:] for row in rows), strict=True))
    if len(rows) > 1:
        rows.append(("all", *(round(sum(column), 1) for column in columns)))
    sys.stdout.write(text_table(COLUMNS, rows))
    sys.stdout.write(f"seed {wanted.seed}\n")
    return 0 if is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
