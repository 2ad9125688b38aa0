"""The folder of a site: whose it is, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.common.errors import UsageError
from jobs.report.site.folder import MadeOf, SiteFolder


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    """And not touched."""
    (tmp_path / "thesis.tex").write_text("years", encoding="utf-8")
    with pytest.raises(UsageError, match=r"holds other files, such as thesis\.tex; name a new"):
        SiteFolder(tmp_path).locked().__enter__()
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_processes_do_not_write_one_site(tmp_path: Path) -> None:
    """The second is told who writes."""
    written = r"is being written by .*try again"
    with SiteFolder(tmp_path).locked(), pytest.raises(UsageError, match=written):
        SiteFolder(tmp_path).locked().__enter__()
    with SiteFolder(tmp_path).locked():
        pass


def test_a_site_that_is_being_written_is_one(tmp_path: Path) -> None:
    """From its first moment: what was interrupted is made again, and a check disturbs nothing."""
    with SiteFolder(tmp_path / "site").locked():
        SiteFolder(tmp_path / "site").write("index.html", b"half of it")
        SiteFolder(tmp_path / "site").check()
    with SiteFolder(tmp_path / "site").locked():
        assert SiteFolder(tmp_path / "site").made_of() == MadeOf()


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    """Said with its path."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match=r"file cannot be written: "):
        SiteFolder(tmp_path / "file").locked().__enter__()


def test_the_same_content_is_left_alone(tmp_path: Path) -> None:
    """So that a mirror copies only what has changed."""
    site = SiteFolder(tmp_path)
    site.write("a/b.html", b"one")
    before = (tmp_path / "a/b.html").stat().st_ino
    site.write("a/b.html", b"one")
    assert ((tmp_path / "a/b.html").stat().st_ino, site.written) == (before, 1)
    site.write("a/b.html", b"two")
    assert ((tmp_path / "a/b.html").read_bytes(), site.written) == (b"two", 2)


def test_what_it_was_made_of_is_remembered(tmp_path: Path) -> None:
    """Unless that cannot be read: then of nothing."""
    made_of = MadeOf("v1", {"a": "1", "b": "2"}, {"b"}, {"a"}, {("a", "b")}, "x")
    site = SiteFolder(tmp_path)
    site.save(made_of)
    assert site.made_of() == made_of
    (tmp_path / "site.json").write_text("{", encoding="utf-8")
    assert site.made_of() == MadeOf()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """And nothing else."""
    site = SiteFolder(tmp_path)
    site.save(MadeOf())
    site.write("runs/a.html", b"whole")
    (tmp_path / "runs/.a.html.tmp").write_bytes(b"ha")
    with site.locked():
        assert sorted(each.name for each in (tmp_path / "runs").iterdir()) == ["a.html"]


def test_only_what_matches_is_removed(tmp_path: Path) -> None:
    """A run whose name begins alike keeps its pages."""
    site = SiteFolder(tmp_path)
    site.write_all({"runs/a.html": b"", "runs/a.csv": b"", "runs/ab.html": b""})
    site.remove("runs/a.*")
    assert [each.name for each in (tmp_path / "runs").iterdir()] == ["ab.html"]
