"""The report in a real browser: it logs and fetches nothing, and its explorer is SQL's."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import storage
from jobs.report.html.page import linked_page
from jobs.report.html.shell import in_site, site_assets
from jobs.report.read import read_report
from jobs.report.write import write_page
from jobs.runs.submit import submit
from jobs.runs.target import Target

from .browser import PROGRAMS, Page, browser, program

pytestmark = [
    pytest.mark.skipif(program() is None, reason=f"none of {', '.join(PROGRAMS)} is here"),
    pytest.mark.xdist_group("report"),  # they share a browser
]

LEFT, RIGHT, HOME, END, TAB, ENTER = 37, 39, 36, 35, 9, 13
HOSTILE = "<script>document.title = 'run'</script>"
OVERFLOWING = """
[...document.querySelectorAll("body *")]
  .filter((each) => !each.closest(".scroll, pre, .unseen, .skip"))
  .filter((each) => each.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map((each) => each.outerHTML.slice(0, 80))
"""


@pytest.fixture(scope="module")
def root(made_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results root with two nights; the model's name is markup."""
    folder: Path = tmp_path_factory.mktemp("made") / "results"
    names = {"dynn": f"dynn{HOSTILE}"}
    made_run(folder, "earlier", day=23, names=names)
    return made_run(folder, names=names)


@pytest.fixture(scope="module")
def report(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its report."""
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    write_page(root, read_report(root, "made"), path)
    return path


@pytest.fixture
def page(report: Path, tmp_path: Path) -> Iterator[Page]:
    """The report, opened; afterwards it has logged nothing, and asked for nothing but itself."""
    with browser(tmp_path / "profile") as opened:
        opened.resize(1280)
        opened.open(report)
        yield opened
        assert not opened.errors
        fetched = {url for url in opened.requests if not url.startswith("data:")}
        assert {url.partition("#")[0] for url in fetched} == {report.as_uri()}


def sql(root: Path, thresholds: str) -> dict[str, str]:
    """What the explorer must show at some thresholds, as it writes it."""
    joined = f"""
        SELECT a.exit_counts, format('{{:.2f}} %', a.acc1) AS acc1,
            format('{{:.2f}}', a.mean_blocks) AS blocks,
            format('{{:.3f}} ms', l.forward_ms) AS latency,
            format('p50 {{:.3f}} · p90 {{:.3f}} · p99 {{:.3f}}', l.p50_ms, l.p90_ms, l.p99_ms)
                AS percentiles,
            format('{{:.3f}} mJ', e.energy_mj) AS energy,
            format('± {{:.3f}} (95 %)', e.margin_mj) AS "energy-margin"
        FROM at_thresholds({thresholds}) a
        JOIN composed_latency('made', {thresholds}) l USING (run_id, cell_id)
        JOIN composed_energy('made', {thresholds}) e USING (run_id, cell_id)
    """  # noqa: S608 - thresholds of this file
    (row,) = storage.query(root, joined, run_ids=["made"]).to_pylist()
    counts = row.pop("exit_counts")
    return {**row, "exits": [str(counts[block]) for block in (1, 3, 4)]}


IN_CLASSES = "document.querySelector('#classes [data-part={}]')"
"""A part of the section on classes."""

ROWS = "[...{}.rows].map((row) => [...row.cells].map((cell) => cell.innerText))"
"""The text of a table's cells."""


def shown_classes(page: Page) -> list[list[str]]:
    """The page's classes, as `gfjobs summary --classes` lists them."""
    found: list[list[str]] = page.run(ROWS.format(IN_CLASSES.format("classes")))
    return found


def shown_matrix(page: Page) -> list[list[str]]:
    """The page's confusion matrix, without its headers."""
    rows: list[list[str]] = page.run(ROWS.format(IN_CLASSES.format("matrix")))
    return [row[1:] for row in rows[1:]]


def settled(page: Page) -> str:
    """The fragment of the address, once it has been written."""
    fragment: str = page.run(
        "new Promise((done) => setTimeout(() => done(location.hash.slice(1)), 300))"
    )
    return fragment


def shown(page: Page, names: list[str]) -> dict[str, Any]:
    """What the explorer shows."""
    return {
        name: page.run(
            "[...document.querySelectorAll('[data-part=exits] tr')].map(r => r.cells[2].innerText)"
            if name == "exits"
            else f"document.querySelector('[data-part={name}]').textContent"
        )
        for name in names
    }


def move(page: Page, name: str, value: float) -> None:
    """Drag a slider, as far as the page can tell."""
    page.run(
        f"(() => {{ const slider = document.getElementById('{name}'); slider.value = {value};"
        " slider.dispatchEvent(new Event('input')); })()"
    )


CIFAR10 = """\
name: cifar10-ladder
models: [cifar10-gfnet, cifar10-distil, cifar10-dynn]
datasets: [{name: cifar10, limit: 200}]
thresholds: [0.5]
threads: [1]
measure: [accuracy, latency, exit_costs]
latency: {rounds: 2, warmup_images: 5, images: 60}
baseline: cifar10-gfnet
"""


@pytest.mark.skipif(
    storage.named_file("cifar10", "test") is None, reason="cifar10 is not below GFJOBS_DATA"
)
def test_the_ladder_of_cifar10(tmp_path: Path) -> None:
    """Real images, at both widths: nothing logged, nothing fetched, SQL's numbers."""
    grid, results, path = tmp_path / "g.yaml", tmp_path / "results", tmp_path / "report.html"
    grid.write_text(CIFAR10)
    assert submit(grid, results, Target(is_inline=True), lambda _: None, "made").is_done
    write_page(results, read_report(results, "made"), path)
    with browser(tmp_path / "profile") as opened:
        for width in (1280, 390):
            opened.resize(width)
            opened.open(path)
            assert opened.run(OVERFLOWING) == []
            assert opened.run("document.querySelectorAll('img').length") > 0
            for threshold in (0.0, 0.5, 0.613, 0.95):
                move(opened, "threshold", threshold)
                question = f"""
                    SELECT format('{{:.2f}} %', a.acc1) AS acc1, a.exit_counts,
                        format('{{:.2f}}', a.mean_blocks) AS blocks, c.exit_blocks, c.depth
                    FROM at_thresholds([{threshold}]) a JOIN cells c USING (run_id, cell_id)
                    WHERE c.model = 'cifar10-dynn'
                """  # noqa: S608 - thresholds of this file
                (row,) = storage.query(results, question).to_pylist()
                counts, exits = row.pop("exit_counts"), row.pop("exit_blocks")
                places = {*exits, row.pop("depth") - 1}
                expected = row | {"exits": [str(counts[place]) for place in sorted(places)]}
                assert shown(opened, list(expected)) == expected, threshold
        assert not opened.errors
        fetched = {url for url in opened.requests if not url.startswith("data:")}
        assert fetched == {path.as_uri()}


def test_the_explorer_says_what_sql_says(page: Page, root: Path) -> None:
    """At the start, dragged, typed, by keys, and with one threshold a gate."""
    expected = sql(root, "[0.5]")
    assert shown(page, list(expected)) == expected
    for threshold in (0.0, 0.613, 0.95):
        move(page, "threshold", threshold)
        expected = sql(root, f"[{threshold}]")
        assert shown(page, list(expected)) == expected, threshold

    page.run("document.getElementById('threshold').focus()")
    page.press("ArrowRight", RIGHT, times=3)
    expected = sql(root, "[0.953]")
    assert shown(page, list(expected)) == expected
    page.press("End", END)
    assert page.run("document.getElementById('threshold').ariaValueText") == "no image exits early"
    expected = sql(root, "['inf'::FLOAT]")
    assert shown(page, list(expected)) == expected

    page.run(
        "(() => { const field = document.getElementById('threshold-exact');"
        " field.value = '0.61234'; field.dispatchEvent(new Event('change')); })()"
    )
    expected = sql(root, "[0.61234]")
    assert shown(page, list(expected)) == expected

    page.run("document.querySelector('input[value=each]').click()")
    move(page, "threshold-0", 0.8)
    move(page, "threshold-1", 0.35)
    expected = sql(root, "[0.8, 0.35]")
    assert shown(page, list(expected)) == expected


def test_classes_are_those_of_sql(page: Page, root: Path) -> None:
    """At the thresholds of its cell in the ladder, which SQL's macros are about."""
    rows = storage.query(
        root,
        """
        SELECT coalesce(class_name, label::VARCHAR) AS class, images::VARCHAR AS images,
            format('{:.2f}', acc1) AS acc1, format('{:.2f}', mean_blocks) AS blocks,
            coalesce(mistaken_for_name, mistaken_for::VARCHAR, '–') AS mistaken_for,
            coalesce(mistaken_images::VARCHAR, '–') AS times
        FROM class_accuracy('made') k WHERE cell_id = 'latency-dynn' ORDER BY k.acc1, label
        """,
        run_ids=["made"],
    ).to_pylist()
    assert shown_classes(page) == [list(row.values()) for row in rows]
    pairs = storage.query(
        root,
        "SELECT label, prediction, images FROM confusion('made') WHERE cell_id = 'latency-dynn'",
        run_ids=["made"],
    ).to_pylist()
    expected = [["0"] * 10 for _ in range(10)]
    for row in pairs:
        expected[row["label"]][row["prediction"]] = str(row["images"])
    assert shown_matrix(page) == expected
    assert sum(int(each) for row in expected for each in row) == 400


def test_classes_follow_the_thresholds(page: Page, root: Path) -> None:
    """One per gate, as SQL counts the images of its exits; and none, at full depth."""
    page.run("document.querySelector('input[value=each]').click()")
    for first, second in ((0.8, 0.35), (1.2, 1.2)):
        move(page, "threshold-0", first)
        move(page, "threshold-1", second)
        rows = storage.query(
            root,
            f"""
            WITH left_at AS (
                SELECT label, prediction FROM exits
                WHERE run_id = 'made' AND cell_id = 'exits-dynn' AND leaves(gate_score,
                    CASE exit_block WHEN 1 THEN {first}::FLOAT WHEN 3 THEN {second}::FLOAT END)
                QUALIFY row_number() OVER (PARTITION BY image_id ORDER BY exit_block) = 1
            )
            SELECT label, prediction, count(*) AS images FROM left_at GROUP BY ALL
            """,  # noqa: S608 - thresholds of this test
            run_ids=["made"],
        ).to_pylist()
        expected = [["0"] * 10 for _ in range(10)]
        for row in rows:
            expected[row["label"]][row["prediction"]] = str(row["images"])
        assert shown_matrix(page) == expected


def test_a_number_of_the_matrix_leads_to_its_images(page: Page, root: Path) -> None:
    """By keyboard, with how many are shown; the address has the pair, and arrow keys move."""
    (wrong,) = storage.query(
        root,
        "SELECT label, prediction, images FROM confusion('made')"
        " WHERE cell_id = 'latency-dynn' AND label <> prediction AND label > 0"
        " ORDER BY images DESC, label LIMIT 1",
        run_ids=["made"],
    ).to_pylist()
    label, prediction, images = wrong["label"], wrong["prediction"], wrong["images"]
    name = f"{images} images of {label} predicted as {prediction}"
    page.run(f"document.querySelector('[aria-label=\"{name}\"]').focus()")
    page.press("Enter", ENTER)
    page.run("new Promise((done) => setTimeout(done, 50))")
    panel = page.run(f"{IN_CLASSES.format('pair')}.innerText")
    assert panel.startswith(f"{label}, predicted as {prediction}\n")
    (pictured,) = re.findall(rf"{images} of {images} images shown, (\d+) with a picture", panel)
    assert int(pictured) >= 6
    pictures = f"{IN_CLASSES.format('pair')}.querySelectorAll('img[src^=\"data:image/png\"]')"
    assert page.run(f"{pictures}.length") == int(pictured)
    assert f"pair={label}%2C{prediction}" in settled(page)
    page.press("ArrowLeft", LEFT)
    assert page.run("document.activeElement.ariaLabel").endswith("predicted rightly")
    move(page, "threshold", 0.9)
    assert page.run(f"{IN_CLASSES.format('pair')}.innerText").startswith(f"{label}, predicted as")


def test_many_classes_are_listed_by_pairs(root: Path, tmp_path: Path) -> None:
    """A matrix of 40 would not be read; it is said how many pairs are left out."""
    report = read_report(root, "made")
    (each,) = report.passes
    assert each.classes is not None
    names = {label: f"class {label}" for label in range(40)}
    labels = each.classes.labels * 4 + np.arange(400) % 4
    predictions = each.classes.predictions * 4 + np.arange(400) % 3
    classes = replace(each.classes, labels=labels, predictions=predictions, names=names)
    path = tmp_path / "many.html"
    write_page(root, replace(report, passes=[replace(each, classes=classes)]), path)
    with browser(tmp_path / "profile") as page:
        page.resize(390)
        page.open(path)
        hint = page.run(f"{IN_CLASSES.format('confusion-hint')}.textContent")
        assert re.match(r"The 30 most confused pairs of \d+: a matrix of 40 classes", hint)
        rows = page.run(ROWS.format(IN_CLASSES.format("matrix")))
        counts = [int(row[2]) for row in rows[1:]]
        assert counts == sorted(counts, reverse=True)
        assert len(counts) == 30
        assert page.run(OVERFLOWING) == []
        page.run(f"{IN_CLASSES.format('matrix')}.querySelector('button').click()")
        settled(page)
        panel = page.run(f"{IN_CLASSES.format('pair')}.innerText")
        assert panel.startswith(f"{rows[1][0]}, predicted as {rows[1][1]}\n")
        assert len(shown_classes(page)) == 40
        assert not page.errors


def test_a_table_sorts_and_filters_by_keyboard(page: Page) -> None:
    """Up, down and as written, with missing figures last; the count is said."""
    table = "document.querySelector('table[data-sortable=classes]')"
    button = f"[...{table}.querySelectorAll('button.sort')][{{}}]"
    as_written = shown_classes(page)
    page.run(f"{button.format(1)}.focus()")
    for order in ("ascending", "descending", "none"):
        page.press("Enter", ENTER)
        assert page.run(f"{table}.tHead.rows[0].cells[1].ariaSort") == order
        counts = [int(row[1]) for row in shown_classes(page)]
        if order == "none":
            assert shown_classes(page) == as_written
        else:
            assert counts == sorted(counts, reverse=order == "descending")
    page.run("document.querySelector('#ladder input[type=search]').focus()")
    page.call("Input.insertText", text="DYNN 0.5")
    ladder = "table[data-sortable=ladder-1] tbody tr"
    rows = f"[...document.querySelectorAll('{ladder}')].filter((row) => !row.hidden)"
    assert page.run(f"{rows}.length") == 1
    assert page.run("document.querySelector('#ladder .filter output').textContent") == "1 of 2 rows"


ORDER = """
(() => {
  const texts = %s;
  const place = document.createElement("div");
  place.innerHTML = `<table data-sortable="made-up"><thead><tr><th>n</th></tr></thead>
    <tbody>${texts.map((text) => `<tr><td>${text}</td></tr>`).join("")}</tbody></table>`;
  document.querySelector("main").append(place);
  const table = place.querySelector("table");
  sortableTables.refresh(table);
  return [0, 1].map(() => {
    table.querySelector("button").click();
    return [...table.tBodies[0].rows].map((row) => row.innerText);
  });
})()
"""
"""The rows of a table made of these texts, sorted up and down."""


def test_numbers_sort_as_numbers_whatever_is_written_around_them(page: Page) -> None:
    """Signs, margins, thousands, percent and millions; what is missing is last both times."""
    ordered = ["\N{MINUS SIGN}1.25", "±0.003", "93.1 %", "228.0k", "1,000,000", "1.73M"]
    mixed = [
        "–",
        "1.73M",
        "93.1 %",
        "\N{MINUS SIGN}1.25",
        "INVALID",
        "1,000,000",
        "±0.003",
        "228.0k",
    ]
    up, down = page.run(ORDER % json.dumps(mixed))
    assert up == [*ordered, "–", "INVALID"]
    assert down == [*reversed(ordered), "–", "INVALID"]
    page.run("document.querySelector('[data-sortable=made-up]').remove()")


def test_the_address_restores_what_it_was_copied_from(page: Page, report: Path) -> None:
    """Thresholds, mode, order and filter; a link within the page leaves them as they are."""
    page.run("document.querySelector('input[value=each]').click()")
    move(page, "threshold-0", 0.8)
    move(page, "threshold-1", 0.35)
    page.run("document.querySelector('#ladder button.sort').click()")
    page.run("document.querySelector('#ladder button.sort').click()")
    page.run(
        "(() => { const field = document.querySelector('#classes input[type=search]');"
        " field.value = '7'; field.dispatchEvent(new Event('input')); })()"
    )
    page.run("document.querySelector('nav a[href=\"#classes\"]').click()")
    fragment = settled(page)
    assert fragment == ("classes&mode=each&t=0.8%3B0.35&ladder-1.sort=-model&classes.filter=7")
    names = ["acc1", "blocks", "latency", "exits"]
    before, matrix = shown(page, names), shown_matrix(page)
    page.open(report)
    assert shown(page, names) != before
    page.open(report, fragment)
    assert shown(page, names) == before
    assert shown_matrix(page) == matrix
    assert page.run("document.querySelector('input[value=each]').checked")
    assert page.run("document.querySelector('#ladder th').ariaSort") == "descending"
    assert page.run("document.querySelector('#classes input[type=search]').value") == "7"
    assert page.run("scrollY") > 0
    page.run("location.hash = '#t=0.613'")
    settled(page)
    assert page.run("document.getElementById('threshold-exact').value") == "0.613"
    page.open(report, "t=nonsense&mode=each&model=none")
    assert page.run("document.getElementById('threshold-exact').value") == "0.5"


def test_a_tooltip_needs_no_style_of_its_own(page: Page) -> None:
    """The policy would refuse it; the page's own style shows it at the pointer."""
    dot = page.run(
        "(() => { const dot = document.querySelector('[data-chart] .mark-symbol path');"
        " dot.scrollIntoView({ block: 'center', behavior: 'instant' });"
        " const box = dot.getBoundingClientRect();"
        " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=dot[0], y=dot[1])
    page.run("new Promise((done) => setTimeout(done, 100))")
    tooltip = "document.getElementById('vg-tooltip-element')"
    assert page.run(f"getComputedStyle({tooltip}).visibility") == "visible"
    assert "acc1" in page.run(f"{tooltip}.innerText")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_ladder_downloads(page: Page, tmp_path: Path, form: str) -> None:
    """Also from a page that is opened from a folder: its policy has no say in it."""
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.run(f"document.querySelector('a[download$=\".{form}\"]').click()")
    path, deadline = tmp_path / f"made-ladder.{form}", time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, list(tmp_path.iterdir())
        time.sleep(0.05)
    assert path.read_bytes().startswith(b"PAR1" if form == "parquet" else b"run_id,cell_id,")


@pytest.mark.parametrize(("width", "is_dark"), [(1280, False), (390, True)])
def test_in_a_site_it_shows_the_same(
    root: Path, report: Path, tmp_path: Path, width: int, is_dark: bool
) -> None:
    """Opened from a folder, it loads what it needs from there and nothing else."""
    ladder = storage.named_query(root, "summary", run_ids=["made"])
    linked = linked_page(root, read_report(root, "made"), in_site(1), ladder)
    site = tmp_path / "site"
    files = {**site_assets(), **linked.files, "runs/made.html": linked.html.encode()}
    for name, content in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(content)
    names = ["acc1", "blocks", "latency", "percentiles", "energy", "exits"]
    with browser(tmp_path / "profile") as opened:
        opened.resize(width, is_dark=is_dark)
        opened.open(report, "t=0.613")
        alone = shown(opened, names), shown_matrix(opened), shown_classes(opened)
        opened.requests.clear()
        opened.open(site / "runs/made.html", "t=0.613")
        assert (shown(opened, names), shown_matrix(opened), shown_classes(opened)) == alone
        assert opened.run(OVERFLOWING) == []
        assert opened.run("document.querySelectorAll('[data-chart] svg').length") == 6, (
            "the nights are on the history's page"
        )
        opened.run("document.getElementById('images').scrollIntoView()")
        settled(opened)
        assert (
            opened.run("document.querySelector('#images img').src.slice(0, 15)")
            == "data:image/png;"
        )
        assert not opened.errors
        fetched = {url for url in opened.requests if not url.startswith("data:")}
        assert {url.partition("#")[0] for url in fetched} <= {
            (site / name).as_uri() for name in files
        }


def test_the_dot_moves_along(page: Page) -> None:
    """The curve has the point that the numbers say."""
    where = (
        "(() => { const dots = document.querySelectorAll('[data-part=chart] .mark-symbol path');"
        " return [...dots].map((dot) => dot.getAttribute('transform')); })()"
    )
    before = page.run(where)
    move(page, "threshold", 0.9)
    after = page.run(where)
    assert len(before) == len(after) == 1
    assert before != after


CHART = """
(() => {
  const chart = document.querySelector('[data-part=chart] svg');
  chart.scrollIntoView({ block: 'center', behavior: 'instant' });
  const dot = chart.querySelector('.mark-symbol path').getBoundingClientRect();
  const { x, y } = chart.getBoundingClientRect();
  return { corner: [x, y], dot: [dot.x + dot.width / 2 - x, dot.y + dot.height / 2 - y] };
})()
"""
"""Where the explorer's chart is in the window, and where its dot is in the chart."""


@pytest.mark.parametrize("width", [1280, 390])
def test_a_click_on_the_curve_takes_its_threshold(
    page: Page, report: Path, root: Path, width: int
) -> None:
    """The dot comes to where the click was; numbers are those of the threshold that is taken."""
    page.resize(width)
    page.open(report)
    move(page, "threshold", 0.9)
    where = page.run(CHART)["dot"]
    expected = sql(root, "[0.9]")
    page.run("document.querySelector('input[value=each]').click()")
    move(page, "threshold-0", 0.1)
    chart = page.run(CHART)
    assert abs(chart["dot"][0] - where[0]) > 20
    page.click(chart["corner"][0] + where[0], chart["corner"][1] + where[1])
    assert page.run("document.querySelector('input[value=shared]').checked")
    taken = page.run("document.getElementById('threshold-exact').value")
    exactly = sql(root, f"[{taken}]")
    assert shown(page, list(exactly)) == exactly
    assert abs(float(exactly["acc1"].rstrip(" %")) - float(expected["acc1"].rstrip(" %"))) < 1
    assert page.run(CHART)["dot"] == pytest.approx(where, abs=5)


def test_paper_has_what_is_folded_and_no_controls(page: Page, tmp_path: Path) -> None:
    """Pictures and remarks of all exits are printed; afterwards the page is as it was."""
    folded = "document.querySelectorAll('details:not([open])').length"
    before = page.run(folded)
    page.run(
        "window.addEventListener('beforeprint', () => { window.left ="
        " document.querySelectorAll('details:not([open])').length; })"
    )
    page.print(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    assert page.run("window.left") == page.run("document.querySelectorAll('figure details').length")
    assert page.run(folded) == before

    page.resize(718)  # A4 between its margins
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.run(OVERFLOWING) == []
    for name in ("nav", ".choices", "input[type=range]", "figure details"):
        assert page.run(f"document.querySelector('{name}').getClientRects().length") == 0, name
    assert page.run("document.querySelectorAll('[data-chart] svg').length") == 9


def test_the_keyboard_reaches_the_slider_and_shows_where_it_is(page: Page) -> None:
    """By tabs alone, with a visible focus; every control has a name."""
    for _ in range(40):
        page.press("Tab", TAB)
        if page.run("document.activeElement.id") == "threshold":
            break
    assert page.run("document.activeElement.id") == "threshold"
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    unnamed = page.run(
        "[...document.querySelectorAll('input, select')]"
        ".filter((each) => !each.labels.length && !each.ariaLabel).length"
    )
    assert unnamed == 0


MILLISECONDS = """
(() => {
  const table = document.querySelector('#ladder table');
  const names = [...table.rows[0].cells].map((each) => each.innerText);
  const place = names.indexOf('ms');
  return [...table.rows].map((row) => row.cells[place]).every((cell) => {
    const [inside, box] = [cell, table.parentElement].map((each) => each.getBoundingClientRect());
    return inside.left >= box.left && inside.right <= Math.min(box.right, innerWidth);
  });
})()
"""
"""Whether the ladder's milliseconds are seen without scrolling."""


@pytest.mark.parametrize("width", [360, 390])
def test_a_phone_shows_the_milliseconds_of_the_ladder(page: Page, report: Path, width: int) -> None:
    """Without scrolling, however long a model's name is; the rest scrolls in its own box."""
    page.resize(width)
    page.open(report)
    assert page.run(MILLISECONDS)
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run("document.querySelector('#ladder .scroll').scrollWidth") > width


def test_times_are_of_24_hours_in_utc(page: Page, report: Path) -> None:
    """Wherever the reader is: the nights were submitted at 2 in the morning."""
    page.call("Emulation.setTimezoneOverride", timezoneId="America/New_York")
    page.open(report)
    labels = page.run(
        "[...document.querySelectorAll('[data-chart=latency-over-nights-1] text')]"
        ".map((each) => each.textContent)"
    )
    assert "UTC" in labels
    assert [label for label in labels if re.fullmatch("[0-2][0-9]:00", label)]
    assert not [label for label in labels if label.endswith(("AM", "PM"))]
    assert "24 Nov" in labels


@pytest.mark.parametrize(("width", "is_dark"), [(1280, False), (390, False), (390, True)])
def test_it_fits_the_screen(
    page: Page, report: Path, tmp_path: Path, width: int, is_dark: bool
) -> None:
    """Nothing sticks out, every chart is drawn, and a name with a script in it has run nothing."""
    page.resize(width, is_dark=is_dark)
    page.open(report)
    assert page.run(OVERFLOWING) == []
    assert page.run("document.documentElement.scrollWidth") <= width
    charts = page.run("document.querySelectorAll('[data-chart]').length")
    assert charts == page.run("document.querySelectorAll('[data-chart] svg').length") == 9
    assert page.run("document.title").endswith("gfjobs report")
    assert HOSTILE in page.run("document.body.innerText")
    page.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 50_000
