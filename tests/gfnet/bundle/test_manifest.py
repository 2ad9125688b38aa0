"""What a manifest may say, and that each contradiction in it is named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import bundles

import gfnet
from gfnet.bundle.fit import check_fit
from gfnet.bundle.manifest_text import read_bundle_manifest, write_bundle_manifest

Change = Callable[[dict[str, Any]], object]


def document() -> dict[str, Any]:
    """A manifest that is in order."""
    made: dict[str, Any] = json.loads(bundles.files()["manifest.json"])
    return made


def refusal(text: str | bytes) -> str:
    """What is said of a bundle with another manifest."""
    content = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(gfnet.BundleError) as caught:
        gfnet.inspect_bundle(bundles.zipped(bundles.files() | {"manifest.json": content}))
    return str(caught.value)


def test_what_is_written_is_read_back() -> None:
    """Every field; optional ones that were left out are written as what they mean."""
    content = bundles.files(thresholds=["inf"], origin="by hand")["manifest.json"]
    manifest, _ = read_bundle_manifest(content, "b")
    again, digest = read_bundle_manifest(write_bundle_manifest(manifest), "b")
    assert again == manifest
    assert manifest.thresholds == (float("inf"),)
    assert (manifest.origin, manifest.class_names) == ("by hand", ("a", "b", "c"))
    assert digest == read_bundle_manifest(write_bundle_manifest(again), "b")[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\xff", "can't decode byte 0xff"),
        ("", "Expecting value"),
        ("[]", "the document: found an array of 0 entries; allowed: an object"),
        ('{"format": 1, "format": 1}', "the key 'format' stands twice in one object"),
        ('{"format": NaN}', "NaN is not a number of JSON"),
        ('{"format": -Infinity}', "-Infinity is not a number of JSON"),
        ('{"format": 1e999}', "'1e999' is too large"),
        (f'{{"format": {"9" * 5000}}}', "Exceeds the limit"),
        ('{"name": "\\ud800"}', "surrogates not allowed"),
        ("[" * 14 + "]" * 14, "it nests deeper than 12"),
        ("[" * 100_000 + "]" * 100_000, "manifest.json: not a JSON text that can be used"),
        ('{"format": 2, "new": {}}', "format 2 is newer than 1, which this version reads: install"),
        ('{"format": true}', "lacks name, preprocessing"),
        ('{"format": 0}', "manifest.json: "),
    ],
    ids=range(14),
)
def test_what_is_no_manifest_is_refused(text: str | bytes, words: str) -> None:
    """With the name of the file, and what is wrong."""
    assert words in refusal(text)


def _at(*path: str | int, value: Any) -> Change:
    def change(tree: Any) -> None:
        for key in path[:-1]:
            tree = tree[key]
        tree[path[-1]] = value

    return change


def _tensor(*shape: int | str, dtype: str = "float32", name: str = "t") -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def _less(key: str) -> Change:
    return lambda tree: tree.pop(key)


STAGE_0, STAGE_1 = ("stages", 0), ("stages", 1)
CASES: list[tuple[Change, str]] = [
    (_less("classes"), "the document: lacks classes"),
    (_at("colour", value=1), "the document: has the unknown key 'colour'; allowed: format, name"),
    (_at("name", value="a/b"), "name: found 'a/b'; allowed: 1 to 100 letters, digits"),
    (_at("name", value="a\n"), "'a\\n' has control characters"),
    (_at("classes", value=1), "classes: found 1; allowed: a whole number from 2 to 65536"),
    (_at("classes", value=2.5), "classes: found 2.5; allowed: a whole number"),
    (_at("class_names", value=["a"]), "it has 1 class names for 3 classes"),
    (_at("class_names", value=["a", "a", "b"]), "a class name stands twice"),
    (_at("class_names", value=["\x1b[31m", "b", "c"]), "'\\x1b[31m' has control characters"),
    (_at("opset", value=22), "opset: found 22; allowed: a whole number from 13 to 21"),
    (_at("opset", value=9), "opset: found 9; allowed: a whole number from 13"),
    (_at("precision", value="int4"), "precision: found 'int4'; allowed: float32, bfloat16"),
    (_at("exit_rule", value="luck"), "exit_rule: found 'luck'; allowed: gate, max_prob"),
    (_at("thresholds", value=[0.5, 0.5]), "it has 2 thresholds for 1 early exits"),
    (_at("thresholds", value=[1.5]), "its threshold 1.5 is out of the range of gate"),
    (
        _at("thresholds", value=[-0.1]),
        'ds[0]: found -0.1; allowed: a number from 0 to 1000 or "inf"',
    ),
    (_at("preprocessing", "crop", value=3), "preprocessing.crop 3 is more than size 2"),
    (_at("preprocessing", "std", value=[1, 1, 0]), "preprocessing.std"),
    (_at("preprocessing", "mean", value=[1e300] * 3), "preprocessing.mean"),
    (_at("preprocessing", "mean", value=[0.5, 127, 0.5]), "mean is [0.5, 127, 0.5]; allowed: 0 to"),
    (_at("preprocessing", "mean", value=[0.5]), "mean: has 1 entries; allowed: 3;"),
    (_at("preprocessing", "mean", 0, value="a"), "mean[0]: found 'a'; allowed: a number;"),
    (_at("classes", value=True), "classes: found true; allowed: a whole number from 2 to"),
    (_at("class_names", value=[""]), "class_names[0]: has 0 characters; allowed: 1 to 200;"),
    (_at("class_names", value={}), "found an object of 0 keys; allowed: an array of 0 to 65536"),
    (_at("origin", value="a" * 501), "origin: has 501 characters; allowed: 0 to 500;"),
    (_at("origin", value=None), "origin: found null; allowed: a text of 0 to 500 characters"),
    (_at("single", value=3), "single: found 3; allowed: null or an object;"),
    (_at("preprocessing", "exif", value="turn"), "preprocessing.exif: found 'turn'"),
    (_at("stages", value=[]), "stages: has 0 entries; allowed: 1 to 64"),
    (_at("stages", value=[{}] * 65), "stages: has 65 entries; allowed: 1 to 64"),
    (_at(*STAGE_0, "file", value="../stage_0.onnx"), "stages[0].file: found '../stage_0.onnx'"),
    (_at(*STAGE_0, "file", value="/etc/stage_0.onnx"), "stages[0].file: found"),
    (_at(*STAGE_0, "file", value="a\\b.onnx"), "stages[0].file: found"),
    (_at(*STAGE_0, "file", value="stage_0.onnx\n"), "onnx\\n' has control characters"),
    (
        _at(*STAGE_0, "file", value="manifest.json"),
        "found 'manifest.json'; allowed: a name in no folder",
    ),
    (_at(*STAGE_0, "file", value="stage_1.onnx"), "stage_1.onnx stands for several graphs"),
    (_at(*STAGE_0, "file", value="STAGE_1.onnx"), "upper and lower case do not differ"),
    (_at(*STAGE_0, "sha256", value="A" * 64), "allowed: a SHA-256: 64 hexadecimal digits"),
    (_at(*STAGE_0, "exit_block", value=5), "exit_block are [5, 5]; each must be larger"),
    (
        _at(*STAGE_0, "parameters", value=-1),
        "parameters: found -1; allowed: a whole number from 0 to",
    ),
    (_at(*STAGE_0, "inputs", value=[]), "the first stage takes nothing; it must take one image"),
    (
        _at(*STAGE_0, "inputs", 0, "shape", value=["batch", 3, 4, 4]),
        "takes float32 [batch, 3, 4, 4]; it must take one image, float32 [batch, 3, 2, 2], as",
    ),
    (_at(*STAGE_0, "inputs", 0, "dtype", value="uint8"), "the first stage takes uint8"),
    (
        _at(*STAGE_0, "inputs", 0, "dtype", value="string"),
        "dtype: found 'string'; allowed: float32,",
    ),
    (_at(*STAGE_0, "state", value=[]), "stage_0.onnx: gives no state to stage_1.onnx"),
    (_at(*STAGE_0, "state", 0, "shape", value=["batch", 5]), "they must agree in number, order"),
    (_at(*STAGE_0, "state", 1, "dtype", value="int32"), "gives float32 [batch, 4], int32 [batch,"),
    (_at(*STAGE_1, "inputs", value=[_tensor("batch", 4)]), "but stage_1.onnx takes float32 [batch"),
    (_at(*STAGE_0, "state", 0, "shape", value=[4, "batch"]), "its first size must be 'batch'"),
    (_at(*STAGE_0, "state", 0, "shape", value=[1, 4]), "its first size must be 'batch'"),
    (
        _at(*STAGE_0, "state", 0, "shape", value=["batch", 2**24, 2]),
        "allowed: at most 16,777,216 values per image",
    ),
    (
        _at(*STAGE_0, "state", 0, "shape", value=["batch", 0]),
        'shape[1]: found 0; allowed: "batch" or a whole number from 1 to 16777216',
    ),
    (_at(*STAGE_0, "state", 0, "name", value="count"), "a tensor's name stands twice"),
    (_at(*STAGE_0, "logits", "shape", value=["batch", 4]), "allowed: float32 [batch, 3]"),
    (_at(*STAGE_0, "score", "shape", value=["batch", 1]), "score 'score' are float32 [batch, 1]"),
    (_at(*STAGE_0, "score", value=None), "exit_rule is gate, but stage_0.onnx give no score"),
    (_at(*STAGE_1, "state", value=[_tensor("batch", 4)]), "the last stage gives more than logits"),
    (_at(*STAGE_1, "score", value=_tensor("batch")), "the last stage gives more than logits"),
]


@pytest.mark.parametrize(("change", "words"), CASES, ids=range(len(CASES)))
def test_a_contradiction_is_named(change: Change, words: str) -> None:
    """With its place, what was found and what is allowed."""
    tree = document()
    change(tree)
    assert words in refusal(json.dumps(tree))


def test_the_manifest_of_the_docs_is_one() -> None:
    """With whole digests in the place of those that the page cuts short."""
    page = (Path(__file__).parents[3] / "docs" / "bundles.md").read_text()
    (shown,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    text = re.sub(r"[0-9a-f]{4}\.\.\.", "0" * 64, shown)
    manifest, _ = read_bundle_manifest(text.encode(), "docs")
    check_fit(manifest, "docs")
    assert [stage.parameters for stage in manifest.stages] == [84170, None]


def test_all_contradictions_are_named_at_once() -> None:
    """Those that need no graph."""
    tree = document() | {"thresholds": [0.1, 0.2], "class_names": ["a"]}
    assert len(refusal(json.dumps(tree)).splitlines()) == 2


@pytest.mark.parametrize("rule", ["max_prob", "margin", "entropy", "patience"])
def test_without_scores_images_exit_by_their_logits(rule: str) -> None:
    """Patience counts exits: its threshold may be 2, but no more than there are exits."""
    tree = document()
    tree["stages"][0]["score"] = None
    tree |= {"exit_rule": rule, "thresholds": [2.0 if rule == "patience" else 0.5]}
    manifest, _ = read_bundle_manifest(json.dumps(tree).encode(), "b")
    assert manifest.stages[0].score is None
    tree["thresholds"] = [3.0]
    assert f"out of the range of {rule}" in refusal(json.dumps(tree))
