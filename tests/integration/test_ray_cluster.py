"""A cluster that runs already: runs and trainings on it, and a driver that lives there."""

from __future__ import annotations

import signal
from typing import Any

import pytest

import storage

from .commands import RECIPE

pytestmark = pytest.mark.xdist_group("cluster")  # they share one

LONG = "rounds: 400"
"""In the place of 6 rounds: a run that does not end by itself while a test looks."""


def test_a_running_cluster_serves(place: Any, cluster: str) -> None:
    """Over --address, with the timing resource on its node: the same rows."""
    code, said = place.submit("--address", cluster).end()
    assert code == 0, said
    place.assert_like_an_undisturbed_run()


def test_a_training_on_a_node_gives_the_same_weights(place: Any, cluster: str) -> None:
    """As a Ray task: the same file as in this process, with its rows and no state left behind."""
    recipe = place.root.parent / "tiny.yaml"
    recipe.write_text(RECIPE)
    outputs = []
    for name, options in {"here": (), "there": ("--address", cluster)}.items():
        outputs.append(recipe.parent / name / "tiny.safetensors")
        results = ("--results", place.root.parent / f"{name}-results")
        code, said = place.command(
            "train", recipe, "-o", outputs[-1], "--device", "cpu", *options, *results
        ).end()
        assert code == 0, said
        assert "model 3/3: loss" in said
        rows = storage.query(results[1], "select epoch, node from training order by epoch")
        assert rows["epoch"].to_pylist() == [1, 2, 3]
        assert [path.name for path in outputs[-1].parent.iterdir()] == ["tiny.safetensors"]
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_a_device_that_no_node_has_is_refused(place: Any, cluster: str) -> None:
    """The message says which there are."""
    recipe = place.root.parent / "tiny.yaml"
    recipe.write_text(RECIPE)
    code, said = place.command(
        "train", recipe, "--device", "jetson-orin-nano", "--address", cluster
    ).end()
    assert code == 2, said
    assert "the cluster has no device 'jetson-orin-nano'; it has: any, cpu" in said


def test_a_detached_run_survives_its_terminal(place: Any, cluster: str, processes: Any) -> None:
    """The submitting process is gone; status, watch and cancel find the driver; then it goes on."""
    short = place.grid.read_text()
    place.grid.write_text(short.replace("rounds: 6", LONG))
    submitter = place.submit("--address", cluster, "--detach")
    processes.until(
        lambda: (place.root / "runs/r").is_dir() and storage.is_locked(place.root, "r"), "a driver"
    )
    log = storage.log_of(place.root, "r")
    processes.until(log.is_file, "the driver's log")
    submitter.signal_group(signal.SIGKILL)
    submitter.end()
    processes.until(lambda: place.commits() >= 2, "2 commits")
    code, said = place.command("status", "r", "--results", place.root).end()
    assert code == 0, said
    assert "driver: process " in said
    assert f"handed to the cluster at {cluster}" in said
    assert f"its log: {log}" in said
    watcher = place.command("watch", "r", "--results", place.root)
    code, said = place.command("cancel", "r", "--results", place.root).end()
    assert code == 0, said
    code, said = watcher.end()
    assert code == 1, said
    assert "run r is cancelled" in said
    assert "run r was cancelled" in log.read_text()
    place.grid.write_text(short)
    code, said = place.submit("--address", cluster, "--detach").end()
    assert code == 2, said
    assert "you can add rounds but not remove them" in said
    code, said = place.command("rm", "r", "--results", place.root).end()
    assert code == 0, said
    code, said = place.submit("--address", cluster, "--detach").end()
    assert code == 0, said
    assert "run r is driven on the cluster's head: process " in said
    code, said = place.command("watch", "r", "--results", place.root).end()
    assert code == 0, said
    assert "run r is done: 5 done" in said
    place.assert_like_an_undisturbed_run()
    code, said = place.submit("--address", cluster, "--detach").end()
    assert code == 0, said
    assert "run r is done: nothing is missing" in said
