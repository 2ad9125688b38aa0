"""The site of the documentation: it builds without a warning, and needs no other host."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest

import storage
from jobs.cli import main
from jobs.grid import keys as grid
from jobs.nightly import schedule_keys as schedule
from jobs.training import recipe_keys as recipe
from storage.sql.macros import MACROS, VIEWS
from storage.tables.schemas import DIGEST, DIGEST_TABLES

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("material") is None,
    reason="the site needs mkdocs-material: pip install 'gfjobs[docs]'",
)

REPOSITORY = Path(__file__).parents[2]
ELSEWHERE = re.compile(r"(?:https?:)?//", re.IGNORECASE)
LOADED = {"src", "srcset", "data", "poster"}
"""Attributes whose address a browser requests when it shows a page."""

LINKS = {"link", "use", "image"}
"""Elements of which a browser requests the `href`; it follows that of `a` only on a click."""

CODE = {"pre", "code", "script", "style"}
UNNEEDED = {"canonical", "next", "prev"}
"""Relations of a `link` that load nothing."""


class Page(HTMLParser):
    """One page: what a browser would load for it, its text, and its prose, which is no code."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.policies: list[str] = []
        self.words: list[str] = []
        self.prose: list[str] = []
        self._code: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what is loaded, the policy, and where code begins."""
        if tag in CODE:
            self._code.append(tag)
        found = {key: value or "" for key, value in attrs}
        self.loaded += [value for key, value in found.items() if key in LOADED]
        if tag in LINKS and found.get("rel") not in UNNEEDED:
            self.loaded += [found.get("href", ""), found.get("xlink:href", "")]
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(found["content"])

    def handle_endtag(self, tag: str) -> None:
        """Note where code ends."""
        if self._code and self._code[-1] == tag:
            self._code.pop()

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.words.append(data)
        if not self._code:
            self.prose.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING -" not in built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """Its pages, by their place."""
    return {str(file.relative_to(site)): Page(file) for file in sorted(site.rglob("*.html"))}


def test_every_page_of_the_docs_is_there(pages: dict[str, Page]) -> None:
    """And so are the files of the repository that pages link to."""
    names = {page.stem for page in REPOSITORY.glob("docs/*.md")} - {"README"}
    assert {f"{name}.html" for name in names} | {"index.html"} <= set(pages)
    assert {"repository/index.html", "repository/examples/nightly.yaml.html"} <= set(pages)
    assert "Europe/Berlin" in pages["repository/examples/nightly.yaml.html"].text


def test_no_page_requests_another_host(site: Path, pages: dict[str, Page]) -> None:
    """Neither scripts, styles, images nor fonts; a policy forbids it to scripts of the theme."""
    for name, page in pages.items():
        assert page.loaded, name
        assert [each for each in page.loaded if ELSEWHERE.match(each)] == [], name
        (policy,) = page.policies
        assert policy.startswith("default-src 'self' file:;"), name
        assert not ELSEWHERE.search(policy), name
    for style in site.rglob("*.css"):
        loaded = re.findall(r"url\(\s*[\"']?([^)\"']*)|@import\s+[\"']([^\"']*)", style.read_text())
        assert [each for pair in loaded for each in pair if ELSEWHERE.match(each)] == [], style


def test_pages_show_no_markdown(pages: dict[str, Page]) -> None:
    """MkDocs reads another dialect than a code host: both must take each page alike."""
    marks = re.compile(r"```|\*\*|\]\(|^ *[-*] \w|^\|", re.MULTILINE)
    shown = {name: marks.findall("".join(page.prose)) for name, page in pages.items()}
    assert {name: found for name, found in shown.items() if found} == {}


def commands(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
    """Every command as it is called."""
    for name, command in group.commands.items():
        yield f"{prefix} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")


def test_reference_has_every_command_and_option(pages: dict[str, Page]) -> None:
    """As the command line defines them."""
    text = pages["reference/commands.html"].text
    for name, command in commands(main, "gfjobs"):
        section = text.partition(f"{name}¶")[2].partition("¶")[0]
        paragraph = (command.help or "").partition("\n\n")[0].replace("`", "")
        assert " ".join(paragraph.split()) in " ".join(section.split()), name
        for option in (each for each in command.params if isinstance(each, click.Option)):
            assert option.opts[0] in section, f"{name} {option.opts}"


def test_reference_has_every_key(pages: dict[str, Page]) -> None:
    """Of grids, recipes and schedules, and of what is below them."""
    text = pages["reference/keys.html"].text
    for name, file in (("Grid", grid), ("Recipe", recipe), ("Schedule", schedule)):
        for heading, keys in ((name, file.KEYS), *_below(name, file.BELOW)):
            section = text.partition(f"{heading}¶")[2].partition("¶")[0]
            assert [key for key in keys if f"\n{key}\n" not in section] == [], heading


def _below(name: str, below: dict[str, dict[str, str]]) -> Iterator[tuple[str, dict[str, str]]]:
    return ((f"{name}: {key}", keys) for key, keys in below.items())


def test_reference_has_every_table_with_its_columns(pages: dict[str, Page]) -> None:
    """And every view and macro."""
    text = pages["reference/tables.html"].text
    for table, schema in storage.TABLES.items():
        section = text.partition(f"\n{table}¶")[2].partition("¶")[0]
        columns = [*schema.names, *([DIGEST] if table in DIGEST_TABLES else [])]
        assert [each for each in columns if f"\n{each}\n" not in section] == [], table
    for view in VIEWS:
        assert "\nrun_id\n" in text.partition(f"\n{view}¶")[2].partition("¶")[0], view
    for macro in MACROS:
        section = text.partition(f"\n{macro}(")[2].partition("¶")[2].partition("¶")[0]
        assert "\nrun_id\n" in section, macro
