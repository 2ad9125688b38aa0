"""The digest of a run changes with whatever readers can see of it, and with nothing else."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import storage
from tests.storage.conftest import NOON, Builder

if TYPE_CHECKING:
    from collections.abc import Callable


def _verdict(build: Builder) -> storage.RegressionRow:
    return storage.RegressionRow(
        build.run.run_id,
        *("early", "digits", "cpu", "host", "torch", "float32", 1, 1, 0.5, None),
        "latency",
        "step",
        "ok",
        judged_at=NOON,
    )


def test_each_change_of_a_run_changes_its_digest_alone(build: Builder) -> None:
    """A commit, a cell's state, a node's note, the run's row, a verdict."""
    other = Builder(build.root, "run-2")
    other.cell()
    other.store()
    cell = build.cell("exits", status="running")
    build.store()
    seen = [storage.run_digests(build.root)]
    assert set(seen[0]) == {"run-1", "run-2"}
    assert storage.run_digests(build.root) == seen[0]

    def change(store: Callable[[storage.RunStore], None]) -> None:
        with storage.RunStore.open(build.root, "run-1") as opened:
            store(opened)
        now = storage.run_digests(build.root)
        assert now["run-2"] == seen[0]["run-2"]
        assert now["run-1"] not in [each["run-1"] for each in seen]
        seen.append(now)

    rows = storage.build_table(
        "exits",
        {"run_id": "run-1", "cell_id": cell.cell_id, "image_id": [0], "exit_block": 3},
    )
    entry = storage.CommitEntry(cell.cell_id, 0, 0, "host", 1, 1.0, NOON)
    change(lambda store: store.commit(entry, {"exits": rows}))
    change(lambda store: store.save_cells([dataclasses.replace(cell, status="done")]))
    change(lambda store: store.save_nodes([storage.NodeRow("run-1", "host", note="warm")]))
    change(lambda store: store.save_run(dataclasses.replace(build.run, status="failed")))
    change(lambda store: store.merge())
    storage.save_regressions(build.root, "run-1", [_verdict(build)])
    assert storage.run_digests(build.root)["run-1"] != seen[-1]["run-1"]
    storage.remove_run(build.root, "run-1")
    assert storage.run_digests(build.root) == {"run-2": seen[0]["run-2"]}


def test_compaction_changes_no_digest(build: Builder) -> None:
    """The history is a copy: what is made of a run stays valid."""
    build.cell()
    build.store()
    with storage.RunStore.open(build.root, "run-1") as store:
        store.merge()
    before = storage.run_digests(build.root)
    storage.compact(build.root)
    assert storage.run_digests(build.root) == before
