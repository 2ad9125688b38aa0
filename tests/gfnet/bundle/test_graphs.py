"""What a graph may have, checked before anything of it is run."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import bundles
from support.bundles import graph, value

import gfnet

Edit = Callable[[onnx.ModelProto], object]


def refusal(last: onnx.ModelProto | bytes, **changes: Any) -> str:
    """What is said of a bundle with another last graph; its digest is right."""
    with pytest.raises(gfnet.BundleError) as caught:
        gfnet.load_bundle(bundles.zipped(bundles.files({"stage_1.onnx": last}, **changes)))
    return str(caught.value)


def _last(
    nodes: list[onnx.NodeProto], features: int | str = 4, classes: int | str = 3, **weights: Any
) -> onnx.ModelProto:
    """A last stage of other nodes, from `taken` and `number` to `logits`."""
    inputs = [value("taken", "n", features), value("number", "n", 1, kind=TensorProto.INT64)]
    return graph(nodes, inputs, [value("logits", "n", classes)], **weights)


def _end(name: str = "taken") -> list[onnx.NodeProto]:
    return [helper.make_node("MatMul", [name, "last"], ["logits"])]


def _edited(edit: Edit) -> onnx.ModelProto:
    model = bundles.last_stage()
    edit(model)
    return model


def _outside(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def _outside_in_an_attribute(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), "c")
    tensor.data_location = TensorProto.EXTERNAL
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def _loop(model: onnx.ModelProto, operator: str = "Loop") -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node(operator, ["a", "b"], ["c"], body=body))


EDITS: list[tuple[Edit, str]] = [
    (_outside, "tensor 'last' lies in another file; save all weights in the graph"),
    (_outside_in_an_attribute, "tensor 'c' lies in another file"),
    (_loop, "('Loop') is not allowed: no size bounds how long it runs"),
    (lambda model: _loop(model, "Flatten"), "has a graph of its own; only If may"),
    (lambda model: setattr(model.graph.node[0], "domain", "com.microsoft"), "'com.microsoft'"),
    (lambda model: model.opset_import.add(domain="x", version=1), "the operators of 'x'"),
    (lambda model: setattr(model.opset_import[0], "version", 18), "its opset is 18, but the"),
    (lambda model: model.opset_import.add(domain="", version=17), "its opset is 17, 17, but"),
    (lambda model: model.ClearField("opset_import"), "its opset is none"),
    (lambda model: model.functions.add(name="f"), "it has functions"),
    (lambda model: model.training_info.add(), "training information"),
    (lambda model: model.graph.sparse_initializer.add(), "it has sparse tensors"),
    (lambda model: setattr(model.graph.node[0], "op_type", "RandomNormalLike"), "is random"),
    (lambda model: setattr(model.graph.node[0], "op_type", "SequenceConstruct"), "only tensors of"),
    (lambda model: setattr(model.graph.node[0], "op_type", "Nothing"), "ONNX's checker refuses it"),
    (lambda model: setattr(model.graph.initializer[0], "data_type", 14), "has type 14; allowed:"),
    (lambda model: setattr(model.graph.initializer[0], "raw_data", b"x"), "holds 1 of the 48"),
    (
        lambda model: model.graph.initializer[0].dims.__setitem__(0, 2**40),
        "holds 48 of the 13,194,139,533,312",
    ),
    (lambda model: model.graph.initializer[0].dims.__setitem__(0, -4), "an impossible shape"),
    (lambda model: model.graph.node[0].input.__setitem__(0, "gone"), "ONNX's checker refuses it"),
    (lambda model: model.graph.node.reverse(), "ONNX's checker refuses it"),
    (lambda model: setattr(model.graph.input[0], "name", "x"), "it takes 'x', 'number', but the"),
    (lambda model: model.graph.output.add(name="more"), "it gives 'logits', 'more', but the"),
    (
        lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 11),
        "'taken' is float64 [batch, 4], but the manifest says float32 [batch, 4]",
    ),
    (
        lambda model: setattr(model.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 1),
        "'taken' is float32 [1, 4], but the manifest says float32 [batch, 4]",
    ),
    (
        lambda model: setattr(model.graph.input[0].type.tensor_type.shape.dim[1], "dim_param", "m"),
        "'taken' is float32 [batch, batch]",
    ),
    (
        lambda model: model.graph.output[0].type.tensor_type.shape.dim[1].__init__(dim_value=4),
        "'logits' is float32 [batch, 4], but the manifest says",
    ),
]


@pytest.mark.parametrize(("edit", "words"), EDITS, ids=range(len(EDITS)))
def test_a_graph_that_is_not_allowed_is_refused(edit: Edit, words: str) -> None:
    """With the bundle, the file, and what was found."""
    found = refusal(_edited(edit))
    assert found.startswith("bundle: stage_1.onnx: ")
    assert words in found


@pytest.mark.parametrize("data", [b"", b"\x00", b"PK\x03\x04", b"\x08" * 1000, b"{}"])
def test_what_is_no_graph_is_refused(data: bytes) -> None:
    """An empty file is a graph without an opset to protobuf."""
    assert "bundle: stage_1.onnx: " in refusal(data)


def _doubled(times: int) -> onnx.ModelProto:
    """A tensor joined with itself again and again, of which one number is kept."""
    names = ["taken", *(f"d{number}" for number in range(times))]
    nodes = [
        helper.make_node("Concat", [before, before], [after], axis=1)
        for before, after in pairwise(names)
    ]
    kept = helper.make_node("Slice", [names[-1], "zero", "four", "one"], ["kept"])
    ends = {name: np.array([number]) for name, number in (("zero", 0), ("four", 4), ("one", 1))}
    return _last([*nodes, kept, *_end("kept")], last=bundles.WEIGHTS["last"], **ends)


def test_the_memory_of_a_graph_is_bounded() -> None:
    """Four numbers, doubled 24 times, make 2 ** 26, which is allowed; 25 times make too many."""
    last = _doubled(24)
    gfnet.load_bundle(bundles.zipped(bundles.files({"stage_1.onnx": last})))
    assert "has 134,217,728 values per image" in refusal(_doubled(25))
    assert "values per image" in refusal(_doubled(40))


def test_a_size_that_depends_on_values_is_refused() -> None:
    """How many numbers are positive is known only once they are computed."""
    nodes = [
        helper.make_node("NonZero", ["taken"], ["places"]),
        helper.make_node("Cast", ["places"], ["floating"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["floating"], ["sum"], keepdims=0),
        helper.make_node("Add", ["taken", "sum"], ["added"]),
    ]
    found = refusal(_last([*nodes, *_end("added")], last=bundles.WEIGHTS["last"]))
    assert "the size of 'places' does not follow from the size of the inputs" in found


def test_shapes_that_contradict_each_other_are_refused() -> None:
    """Four features times a matrix of five rows."""
    last = _last(_end(), last=np.zeros((5, 3), np.float32))
    assert "its shapes contradict each other: " in refusal(last)


def test_a_size_that_grows_faster_than_the_batch_is_refused() -> None:
    """Products of each image with each: for 1,000 images a million."""
    nodes = [
        helper.make_node("Transpose", ["taken"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["taken", "turned"], ["pairs"]),
        helper.make_node("MatMul", ["pairs", "taken"], ["mixed"]),
    ]
    found = refusal(_last([*nodes, *_end("mixed")], last=bundles.WEIGHTS["last"]))
    assert "'pairs' grows faster than the number of images" in found


def test_what_a_file_says_of_the_sizes_within_does_not_count() -> None:
    """They are inferred anew."""
    last = _doubled(30)
    last.graph.value_info.extend(value(f"d{number}", "n", 4) for number in range(30))
    assert "values per image" in refusal(last)


def test_nodes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the branches too."""
    monkeypatch.setattr("gfnet.bundle.graphs.MAX_NODES", 2)
    assert "it has more than 2 nodes" in refusal(bundles.last_stage())


def _field(number: int, content: bytes) -> bytes:
    """A field with a length, as protobuf writes it."""
    size, length = len(content), b""
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def _raw_graph(content: bytes) -> bytes:
    """A last graph with other content, which no library has to build."""
    model = bundles.last_stage()
    model.ClearField("graph")
    return model.SerializeToString() + _field(7, content)


def test_what_would_fill_the_memory_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty nodes, two bytes each; and whole numbers of one byte each, in a tensor."""
    parsed, parse = [], onnx.load_model_from_string

    def load(data: bytes) -> onnx.ModelProto:
        parsed.append(len(data))
        return parse(data)

    monkeypatch.setattr(onnx, "load_model_from_string", load)
    monkeypatch.setattr("gfnet.bundle.wire.MAX_FIELDS", 1000)
    for content in (_field(1, b"") * 1000, _field(5, _field(5, b"\0" * 20_000))):
        assert "it has more than 1,000 fields" in refusal(_raw_graph(content))
    assert parsed == [len(bundles.files()["stage_0.onnx"])] * 2


def _nested(depth: int) -> bytes:
    """Graphs within branches of `If`, written byte by byte: onnx cannot copy so many."""
    inner = b""
    for _ in range(depth):
        attribute = _field(1, b"then_branch") + _field(6, inner)
        inner = _field(1, _field(4, b"If") + _field(5, attribute))
    return _raw_graph(inner)


@pytest.mark.parametrize("depth", [5, 30, 40, 5_000])
def test_nesting_is_bounded(depth: int) -> None:
    """By protobuf at about 33 branches within each other."""
    assert "stage_1.onnx: " in refusal(_nested(depth))


def test_a_name_that_is_not_text_is_no_traceback() -> None:
    """Protobuf lets names be any bytes."""
    spoilt = bundles.last_stage().SerializeToString().replace(b"logits", b"\xff" * 6)
    assert "stage_1.onnx: " in refusal(spoilt)
