"""Bundles as nobody should write them: manifests, graphs and zips, mutated."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence

import onnx
from hypothesis import strategies as st

from tests.fuzz.checkpoints import JSON_SCALARS, damaged
from tests.fuzz.documents import Raw, pairs, trees, written

_INDEX = st.integers(0, 2**20)

_SCALARS = [
    *JSON_SCALARS,
    *(
        Raw(text)
        for text in (
            *('"batch"', '"gate"', '"patience"', '"stage_0.onnx"', '"STAGE_1.onnx"', '"/x.onnx"'),
            *('"..\\\\x.onnx"', '"int64"', '"float16"', "13", "21", "22", "16777216", '["batch"]'),
            *('["batch", 16777216, 16777216]', '"logits"', '"features"', '"score"', "[0.7]"),
        )
    ),
]
_OPERATORS = (
    *("Loop", "Scan", "If", "RandomNormal", "Expand", "Tile", "ConstantOfShape", "Range", "Pad"),
    *("Concat", "Reshape", "Squeeze", "Unsqueeze", "Gather", "Slice", "Resize", "MatMul", "Gemm"),
    *("Conv", "Einsum", "TopK", "OneHot", "NonZero", "Where", "Split", "Transpose", "Identity"),
    *("Softmax", "LSTM", "QuantizeLinear", "DequantizeLinear", "SequenceAt", "Optional", "Nothing"),
    *("CumSum", "Upsample", "ScatterND", "Constant", "Cast", "Relu", "Shape", "Dropout", "EyeLike"),
)
_NUMBERS = (0, 1, -1, 2, 7, 13, 2**20, 2**31 - 1, 2**31, 2**40, 2**62, -(2**63), 2**63 - 1)
_BIG = 200
_NAMES = (
    *("image", "features", "count", "logits", "score", "flat", "axis", "project", "head", ""),
    *("nothing", "\x1b[31m", "taken", "number", "zero", "zeros", "step", "scales"),
)


@st.composite
def bundle_files(draw: st.DrawFn, bases: Sequence[Mapping[str, bytes]]) -> bytes:
    """A valid bundle as a zip, with something changed; digests mostly follow."""
    files = dict(bases[draw(_INDEX) % len(bases)])
    what = draw(st.integers(0, 9))
    if what == 0:
        return draw(damaged([zipped(files)]))
    if what <= 3:
        tree = draw(trees([pairs(json.loads(files["manifest.json"]))], _SCALARS))
        files["manifest.json"] = written(tree).encode("utf-8", "surrogatepass")
    elif what <= 8:
        name = draw(st.sampled_from([name for name in files if name != "manifest.json"]))
        graph = damaged([files[name]]) if what == 4 else edited_graphs(files[name])
        files = with_digest(files, name, draw(graph))
    return draw(zips(files)) if what == 9 else zipped(files)


def with_digest(files: Mapping[str, bytes], name: str, content: bytes) -> dict[str, bytes]:
    """Other content of a graph, with the digest that the manifest then needs."""
    before = hashlib.sha256(files[name]).hexdigest().encode()
    after = hashlib.sha256(content).hexdigest().encode()
    text = files["manifest.json"].replace(before, after)
    return {**files, name: content, "manifest.json": text}


@st.composite
def edited_graphs(draw: st.DrawFn, data: bytes) -> bytes:
    """A graph with other operators, names, numbers, shapes or types, or branches of its own."""
    model = onnx.load_model_from_string(data)
    for _ in range(draw(st.sampled_from((1, 1, 2, 4)))):
        _edit(draw, model, draw(st.integers(0, 9)))
    return model.SerializeToString()


def _edit(draw: st.DrawFn, model: onnx.ModelProto, change: int) -> None:
    graph = model.graph
    node = graph.node[draw(_INDEX) % len(graph.node)]
    number, name = draw(st.sampled_from(_NUMBERS)), draw(st.sampled_from(_NAMES))
    if change <= 2:
        _edit_node(draw, node, change, name)
    elif change == 3:
        node.attribute.append(onnx.helper.make_attribute(name or "axis", number))
    elif change == 4 and graph.initializer:
        tensor = graph.initializer[draw(_INDEX) % len(graph.initializer)]
        if draw(st.booleans()):
            tensor.dims[:1] = [number]  # a scalar becomes a vector
        else:
            tensor.data_type = draw(st.integers(0, 26))
    elif change == 5:
        _edit_value(draw, model, number)
    elif change == 6:
        new = graph.node.add()
        new.CopyFrom(node)
        new.op_type = draw(st.sampled_from(_OPERATORS))
        del new.output[:]
        new.output.append(f"new{len(graph.node)}")
    elif change == 7:
        _edit_model(draw, model, number)
    elif change == 8:
        _double(graph, draw(st.sampled_from((1, 20, 60))))
    else:
        _branch(draw, graph, node)


def _edit_node(draw: st.DrawFn, node: onnx.NodeProto, change: int, name: str) -> None:
    if change == 0:
        node.op_type = draw(st.sampled_from(_OPERATORS))
    elif names := node.input if change == 1 else node.output:
        names[draw(_INDEX) % len(names)] = name


def _edit_value(draw: st.DrawFn, model: onnx.ModelProto, number: int) -> None:
    values = [*model.graph.input, *model.graph.output]
    kind = values[draw(_INDEX) % len(values)].type.tensor_type
    if draw(st.booleans()):
        kind.elem_type = draw(st.integers(0, 26))
    elif kind.shape.dim:
        kind.shape.dim[draw(_INDEX) % len(kind.shape.dim)].dim_value = number


def _edit_model(draw: st.DrawFn, model: onnx.ModelProto, number: int) -> None:
    what = draw(st.integers(0, 4))
    if what == 0:
        model.opset_import.add(domain=draw(st.sampled_from(("", "ai.onnx", "x"))), version=number)
    elif what == 1:
        model.ir_version = number
    elif what == 2:
        model.functions.add(name="f", domain="x")
    elif what == 3:
        tensor = model.graph.initializer.add(name="outside", data_type=1, dims=[4])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/passwd")
    else:
        model.graph.node[0].domain = "com.microsoft"


def _double(graph: onnx.GraphProto, times: int) -> None:
    """What makes very much of little: a tensor joined with itself, again and again."""
    name = graph.node[0].output[0]
    for number in range(times):
        node = onnx.helper.make_node("Concat", [name, name], [f"double{number}"], axis=1)
        graph.node.append(node)
        name = f"double{number}"


def _branch(draw: st.DrawFn, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """An `If`, or what is no `If`, around a graph around a graph."""
    if node.ByteSize() > _BIG:
        return  # a branch already; protobuf cannot copy what nests deeper than it reads
    inner = onnx.helper.make_graph([node], "inner", [], [])
    for _ in range(draw(st.sampled_from((1, 3, 25)))):
        wrapped = onnx.helper.make_node("If", ["score"], ["y"], then_branch=inner)
        inner = onnx.helper.make_graph([wrapped], "outer", [], [])
    graph.node.append(
        onnx.helper.make_node(draw(st.sampled_from(_OPERATORS)), ["x"], ["z"], body=inner)
    )


@st.composite
def zips(draw: st.DrawFn, files: Mapping[str, bytes]) -> bytes:
    """A zip with entries that are called something else, stand twice, or are more than they say."""
    buffer = io.BytesIO()
    method = draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)))
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            called = name if draw(st.integers(0, 3)) else draw(st.sampled_from(_CALLED))
            entry = zipfile.ZipInfo(called)
            entry.compress_type = method
            entry.external_attr = draw(st.sampled_from((0, 0o100644 << 16, 0o120777 << 16)))
            archive.writestr(entry, content)
        if not draw(st.integers(0, 3)):
            archive.writestr(draw(st.sampled_from(_CALLED)), b"\0" * draw(st.sampled_from(_SIZES)))
    return buffer.getvalue() + b"\0" * draw(st.sampled_from((0, 0, 0, 1, 100)))


_SIZES = (0, 10, 10**5, 10**7)
_CALLED = (
    *("../../x", "/tmp/x", "a/stage_0.onnx", "STAGE_0.onnx", "stage_9.onnx", "x" * 300, "a\\b"),
    *("stage_0.onnx/", "Manifest.json", "manifest.json"),
)


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A plain zip; one like another for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()
