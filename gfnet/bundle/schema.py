"""Checks a manifest against the JSON schema that ships with the package."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
    allowed = " or ".join(f"{each.validator} {json.dumps(each.validator_value)}" for each in errors)
    if rule in {"minItems", "maxItems", "minLength", "maxLength"}:
        return f"has {len(found)} of them; allowed: {allowed}"
    return f"found {shortened(_text(found))}; allowed: {allowed}"


def _text(found: Any) -> Any:
    if isinstance(found, (dict, list)):
        return f"an {'object' if isinstance(found, dict) else 'array'} of {len(found)}"
    return found


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # planning a grid without bundles needs none

    return Draft202012Validator(json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))
