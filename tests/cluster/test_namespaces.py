"""A cluster of real hosts, each in namespaces of its own: who gets what, who joins, who leaves.

A night is told once: a grid on four hosts, of which one joins, one leaves and one is cut off
meanwhile. Each test looks at something else of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faults.bench import Started

import storage

pytestmark = pytest.mark.xdist_group("hosts")  # they share the night

ROUNDS, IMAGES = 8, 50
GRID = f"""\
name: boards
models: [digits-gfnet, digits-dynn]
datasets: [{{name: digits, limit: {IMAGES}}}]
thresholds: [0.5]
devices: [DEVICES]
threads: [1]
measure: [accuracy, latency, energy]
latency: {{rounds: {ROUNDS}, warmup_images: 4, images: {IMAGES}}}
energy: {{idle_s: 0.1, active_s: 0.1, settle_s: 0.05}}
"""
NANO, AGX, GPU = "jetson-orin-nano", "jetson-agx-orin", "rtx-4090"
WATTS = {GPU: (310.0, 40.0), NANO: (13.2, 8.0), AGX: (32.0, 11.0)}
"""Replayed on the hosts of each device: active, idle."""
ANSWERS = """
select c.kind, c.model, r.round, r.image_id, r.exit_block, r.prediction, r.is_correct, r.gate_score
from {table} r join cells c using (run_id, cell_id) {where} order by all
"""
COUNTS = f"select count(*) from records where device = '{NANO}'"  # noqa: S608 - of this file


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


def replay_power(host: Any, device: str) -> None:
    """Let a host's nodes measure what a board of this kind might take."""
    active_w, idle_w = WATTS[device]
    host.write("power.csv", f"phase,watts\nidle,{idle_w}\nactive,{active_w}\n")
    host.environment["GFJOBS_POWER"] = f"replay:{host.home}/power.csv"


@dataclass(frozen=True)
class Boards:
    """A head with a GPU, two boards of one kind that have joined it, and one of another kind."""

    address: str
    head: Any
    nano: Any
    other: Any
    agx: Any


@pytest.fixture(scope="module")
def boards(network: Any, cluster: Any, token: str) -> Iterator[Boards]:
    """The hosts of the night; in the end their nodes stop and leave no process."""
    head, nano, other, agx = hosts = [network.host(f"host{n}") for n in range(4)]
    for host, device in zip(hosts, (GPU, NANO, NANO, AGX), strict=True):
        replay_power(host, device)
    agx.environment["RAY_debug_dump_period_milliseconds"] = "500"
    address = cluster.start(head, [(nano, NANO), (other, NANO)], GPU, token)
    yield Boards(address, *hosts)
    for host in (agx, nano, head):
        if host.processes():
            host.gfjobs("node", "stop", token=token)
            assert host.processes() == [], "a node that was stopped leaves no process"


@dataclass(frozen=True)
class Night:
    """What was seen and said.

    Attributes:
        root: the results.
        refused: to the fourth host, with another token and with none.
        shown: by `gfjobs nodes`, before anything ran.
        left: the processes of the host whose node was stopped in the middle.
        said: by the driver.
        before_cut: rows of the boards of the one kind, when the link of one was cut.
    """

    root: Path
    refused: tuple[str, str]
    shown: str
    left: list[str]
    said: str
    before_cut: int


@pytest.fixture(scope="module")
def night(
    boards: Boards, cluster: Any, token: str, tmp_path_factory: pytest.TempPathFactory
) -> Night:
    """A grid on all of them."""
    head, nano, other, agx = boards.head, boards.nano, boards.other, boards.agx
    join = ("node", "start", "--address", boards.address)
    refused = (agx.refused(*join, "--device", AGX, token="0" * 64), agx.refused(*join))
    assert agx.processes() == []
    shown = head.gfjobs("nodes", token=token)

    folder = tmp_path_factory.mktemp("night")
    grid, root = folder / "grid.yaml", folder / "results"
    grid.write_text(GRID.replace("DEVICES", f"{GPU}, {NANO}, {AGX}"))
    options = ("--results", root, "--address", boards.address, "--wait", "5m")
    driver = head.begin("submit", grid, "--run", "r", *options, token=token)
    manifests = root / "runs/r/commits"
    cluster.until(
        lambda: re.search("(latency|exits) digits-", head.gfjobs("nodes", token=token)),
        "`gfjobs nodes` to say what a node is doing",
    )
    cluster.until(lambda: len(list(manifests.glob("*.json"))) >= 3, "some commits")
    other.gfjobs("node", "stop", token=token)
    left = other.processes()
    nano.unplug()
    before_cut = rows(root, COUNTS)[0][0]
    agx.gfjobs(*join, "--device", AGX, token=token)
    cluster.until(lambda: "host1" not in head.gfjobs("nodes", token=token), "the node to be lost")
    nano.replug()
    said = cluster.end(driver)
    assert driver.returncode == 0, said
    return Night(root, refused, shown, left, said, before_cut)


def test_who_is_shown_and_who_is_refused(night: Night) -> None:
    """The cluster as `gfjobs nodes` shows it, 80 columns wide; nobody joins without its token."""
    assert "has another token" in night.refused[0]
    assert "without a token" in night.refused[1]
    for word in ("host0", "host1", "host2", NANO, GPU, "(head)", "free", "replay"):
        assert word in night.shown
    assert "host3" not in night.shown
    assert max(map(len, night.shown.splitlines())) <= 80


def test_placement_by_device_is_exact(night: Night) -> None:
    """No cell has rounds of two machines, whoever joins and leaves; what waits is said."""
    assert night.left == [], "a node that was stopped leaves no process"
    assert f"waiting: 2 cells of device {AGX}: no node has it" in night.said
    placed = rows(night.root, "select distinct device, node, kind = 'exits' from cells")
    assert {(device, node) for device, node, _ in placed} <= {
        (GPU, "host0"),
        (NANO, "host1"),
        (NANO, "host2"),
        (AGX, "host3"),
    }
    assert {device for device, _, _ in placed} == {GPU, NANO, AGX}
    mixed = "select cell_id from records group by cell_id having count(distinct node) > 1"
    assert rows(night.root, mixed) == []
    registered = dict(rows(night.root, "select node, device from nodes"))
    assert registered["host0"] == GPU
    assert registered["host3"] == AGX


def test_a_node_whose_link_was_cut_rejoins(night: Night, boards: Boards) -> None:
    """Its supervisor brings it back, and its timed cells go on there."""
    all_rows = 2 * ROUNDS * IMAGES
    assert night.before_cut < all_rows
    assert "restarting in" in boards.nano.log()
    counts = rows(
        night.root, "select device, node, count(*) from records group by all order by all"
    )
    assert counts == [(AGX, "host3", all_rows), (NANO, "host1", all_rows), (GPU, "host0", all_rows)]


def test_each_device_has_the_energy_of_its_own_meter(night: Night) -> None:
    """Active and idle power as each replays them."""
    measured = rows(
        night.root,
        "select device, power_w, idle_w, energy_mj / forward_ms from ladder order by all",
    )
    assert len(measured) == 2 * len(WATTS)
    for device, power_w, idle_w, net_w in measured:
        active, idle = WATTS[device]
        assert (power_w, idle_w, net_w) == pytest.approx((active, idle, active - idle), rel=0.01)


def test_the_rows_are_those_of_one_process_each_once(night: Night, tmp_path: Path) -> None:
    """On every device the same answers as inline."""
    grid, whole = tmp_path / "inline.yaml", tmp_path / "inline"
    grid.write_text(GRID.replace("DEVICES", "cpu").replace(", energy]", "]"))
    words = ["submit", str(grid), "--inline", "--results", str(whole)]
    code, said = Started(words, tmp_path / "inline.log").end()
    assert code == 0, said
    for table, columns in (("records", "round"), ("exits", "exit_block")):
        expected = answers(whole, table)
        assert expected
        for device in (GPU, NANO, AGX):
            assert answers(night.root, table, device) == expected, f"{table} of {device}"
        key = f"cell_id, image_id, {columns}"
        twice = f"select 1 from {table} group by {key} having count(*) > 1"  # noqa: S608
        assert rows(night.root, twice) == []


def test_weights_and_images_go_to_a_node_once(night: Night, boards: Boards, cluster: Any) -> None:
    """Counted by its raylet: two models and a shard, for 18 tasks."""
    agx = boards.agx
    tasks = dict(rows(night.root, "select node, count(*) from commits group by all"))
    assert tasks["host3"] == 2 + 2 * ROUNDS

    def state() -> str:
        files = f"cat {agx.own}/run/gfjobs-0/ray/session_2*/logs/debug_state.txt"
        text: str = agx.run("sh", "-c", files).stdout
        return text

    for _ in range(2):  # the second was written whole after the run
        before = state()
        cluster.until(lambda last=before: state() != last, "the raylet to say what it did")
    # Each is less than a chunk, of 5 MiB; a pull that is slow to come is asked for again.
    (chunks,) = re.findall(r"num chunks received total: (\d+)", state())
    assert 3 <= int(chunks) <= 5, "once each, not once a task"


def test_a_node_says_how_it_is(night: Night, boards: Boards, token: str) -> None:
    """The doctor asks every node of the cluster."""
    assert night.said
    said = boards.head.gfjobs("doctor", "--address", boards.address, token=token)
    for what in ("device", "disk", "shared memory", "clocks", "power"):
        for node in ("host0", "host1", "host3"):
            assert re.search(rf"^(ok|warn) +node {node}, {what}: ", said, re.MULTILINE), said
    assert re.search(r"^ok +node host3, power: replay", said, re.MULTILINE), said


def test_what_keeps_a_node_from_a_cluster(boards: Boards, network: Any, token: str) -> None:
    """Each reason is said before Ray starts, with what to do."""
    head, stranger = boards.head, network.host("stranger")
    join = ("node", "start", "--address", boards.address)
    assert "no Ray cluster answers at '10.77.0.99:6379'" in stranger.refused(
        "node", "start", "--address", "10.77.0.99:6379", token=token
    )
    assert "the cluster already has a node 'host0', at 10.77.0.1" in stranger.refused(
        *join, "--name", "host0", token=token
    )
    assert "is not a valid device name" in stranger.refused(
        *join, "--device", "RTX 4090", token=token
    )
    assert "already runs here" in head.refused("node", "start", "--head", token=token)
    assert "no node runs here" in stranger.refused("node", "stop")
    said = stranger.refused("nodes", "--address", boards.address, token="1" * 64)
    assert "has another token" in said


def test_a_node_in_the_foreground(boards: Boards, network: Any, cluster: Any, token: str) -> None:
    """As systemd wants it: it stays until it is told to end, and leaves nothing."""
    board = network.host("board")
    staying = board.begin("node", "start", "--block", "--address", boards.address, token=token)
    cluster.until(lambda: "board" in boards.head.gfjobs("nodes", token=token), "the board to join")
    assert staying.poll() is None
    board.gfjobs("node", "stop")
    assert "ended" in cluster.end(staying)
    assert staying.returncode == 0
    assert board.processes() == []
