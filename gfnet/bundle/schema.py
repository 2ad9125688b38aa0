"""Checks a manifest against the JSON schema that ships with the package."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from gfnet.bundle.errors import BundleError, shortened

SCHEMA_PATH = Path(__file__).with_name("manifest.schema.json")


def check_schema(document: Any, where: str) -> None:
    """Check a parsed manifest.

    Raises:
        BundleError: names the place, what was found there and what the schema asks for.
    """
    error = next(_validator().iter_errors(document), None)
    if error is None:
        return
    while error.context:  # of several allowed forms: the one that came nearest
        error = max(error.context, key=lambda each: len(each.absolute_path))
    place = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path
    )
    raise BundleError(
        f"{where}: {place.lstrip('.') or 'the document'}: {_problem(error)}; the format is"
        " described in docs/bundles.md"
    )


def _problem(error: Any) -> str:
    """Return what was found and what is allowed, without what the library would repeat of it."""
    found, rule, wanted = error.instance, error.validator, error.validator_value
    if rule == "required":
        return f"lacks {', '.join(key for key in wanted if key not in found)}"
    if rule == "additionalProperties":
        known = error.schema["properties"]
        unknown = ", ".join(shortened(key) for key in found if key not in known)
        return f"has the unknown key {shortened(unknown)}; allowed: {', '.join(known)}"
    if rule in {"minItems", "maxItems"}:
        return f"has {len(found)} entries; allowed: {rule[:3]}imum {wanted}"
    if rule in {"minLength", "maxLength"}:
        return f"has {len(found)} characters; allowed: {rule[:3]}imum {wanted}"
    return f"found {shortened(_text(found))}; allowed: {rule} {json.dumps(wanted)}"


def _text(found: Any) -> Any:
    if isinstance(found, (dict, list)):
        return f"an {'object' if isinstance(found, dict) else 'array'} of {len(found)}"
    return found


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # planning a grid without bundles needs none

    return Draft202012Validator(json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))
