"""What is said of the project as a package: pyproject.toml, CITATION.cff, the hooks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from jobs.cluster.doctor import LEAST_PYTHON

REPOSITORY = Path(__file__).parents[1]

PERSON = {
    "type": "object",
    "additionalProperties": False,
    "required": ["family-names", "given-names"],
    "properties": {"family-names": {"type": "string"}, "given-names": {"type": "string"}},
}
ENTITY = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {"name": {"type": "string"}},
}
WORDS = {
    "type": "array",
    "minItems": 1,
    "uniqueItems": True,
    "items": {"type": "string", "minLength": 1},
}
REFERENCE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["authors", "title", "type"],
    "properties": {
        "authors": {"type": "array", "minItems": 1, "uniqueItems": True, "items": PERSON},
        "collection-title": {"type": "string"},
        "title": {"type": "string"},
        "type": {"const": "conference-paper"},
        "volume": {"type": "integer"},
        "year": {"type": "integer"},
    },
}
CITATION = {
    "type": "object",
    "additionalProperties": False,
    "required": ["authors", "cff-version", "message", "title"],
    "properties": {
        "abstract": {"type": "string"},
        "authors": {"type": "array", "minItems": 1, "uniqueItems": True, "items": ENTITY},
        "cff-version": {"const": "1.2.0"},
        "keywords": WORDS,
        "message": {"type": "string"},
        "references": {"type": "array", "minItems": 1, "uniqueItems": True, "items": REFERENCE},
        "title": {"type": "string"},
        "type": {"const": "software"},
        "version": {"type": "string"},
    },
}
"""The part of the Citation File Format's schema 1.2.0 that the file uses."""


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read TOML by itself")
    found: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    table: dict[str, Any] = found["project"]
    return table


def read_yaml(name: str) -> Any:
    """A YAML file of the repository's folder."""
    return yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8"))


def test_the_citation_is_valid() -> None:
    """As the Citation File Format 1.2.0 has it: no other keys, no other types."""
    jsonschema.validate(read_yaml("CITATION.cff"), CITATION)


def test_the_citation_says_what_the_package_says(project: dict[str, Any]) -> None:
    """A new version is written in two files."""
    citation = read_yaml("CITATION.cff")
    assert (citation["title"], citation["version"]) == (project["name"], project["version"])
    assert citation["abstract"] == project["description"]
    assert citation["authors"] == project["authors"]
    assert citation["keywords"] == project["keywords"]


def test_classifiers_are_what_the_package_needs(project: dict[str, Any]) -> None:
    """Every Python from the oldest on; typed; no licence, as none is chosen."""
    classifiers = project["classifiers"]
    assert classifiers == sorted(set(classifiers))
    found = re.findall(r"Python :: 3\.(\d+)$", "\n".join(classifiers), re.MULTILINE)
    minors = [int(minor) for minor in found]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert (3, minors[0]) == LEAST_PYTHON
    assert project["requires-python"] == f">=3.{minors[0]}"
    assert not [each for each in classifiers if each.startswith("License")]
    assert "license" not in project
    assert "Typing :: Typed" in classifiers


def test_hooks_need_no_network() -> None:
    """All are local and run a target of the Makefile without its installation."""
    repositories = read_yaml(".pre-commit-config.yaml")["repos"]
    assert [each["repo"] for each in repositories] == ["local"]
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for hook in repositories[0]["hooks"]:
        command, assumed, target = hook["entry"].split()
        assert (command, assumed) == ("make", "--assume-old=.venv/installed")
        assert f"\n{target}: .venv/installed\n" in makefile


def test_every_target_of_the_makefile_is_explained() -> None:
    """CONTRIBUTING.md says what each is for."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    (targets,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    page = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [each for each in targets.split() if f"`make {each}`" not in page] == []
