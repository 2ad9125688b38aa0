"""Checks one graph of a bundle before anything of it is run.

A graph may have only operators of the standard domain whose time and memory its shapes bound, and
takes and gives exactly what the manifest says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gfnet.bundle.errors import BundleError, library_message, shortened
from gfnet.bundle.manifest import BATCH, BundleManifest, SingleEntry, StageEntry, TensorEntry
from gfnet.bundle.sizes import size_problems
from gfnet.bundle.stated_precision import lower_precisions
from gfnet.bundle.weights import DTYPES, check_tensor
from gfnet.bundle.wire import field_problem

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto

MAX_NODES = 50_000
MAX_VALUES = 200_000
"""Initialisers, inputs, outputs and attributes, each counted once."""

MAX_BRANCHES = 32
"""Of `If` within each other: a graph for one image has one per exit."""

_STANDARD = ("", "ai.onnx")
_ENDLESS = ("Loop", "Scan", "SequenceMap")
_RANDOM = (
    *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"),
    "RandomUniformLike",
)
_NO_NUMBERS = (
    *("ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement", "SequenceAt"),
    *("SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength"),
    *("SplitToSequence", "StringConcat", "StringNormalizer", "StringSplit", "RegexFullMatch"),
    *("TfIdfVectorizer", "ImageDecoder"),
)
_REFUSED = {
    **dict.fromkeys(_ENDLESS, "no size bounds how long it runs; unroll it when exporting"),
    **dict.fromkeys(_RANDOM, "its output is random; export the model in evaluation mode"),
    **dict.fromkeys(_NO_NUMBERS, "bundles have only tensors of numbers"),
}


def check_graph(
    data: bytes, entry: StageEntry | SingleEntry, manifest: BundleManifest, where: str
) -> frozenset[str]:
    """Check a graph against the rules of bundles and its entry in the manifest.

    Returns: the precisions below float32 that it computes in.

    Raises:
        BundleError: the graph cannot be used.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as err:
        raise BundleError(
            f"{where}: reading its graphs needs onnx: pip install 'gfjobs[onnx]'"
        ) from err
    try:
        problem = field_problem(data, onnx.ModelProto)
        if problem is None:
            model = onnx.load_model_from_string(data)
            problem = next(_problems(model, data, entry, manifest), None)
    except (DecodeError, ValueError, RecursionError) as err:  # ValueError: text that is not UTF-8
        raise BundleError(
            f"{where}: {entry.file}: not an ONNX graph: {library_message(err)}"
        ) from err
    if problem is not None:
        raise BundleError(f"{where}: {entry.file}: {problem}")
    return lower_precisions(model.graph)


def _problems(
    model: ModelProto, data: bytes, entry: StageEntry | SingleEntry, manifest: BundleManifest
) -> Iterator[str]:
    """Yield what is wrong with a parsed graph; each check relies on those before it."""
    yield from _domains(model, manifest.opset)
    if model.functions or model.training_info:
        yield "it has functions or training information; export it inlined, for inference"
    yield from _walk(model.graph)
    for what, found, wanted in (
        ("takes", model.graph.input, entry.inputs),
        ("gives", model.graph.output, entry.outputs),
    ):
        yield from _interface(what, found, wanted)
    yield from _refused_by_onnx(data)
    yield from size_problems(model)


def _domains(model: ModelProto, opset: int) -> Iterator[str]:
    found = [(each.domain, each.version) for each in model.opset_import]
    for domain, _ in found:
        if domain not in _STANDARD:
            yield f"it imports the operators of {shortened(domain)}; allowed: ONNX's own"
    if [version for _, version in found] != [opset]:
        versions = ", ".join(str(version) for _, version in found) or "none"
        yield f"its opset is {versions}, but the manifest says {opset}: they must be the same"


def _walk(graph: GraphProto) -> Iterator[str]:
    """Yield problems of a graph and of the branches within it."""
    waiting = [(graph, 0)]
    nodes = values = 0
    while waiting:
        part, depth = waiting.pop()
        nodes += len(part.node)
        values += len(part.initializer) + len(part.value_info)
        if nodes > MAX_NODES or values > MAX_VALUES:
            yield f"it has more than {MAX_NODES:,} nodes or {MAX_VALUES:,} values"
            return
        if depth > MAX_BRANCHES:
            yield f"branches lie within each other deeper than {MAX_BRANCHES}"
            return
        if part.sparse_initializer:
            yield "it has sparse tensors; write them whole"
        for tensor in part.initializer:
            yield from check_tensor(tensor)
        for node in part.node:
            yield from _node(node)
            values += len(node.input) + len(node.output) + len(node.attribute)
            branches = [each.g for each in node.attribute if each.HasField("g")]
            waiting.extend((branch, depth + 1) for branch in branches)


def _node(node: NodeProto) -> Iterator[str]:
    name = f"node {shortened(node.name)} ({shortened(node.op_type)})"
    if node.domain not in _STANDARD:
        yield f"{name} is of the domain {shortened(node.domain)}; allowed: ONNX's own operators"
    if node.op_type in _REFUSED:
        yield f"{name} is not allowed: {_REFUSED[node.op_type]}"
    for attribute in node.attribute:
        yield from _attribute(name, node.op_type, attribute)


def _attribute(name: str, operator: str, attribute: AttributeProto) -> Iterator[str]:
    if attribute.HasField("t"):
        yield from check_tensor(attribute.t)
    if attribute.HasField("g") and operator != "If":
        yield f"{name} has a graph of its own; only If may"
    odd = (attribute.graphs, attribute.tensors, attribute.sparse_tensors, attribute.type_protos)
    is_odd = attribute.HasField("sparse_tensor") or attribute.HasField("tp")
    if any(odd) or is_odd or attribute.ref_attr_name:
        yield f"{name}: attribute {shortened(attribute.name)} is of a kind that is not allowed"


def _interface(what: str, found: Any, wanted: tuple[TensorEntry, ...]) -> Iterator[str]:
    """Yield how a graph's inputs or outputs differ from the manifest's."""
    by_name = {value.name: value for value in found}
    if len(by_name) < len(found) or set(by_name) != {entry.name for entry in wanted}:
        names = ", ".join(shortened(value.name) for value in found) or "nothing"
        stated = ", ".join(shortened(entry.name) for entry in wanted) or "nothing"
        yield f"it {what} {names}, but the manifest says {stated}"
        return
    for entry in wanted:
        dtype, shape = _described(by_name[entry.name])
        if (
            dtype != entry.dtype
            or len(shape) != len(entry.shape)
            or not all(
                size == (None if stated == BATCH else stated)
                for size, stated in zip(shape, entry.shape, strict=True)
            )
        ):
            sizes = ", ".join(BATCH if size is None else str(size) for size in shape)
            yield (
                f"{shortened(entry.name)} is {dtype} [{sizes}], but the manifest says"
                f" {entry.describe()}; all sizes but the batch must be fixed"
            )


def _described(value: ValueInfoProto) -> tuple[str, list[int | None]]:
    """Return type and shape of a graph's input or output; None for a size that is free."""
    kind = value.type.tensor_type
    sizes = [size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim]
    return DTYPES.get(kind.elem_type, f"type {kind.elem_type}"), sizes


def _refused_by_onnx(data: bytes) -> Iterator[str]:
    """Yield why ONNX's own checker refuses a graph: order of nodes, names, inputs, attributes."""
    import onnx

    try:
        onnx.checker.check_model(data)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as err:
        yield f"ONNX's checker refuses it: {library_message(err)}"
