"""A cluster of real hosts, each in namespaces of its own: who gets what, who joins, who leaves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import storage

pytestmark = pytest.mark.xdist_group("hosts")  # one network after another

GRID = """\
name: boards
models: [digits-gfnet, digits-dynn]
datasets: [{name: digits, limit: 50}]
thresholds: [0.5]
devices: [DEVICES]
threads: [1]
measure: [accuracy, latency, energy]
latency: {rounds: 3, warmup_images: 4, images: 50}
energy: {idle_s: 0.2, active_s: 0.2, settle_s: 0.05}
"""
NANO, AGX, GPU = "jetson-orin-nano", "jetson-agx-orin", "rtx-4090"
WATTS = {GPU: (310.0, 40.0), NANO: (13.2, 8.0), AGX: (32.0, 11.0)}
"""Replayed on the hosts of each device: active, idle."""
ANSWERS = """
select c.kind, c.model, r.round, r.image_id, r.exit_block, r.prediction, r.is_correct, r.gate_score
from {table} r join cells c using (run_id, cell_id) {where} order by all
"""


def answers(root: Path, table: str, device: str | None = None) -> list[dict[str, Any]]:
    """What was answered for each image, timings aside; of one device or of all."""
    where = f"where r.device = '{device}'" if device else ""
    sql = ANSWERS.format(table=table, where=where)
    if table == "exits":
        sql = sql.replace("r.round", "0 as round")
    return storage.query(root, sql).to_pylist()


def rows(root: Path, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a question."""
    return [tuple(row.values()) for row in storage.query(root, sql).to_pylist()]


def inline(folder: Path) -> Path:
    """The results of the same grid in one process of this machine."""
    grid, root = folder / "inline.yaml", folder / "inline"
    grid.write_text(GRID.replace("DEVICES", "cpu"))
    command = [sys.executable, "-c", "from jobs.cli import main; main()", "submit", str(grid)]
    done = subprocess.run([*command, "--inline", "--results", str(root)], check=False)
    assert done.returncode == 0
    return root


def replay_power(host: Any, device: str) -> None:
    """Let a host's nodes measure what a board of this kind might take."""
    active_w, idle_w = WATTS[device]
    host.write("power.csv", f"phase,watts\nidle,{idle_w}\nactive,{active_w}\n")
    host.environment["GFJOBS_POWER"] = f"replay:{host.home}/power.csv"


def test_a_grid_on_four_hosts(network: Any, cluster: Any, token: str, tmp_path: Path) -> None:
    """Placement by device is exact; one host joins and one leaves in mid-run; each row is once."""
    head, nano, other, agx = (network.host(f"host{n}") for n in range(4))
    for host, device in ((head, GPU), (nano, NANO), (other, NANO), (agx, AGX)):
        replay_power(host, device)
    address = cluster.start(head, [(nano, NANO), (other, NANO)], GPU, token)
    assert "has another token" in agx.refused(
        "node", "start", "--address", address, "--device", AGX, token="0" * 64
    )
    assert "without a token" in agx.refused("node", "start", "--address", address)
    assert agx.processes() == []

    shown = head.gfjobs("nodes", token=token)
    for word in ("host0", "host1", "host2", NANO, GPU, "(head)", "free", "replay"):
        assert word in shown
    assert "host3" not in shown
    assert max(map(len, shown.splitlines())) <= 80

    grid, root = tmp_path / "grid.yaml", tmp_path / "results"
    grid.write_text(GRID.replace("DEVICES", f"{GPU}, {NANO}, {AGX}"))
    driver = head.begin(
        *("submit", grid, "--run", "r", "--results", root, "--address", address, "--wait", "5m"),
        token=token,
    )
    manifests = root / "runs/r/commits"
    cluster.until(
        lambda: re.search("(latency|exits) digits-", head.gfjobs("nodes", token=token)),
        "`gfjobs nodes` to say what a node is doing",
    )
    cluster.until(lambda: len(list(manifests.glob("*.json"))) >= 3, "some commits")
    agx.gfjobs("node", "start", "--address", address, "--device", AGX, token=token)
    other.gfjobs("node", "stop", token=token)
    assert other.processes() == [], "a node that was stopped leaves no process"
    said = cluster.end(driver)
    assert driver.returncode == 0, said
    assert f"waiting: 2 cells of device {AGX}: no node has it" in said

    placed = rows(root, "select distinct device, node, kind = 'exits' from cells order by all")
    assert {(device, node) for device, node, _ in placed} <= {
        (GPU, "host0"),
        (NANO, "host1"),
        (NANO, "host2"),
        (AGX, "host3"),
    }
    assert {device for device, _, _ in placed} == {GPU, NANO, AGX}
    mixed = "select cell_id from records group by cell_id having count(distinct node) > 1"
    assert rows(root, mixed) == [], "no cell has rounds of two machines"
    one_node = "select device, count(distinct node) from records group by all order by all"
    assert rows(root, one_node) == [(AGX, 1), (NANO, 1), (GPU, 1)]
    registered = dict(rows(root, "select node, device from nodes"))
    assert registered["host0"] == GPU
    assert registered["host3"] == AGX

    measured = rows(
        root, "select device, power_w, idle_w, energy_mj / forward_ms from ladder order by all"
    )
    assert len(measured) == 2 * len(WATTS)
    for device, power_w, idle_w, net_w in measured:
        active, idle = WATTS[device]
        assert (power_w, idle_w, net_w) == pytest.approx((active, idle, active - idle), rel=0.01)

    whole = inline(tmp_path)
    for table, columns in (("records", "round"), ("exits", "exit_block")):
        expected = answers(whole, table)
        for device in (GPU, NANO, AGX):
            assert answers(root, table, device) == expected, f"{table} of {device}"
        key = f"cell_id, image_id, {columns}"
        twice = f"select 1 from {table} group by {key} having count(*) > 1"  # noqa: S608
        assert rows(root, twice) == []
    for host in (head, nano, agx):
        host.gfjobs("node", "stop", token=token)
        assert host.processes() == []


def test_a_node_whose_link_was_cut_rejoins(
    network: Any, cluster: Any, token: str, tmp_path: Path
) -> None:
    """Its supervisor brings it back, and its timed cells go on there."""
    head, nano = network.host("head"), network.host("nano")
    address = cluster.start(head, [(nano, NANO)], "cpu", token)
    grid, root = tmp_path / "grid.yaml", tmp_path / "results"
    grid.write_text(GRID.replace("DEVICES", f"cpu, {NANO}").replace("rounds: 3", "rounds: 12"))
    driver = head.begin(
        *("submit", grid, "--run", "r", "--results", root, "--address", address), token=token
    )
    manifests = root / "runs/r/commits"
    cluster.until(lambda: len(list(manifests.glob("*.json"))) >= 6, "some commits")
    nano.unplug()
    cluster.until(lambda: "nano" not in head.gfjobs("nodes", token=token), "the node to be lost")
    nano.replug()
    said = cluster.end(driver)
    assert driver.returncode == 0, said
    assert "starting again in" in nano.log()
    counts = rows(root, "select device, node, count(*) from records group by all order by all")
    assert counts == [("cpu", "head", 2 * 12 * 50), (NANO, "nano", 2 * 12 * 50)]


def test_weights_and_images_go_to_a_node_once_and_it_says_how_it_is(
    network: Any, cluster: Any, token: str, tmp_path: Path
) -> None:
    """Counted by its raylet: two models and a shard, for ten tasks; then the doctor asks it."""
    head, nano = network.host("head"), network.host("nano")
    nano.environment["RAY_debug_dump_period_milliseconds"] = "500"
    replay_power(nano, NANO)
    address = cluster.start(head, [(nano, NANO)], "cpu", token)
    grid, root = tmp_path / "grid.yaml", tmp_path / "results"
    grid.write_text(GRID.replace("DEVICES", NANO).replace("rounds: 3", "rounds: 4"))
    said = head.gfjobs(
        *("submit", grid, "--run", "r", "--results", root, "--address", address), token=token
    )
    assert rows(root, "select count(*) from commits") == [(2 + 2 * 4,)], said

    def state() -> str:
        text: str = nano.run(
            "sh", "-c", f"cat {nano.own}/run/ray/session_2*/logs/debug_state.txt"
        ).stdout
        return text

    for _ in range(2):  # the second was written whole after the run
        before = state()
        cluster.until(lambda last=before: state() != last, "the raylet to say what it did")
    # Each is less than a chunk, of 5 MiB; a pull that is slow to come is asked for again.
    (chunks,) = re.findall(r"num chunks received total: (\d+)", state())
    assert 3 <= int(chunks) <= 5, "once each, not once a task"

    said = head.gfjobs("doctor", "--address", address, token=token)
    for what in ("device", "disk", "shared memory", "clocks", "power"):
        for node in ("head", "nano"):
            assert re.search(rf"^(ok|warn) +node {node}, {what}: ", said, re.MULTILINE), said
    assert re.search(r"^ok +node nano, power: replay", said, re.MULTILINE), said


def test_what_keeps_a_node_from_a_cluster(network: Any, cluster: Any, token: str) -> None:
    """Each reason is said before Ray starts, with what to do."""
    head, other = network.host("head"), network.host("other")
    address = cluster.start(head, [], "cpu", token)
    join = ("node", "start", "--address", address)
    assert "no Ray cluster answers at '10.77.0.9:6379'" in other.refused(
        "node", "start", "--address", "10.77.0.9:6379", token=token
    )
    assert "the cluster has a node 'head' already, at 10.77.0.1" in other.refused(
        *join, "--name", "head", token=token
    )
    assert "is no name for a device" in other.refused(*join, "--device", "RTX 4090", token=token)
    assert "runs here already" in head.refused("node", "start", "--head", token=token)
    assert "no node runs here" in other.refused("node", "stop")
    said = other.refused("nodes", "--address", address, token="1" * 64)
    assert "has another token" in said


def test_a_node_in_the_foreground(network: Any, cluster: Any, token: str) -> None:
    """As systemd wants it: it stays until it is told to end, and leaves nothing."""
    head, board = network.host("head"), network.host("board")
    address = cluster.start(head, [], "cpu", token)
    staying = board.begin("node", "start", "--block", "--address", address, token=token)
    cluster.until(lambda: "board" in head.gfjobs("nodes", token=token), "the board to join")
    assert staying.poll() is None
    board.gfjobs("node", "stop")
    assert "ended" in cluster.end(staying)
    assert staying.returncode == 0
    assert board.processes() == []
