"""The grid that options stand for, and its problems in the words of the options."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import gfnet
from jobs.common.errors import BadInputError
from jobs.common.yaml_document import MAX_BYTES
from jobs.grid.evaluation import Evaluation, build_grid
from jobs.grid.grid import grid_name
from jobs.grid.reader import read_grid

REPOSITORY = Path(__file__).parents[3]
ODD = ('it\'s: #1 "x" {y}', "- a, [b]", "*star & co", "müll %TAG", "null", "1e3", "a\tb\nc")


@pytest.fixture(autouse=True)
def _here(ladder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in the folder of the checkpoints."""
    monkeypatch.chdir(ladder)


def written(**options: Any) -> dict[str, Any]:
    """The content of the grid of some options."""
    options = {"checkpoint": "dynn.safetensors", "data": "digits"} | options
    content: dict[str, Any] = yaml.safe_load(build_grid(Evaluation(**options)).text)
    return content


def problems(**options: Any) -> str:
    """What is wrong with some options."""
    options = {"checkpoint": "dynn.safetensors", "data": "digits"} | options
    with pytest.raises(BadInputError) as err:
        read_grid(build_grid(Evaluation(**options)), ("any", "cpu"), Path.cwd())
    return str(err.value)


def test_what_is_not_asked_for_is_left_to_the_defaults(ladder: Path) -> None:
    """So that the grid reads as what was asked."""
    assert written() == {
        "name": "dynn-digits",
        "models": [f"{ladder}/dynn.safetensors"],
        "datasets": [{"name": "digits"}],
    }


def test_every_option_is_written() -> None:
    """Each under its key."""
    content = written(
        checkpoint="digits-dynn",
        split="test",
        limit=7,
        image="img",
        label="l",
        thresholds=("0.5,[0.6, .inf]", "default,0:1:11"),
        device="cpu",
        runtime="onnx",
        precision="int8",
        threads=0,
        rounds=4,
        calibration="digits",
        has_energy=True,
    )
    assert content == {
        "name": "digits-dynn-digits",
        "models": ["digits-dynn"],
        "datasets": [{"name": "digits", "split": "test", "limit": 7, "image": "img", "label": "l"}],
        "thresholds": [0.5, [0.6, math.inf], "default", {"start": 0, "stop": 1, "num": 11}],
        "devices": ["cpu"],
        "runtimes": ["onnx"],
        "precisions": ["int8"],
        "threads": [0],
        "measure": ["accuracy", "latency", "energy"],
        "latency": {"rounds": 4},
        "calibration": {"dataset": "digits"},
    }


def test_the_text_reads_well(ladder: Path) -> None:
    """A key a line, and its values behind it; a long path is not broken."""
    far = "x/" * 60
    document = build_grid(
        Evaluation("dynn.safetensors", f"parquet:/{far}y.parquet", thresholds=("0.5,0.8",))
    )
    assert document.text.splitlines()[1:] == [
        "name: dynn-y",
        f"models: [{ladder}/dynn.safetensors]",
        "datasets:",
        f"- {{name: 'parquet:/{far}y.parquet'}}",
        "thresholds: [0.5, 0.8]",
    ]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_survive(name: str, ladder: Path, tmp_path: Path) -> None:
    """What YAML would read as something else: the checkpoint and the folder are found."""
    checkpoint = tmp_path / f"{name}.safetensors"
    checkpoint.symlink_to(ladder / "flat.safetensors")
    images = tmp_path / name
    (images / "test").mkdir(parents=True)
    content = written(checkpoint=str(checkpoint), data=str(images))
    assert content["models"] == [str(checkpoint)]
    assert content["datasets"] == [{"name": f"imagefolder:{images}"}]
    said = problems(checkpoint=str(checkpoint), data=str(images))
    assert said.startswith("--data: ")
    assert "CHECKPOINT" not in said


WRONG = [  # options, the option that is named, words that the message has
    ({"checkpoint": "digits-dyn"}, "CHECKPOINT", "did you mean 'digits-dynn'"),
    ({"checkpoint": "none/x.pth"}, "CHECKPOINT", "no such checkpoint or bundle: 'none/x.pth'"),
    ({"checkpoint": ""}, "CHECKPOINT", "nothing"),
    ({"data": "digts"}, "--data", "did you mean 'digits'?"),
    ({"data": "none/here"}, "--data", "there is no folder "),
    ({"data": "none.parquet"}, "--data", "there is no file or folder "),
    ({"data": ""}, "--data", "nothing"),
    ({"data": "caf\udce9/x"}, "--data", "a text of whole characters"),
    ({"split": "tset"}, "--data", "has no split 'tset'; splits: train, test"),
    ({"split": ""}, "--split", "nothing"),
    ({"limit": 0}, "--limit", "a whole number from 1 upwards"),
    ({"device": "cdua"}, "--device", "unknown device 'cdua'"),
    ({"runtime": "onxn"}, "--runtime", "unknown runtime 'onxn'; did you mean 'onnx'?"),
    ({"precision": "fp16"}, "--precision", "did you mean 'float16'?"),
    ({"runtime": "onnx", "precision": "int8"}, "--precision", "allowed: --calibration NAME"),
    ({"calibration": "digits"}, "--calibration", "allowed: --precision int8"),
    (
        {"runtime": "onnx", "precision": "int8", "split": "train", "calibration": "digits"},
        "--calibration",
        "digits/train has the images of digits",
    ),
    ({"precision": "int8", "calibration": "digts"}, "--calibration", "did you mean 'digits'?"),
    ({"threads": -1}, "--threads", "a whole number from 0 to 1024"),
    ({"rounds": 0}, "--rounds", "a whole number from 1 to 10000"),
    ({"thresholds": ("1.5",)}, "--thresholds", "'1.5'\n    allowed: a number from 0 to 1, START"),
    ({"thresholds": ("0.5,half",)}, "--thresholds", "'half'\n    allowed: a number from 0 to 1, S"),
    ({"thresholds": ("0.5,,0.6",)}, "--thresholds", "nothing\n    allowed: a number from 0 to 1"),
    ({"thresholds": ("",)}, "--thresholds", "nothing"),
    ({"thresholds": ("0:1",)}, "--thresholds", "'0:1'\n    allowed: a number from 0 to 1, START"),
    ({"thresholds": ("[0.5,0.6",)}, "--thresholds", "'[0.5'\n    allowed: a number from 0 to 1"),
    ({"thresholds": ("nan",)}, "--thresholds", "'nan'\n    allowed: a number"),
    ({"thresholds": ("1_0",)}, "--thresholds", "'1_0'\n    allowed: a number"),
    ({"thresholds": ("0:1:010",)}, "--thresholds 0:1:010: NUM", "a whole number from 1"),
    ({"thresholds": ("0:2:3",)}, "--thresholds 0:2:3: STOP", "a number from 0 to 1"),
    ({"thresholds": ("[0.5,2]",)}, "--thresholds", "'2'\n    allowed: a number from 0 to 1"),
    ({"thresholds": ("[0.5,0.5,0.5]",)}, "--thresholds", "3 thresholds for the model 'dynn'"),
    ({"thresholds": ("0:1:100000,[0.5,0.4],0:1:100000",)}, "--thresholds", "at most 100,000"),
]


@pytest.mark.parametrize(("options", "option", "words"), WRONG)
def test_mistakes_are_told_by_their_option(
    options: dict[str, Any], option: str, words: str
) -> None:
    """And by no line or key of a grid that the user never wrote."""
    said = problems(**options)
    assert said.startswith(f"{option}: ")
    assert words in said
    assert not [each for each in ("grid.yaml", "datasets", "[0]", "exclude") if each in said]


def test_classes_that_do_not_fit(tmp_path: Path) -> None:
    """The advice to exclude a pair is of no use where there is one pair."""
    for label in range(12):
        folder = tmp_path / "many" / f"class{label:02}"
        folder.mkdir(parents=True)
        (folder / "0.png").write_bytes(b"x")
    said = problems(data=str(tmp_path / "many"))
    assert said.startswith("--data: many has 12 classes, the model 'dynn' has 10\n")
    assert "exclude" not in said


def test_all_mistakes_at_once() -> None:
    """Each with its option."""
    said = problems(checkpoint="digits-dyn", data="digts", thresholds=("2",), rounds=0)
    found = [line.partition(":")[0] for line in said.splitlines() if line[0] != " "]
    assert sorted(found) == ["--data", "--rounds", "--thresholds", "CHECKPOINT"]


def test_more_thresholds_than_a_grid_file_holds() -> None:
    """Its grid could not be submitted again."""
    many = ",".join(f"0.{number:05}" for number in range(MAX_BYTES // 8))
    assert "--thresholds: too many to write into a grid" in problems(thresholds=(many,))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a b/c", "a-b-c"),
        ("v1..2", "v1-2"),
        ("...", "grid"),
        ("é", "grid"),
        ("x" * 200, "x" * 80),
        ("digits-dynn-digits", "digits-dynn-digits"),
    ],
)
def test_names_of_grids_may_be_part_of_a_path(text: str, name: str) -> None:
    """Whatever the files are called that they are made of."""
    assert grid_name(text) == name


def test_a_bundled_name_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if a folder is called so."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits-dynn").mkdir()
    assert "digits-dynn" in gfnet.bundled()
    assert written(checkpoint="digits-dynn")["models"] == ["digits-dynn"]
    assert written(checkpoint="./digits-dynn")["models"] == [f"{tmp_path}/digits-dynn"]


def test_the_grid_of_the_docs_is_that_of_its_command() -> None:
    """docs/evaluate.md shows what its first command writes."""
    page = (REPOSITORY / "docs" / "evaluate.md").read_text()
    assert (
        "gfjobs eval digits-dynn --data digits --limit 100 --thresholds 0.5,0.8 --threads 1 "
        in page
    )
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    made = build_grid(
        Evaluation("digits-dynn", "digits", limit=100, thresholds=("0.5,0.8",), threads=1)
    )
    assert shown == made.text
