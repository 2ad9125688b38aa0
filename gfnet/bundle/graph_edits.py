"""Edits exported graphs: takes out an output, and what an exporter notes of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import GraphProto


def without_output(data: bytes, name: str) -> bytes:
    """Return a graph without an output, nor the nodes that only it needs."""
    import onnx

    model = onnx.load_model_from_string(data)
    graph = model.graph
    needed = {output.name for output in graph.output} - {name}
    kept = []
    for node in reversed(graph.node):  # which stand in the order in which they run
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    _keep(graph.node, kept[::-1])
    for values in (graph.output, graph.initializer):
        _keep(values, [value for value in values if value.name in needed])
    made = {output for node in kept for output in node.output}
    _keep(graph.value_info, [value for value in graph.value_info if value.name in made])
    edited: bytes = model.SerializeToString()
    return edited


def bare(data: bytes) -> bytes:
    """Return a graph without notes: paths and lines of source, versions of the exporter.

    What is left depends on the model alone, and names no folder of the machine that exported it.
    """
    import onnx

    model = onnx.load_model_from_string(data)
    _clear_fields(model, "doc_string", "metadata_props", "producer_name", "producer_version")
    _clear(model.graph)
    edited: bytes = model.SerializeToString(deterministic=True)
    return edited


def _clear(graph: GraphProto) -> None:
    parts = (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info)
    for part in parts:
        _clear_fields(part, "doc_string", "metadata_props")
    for node in graph.node:
        for attribute in node.attribute:
            _clear_fields(attribute, "doc_string")
            if attribute.HasField("g"):
                _clear(attribute.g)


def _clear_fields(part: Any, *fields: str) -> None:
    """Clear those fields that the installed onnx knows."""
    for field in fields:
        if field in part.DESCRIPTOR.fields_by_name:
            part.ClearField(field)


def _keep(field: Any, kept: list[Any]) -> None:
    """Replace the entries of a repeated field."""
    copies = list(kept)
    del field[:]
    field.extend(copies)
