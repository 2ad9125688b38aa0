"""Secrets of the environment: in no row, no file, no command line."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.cli import main
from jobs.cluster.identity import identify
from jobs.cluster.launch import Launch
from jobs.cluster.node_state import runtime_folder
from jobs.cluster.ray import connection
from jobs.common.errors import JobsError

SECRETS = ("RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN")


def test_no_secret_stands_in_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor in what a run says: rows, cells, nodes, manifests and what is kept for a resume."""
    for name in SECRETS:
        monkeypatch.setenv(name, f"secret-{name}")
    grid = tmp_path / "g.yaml"
    grid.write_text(
        "models: [digits-dynn]\ndatasets: [{name: digits, limit: 5}]\nthreads: [1]\n"
        "devices: [cpu]\nlatency: {rounds: 1, warmup_images: 1, images: 3}\n"
    )
    root = tmp_path / "results"
    done = CliRunner().invoke(main, ["submit", str(grid), "--inline", "--results", str(root)])
    assert done.exit_code == 0, done.output
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 3
    import pyarrow.parquet as pq

    held = [done.output]
    held += [
        str(pq.read_table(path).to_pydict()) if path.suffix == ".parquet" else path.read_text()
        for path in files
    ]
    assert not [text for text in held if "secret-" in text]


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAEXAMPLE:very-secret@bucket/results",
        "s3://AKIAEXAMPLE:very-secret/bucket",
        "S3://AKIAEXAMPLE:very-secret@bucket",
        "s3://bucket/results?X-Amz-Signature=very-secret",
        "https://AKIAEXAMPLE:very-secret@s3.example.org/bucket",
    ],
)
@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_root_with_credentials_is_refused_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, by: str
) -> None:
    """By all commands: they are not said, and nothing is written anywhere."""
    monkeypatch.chdir(tmp_path)
    if by == "environment":
        monkeypatch.setenv("GFJOBS_RESULTS", url)
    option = ["--results", url] if by == "option" else []
    for command in (["runs"], ["sql", "from runs"], ["fsck"], ["submit", "grid.yaml"]):
        done = CliRunner().invoke(main, [*command, *option])
        assert done.exit_code == 2
        assert "results" in done.output
        assert "very-secret" not in done.output + repr(done.exception)
        assert "AKIAEXAMPLE" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_ray_of_our_own_has_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this run alone, by the environment and no argument; this machine's is left as it is."""
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(connection.ray, "init", lambda **options: asked.append(options))
    monkeypatch.setattr(connection, "find_token", lambda: None)
    monkeypatch.setattr(connection, "_native_stderr_off", contextlib.nullcontext)
    tokens = set()
    for _ in range(2):
        monkeypatch.setenv("RAY_AUTH_TOKEN", "")
        monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
        connection.start_here()
        assert os.environ["RAY_AUTH_MODE"] == "token"
        tokens.add(os.environ["RAY_AUTH_TOKEN"])
    assert len(tokens) == 2
    assert all(len(token) == 64 for token in tokens)
    assert not any(token in repr(asked) for token in tokens)
    before = os.environ["RAY_AUTH_TOKEN"]
    monkeypatch.setattr(connection, "find_token", lambda: (before, "a file"))
    connection.start_here()
    assert os.environ["RAY_AUTH_TOKEN"] == before
    assert len(asked) == 3


def test_a_node_is_started_without_its_token_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`ps` shows commands to everybody; the token goes by the environment or the file."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    launch = Launch(name="n", host="127.0.0.1", head=None, port=6379, identity=identify())
    assert "secret" not in " ".join(launch.command())
    assert launch.environment(os.environ)["RAY_AUTH_MODE"] == "token"
    assert "secret" not in repr(launch)


def test_the_folder_of_a_node_is_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In /tmp somebody else could have put a link there first."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / f"gfjobs-{os.getuid()}"
    folder.symlink_to(tmp_path)
    with pytest.raises(JobsError, match="belongs to another user"):
        runtime_folder()
    folder.unlink()
    folder.mkdir(mode=0o777)
    assert runtime_folder().stat().st_mode & 0o777 == 0o700
