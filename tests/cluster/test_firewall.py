"""The example's rules of a firewall: only the nodes reach a node, and only at its own address."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.xdist_group("hosts"),
    pytest.mark.skipif(not shutil.which("nft"), reason="nftables is not installed"),
]
RULES = Path(__file__).parents[2] / "examples/gfjobs-node.nft"
OTHER = "10.78.0.1"
LISTENERS = """
import psutil
for c in psutil.net_connections("inet"):
    if c.status in ("LISTEN", "NONE") and not c.laddr.ip.endswith("127.0.0.1"):
        print(c.laddr, psutil.Process(c.pid).name())
"""


@pytest.fixture
def head(network: Any, token: str) -> Iterator[Any]:
    """A head with a second address, that of another network."""
    made = network.host("head")
    made.run("ip", "addr", "add", f"{OTHER}/24", "dev", "lo")
    made.gfjobs("node", "start", "--head", "--host", made.address, token=token)
    with contextlib.closing(made):
        yield made
        made.gfjobs("node", "stop", token=token)


def test_only_the_nodes_reach_a_node(head: Any, network: Any, token: str) -> None:
    """Without the rules anyone does, at any address; the doctor sees both."""
    board, stranger = network.host("board"), network.host("stranger")
    address = f"{head.address}:6379"
    said = head.gfjobs("doctor", token=token)
    assert re.search(r"^warn  ports: those of Ray also answer at 10\.78\.0\.1", said, re.MULTILINE)
    assert "examples/gfjobs-node.nft" in said
    assert "head" in stranger.gfjobs("nodes", "--address", address, token=token)

    rules = RULES.read_text()
    rules = re.sub("node = .*", f"node = {head.address}", rules)
    rules = re.sub("nodes = .*", f"nodes = {{ {head.address}, {board.address} }}", rules)
    head.write("node.nft", rules)
    for _ in range(2):  # a second time replaces the first
        done = head.run("nft", "-f", f"{head.home}/node.nft")
        assert (done.returncode, done.stderr) == (0, "")
    said = head.gfjobs("doctor", "--address", address, token=token)
    expected = f"^ok    ports: those of Ray answer at {re.escape(head.address)} alone$"
    assert re.search(expected, said, re.MULTILINE), said
    assert "no Ray cluster answers" in stranger.refused("nodes", "--address", address, token=token)
    board.gfjobs("node", "start", "--address", address, token=token)
    assert "board" in head.gfjobs("nodes", token=token)
    board.gfjobs("node", "stop", token=token)


def test_a_head_that_only_its_machine_reaches(network: Any, token: str) -> None:
    """What `--host 127.0.0.1` says holds, and a grid runs there."""
    alone, stranger = network.host("alone"), network.host("neighbour")
    said = alone.gfjobs("node", "start", "--head", "--host", "127.0.0.1", token=token)
    assert "only this machine reaches it" in said
    assert "join" not in said
    assert "ok    ports: this machine alone reaches its node" in alone.gfjobs("doctor", token=token)
    beyond = alone.run(sys.executable, "-c", LISTENERS).stdout
    assert beyond == ""
    address = f"{alone.address}:6379"
    assert "no Ray cluster answers" in stranger.refused("nodes", "--address", address, token=token)
    alone.write("grid.yaml", "models: [digits-dynn]\ndatasets: [{name: digits, limit: 5}]\n")
    given = ("--address", "127.0.0.1:6379", "--results", f"{alone.home}/results", "--run", "r")
    alone.gfjobs("submit", f"{alone.home}/grid.yaml", *given, token=token)
    assert "run r is done: 2 done" in alone.gfjobs("status", "r", *given[2:4], token=token)
    alone.gfjobs("node", "stop", token=token)
    assert alone.processes() == []
