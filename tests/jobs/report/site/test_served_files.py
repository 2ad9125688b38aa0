"""What is opened below a folder: its own regular files, through no link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.leaks import no_file_left

from jobs.report.site.served_files import read_below

SECRET = b"secret"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A site, with a file next to it that nobody may read."""
    made = tmp_path / "site"
    (made / "runs").mkdir(parents=True)
    (made / "index.html").write_bytes(b"first")
    (made / "runs" / "a.html").write_bytes(b"a")
    (tmp_path / "secret.html").write_bytes(SECRET)
    return made


def test_its_own_files(folder: Path, tmp_path: Path) -> None:
    """Also if the folder is a link that the user made."""
    assert read_below(folder, "index.html") == b"first"
    assert read_below(folder, "runs/a.html") == b"a"
    (tmp_path / "link").symlink_to(folder)
    assert read_below(tmp_path / "link", "runs/a.html") == b"a"


def test_nothing_else(folder: Path, tmp_path: Path) -> None:
    """No folder, link, pipe, hidden or foreign file, and nothing above it."""
    (folder / "link.html").symlink_to(tmp_path / "secret.html")
    (folder / "inside.html").symlink_to(folder / "index.html")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "folder.html").mkdir()
    (folder / ".hidden.html").write_bytes(SECRET)
    (folder / "key.pem").write_bytes(SECRET)
    (folder / "none").write_bytes(SECRET)
    os.mkfifo(folder / "pipe.html")
    for path in (
        *("", "runs", "runs/", "gone.html", "gone/a.html", "index.html/", "index.html/a.html"),
        *("link.html", "inside.html", "linked/secret.html", "folder.html", "pipe.html"),
        *(".hidden.html", "key.pem", "none"),
        *("../secret.html", "runs/../../secret.html", str(tmp_path / "secret.html")),
        *("..\\secret.html", "%2e%2e/secret.html", "index.html\0", "a" * 300 + ".html"),
    ):
        assert read_below(folder, path) is None, path


def test_no_handle_is_left(folder: Path) -> None:
    """However the reading ends."""
    with no_file_left():
        for path in ("index.html", "runs/a.html", "runs/gone.html", "runs"):
            read_below(folder, path)
