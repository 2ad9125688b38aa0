"""Other packages that have the names gfnet, jobs or storage: found, and told with what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.common.packages import HOME, PACKAGES, find_foreign, find_origins

DOCTOR = "from jobs.cli import main; main(['doctor'])"


def write_package(folder: Path, name: str) -> Path:
    """A package of somebody else."""
    file = folder / name / "__init__.py"
    file.parent.mkdir(parents=True)
    file.write_text('"""Something else."""\n')
    return file


def write_distribution(folder: Path, distribution: str, name: str) -> None:
    """What pip leaves of a distribution with one package."""
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "top_level.txt").write_text(f"{name}\n")


def doctor_with(folder: Path) -> tuple[int, str]:
    """The doctor of a Python that searches a folder first: exit code, and text as one line."""
    done = subprocess.run(
        [sys.executable, "-c", DOCTOR],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(HOME)])},
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line for line in lines if len(line) > 80 and "/" not in line] == []
    return done.returncode, " ".join(done.stderr.split())


def test_all_three_are_ours(tmp_path: Path) -> None:
    """In these tests, from the checkout's folder and from one that has nothing."""
    for folder in (HOME, tmp_path):
        origins = find_origins(folder)
        assert [origin.name for origin in origins] == list(PACKAGES)
        assert all(origin.is_own for origin in origins)
        assert not [risk for origin in origins for risk in origin.describe_risks()]
    assert find_foreign() == []


def test_another_distribution_claims_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though ours is imported, files of one may have replaced files of the other."""
    write_distribution(tmp_path, "batch-queue", "jobs")
    monkeypatch.syspath_prepend(tmp_path)
    (jobs,) = [origin for origin in find_origins(HOME) if origin.claimed_by]
    assert (jobs.name, jobs.claimed_by, jobs.is_own) == ("jobs", ("batch-queue",), True)
    ((found, remedy),) = jobs.describe_risks()
    assert found.startswith("batch-queue also has a package jobs")
    assert "pip uninstall batch-queue" in remedy


def test_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package hides ours; scripts without `__init__.py` hide it if ours is on no path.

    That is so in an editable installation, whose finder Python asks last.
    """
    (tmp_path / "storage").mkdir()
    file = write_package(tmp_path, "jobs")
    found = {origin.name: origin.in_folder for origin in find_origins(tmp_path)}
    assert found == {"gfnet": None, "jobs": file, "storage": None}
    monkeypatch.setattr(sys, "path", [])
    found = {origin.name: origin.in_folder for origin in find_origins(tmp_path)}
    assert found == {"gfnet": None, "jobs": file, "storage": tmp_path / "storage"}
    (_, jobs, _) = find_origins(tmp_path)
    ((said, remedy),) = jobs.describe_risks()
    assert said.startswith(f"this folder has another jobs, {file}: the workers of a run")
    assert remedy == "submit from another folder, or rename it"


@pytest.mark.parametrize("name", ["gfnet", "storage"])
def test_a_folder_on_the_path_is_told_by_the_doctor(tmp_path: Path, name: str) -> None:
    """No command can run then: there is one message, and no traceback."""
    file = write_package(tmp_path, name)
    code, told = doctor_with(tmp_path)
    assert code == 1
    assert told == (
        f"gfjobs: {name} is {file}, not gfjobs' own in {HOME}; no installed distribution has a"
        " package of this name -> rename it, or take the folder that it lies in off PYTHONPATH"
    )


def test_an_installed_package_is_told_with_its_distribution(tmp_path: Path) -> None:
    """So that it can be uninstalled."""
    file = write_package(tmp_path, "storage")
    write_distribution(tmp_path, "blob-storage", "storage")
    code, told = doctor_with(tmp_path)
    assert code == 1
    assert told == (
        f"gfjobs: storage is {file}, not gfjobs' own in {HOME}; blob-storage also has a package"
        " storage -> make an environment for gfjobs alone, or pip uninstall blob-storage"
    )
