"""The command line on a full disk, and in a folder that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = "import sys; sys.argv[0] = 'gfjobs'; from jobs.cli import main; sys.exit(main())"


@pytest.mark.parametrize("form", ["table", "csv"])
def test_a_full_disk_and_a_lost_folder(form: str, tmp_path: Path) -> None:
    """One line each, with an exit code that says which; no traceback."""
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "GFJOBS_RESULTS": str(tmp_path)}
    query = [sys.executable, "-c", RUN, "sql", "select 1", "--format", form]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            query, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False
        )
    assert done.stderr == "gfjobs: the output cannot be written: No space left on device\n"
    assert done.returncode == 1
    gone = tmp_path / "gone"
    script = f'mkdir {gone} && cd {gone} && rmdir {gone} && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *query],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.stderr.startswith("gfjobs: the working directory cannot be used: No such file")
    assert done.returncode == 2
