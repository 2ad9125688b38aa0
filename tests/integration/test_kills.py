"""A process that writes results and is killed: each row that it said was there is there, once."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import storage
from tests.storage.runs.test_commits import seen, shard_tables, whole

PROJECT = Path(storage.__file__).parents[1]

CHILD = """
import sys
sys.path.insert(0, {project!r})
import storage
from tests.storage.runs.test_commits import CELL, RUN, shard_tables
store = storage.RunStore.create({root!r}, RUN, [CELL], {{}})
for shard in range({shards}):
    store.commit(storage.CommitEntry("cell-1", 0, shard, rows=3), shard_tables(shard))
    print(shard, flush=True)
store.merge()
sys.stdin.read()  # hold the lease until killed
"""


@pytest.mark.parametrize(("lines", "shards"), [(7, 40), (8, 8)])
def test_kill_9_in_the_middle_loses_nothing_committed(
    tmp_path: Path, lines: int, shards: int
) -> None:
    """SIGKILL while committing or merging: what was said to be committed is there, once."""
    code = CHILD.format(project=str(PROJECT), root=str(tmp_path), shards=shards)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        for _ in range(lines):
            assert child.stdout.readline().strip().isdigit()
        assert storage.is_locked(tmp_path, "run-1")
        with pytest.raises(storage.RunLockedError, match=rf"process {child.pid} on "):
            storage.RunStore.open(tmp_path, "run-1")
        os.kill(child.pid, signal.SIGKILL)
    assert not storage.is_locked(tmp_path, "run-1")
    assert storage.list_runs(tmp_path)[0].status == "interrupted"
    images, costs, committed = seen(tmp_path)
    assert len(committed) >= lines
    assert (images, costs, committed) == whole(len(committed))
    with storage.RunStore.open(tmp_path, "run-1") as store:
        added = [
            store.commit(storage.CommitEntry("cell-1", 0, shard, rows=3), shard_tables(shard))
            for shard in range(shards)
        ]
        assert sum(added) == shards - len(committed)
        store.merge()
        store.save_run(dataclasses.replace(store.run, status="done"))
    assert seen(tmp_path) == whole(shards)
    assert storage.list_runs(tmp_path)[0].status == "done"
