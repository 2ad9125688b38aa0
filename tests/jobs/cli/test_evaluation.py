"""`gfjobs eval`: one checkpoint on one data set, without a grid file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import storage
from jobs.cli import main
from jobs.cli.hints import DATASETS
from jobs.driver.driver import Driver
from jobs.grid.grid import LatencyProtocol

QUICK = ("--threads", "1", "--rounds", "1", "--inline")


@pytest.fixture(autouse=True)
def root(ladder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The results root; commands work in the folder of the checkpoints."""
    threads = torch.get_num_threads()
    monkeypatch.chdir(ladder)
    monkeypatch.setenv("GFJOBS_RESULTS", str(tmp_path / "results"))
    yield tmp_path / "results"
    torch.set_num_threads(threads)


def gfjobs(*words: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, words)


def evaluate(*words: str) -> Result:
    """Evaluate few images, quickly."""
    return gfjobs("eval", *words, "--limit", "12", *QUICK)


def cell_ids(root: Path, run_id: str) -> list[str]:
    """The cells of a run."""
    return sorted(cell.cell_id for cell in storage.read_cells(root, run_id))


def repeat(said: str) -> list[str]:
    """The command that an evaluation names at its end."""
    (command,) = re.findall(r"^  gfjobs (submit .*)\Z", said.rstrip("\n"), re.MULTILINE)
    return shlex.split(command)


def test_an_evaluation_is_a_run_that_its_grid_repeats(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another folder, with the same cells."""
    done = evaluate(
        *("dynn.safetensors", "--data", "digits", "--run", "one"),
        *("--thresholds", "0.5,[0.6,0.5]", "--thresholds", "0:1:3"),
    )
    assert done.exit_code == 0, done.output
    assert "dynn at 0.5 on digits: exits" in done.stdout
    command = repeat(done.stderr)
    assert command == ["submit", f"{root}/runs/one/grid.yaml"]
    (run,) = storage.list_runs(root)
    assert (run.run_id, run.name, run.status) == ("one", "dynn-digits", "done")
    assert run.grid == Path(command[1]).read_text()
    monkeypatch.chdir(tmp_path)
    again = gfjobs(*command, "--inline", "--run", "two")
    assert again.exit_code == 0, again.output
    assert cell_ids(root, "one") == cell_ids(root, "two")
    assert len(cell_ids(root, "one")) == 3
    into_itself = gfjobs(*command, "--inline", "--run", "one")
    assert "run one is done: nothing is missing" in into_itself.stderr


def test_a_folder_of_images_given_by_a_relative_path(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name has what YAML and a shell would read as something else."""
    odd = "it's: #1 {x} $HOME"
    for label in range(2):
        folder = tmp_path / odd / f"{label}"
        folder.mkdir(parents=True)
        Image.new("L", (8, 8), 40 * label).save(folder / "0.png")
    (tmp_path / "it's: flat.safetensors").symlink_to(Path("flat.safetensors").absolute())
    monkeypatch.chdir(tmp_path)
    done = evaluate("it's: flat.safetensors", "--data", odd, "--run", "odd", "--results", "r's")
    assert done.exit_code == 0, done.output
    (cell, *_) = storage.read_cells(tmp_path / "r's", "odd")
    assert (cell.model, cell.dataset) == ("it's: flat", odd)
    monkeypatch.chdir(root.parents[1])
    command = repeat(done.stderr)
    again = gfjobs(*command[:2], "--inline", "--run", "two")
    assert again.exit_code == 0, again.output
    assert cell_ids(root, "two") == cell_ids(tmp_path / "r's", "odd")


def test_a_run_grows_by_another_evaluation_of_its_name(root: Path) -> None:
    """As by a grid that has grown; its grid is the last one."""
    words = ("dynn.safetensors", "--data", "digits", "--run", "one", "--thresholds")
    assert evaluate(*words, "0.5").exit_code == 0
    grown = evaluate(*words, "0.5,0.8")
    assert grown.exit_code == 0, grown.output
    assert "1 cell is new, 2 done before" in grown.stderr
    assert "[0.5, 0.8]" in Path(storage.kept_grid(root, "one")).read_text()
    other = evaluate("dynn.safetensors", "--data", "digits", "--run", "one", "--split", "train")
    assert other.exit_code == 2
    assert "run one was created from different inputs" in other.stderr
    assert "[0.5, 0.8]" in Path(storage.kept_grid(root, "one")).read_text()


def test_an_interrupted_evaluation_is_resumed_and_has_its_grid(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is written before anything runs."""

    def stop(_self: Driver) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Driver, "run", stop)
        stopped = evaluate("flat.safetensors", "--data", "digits", "--run", "one")
    assert stopped.exit_code == 1
    assert "gfjobs resume one" in stopped.stderr
    assert Path(storage.kept_grid(root, "one")).is_file()
    monkeypatch.chdir(tmp_path)
    resumed = gfjobs("resume", "one", "--inline")
    assert resumed.exit_code == 0, resumed.output
    assert "acc@1" in resumed.stdout


def test_what_is_gone_at_a_resume_is_told_by_the_line_of_the_kept_grid(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By then there is a grid to look into."""
    checkpoint = tmp_path / "gone.safetensors"
    checkpoint.symlink_to(Path("flat.safetensors").absolute())
    with monkeypatch.context() as patch:
        patch.setattr(Driver, "run", lambda _: False)
        assert evaluate(str(checkpoint), "--data", "digits", "--run", "one").exit_code == 1
    checkpoint.unlink()
    resumed = gfjobs("resume", "one", "--inline")
    assert resumed.exit_code == 2
    assert f"{root}/runs/one/grid.yaml:3: models[0]: no such checkpoint" in resumed.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--data", "digts"), "gfjobs: --data: data set 'digts' is not known (did you mean"),
        (("--data", "digits", "--thresholds", "2"), "gfjobs: --thresholds: '2'"),
        (("--data", "digits", "--run", "latest"), "--run latest: this word means the newest run"),
        (("--data", "digits", "--run", "a/b"), "run 'a/b' is not allowed"),
        (("--data", "digits", "--limit", "ten"), "'--limit': 'ten' is not a valid integer"),
        (("--data", "digits", "--address", "localhost:1"), "choose one"),
        ((), "Missing option '--data'"),
    ],
)
def test_mistakes_run_nothing(words: tuple[str, ...], said: str, root: Path) -> None:
    """Exit code 2, and no results root."""
    done = gfjobs("eval", "flat.safetensors", *words, "--inline")
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert not root.exists()


def test_energy_is_measured_if_asked_for(root: Path) -> None:
    """The windows of power are those of any grid; without a sensor a note says so."""
    done = evaluate("flat.safetensors", "--data", "digits", "--energy", "--run", "one")
    assert done.exit_code == 0, done.output
    (row,) = storage.list_runs(root)
    assert "measure: [accuracy, latency, energy]" in (row.grid or "")


def test_a_name_is_made_of_checkpoint_data_and_time(root: Path) -> None:
    """So that evaluations of the same are judged by each other."""
    assert evaluate("flat.safetensors", "--data", "digits").exit_code == 0
    (run,) = storage.list_runs(root)
    assert re.fullmatch(r"flat-digits-\d{8}-\d{6}", run.run_id)


def test_the_help_tells_the_defaults_of_grids() -> None:
    """They stand there as text: the grid leaves out what is not asked for."""
    text = " ".join(gfjobs("eval", "--help").stdout.split())
    for name, default in (("rounds", LatencyProtocol().rounds), ("split", "test"), ("threads", 0)):
        assert re.search(rf"--{name} [^-]*default: {default}\b", text), name


def test_the_data_sets_that_a_shell_offers() -> None:
    """All that need no path."""
    assert ("digits", *storage.DOWNLOADABLE) == DATASETS
