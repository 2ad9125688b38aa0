"""The wheel: it holds all that the packages need, and it runs where there is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

from jobs.common.packages import PACKAGES

pytestmark = pytest.mark.xdist_group("wheel")  # they share one

REPOSITORY = Path(__file__).parents[2]
SOURCE = ("pyproject.toml", "README.md", *PACKAGES, "benchmarks", "examples", "tests")
DATA = {
    "gfnet/bundle/manifest.schema.json",
    "gfnet/py.typed",
    "gfnet/zoo/README.md",
    "gfnet/zoo/digits-dynn.safetensors",
    "jobs/py.typed",
    "jobs/report/html/templates/report.html.j2",
    "storage/__init__.pyi",
    "storage/datasets/digits-test.parquet",
    "storage/py.typed",
    "storage/queries/ladder/ladder.sql",
}
"""One file of each kind that is no Python; the test compares them all with the checkout."""

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
MODULES = "gfnet, jobs, storage, torch"
WHERE = f"import {MODULES}; print(*(each.__file__ for each in ({MODULES})))"


def run(*command: str | Path, folder: Path, may_fail: bool = False) -> str:
    """Run a command from a folder, without what this process has in its environment for Python.

    Returns: its stdout.
    """
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PIP_", "GFJOBS_", "PYTEST_", "COVERAGE_"))
    }
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=variables | {"PYTHONNOUSERSITE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert may_fail or done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network, from a copy: what a build leaves would be in the next wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCE:
        if (REPOSITORY / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(REPOSITORY / name, source / name, ignore=ignored)
        else:
            shutil.copy(REPOSITORY / name, source)
    offline = ("--no-deps", "--no-build-isolation", "--no-index")
    run(*PIP, "wheel", *offline, "--wheel-dir", folder, source, folder=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel alone; it borrows torch and the rest from this one.

    A `.pth` file appends this environment's folders of packages after its own. The `.pth` files in
    them are not read, so that an editable installation of this checkout has no effect.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    python = folder / "bin" / "python"
    options = ("install", "--no-deps", "--no-index", "--no-compile")
    run(*PIP, "--python", python, *options, wheel, folder=folder)
    # Afterwards: pip must see neither the gfjobs of this environment, nor remove it.
    borrowed = [each for each in sys.path if each.endswith(("site-packages", "dist-packages"))]
    (packages / "borrowed.pth").write_text("".join(f"{each}\n" for each in borrowed))
    return folder


def test_the_wheel_has_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    """SQL, templates, schema, checkpoints, images, types; neither tests nor examples."""
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    ours = {
        str(file.relative_to(REPOSITORY))
        for package in PACKAGES
        for file in (REPOSITORY / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert held == ours
    assert held >= DATA


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    """Name, README and classifiers, a command, and nobody's address."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith("/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
        commands = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert metadata["Name"] == "gfjobs"
    assert metadata["Author"] == "the gfjobs developers"
    assert metadata["Author-email"] is None
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (REPOSITORY / "README.md").read_text()
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert commands == "[console_scripts]\ngfjobs = jobs.cli:main\n"


def test_the_installed_wheel_is_what_runs(environment: Path, tmp_path: Path) -> None:
    """The packages come from the new environment, torch from this one; the doctor says so."""
    python, gfjobs = environment / "bin" / "python", environment / "bin" / "gfjobs"
    *own, torch = map(Path, run(python, "-c", WHERE, folder=tmp_path).split())
    (packages,) = environment.glob("lib/python*/site-packages")
    assert own == [packages / name / "__init__.py" for name in PACKAGES]
    assert environment not in torch.parents
    told = run(gfjobs, "doctor", folder=tmp_path, may_fail=True)  # by what the machine lacks
    assert f"ok names: gfnet, jobs, storage are gfjobs' own, in {packages}" in " ".join(
        told.split()
    )


def test_the_installed_wheel_runs_the_quickstart(environment: Path, tmp_path: Path) -> None:
    """Its grid with fewer images, from a folder that has nothing else."""
    grid = yaml.safe_load((REPOSITORY / "examples/quickstart.yaml").read_text())
    grid["datasets"] = [{"name": "digits", "split": "test", "limit": 24}]
    grid["latency"] = {"rounds": 1, "warmup_images": 1, "images": 8}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    gfjobs = environment / "bin" / "gfjobs"
    ladder = run(gfjobs, "submit", "grid.yaml", "--inline", "--run", "quick", folder=tmp_path)
    assert all(name in ladder for name in grid["models"])
    counted = "select count(distinct image_id) as images from exits"
    assert run(gfjobs, "sql", counted, "--format", "csv", folder=tmp_path) == "images\n24\n"
