"""A site of two runs in a real browser: it fits, loads its own files alone, and agrees with SQL."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import storage
from jobs.report.site.build import build_site
from tests.storage.conftest import Builder

from .browser import PROGRAMS, Page, program
from .test_report import HOSTILE, OVERFLOWING

pytestmark = [
    pytest.mark.skipif(program() is None, reason=f"none of {', '.join(PROGRAMS)} is here"),
    pytest.mark.xdist_group("report"),  # they share a browser
]

ENTER, RIGHT = 13, 39
DYNN = f"dynn{HOSTILE}"
PAGES = (
    *("index.html", "runs.html", "history.html", "compare.html"),
    *("runs/first.html", "runs/second.html", "comparisons/first--second.html"),
)
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def root(made_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights that answer differently, with power; one model's name is markup."""
    folder: Path = tmp_path_factory.mktemp("made") / "results"
    made_run(folder, "first", names={"dynn": DYNN})
    return made_run(folder, "second", names={"dynn": DYNN}, day=25, seed=8)


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of them; the second has everything."""
    folder: Path = tmp_path_factory.mktemp("site")
    build_site(root, folder)
    return folder


def until(tab: Page, script: str, expected: object) -> None:
    """Wait until a page shows something."""
    deadline_s = time.monotonic() + PATIENCE_S
    while (found := tab.run(script)) != expected:
        assert time.monotonic() < deadline_s, found
        time.sleep(0.05)


def drawn(tab: Page) -> None:
    """Wait until what the page loads on demand is shown."""
    tab.run("Promise.all([window.historyDrawn, window.compareDrawn]).then(() => true)")


def choose(tab: Page, name: str, value: str) -> None:
    """Choose a value of a list, as a hand does."""
    tab.run(
        f"(() => {{ const list = document.getElementById({name!r}); list.value = {value!r};"
        " list.dispatchEvent(new Event('change')); })()"
    )
    drawn(tab)


def table(tab: Page, name: str) -> list[dict[str, str]]:
    """The shown cells of a table by the heads of their columns."""
    rows: list[dict[str, str]] = tab.run(
        f"""(() => {{
          const table = document.querySelector('[data-sortable="{name}"]');
          const heads = [...table.tHead.rows[0].cells].map((cell) => cell.innerText.trim());
          const cells = (row) => [...row.cells].map((cell, at) => [heads[at], cell.innerText]);
          const shown = [...table.tBodies[0].rows].filter((row) => !row.hidden);
          return shown.map((row) => Object.fromEntries(cells(row)));
        }})()"""
    )
    return rows


def ladder(root: Path, run_id: str) -> dict[str, dict[str, Any]]:
    """What SQL says of the routed cells of a run, by model."""
    rows = storage.query(
        root, "FROM ladder SEMI JOIN cells c USING (run_id, cell_id) ORDER BY run_id"
    ).to_pylist()
    return {row["model"]: row for row in rows if row["run_id"] == run_id}


@pytest.mark.parametrize(
    ("width", "is_dark"), [(1280, False), (1280, True), (390, False), (390, True)]
)
def test_every_page_fits_the_screen(
    tab: Page, site: Path, tmp_path: Path, width: int, is_dark: bool
) -> None:
    """Nothing sticks out, a name with a script runs nothing, only the site's files are loaded."""
    tab.resize(width, is_dark=is_dark)
    for name in PAGES:
        tab.open(site / name)
        drawn(tab)
        assert tab.run(OVERFLOWING) == [], name
        assert tab.run("document.documentElement.scrollWidth") <= width, name
        charts = tab.run("document.querySelectorAll('figure:not([hidden]) [data-chart]').length")
        assert tab.run("document.querySelectorAll('[data-chart] svg').length") >= charts
        assert tab.run("document.title") != "run"
        unnamed = (
            "[...document.querySelectorAll('input, select')].filter((each) => !each.labels.length"
            " && !each.ariaLabel).map((each) => each.outerHTML)"
        )
        assert tab.run(unnamed) == []
        labels = tab.run("[...document.querySelectorAll('.chart')].map((each) => each.ariaLabel)")
        shown = tab.run("document.querySelectorAll('figure[hidden] .chart').length")
        assert len([label for label in labels if label and len(label) > 40]) >= len(labels) - shown
        assert not [label for label in labels if label == "Vega visualization"], name
        tab.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 10_000
    asked = {url for url in tab.requests if not url.startswith(("data:", "about:"))}
    assert all(unquote(url).startswith(site.as_uri()) for url in asked), asked


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of two nights of many models on three devices, with energy, exits and long names."""
    folder: Path = tmp_path_factory.mktemp("crowded")
    models = [*(f"gfnet-h-{size}" for size in ("ti", "s", "b")), "gfnet-s-dynn-distilled-int8"]
    nodes = {"orin-agx-64gb-lab-2": "float16", "raspberry-pi-5": "float32", "h200-3": "bfloat16"}
    for night in range(2):
        build = Builder(folder / "results", f"nightly-2026-11-2{night}-3f7a9")
        for model, (node, precision) in itertools.product(models, nodes.items()):
            is_early = "dynn" in model
            cell = build.cell(
                model=model,
                dataset="imagenet-1k-val",
                node=node,
                precision=precision,
                threshold=0.875 if is_early else None,
                exit_blocks=(1, 2, 3) if is_early else (3,),
            )
            exits = [1, 1, 1, 2, 2, 2, 3, 3, 3, 3] if is_early else 3
            build.records(cell, 10, exit_block=exits, forward_ms=1234.5 + night)
            for place, phase in enumerate(("idle_before", "active", "idle_after")):
                seconds = [3.0 * place + each for each in range(3)]
                watts = [9.0 if phase == "active" else 5.0] * 3
                build.power(cell, phase, seconds, watts, shard=50 + place)
        build.store()
    build_site(folder / "results", folder / "site", whole_runs=0)
    return folder / "site"


@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize(("name", "rows"), [("index.html", "models"), ("compare.html", "pairs")])
def test_many_figures_fit_the_screen(
    tab: Page, crowded: Path, name: str, rows: str, *, is_dark: bool
) -> None:
    """At 1280 pixels nothing scrolls sideways; on a phone the table alone, by keyboard too."""
    tab.resize(1280, is_dark=is_dark)
    tab.open(crowded / name)
    drawn(tab)
    region = f"document.querySelector('[data-sortable={rows}]').closest('.scroll')"
    assert len(table(tab, rows)) == 12
    assert "mJ" in tab.run(f"{region}.innerText")
    assert tab.run("document.documentElement.scrollWidth <= innerWidth")
    assert tab.run(f"{region}.scrollWidth <= {region}.clientWidth")
    tab.resize(390, is_dark=is_dark)
    tab.open(crowded / name)
    drawn(tab)
    assert tab.run("document.documentElement.scrollWidth <= innerWidth")
    assert tab.run(f"{region}.scrollWidth > {region}.clientWidth")
    assert "gradient" in tab.run(f"getComputedStyle({region}).backgroundImage")
    tab.run(f"{region}.focus()")
    tab.press("ArrowRight", RIGHT, times=3)
    until(tab, f"{region}.scrollLeft > 0 && scrollX === 0", expected=True)


def test_the_overview_shows_the_newest_figures(tab: Page, root: Path, site: Path) -> None:
    """Of the newest run, and their change since the one before."""
    tab.open(site / "index.html")
    now, before = ladder(root, "second"), ladder(root, "first")
    rows = {row["model"]: row for row in table(tab, "models")}
    assert set(rows) == set(now) == {"static", DYNN}
    for model, row in rows.items():
        assert row["acc@1"] == f"{now[model]['acc1']:.2f}"
        assert row["ms"] == f"{now[model]['forward_ms']:.3f}"
        assert row["mJ"] == f"{now[model]['energy_mj']:.3f}"
        assert row["blocks"] == f"{now[model]['mean_blocks']:.2f}"
        assert row["change"] == f"{now[model]['acc1'] - before[model]['acc1']:+.2f}"
        change = 100 * (now[model]["forward_ms"] / before[model]["forward_ms"] - 1)
        assert row["change, ms"] == f"{change:+.1f} %"
        shares = tab.run(
            f"[...document.querySelectorAll('[data-sortable=models] tbody tr')].find((row) =>"
            f" row.cells[0].innerText === {model!r}).querySelector('.exits').ariaLabel"
        )
        counts = now[model]["exit_counts"]
        said = [f"{100 * n / sum(counts):.1f} % after block {b}" for b, n in enumerate(counts) if n]
        assert shares == "; ".join(said)


def test_the_history_is_sqls_night_by_night(tab: Page, root: Path, site: Path) -> None:
    """At the thresholds that the page's address names."""
    tab.open(site / "history.html")
    drawn(tab)
    names = tab.run("[...document.getElementById('series').options].map((each) => each.text)")
    assert [name.split(",")[0] for name in names] == ["static", DYNN]
    values = tab.run("[...document.getElementById('series').options].map((each) => each.value)")
    choose(tab, "series", values[1])
    rows = table(tab, "nights")
    assert [row["run"] for row in rows] == ["second", "first"]
    for row in rows:
        of_run = ladder(root, row["run"])[DYNN]
        assert row["acc@1"] == f"{of_run['acc1']:.2f}"
        assert row["ms"] == f"{of_run['forward_ms']:.3f}"
        assert row["mJ"] == f"{of_run['energy_mj']:.3f}"
        assert row["valid"] == "yes"
    assert rows[1]["change, points"] == "–"
    assert tab.run("document.querySelectorAll('[data-series] svg').length") == 3
    until(tab, "location.hash", f"#series={values[1]}")
    tab.open(site / "history.html", f"series={values[1]}")
    drawn(tab)
    assert table(tab, "nights") == rows
    tab.open(site / "history.html", "series=gone")
    drawn(tab)
    assert "names a series that is not here" in tab.run("document.body.innerText")


def test_two_runs_stand_side_by_side(tab: Page, root: Path, site: Path) -> None:
    """Their figures and differences; the page of the comparison is one link away."""
    tab.open(site / "compare.html", "a=first&b=second")
    drawn(tab)
    first, second = ladder(root, "first"), ladder(root, "second")
    rows = {row["model"]: row for row in table(tab, "pairs")}
    assert set(rows) == {"static", DYNN}
    for model, row in rows.items():
        a, b = first[model], second[model]
        assert (row["acc@1 A"], row["acc@1 B"]) == (f"{a['acc1']:.2f}", f"{b['acc1']:.2f}")
        difference = f"{b['acc1'] - a['acc1']:+.2f}".replace("-", "−")  # noqa: RUF001 (the page's)
        assert row["B − A, points"] == difference  # noqa: RUF001
        assert (row["ms A"], row["ms B"]) == (f"{a['forward_ms']:.3f}", f"{b['forward_ms']:.3f}")
    link = "document.querySelector('[data-part=whole] a')"
    assert tab.run(f"{link}.getAttribute('href')") == "comparisons/first--second.html"
    choose(tab, "run-a", "second")
    choose(tab, "run-b", "first")
    assert tab.run(f"{link} === null")
    command = "gfjobs compare second first --html comparison.html"
    assert command in tab.run("document.querySelector('[data-part=whole]').innerText")
    until(tab, "location.hash", "#a=second&b=first")


def test_a_table_is_sorted_and_filtered_by_keyboard(tab: Page, site: Path) -> None:
    """And its address shows the same again."""
    tab.open(site / "runs.html")
    button = "document.querySelectorAll('[data-sortable=runs] .sort')[0]"
    tab.run(f"{button}.focus()")
    tab.press("Enter", ENTER)
    assert [row["run"] for row in table(tab, "runs")] == ["first", "second"]
    tab.press("Enter", ENTER)
    assert [row["run"] for row in table(tab, "runs")] == ["second", "first"]
    assert tab.run("document.querySelector('[aria-sort=descending]').innerText.trim()") == "run"
    tab.run("document.querySelector('.filter input').focus()")
    for letter in "fir":
        tab.call("Input.insertText", text=letter)
    assert [row["run"] for row in table(tab, "runs")] == ["first"]
    assert "1 of 2 rows" in tab.run("document.querySelector('.filter').innerText")
    until(tab, "location.hash", "#runs.sort=-run&runs.filter=fir")
    tab.open(site / "runs.html", "runs.sort=-run&runs.filter=fir")
    assert [row["run"] for row in table(tab, "runs")] == ["first"]


def test_exact_halves_are_rounded_as_python_does(tab: Page, tmp_path: Path) -> None:
    """To the even digit: a browser's own rounding would say 2.063."""
    for run_id in ("one", "two"):
        build = Builder(tmp_path / "results", run_id)
        build.records(build.cell(), 20, forward_ms=2.0625)
        build.store()
    build_site(tmp_path / "results", tmp_path / "site", whole_runs=0)
    assert f"{2.0625:.3f}" == "2.062"
    tab.open(tmp_path / "site" / "history.html")
    drawn(tab)
    assert [row["ms"] for row in table(tab, "nights")] == ["2.062"] * 2
    label = "document.querySelector('[data-series=forward_ms]').ariaLabel"
    assert "from 2.062 to 2.062" in tab.run(label)
    tab.open(tmp_path / "site" / "compare.html")
    drawn(tab)
    assert [(row["ms A"], row["ms B"]) for row in table(tab, "pairs")] == [("2.062", "2.062")]
