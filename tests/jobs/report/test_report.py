"""The report of a run: its numbers are SQL's, nothing is fetched, hostile names stay names."""

from __future__ import annotations

import base64
import csv
import functools
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import vl_convert
from click.testing import CliRunner, Result
from markdown_it import MarkdownIt

import storage
from jobs.analysis.latency_intervals import FEWEST_ROUNDS, MeanLatency, make_key
from jobs.analysis.thresholds.bands import Band
from jobs.analysis.thresholds.latency_mixture import compose
from jobs.cli import main
from jobs.common.errors import UsageError
from jobs.common.tables import markdown_table
from jobs.report import read as reading
from jobs.report.figures.collect import collect_figures
from jobs.report.figures.frontier import accuracy_band
from jobs.report.html.classes import pack_classes, pictured_images
from jobs.report.html.explorer import pack_passes
from jobs.report.html.page import html_page, linked_page
from jobs.report.html.shell import VEGA_LITE, in_site
from jobs.report.ladder import make_ladder
from jobs.report.markdown import markdown_report
from jobs.report.markdown import text as escaped
from jobs.report.read import Report, first_thresholds, read_report
from jobs.report.site.read import read_figures
from jobs.report.write import check_suffix, write_figures, write_markdown
from jobs.statistics.bootstrap import IntervalEstimate

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&|`"
ENERGY_SOURCE = "energy: replay: made.csv"
BELOW_IDLE = "power while running was not above idle: 4.9 W against 5.0 W"
EMBEDDED = ("data:image/", "data:text/csv;", "data:application/vnd.apache.parquet;")
VOID = {"meta", "input", "img", "br", "link"}


class Checked(HTMLParser):
    """Elements with their attributes; every end tag must be the one of the element that is open."""

    def __init__(self, page: str) -> None:
        """Read a page."""
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """An element ends: the one that is open."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text, also of scripts."""
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def data_of(page: str) -> dict[str, Any]:
    """What the page's scripts read."""
    (text,) = re.findall(r'id="report-data">(.*?)</script>', page, re.DOTALL)
    read: dict[str, Any] = json.loads(text)
    return read


def passes_of(page: str) -> list[dict[str, Any]]:
    """What the explorer of a page reads of each pass."""
    data = data_of(page)
    return [data["parts"][each["key"]] for each in data["passes"]]


def pictures_of(page: str) -> dict[str, str]:
    """The pictures of a page of one data set, by image."""
    found: dict[str, str] = data_of(page)["parts"].get("pictures-1", {})
    return found


@pytest.fixture(scope="module")
def root(shown_root: Path) -> Path:
    """A results root with the made run."""
    return shown_root


@pytest.fixture(scope="module")
def report(report_of: Callable[[str], Report]) -> Report:
    """The report of the made run."""
    return report_of("made")


@pytest.fixture(scope="module")
def page(root: Path, report: Report) -> str:
    """Its page."""
    return html_page(root, report)


class Shown(NamedTuple):
    """A report and its page."""

    report: Report
    page: str


NAMES = {name: f"{name}{HOSTILE}" for name in ("static", "dynn", "digits", "node-a")}


@pytest.fixture(scope="module")
def second_night(made_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The second of three nights, in which all is named with markup and one model is slower."""
    root: Path = tmp_path_factory.mktemp("nights") / "results"
    for number in range(3):
        made_run(root, f"night{number}", names=NAMES, day=20 + number)
    told = storage.RegressionRow(
        run_id="night1",
        model=NAMES["dynn"],
        dataset=NAMES["digits"],
        device="cpu",
        node=NAMES["node-a"],
        runtime="torch",
        precision="float32",
        threads=1,
        batch_size=1,
        threshold=0.5,
        thresholds=None,
        metric="latency",
        kind="step",
        verdict="regression",
        value=2.2,
        expected=2.0,
        low=8.0,
        high=12.0,
        effect_pct=10.0,
        note="measured twice",
    )
    storage.save_regressions(root, "night1", [told])
    found = read_report(root, "night1")
    return Shown(found, html_page(root, found))


@pytest.fixture(scope="module")
def measured(
    made_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Path, Report]]:
    """The report of a run of some kinds of cells without power, read once; and its root."""

    @functools.cache
    def read(*kinds: str) -> tuple[Path, Report]:
        root: Path = tmp_path_factory.mktemp("kinds") / "results"
        return root, read_report(made_run(root, kinds=kinds, has_power=False), "made")

    return read


def report_command(root: Path, *arguments: str | Path) -> Result:
    """Run `gfjobs report made`."""
    command = ["report", "made", *map(str, arguments), "--results", str(root)]
    return CliRunner().invoke(main, command)


def test_the_explorer_computes_with_what_sql_computes_with(root: Path, report: Report) -> None:
    """Scores to the bit, answers, times and energies, unpacked as the page does it."""
    ((packed,), left_out) = pack_passes(report.passes)
    assert not left_out
    exits, images = len(packed["exit_blocks"]), packed["images"]
    scores = np.frombuffer(base64.b64decode(packed["scores"]), "<f4").reshape(exits - 1, images)
    bits = np.frombuffer(base64.b64decode(packed["right"]), np.uint8).reshape(exits, -1)
    right = np.unpackbits(bits, axis=1, bitorder="little")[:, :images]
    ms = np.frombuffer(base64.b64decode(packed["sample_ms"]), "<f8").reshape(-1, exits)
    threshold = 0.613
    (answered,) = storage.query(
        root,
        f"FROM at_threshold({threshold}) JOIN composed_energy('made', [{threshold}])"
        f" USING (cell_id) JOIN composed_latency('made', [{threshold}]) latency USING (cell_id)"
        " SELECT acc1, exit_counts, energy_mj, margin_mj, latency.forward_ms, latency.p50_ms"
        " WHERE cell_id = 'exits-dynn'",
        run_ids=["made"],
    ).to_pylist()
    (most_leave,) = storage.query(
        root, "FROM at_threshold(-1.0) WHERE cell_id = 'exits-dynn'", run_ids=["made"]
    ).to_pylist()
    for limit, found in ((threshold, answered), (-1.0, most_leave)):  # NaN leaves nowhere
        leaves = np.vstack([scores >= np.float32(limit), np.ones((1, images), bool)])
        taken = leaves.argmax(axis=0)
        counts = np.bincount(taken, minlength=exits)
        assert [n for n in found["exit_counts"] if n] == [n for n in counts if n]
        assert 100 * right[taken, np.arange(images)].mean() == pytest.approx(found["acc1"])
        if found is answered:
            shares = counts / images
            mean, median = compose([ms], list(shares), [50])
            assert (mean.value, median.value) == pytest.approx(
                (found["forward_ms"], found["p50_ms"])
            )
            assert shares @ packed["exit_mj"] == pytest.approx(found["energy_mj"])
            margin = np.hypot.reduce(shares * packed["exit_margin_mj"])
            assert margin == pytest.approx(found["margin_mj"])


def test_composed_milliseconds_that_are_off_are_marked(
    made_run: Callable[..., Path], tmp_path: Path
) -> None:
    """With their error, in the page's table, its explorer and Markdown; their line is dashed."""
    root = made_run(tmp_path / "results", has_power=False, forced_factor=1.1)
    report = read_report(root, "made")
    page = html_page(root, report)
    marked = re.findall(r'<td class="doubtful">\d\.\d{3} (\?\+10\.\d %)</td>', page)
    assert marked
    (packed,) = passes_of(page)
    assert (packed["ms_error"], packed["is_ms_promised"]) == (marked[0], False)
    assert packed["samples"] > 0
    dashed = [
        layer
        for layer in data_of(page)["parts"]["charts"]["accuracy-by-latency-1"]["layer"]
        if "strokeDash" in layer["mark"]
    ]
    assert len(dashed) == 1
    row = r"\| dynn \| \S+ \| \S+ \| \S+ \| \d\.\d{3} \?\+10\.\d % \|"
    assert re.search(row, markdown_report(report))


def test_one_ladder_has_all_settings_of_a_device(root: Path, report: Report) -> None:
    """What varies is a column, with the speed-up; the page and Markdown show it once."""
    faster = {"runtime": "onnx", "speedup": 2.5, "speedup_low": 2.25, "speedup_high": 2.75}
    several = replace(report, ladder=[*report.ladder, *(row | faster for row in report.ladder)])
    first, second = several.settings
    ladder = make_ladder(several, first)
    assert ladder is not None
    assert make_ladder(several, second) is None
    assert ladder.title == "digits on cpu of node-a: float32, 1 thread, batch 1"
    names = ("model", "runtime", "speed-up", "speed-up, 95 %")
    places = [ladder.columns.index(name) for name in names]
    assert [tuple(row[place] for place in places) for row in ladder.rows] == [
        ("static", "torch", "1.00", "–"),
        ("dynn", "torch", "1.00", "–"),
        ("static", "onnx", "2.50", "2.25 to 2.75"),
        ("dynn", "onnx", "2.50", "2.25 to 2.75"),
    ]
    text = markdown_report(several)
    assert text.count("| acc@5 |") == 1
    assert f"## {ladder.title}\n" in text
    page = html_page(root, several)
    assert page.count('aria-label="The ladder of ') == 1
    assert f"<h3>{ladder.title}</h3>" in page
    alone = make_ladder(report, *report.settings)
    assert alone is not None
    assert alone.title == "digits on cpu of node-a: torch float32, 1 thread"
    assert "speed-up" not in alone.columns


def test_in_a_site_the_data_are_files(root: Path, report: Report) -> None:
    """The page itself is small; it names each file once, next to what it offers to download."""
    ladder = storage.named_query(root, "summary", run_ids=["made"])
    linked = linked_page(root, report, in_site(1), ladder)
    assert len(linked.html) < 200_000
    assert {path.rpartition("/")[2] for path in linked.files} == {
        *("charts.js", "pass-1.js", "pictures-1.js"),
        *("ladder.csv", "ladder.parquet"),
    }
    named = set(data_of(linked.html)["files"].values())
    named |= {a["href"] or "" for a in Checked(linked.html).all("a") if "download" in a}
    assert named == {f"../{path}" for path in linked.files}
    for path, content in linked.files.items():
        assert path.startswith("data/runs/made/")
        if path.endswith(".js"):
            key = path.rpartition("/")[2].removesuffix(".js")
            assert content.startswith(f'gfjobsData("{key}",{{'.encode())


def test_a_page_without_what_takes_long_says_how_to_see_it(root: Path) -> None:
    """It names the command once; nothing is said to be missing, and no section is empty."""
    runs = storage.named_query(root, "run_progress", run_ids=["made"]).to_pylist()
    ((figures, ladder),) = read_figures(root, runs)
    page = linked_page(root, figures, in_site(1), ladder).html
    assert page.count("<code>gfjobs report made -o report.html</code> shows them.") == 1
    for said in ("no all-exit pass", "One run so far", "too few samples", "Nothing has been"):
        assert said not in page
    assert 'href="../history.html"' in page
    assert 'aria-label="The ladder of ' in page
    sections = {section["id"] for section in Checked(page).all("section")}
    assert sections == {"ladder", "elsewhere", "nights", "unusable", "provenance"}


def test_the_ladder_can_be_downloaded(root: Path, page: str) -> None:
    """With all columns, as CSV and as Parquet; the figures are SQL's."""
    links = {a["download"]: a["href"] or "" for a in Checked(page).all("a") if "download" in a}
    assert set(links) == {"made-ladder.csv", "made-ladder.parquet"}
    contents = {name: base64.b64decode(url.partition("base64,")[2]) for name, url in links.items()}
    lines = list(csv.DictReader(io.StringIO(contents["made-ladder.csv"].decode())))
    expected = storage.query(root, "FROM ladder", run_ids=["made"]).to_pylist()
    assert {(row["model"], float(row["acc1"])) for row in lines} == {
        (row["model"], row["acc1"]) for row in expected
    }
    assert contents["made-ladder.parquet"].startswith(b"PAR1")


def test_classes_are_packed_without_loss(report: Report) -> None:
    """Labels, predictions and image ids, unpacked as the page does it."""
    (each,) = report.passes
    assert each.classes is not None
    packed = pack_classes(each.classes)
    assert packed is not None
    labels = np.array([one["label"] for one in packed["classes"]])
    assert (packed["bytes"], packed["image_ids"]) == (1, None)
    of_images = np.frombuffer(base64.b64decode(packed["labels"]), np.uint8)
    predicted = np.frombuffer(base64.b64decode(packed["predictions"]), np.uint8)
    assert np.array_equal(labels[of_images], each.classes.labels)
    assert np.array_equal(labels[predicted], each.classes.predictions.ravel())
    other = replace(each.classes, image_ids=each.classes.image_ids + 7, labels=labels[of_images])
    ids = pack_classes(other)
    assert ids is not None
    assert np.frombuffer(base64.b64decode(ids["image_ids"]), "<i4")[0] == 7
    many = np.arange(400) * 3
    of_many = pack_classes(replace(other, labels=many, predictions=other.predictions * 0 - 1))
    assert of_many is not None
    assert of_many["bytes"] == 2
    assert [one["label"] for one in of_many["classes"]] == [-1, *many.tolist()]


def test_pictures_are_first_of_what_is_wrong(report: Report) -> None:
    """Of each class taken for each class, the first images; frequent pairs come first."""
    (each,) = report.passes
    chosen = pictured_images(each)
    assert each.answers is not None
    assert each.classes is not None
    exits = each.answers.exits_of(each.thresholds)
    predicted = each.classes.predictions[exits, np.arange(len(exits))]
    is_wrong = predicted[list(chosen)] != each.classes.labels[list(chosen)]
    assert len(set(chosen)) == len(chosen)
    assert is_wrong[: is_wrong.sum()].all()
    pairs = Counter(zip(each.classes.labels[list(chosen)], predicted[list(chosen)], strict=True))
    assert max(pairs.values()) == 6


def test_what_does_not_fit_is_said(report: Report) -> None:
    """A pass beyond the page's limit is left out, with its size and what to ask instead."""
    packed, (why,) = pack_passes(report.passes, most_bytes=1000)
    assert not packed
    assert "dynn, digits on cpu of node-a" in why
    assert "400 images take 0.0 MB; the limit of a page is 0.001 MB" in why
    assert "at_thresholds" in why
    (whole,), _ = pack_passes(report.passes)
    size = sum(len(value) for value in whole.values() if isinstance(value, str))
    (without,), (why,) = pack_passes(report.passes, most_bytes=size + 10)
    assert without["scores"] == whole["scores"]
    assert without["classes"] is None
    assert "dynn, digits on cpu of node-a: torch float32, 1 thread, its classes: the limit" in why


def test_the_page_is_whole_and_fetches_nothing(page: str) -> None:
    """Every element is closed; no address is of elsewhere; scripts are the policy's alone."""
    checked = Checked(page)
    for _, attributes in checked.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", *EMBEDDED)), value
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in checked.elements}
    assert "@import" not in page
    policy = next(a["content"] for a in checked.all("meta") if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert {each.get("type") for each in checked.all("script")} == {"application/json", None}
    assert "$schema" not in json.dumps(data_of(page))


def test_every_chart_has_words_and_a_table(page: str, report: Report) -> None:
    """Each is an image with an alternative, and what it shows stands below as a table."""
    charts = [each for each in Checked(page).all("div") if "data-chart" in each]
    assert {each["data-chart"] for each in charts} == set(data_of(page)["parts"]["charts"])
    assert {name.rpartition("-")[0] for name in data_of(page)["parts"]["charts"]} == {
        "accuracy-by-latency",
        "accuracy-by-energy",
        "exits",
        "latency-by-exit",
        "gate-calibration",
        "exit-rules-1",
    }
    for each in charts:
        assert each["role"] == "img"
        assert len(each["aria-label"] or "") > 30
    figures = collect_figures(report, report.settings[0], 1)
    assert all(figure.rows for figure in figures.values())


def test_an_interval_wider_than_the_axis_is_an_arrow(report: Report) -> None:
    """The axis stays with the points; of two rounds there is no interval at all."""
    key = make_key(next(row for row in report.ladder if row["model"] == "dynn"))
    for rounds, is_cut in ((FEWEST_ROUNDS, True), (FEWEST_ROUNDS - 1, False)):
        wide = MeanLatency(IntervalEstimate(1.6, -70.0, 75.0), rounds)
        found = replace(report, means={key: wide})
        figure = collect_figures(found, found.settings[0], 1)["accuracy-by-latency-1"]
        shapes = [layer["mark"].get("shape") for layer in figure.spec["layer"]]
        assert ("triangle-right" in shapes) == is_cut
        assert ("An arrow marks an interval" in figure.alternative) == is_cut
        low, high = figure.spec["layer"][-1]["encoding"]["x"]["scale"]["domain"]
        assert 0 <= low < 1.2
        assert 4.6 < high < 10
        ladder = make_ladder(found, found.settings[0])
        assert ladder is not None
        (shown,) = (row[4] for row in ladder.rows if row[0] == "dynn")
        assert shown == ("±73.400" if is_cut else "–")


def test_bands_end_where_accuracy_does() -> None:
    """Of few images, most of them right, the drop's interval reaches beyond 100 %."""
    for acc1, band, expected in (
        (90.0, Band(drop=2.0, low=-1.0, high=5.0), (87.0, 93.0)),
        (98.0, Band(drop=2.0, low=-3.0, high=7.0), (93.0, 100.0)),
        (2.0, Band(drop=1.0, low=0.5, high=4.0), (0.0, 2.5)),
        (90.0, None, (None, None)),
    ):
        assert accuracy_band({"acc1": acc1}, band) == expected
    borrowed = {"acc1": 99.5, "accuracy_from": "cuda", "acc1_bound_points": 0.6}
    assert accuracy_band(borrowed, None) == (pytest.approx(98.9), 100.0)


def test_pictures_are_of_the_runs_images(page: str, report: Report) -> None:
    """Each shown image is embedded; where the data set is not at hand it is said why not."""
    checked = Checked(page)
    (each,) = report.passes
    shown = [image["data-image"] for image in checked.all("img")]
    assert len(shown) == len(each.images) > 0
    pictures = pictures_of(page)
    assert set(shown) <= set(pictures)
    assert all(url.startswith("data:image/png;base64,") for url in pictures.values())
    assert "No pictures" not in " ".join(checked.text)


def test_images_leave_at_one_threshold_a_gate(root: Path, report: Report) -> None:
    """Where the model was routed so first; each exit's groups are as large as SQL counts them."""
    (each,) = report.passes
    routed = next(row for row in report.ladder if row["model"] == each.cell["model"])
    ladder = [dict(routed) | {"threshold": None, "thresholds": [0.8, 0.35]}]
    assert first_thresholds(ladder, each.cell) == (0.8, 0.35)
    assert first_thresholds(report.ladder, each.cell) == (0.5, 0.5)
    assert first_thresholds([], each.cell) == (0.5, 0.5)
    images = storage.named_query(
        root,
        "exit_images",
        run_id="made",
        cell_id=each.cell["cell_id"],
        thresholds=[0.8, 0.35],
        most=2,
    ).to_pylist()
    sizes = {(row["exit_block"], row["is_correct"]): row["group_images"] for row in images}
    (answered,) = storage.query(
        root,
        "SELECT exit_counts FROM at_thresholds([0.8, 0.35]) WHERE model = 'dynn'",
        run_ids=["made"],
    ).to_pylist()
    for block in (1, 3, 4):
        shown = sum(size for (left_at, _), size in sizes.items() if left_at == block)
        assert shown == answered["exit_counts"][block]


def test_without_pictures_it_says_why(
    root: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data set that is another by now shows nothing."""
    opened = storage.open_images
    monkeypatch.setattr(storage, "open_images", lambda *_, **__: opened("digits", "train"))
    checked = Checked(html_page(root, report))
    assert not checked.all("img")
    assert "is not the data set of the run, or has changed since" in " ".join(checked.text)


def test_hostile_names_stay_text(second_night: Shown, page: str, tmp_path: Path) -> None:
    """Models, data sets, nodes and runs named with markup: no element comes of them."""
    found, text = second_night
    hostile = Checked(text)
    assert len(hostile.all("script")) == len(Checked(page).all("script"))
    assert not [each for each in hostile.all("img") if "onerror" in each]
    assert any(HOSTILE in text for text in hostile.text)
    assert passes_of(text)[0]["name"].startswith(NAMES["dynn"])
    text = markdown_report(found)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    for file in write_figures(found, tmp_path):
        assert "<script" not in file.read_text()


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        (("latency",), ["measure: [accuracy]", "no finished all-exit pass"]),
        (("exits",), ["measure: [latency]", "measure: [exit_costs]", "measure: [latency, energy]"]),
    ],
)
def test_what_was_not_measured_is_said_with_its_key(
    measured: Callable[..., tuple[Path, Report]], kinds: tuple[str, ...], says: list[str]
) -> None:
    """Sections stay, and say what the grid did not ask for."""
    root, found = measured(*kinds)
    page = " ".join(Checked(html_page(root, found)).text)
    for said in says:
        assert said in page
    assert "One run so far" in page
    assert markdown_report(found).startswith("# digits\n")


def test_remarks_have_what_they_quote_as_code(
    measured: Callable[..., tuple[Path, Report]],
) -> None:
    """Without the backticks; in a quoted name markup stays text, as in any other."""
    root, found = measured("latency")
    quoted = f"`{HOSTILE.rstrip('`')}`"
    row = dict(found.ladder[0]) | {"kind": "latency", "status": "failed", "rounds": 1}
    row |= {"throttled_rounds": 0, "note": f"see {quoted}, and `one that does not end"}
    text = html_page(root, replace(found, unusable=[row]))
    checked = Checked(text)
    assert "<code>measure: [accuracy]</code> makes one" in text
    assert "<code>measure: [latency, energy]</code> reads power" in text
    assert HOSTILE.rstrip("`") in checked.text
    assert ", and `one that does not end" in checked.text
    assert not [each for each in checked.all("img") if "onerror" in each]
    assert "`measure" not in text


def test_a_run_without_rows_has_a_report(measured: Callable[..., tuple[Path, Report]]) -> None:
    """It says that nothing has been measured."""
    page = html_page(*measured())
    assert "Nothing has been measured yet." in " ".join(Checked(page).text)


def test_nights_are_drawn_from_the_second_on(second_night: Shown) -> None:
    """Each metric that both runs have, up to the run itself and not beyond."""
    found, page = second_night
    figures = collect_figures(found, found.settings[0], 1)
    nights = [name for name in figures if "over-nights" in name]
    assert nights == ["latency-over-nights-1", "accuracy-over-nights-1", "energy-over-nights-1"]
    assert {row[0] for row in figures[nights[0]].rows} == {"night0", "night1"}
    steps = [(row[0], row[3], row[-1]) for row in figures[nights[0]].rows if row[-1]]
    assert steps == [("night1", NAMES["dynn"], "regression")]
    assert f"Regression in run night1: {NAMES['dynn']} 0.5." in figures[nights[0]].alternative
    assert not any(row[-1] for row in figures[nights[1]].rows)
    shown = Checked(page).text
    assert {"+10.0 %", "+8.0 to +12.0", "measured twice"} <= set(shown)


@pytest.mark.parametrize(("grids", "lines"), [("aa", 1), ("ab", 2)])
def test_runs_of_different_grids_are_not_joined(
    second_night: Shown, grids: str, lines: int
) -> None:
    """They may time other images; each grid's runs have a line of their own, and are named."""
    found, _ = second_night
    own = [row for row in found.history if row["model"] == NAMES["static"]]
    history = [{**row, "run_name": grid} for row, grid in zip(own, grids, strict=True)]
    figures = collect_figures(replace(found, history=history), found.settings[0], 1)
    figure = figures["latency-over-nights-1"]
    svg = vl_convert.vegalite_to_svg(figure.spec | {"width": 300}, vl_version=VEGA_LITE)
    assert len(re.findall('aria-roledescription="line mark"', svg)) == lines
    assert ("of grid b" in figure.alternative) == (lines == 2)
    assert [row[1] for row in figure.rows] == list(grids)


@pytest.mark.parametrize("run_id", ["made", "low"])
def test_a_report_names_source_and_reason(
    shown_root: Path, report_of: Callable[[str], Report], run_id: str
) -> None:
    """As a page, as Markdown, in the explorer's notes, and in the titles of figures of energy."""
    report = report_of(run_id)
    page, markdown = html_page(shown_root, report), markdown_report(report)
    assert f'<p class="hint">{ENERGY_SOURCE}</p>' in page
    assert ENERGY_SOURCE in markdown
    assert f'"mj_source":"{ENERGY_SOURCE}"' in page
    for text in (page, markdown):
        assert (BELOW_IDLE in text) == (run_id == "low")
        assert "no energy; `measure" not in text
    titles = [figure.title for figure in collect_figures(report, report.settings[0], 1).values()]
    assert ("Accuracy against energy (replay: made.csv)" in titles) == (run_id == "made")


def test_the_ladder_is_sqls(root: Path, report: Report) -> None:
    """In Markdown as on the page."""
    (row,) = storage.query(
        root,
        "select format('{:.2f}', acc1) acc1, format('{:.3f}', forward_ms) ms,"
        " format('{:.2f}', energy_mj) mj from ladder where model = 'dynn'",
        run_ids=["made"],
    ).to_pylist()
    text = markdown_report(report)
    (line,) = [
        each for each in text.splitlines() if each.startswith(f"| dynn | 0.5 | {row['acc1']} | ")
    ]
    assert {row["acc1"], row["ms"], row["mj"]} <= set(line.split(" | "))
    assert "### Frontier" in text
    assert "## Provenance" in text


@pytest.mark.parametrize(
    ("said", "code", "plain"),
    [
        ("`measure: [latency]` reads it", ["measure: [latency]"], " reads it"),
        ("no thermal_throttle, *none*", [], "no thermal_throttle, *none*"),
        (r"`a\_b<c>&` and a\_b<c>& of `d`", [r"a\_b<c>&", "d"], r" and a\_b<c>& of "),
        ("one ` alone", [], "one ` alone"),
        ("``<i>`` and `` ` `` and a`", [], "``<i>`` and `` ` `` and a`"),
        (r"\`<i>`", ["<i>"], "\\"),
        ("`a|<i>`", [], "`a|<i>`"),
        ("`\\|<i>`", [], "`\\|<i>`"),
    ],
)
def test_what_a_text_quotes_is_code_in_markdown(said: str, code: list[str], plain: str) -> None:
    """As a reader of Markdown sees it, in a paragraph and in a cell of a table."""
    reader = MarkdownIt("commonmark").enable("table")
    table = markdown_table(("why", "next"), [(escaped(said), "end")])
    for source in (f"- {escaped(said)}\n", table):
        inline = [token for token in reader.parse(source) if token.type == "inline"]
        (children,) = (t.children or [] for t in inline if t.content not in {"why", "next", "end"})
        assert {child.type for child in children} <= {"text", "code_inline"}
        assert [child.content for child in children if child.type == "code_inline"] == code
        assert "".join(c.content for c in children if c.type == "text") == plain
    assert len([token for token in reader.parse(table) if token.type == "td_open"]) == 2


def test_files_are_written(
    root: Path, report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page and one SVG a chart; Markdown to stdout."""
    asked: list[object] = []

    def read(*run: object) -> Report:
        asked.extend(run)
        return report

    monkeypatch.setattr(reading, "read_report", read)
    done = report_command(root, "-o", tmp_path / "page", "--figures", tmp_path / "svg")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "wrote 6 figures" in done.stderr
    assert len(list((tmp_path / "svg").glob("*.svg"))) == 6
    assert (tmp_path / "page").read_text().startswith("<!DOCTYPE html>")
    assert report_command(root, "--markdown").stdout.startswith("# digits")
    assert report_command(root, "--markdown", "-o", tmp_path / "r.MD").exit_code == 0
    assert (tmp_path / "r.MD").read_text().startswith("# digits")
    assert asked == 3 * [root, "made"]


def test_markdown_goes_to_a_file_too(report: Report, tmp_path: Path) -> None:
    """The same text; what cannot be written is said."""
    write_markdown(report, tmp_path / "r.md")
    assert (tmp_path / "r.md").read_text() == markdown_report(report)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot be written: Is a directory"):
        write_markdown(report, tmp_path / "folder")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "r.pdf"], "r.pdf: the page is written as .html or .htm; for a PDF, write the page"),
        (["-o", "r.md"], "r.md: the page is written as .html or .htm; for Markdown add --markdown"),
        (["-o", "r.svg"], "r.svg: the page is written as .html or .htm; for the charts as SVG use"),
        (["-o", "r.1"], "r.1: the page is written as .html or .htm; use that suffix or none"),
        (["-o", "r.html", "--markdown"], "r.html: Markdown is written as .md; for the page leave"),
        (["-o", "r.pdf", "--markdown"], "r.pdf: Markdown is written as .md; for a PDF, write the"),
    ],
)
def test_no_file_is_called_what_it_is_not(
    arguments: list[str], said: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused with what would be written, before anything is read or made."""
    monkeypatch.chdir(tmp_path)
    done = report_command(root, *arguments, "--figures", "svg")
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr
    assert not list(tmp_path.iterdir())


def test_files_are_called_what_they_are() -> None:
    """In either case of letters; without a suffix a name claims nothing."""
    for name, is_markdown in (("r.HTM", False), ("page", False), ("r.MD", True), ("text", True)):
        check_suffix(Path(name), is_markdown=is_markdown)
        if Path(name).suffix:
            with pytest.raises(UsageError, match=f"{name}: "):
                check_suffix(Path(name), is_markdown=not is_markdown)


def test_mistakes_end_with_2(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nowhere to write, a folder that is not there, a file where a folder belongs, no extra."""
    file = tmp_path / "file"
    file.write_text("")
    for arguments, said in (
        ([], "no output is given: give -o report.html"),
        (["-o", tmp_path / "none" / "r.html"], "cannot be written: there is no folder"),
        (["--figures", file / "svg"], "cannot be created: Not a directory"),
    ):
        done = report_command(root, *arguments)
        assert (done.exit_code, said in done.stderr) == (2, True), done.stderr
    monkeypatch.setitem(sys.modules, "jinja2", None)
    done = report_command(root, "-o", tmp_path / "r.html")
    assert (done.exit_code, "pip install 'gfjobs[report]'" in done.stderr) == (2, True)
