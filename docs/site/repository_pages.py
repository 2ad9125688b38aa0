"""Pages of the files outside docs/ that pages link to, so that a link works here and on a host.

A Markdown file becomes a page, and so do the cells of a notebook; of any other file the page shows
the text.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_DOCS = "docs/"
_FOLDER = "repository/"
_REFERENCE = "reference/"

ALWAYS = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")
"""Files of the navigation, whether or not a page links to them."""

_LANGUAGES = {".yaml": "yaml", ".py": "python", ".json": "json", ".service": "ini", ".toml": "toml"}

_FENCE = re.compile(r"^ *(`{3,}|~{3,})")
_LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)#\s]+)(#[^)\s]*)?")

_OF_THEIR_TIME = ("CHANGELOG.md",)
"""Files whose links may name headings of earlier versions: they lead to the whole page."""


def find_linked(pages: Mapping[str, str]) -> dict[str, str]:
    """Return the page of each linked file, by its place on the site.

    Args:
        pages: the texts of the other pages, by their places on the site.
    """
    found = {_place(path): _page(path) for path in ALWAYS}
    waiting = [*pages.items(), *found.items()]
    while waiting:
        uri, text = waiting.pop()
        for path in _linked_files(text, uri):
            if not path.startswith(_DOCS) and _place(path) not in found:
                found[_place(path)] = _page(path)
                waiting.append((_place(path), found[_place(path)]))
    return found


def rewrite_links(text: str, uri: str) -> str:
    """Replace each link to a file of the repository by one to its place on the site.

    Args:
        text: of a page.
        uri: the place of the page.
    """
    here = _source(uri)
    if here is None:
        return text

    def replaced(target: re.Match[str]) -> str:
        path = _resolve(target[1], here)
        if path is None:
            return target[0]  # MkDocs warns of it
        anchor = "" if here in _OF_THEIR_TIME else target[2] or ""
        return posixpath.relpath(_place(path), posixpath.dirname(uri) or ".") + anchor

    return _outside_of_code(text, lambda line: _LINK.sub(replaced, line))


def _linked_files(text: str, uri: str) -> list[str]:
    """List the files of the repository that a page links to, by their paths from its root."""
    here = _source(uri)
    targets: list[str] = []
    if here is None:
        return []

    def noted(line: str) -> str:
        targets.extend(found[1] for found in _LINK.finditer(line))
        return line

    _outside_of_code(text, noted)
    return [path for target in targets if (path := _resolve(target, here))]


def _outside_of_code(text: str, change: Callable[[str], str]) -> str:
    """Change each line that is not in a fenced block."""
    lines, fence = [], ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        lines.append(line if fence or mark else change(line))
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence):
            fence = ""
    return "".join(lines)


def _resolve(target: str, here: str) -> str | None:
    """Return the path of a link's file from the root; None if there is no such file."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
    return path if not path.startswith("..") and (ROOT / path).is_file() else None


def _source(uri: str) -> str | None:
    """Return the Markdown file that a page is made of, from the root; None if it is generated."""
    if uri.startswith(_FOLDER):
        path = uri.removeprefix(_FOLDER)
        return path if (ROOT / path).is_file() else None
    return None if uri.startswith(_REFERENCE) else _DOCS + uri


def _place(path: str) -> str:
    """Return the place on the site of a file of the repository."""
    if path.startswith(_DOCS):
        return path.removeprefix(_DOCS)
    return _FOLDER + (path if path.endswith(".md") else f"{path}.md")


def _page(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    if path.endswith(".ipynb"):
        return "\n\n".join(map(_cell, json.loads(text)["cells"])) + "\n"
    language = _LANGUAGES.get(Path(path).suffix, "text")
    return f"# {path}\n\n````{language}\n{text.rstrip()}\n````\n"


def _cell(cell: dict[str, Any]) -> str:
    """Return a cell of a notebook as Markdown."""
    source = "".join(cell["source"])
    return source if cell["cell_type"] == "markdown" else f"````python\n{source}\n````"
