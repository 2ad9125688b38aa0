"""Measuring again, for real: a small run of the suspects and the control, in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import storage
from jobs.analysis.regressions.remeasure import make_remeasure
from jobs.runs.submit import submit
from jobs.runs.target import Target

GRID = """\
name: nightly
models: [digits-gfnet, digits-dynn, {name: other, checkpoint: digits-gfnet}]
datasets: [{name: digits, limit: 6}]
thresholds: [0.5]
threads: [1]
latency: {rounds: 1, warmup_images: 3, images: 6}
"""


def test_suspects_and_control_take_turns_in_a_run_of_their_own(tmp_path: Path) -> None:
    """In six rounds, there and back; only what is a suspect; under a name that is no night's."""
    grid, root, target = tmp_path / "grid.yaml", tmp_path / "results", Target(is_inline=True)
    grid.write_text(GRID)
    submit(grid, root, target, lambda _: None, "night")
    grid.unlink()  # the run has its text
    cells = storage.named_query(root, "measured_in", run_id="night").to_pylist()
    suspects = [cell for cell in cells if cell["model"] == "digits-dynn"]
    again = make_remeasure(root, target, lambda _: None)
    assert again("night", suspects, "digits-gfnet") == "night-again"
    assert again("night", suspects, None) == "night-again-2"
    rounds = storage.query(
        root,
        "SELECT model, round FROM rounds JOIN cells USING (run_id, cell_id)"
        " WHERE run_id = 'night-again' ORDER BY rounds.position",
    ).to_pylist()
    order = ["digits-gfnet", "digits-dynn", "digits-dynn", "digits-gfnet"] * 3
    assert [row["model"] for row in rounds] == order
    names = {run.run_id: run.name for run in storage.list_runs(root)}
    assert names["night-again"] == "nightly-again"
    with storage.RunStore.open(root, "night-again-2") as store:  # as a killed process leaves it
        store.save_run(replace(store.run, status="running", finished_at=None))
    assert again("night", suspects, "digits-gfnet") == "night-again-3"
    assert again("night", suspects, None) == "night-again-2"
    alone = storage.query(root, "FROM cells WHERE run_id = 'night-again-2'").to_pylist()
    assert {cell["model"] for cell in alone} == {"digits-dynn"}
