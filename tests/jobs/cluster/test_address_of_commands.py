"""What commands say of an address without Ray: before Ray is asked, or anything written.

Ray itself would try for a minute, and log what its RPCs tell it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import ray
import ray._raylet
from click.testing import CliRunner

from jobs.cli import main

GRID = "models: [digits-gfnet]\ndatasets: [{name: digits, limit: 1}]\n"


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """The address of a web server."""

    class Silent(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Silent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a grid, and a Ray that must not be asked."""

    def asked(*_: object, **__: object) -> None:
        pytest.fail("Ray was asked")

    monkeypatch.setattr(ray, "init", asked)
    monkeypatch.setattr(ray._raylet, "GcsClient", asked)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.yaml").write_text(GRID)
    return tmp_path


def said(words: str, code: int) -> str:
    """What a command says, which ends with a code."""
    done = CliRunner().invoke(main, words.split())
    assert done.exit_code == code, done.output
    assert isinstance(done.exception, SystemExit)
    return " ".join(done.output.split())


COMMANDS = {"submit grid.yaml": 2, "nodes": 2, "node start": 2, "doctor": 1}


@pytest.mark.parametrize(("command", "code"), COMMANDS.items(), ids=COMMANDS)
def test_something_else_at_the_address(folder: Path, web: str, command: str, code: int) -> None:
    """A web server."""
    told = said(f"{command} --address {web}", code)
    assert "a server other than Ray" in told
    assert "rpc" not in told.lower().replace("grpc", "")
    assert "Traceback" not in told
    assert [path.name for path in folder.iterdir()] == ["grid.yaml"]


@pytest.mark.usefixtures("folder")
def test_an_address_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable: the option was not given."""
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    assert said("nodes", 2).startswith("gfjobs: $RAY_ADDRESS 'nowhere' is not HOST:PORT")
    assert said("nodes --address here", 2).startswith("gfjobs: --address 'here' is not HOST")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at '127.0.0.1:1'"),
        ("nowhere", "is not HOST:PORT"),
    ],
)
def test_no_cluster_at_the_address(folder: Path, address: str, words: str) -> None:
    """Nobody listens there, or it is no address."""
    told = said(f"submit grid.yaml --address {address}", 2)
    assert words in told
    assert "Traceback" not in told
    assert [path.name for path in folder.iterdir()] == ["grid.yaml"]
