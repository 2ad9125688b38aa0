"""Checks a manifest against the JSON schema that ships with the package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from gfnet.bundle.errors import BundleError, shortened

SCHEMA_PATH = Path(__file__).with_name("manifest.schema.json")

_LENGTHS = {
    "array": ("minItems", "maxItems", "entries"),
    "string": ("minLength", "maxLength", "characters"),
}
"""By type: the schema's keys for its least and largest length, and what is counted."""

_KINDS = {
    "array": "an array",
    "string": "a text",
    "object": "an object",
    "integer": "a whole number",
    "number": "a number",
    "null": "null",
}
"""The schema's types in words."""


def check_schema(document: Any, where: str) -> None:
    """Check a parsed manifest.

    Raises:
        BundleError: names the place, what was found there and what is allowed, in plain words.
    """
    error = next(_validator().iter_errors(document), None)
    if error is None:
        return
    errors = [error]
    while errors[0].context:  # of several allowed forms: those that came nearest
        depth = max(len(each.absolute_path) for each in errors[0].context)
        errors = [each for each in errors[0].context if len(each.absolute_path) == depth]
    error = errors[0]
    place = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path
    )
    raise BundleError(
        f"{where}: {place.lstrip('.') or 'the document'}: {_problem(errors)}; the format is"
        " described in docs/bundles.md"
    )


def _problem(errors: Sequence[Any]) -> str:
    """Return what was found and what is allowed, without what the library would repeat of it."""
    error = errors[0]
    found, rule, wanted = error.instance, error.validator, error.validator_value
    if rule == "required":
        return f"lacks {', '.join(key for key in wanted if key not in found)}"
    if rule == "additionalProperties":
        known = error.schema["properties"]
        unknown = next(key for key in found if key not in known)
        return f"has the unknown key {shortened(unknown)}; allowed: {', '.join(known)}"
    for least, most, counted in _LENGTHS.values():
        if rule in {least, most}:
            allowed = _range(error.schema, least, most)
            return f"has {len(found)} {counted}; allowed: {allowed}"
    allowed = " or ".join(dict.fromkeys(_allowed(each.schema) for each in errors))
    return f"found {_found(found)}; allowed: {allowed}"


def _found(found: Any) -> str:
    if isinstance(found, (dict, list)):
        kind, counted = ("object", "keys") if isinstance(found, dict) else ("array", "entries")
        return f"an {kind} of {len(found)} {counted}"
    if found is None or isinstance(found, bool):
        return json.dumps(found)
    return shortened(found)


def _allowed(schema: Mapping[str, Any]) -> str:
    """Return what a part of the schema takes: in its own words, or in those of its type."""
    if "description" in schema:
        return str(schema["description"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return ", ".join(schema["enum"])
    kind = schema["type"]
    if kind in _LENGTHS:
        least, most, counted = _LENGTHS[kind]
        return f"{_KINDS[kind]} of {_range(schema, least, most)} {counted}"
    if "minimum" in schema:
        return f"{_KINDS[kind]} from {_range(schema, 'minimum', 'maximum')}"
    return _KINDS[kind]


def _range(schema: Mapping[str, Any], least: str, most: str) -> str:
    low, high = schema.get(least, 0), schema[most]
    return f"{low}" if low == high else f"{low} to {high}"


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # planning a grid without bundles needs none

    return Draft202012Validator(json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))
