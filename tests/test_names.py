"""One name, one thing: no public class or function of the three packages shares its name.

A command of `jobs/cli` is called as the user calls it, and so may what it runs.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import gfnet
import jobs
import storage

PACKAGES = [Path(package.__file__).parent for package in (gfnet, jobs, storage)]
COMMANDS = Path(jobs.__file__).parent / "cli"


def _public_names(file: Path) -> set[str]:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    definitions = (n for n in body if isinstance(n, (ast.ClassDef, ast.FunctionDef)))
    return {each.name for each in definitions if not each.name.startswith("_")}


def test_no_public_name_stands_for_two_things() -> None:
    """Whoever searches for one finds one."""
    places: dict[str, list[str]] = defaultdict(list)
    for package in PACKAGES:
        for file in package.rglob("*.py"):
            if COMMANDS not in file.parents:
                for name in _public_names(file):
                    places[name].append(str(file.relative_to(package.parent)))
    assert len(places) > 800
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
