"""The page of a comparison in a real browser: it logs and fetches nothing, fits, and filters."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.analysis.comparison.run_data import Side
from jobs.report.html.comparison import comparison_page
from jobs.report.html.shell import in_site, site_assets
from jobs.report.pair import PairReport, read_pair
from jobs.report.write import write_comparison

from .browser import PROGRAMS, Page, program
from .test_report import HOSTILE, OVERFLOWING

pytestmark = [
    pytest.mark.skipif(program() is None, reason=f"none of {', '.join(PROGRAMS)} is here"),
    pytest.mark.xdist_group("report"),  # they share a browser
]

TAB = 9


@pytest.fixture(scope="module")
def root(made_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that answer differently; one model's name is markup."""
    folder: Path = tmp_path_factory.mktemp("made") / "results"
    names = {"dynn": f"dynn{HOSTILE}"}
    made_run(folder, "made", names=names)
    return made_run(folder, "other", day=25, seed=8, has_power=False, names=names)


@pytest.fixture(scope="module")
def pair(root: Path) -> PairReport:
    """What their page shows."""
    return read_pair(root, Side("made"), Side("other"))


@pytest.fixture(scope="module")
def alone(root: Path, pair: PairReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as one file."""
    path: Path = tmp_path_factory.mktemp("alone") / "comparison.html"
    write_comparison(root, pair, path)
    return path


def fetched(tab: Page) -> set[str]:
    """What was asked for, without pictures that are in the page."""
    return {url.split("#")[0] for url in tab.requests if not url.startswith("data:")}


@pytest.mark.parametrize(
    ("width", "is_dark"), [(1280, False), (1280, True), (390, False), (390, True)]
)
def test_it_fits_the_screen(
    tab: Page, alone: Path, tmp_path: Path, width: int, is_dark: bool
) -> None:
    """Nothing sticks out, charts and pictures are drawn, and a name with a script runs nothing."""
    tab.resize(width, is_dark=is_dark)
    tab.open(alone)
    assert tab.run(OVERFLOWING) == []
    assert tab.run("document.documentElement.scrollWidth") <= width
    charts = tab.run("document.querySelectorAll('[data-chart]').length")
    assert charts == tab.run("document.querySelectorAll('[data-chart] svg').length") == 2
    assert tab.run(
        "Promise.all([...document.images].map((each) => each.decode())).then("
        "() => document.images.length > 30 && [...document.images].every((i) => i.naturalWidth))"
    )
    assert tab.run("document.title") == "made and other – gfjobs comparison"
    assert HOSTILE in tab.run("document.body.innerText")
    tab.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 50_000
    assert fetched(tab) == {alone.as_uri()}


SHOWN = (
    "[...document.querySelectorAll('[data-cell]')].filter((e) => !e.hidden).map((e) => e.ariaLabel)"
)


def test_one_cell_is_shown_and_its_address_shows_it_again(tab: Page, alone: Path) -> None:
    """By choice, by an address that was copied, and all again; an unknown one shows all."""
    tab.open(alone)
    both = tab.run(SHOWN)
    assert [name.split()[0].split("<")[0] for name in both] == ["static", "dynn"]
    tab.run(
        "(() => { const choice = document.getElementById('cell'); choice.value = '2';"
        " choice.dispatchEvent(new Event('change')); })()"
    )
    assert tab.run(SHOWN) == both[1:]
    assert tab.run("document.querySelector('[data-part=cell-count]').textContent") == "1 of 2 cells"
    tab.run("new Promise((done) => setTimeout(done, 400)).then(() => true)")
    address = tab.run("location.hash")
    assert address == "#cell=2"
    for fragment, shown in (("#cell=1", both[:1]), ("#cell=9", both), ("", both)):
        tab.run(f"location.hash = '{fragment}'")
        tab.run("new Promise((done) => setTimeout(done, 200)).then(() => true)")
        assert tab.run(SHOWN) == shown, fragment


def test_figures_sort_and_filter(tab: Page, alone: Path) -> None:
    """By a press on a header, and by words."""
    tab.open(alone)
    column = "[...document.querySelectorAll('#figures tbody tr')].filter((r) => !r.hidden)"
    first = tab.run(f"{column}.map((r) => r.cells[1].innerText)")
    assert sorted(set(first)) == ["acc@1", "blocks", "mJ", "ms"]
    tab.run("document.querySelectorAll('#figures thead button')[1].click()")
    assert tab.run(f"{column}.map((r) => r.cells[1].innerText)") == sorted(first)
    tab.run(
        "(() => { const field = document.querySelector('#figures input');"
        " field.value = 'acc@1'; field.dispatchEvent(new Event('input')); })()"
    )
    assert tab.run(f"{column}.map((r) => r.cells[1].innerText)") == ["acc@1"] * 2


def test_the_keyboard_reaches_the_choice_of_a_cell(tab: Page, alone: Path) -> None:
    """By tabs alone, with a visible focus; every control has a name."""
    tab.open(alone)
    for _ in range(60):
        tab.press("Tab", TAB)
        if tab.run("document.activeElement.id") == "cell":
            break
    assert tab.run("document.activeElement.id") == "cell"
    assert tab.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    unnamed = (
        "[...document.querySelectorAll('input, select')].filter((each) => !each.labels.length)"
    )
    assert tab.run(f"{unnamed}.length") == 0


def test_without_scripts_all_images_are_there(tab: Page, alone: Path) -> None:
    """Tables and images are written in the page; only charts and filters need a script."""
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    tab.call("Page.navigate", url=alone.as_uri())
    while tab.run("document.readyState") != "complete":
        time.sleep(0.05)
    assert tab.run("document.querySelectorAll('[data-cell]').length") == 2
    assert tab.run("document.querySelectorAll('[data-cell] img').length") > 30
    assert tab.run("document.querySelectorAll('.choices:not([hidden])').length") == 0


def test_a_page_of_a_site_asks_for_the_sites_assets(
    tab: Page, root: Path, pair: PairReport, tmp_path: Path
) -> None:
    """And for nothing else; it is drawn as the page that stands alone."""
    site = tmp_path / "site"
    path = site / "comparisons" / "made--other.html"
    for name, content in site_assets().items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(content)
    path.parent.mkdir()
    path.write_text(comparison_page(root, pair, in_site(1)))
    tab.open(path)
    assert tab.run("document.querySelectorAll('[data-chart] svg').length") == 2
    assert tab.run(OVERFLOWING) == []
    assert all(url.startswith(site.as_uri()) for url in fetched(tab))
