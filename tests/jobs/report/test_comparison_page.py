"""The page of a comparison: its numbers are those of `compare` and SQL; mistakes end early."""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import storage
from jobs.analysis.comparison.run_data import Side
from jobs.cli import main
from jobs.common.errors import UsageError
from jobs.report.figures import frontiers
from jobs.report.figures.frontiers import overlay_figures, side_labels
from jobs.report.html import comparison as page_of_pair
from jobs.report.html.comparison import comparison_page
from jobs.report.html.shell import in_site
from jobs.report.pair import PairReport, read_pair
from tests.jobs.analysis.regressions.conftest import Nights
from tests.jobs.report.test_report import HOSTILE, Checked, data_of

A, B = Side("made"), Side("other")


@pytest.fixture(scope="module")
def root(made_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that answer differently, the second a day later and without a meter."""
    folder: Path = tmp_path_factory.mktemp("pair") / "results"
    made_run(folder, "made")
    return made_run(folder, "other", day=25, seed=8, has_power=False)


@pytest.fixture(scope="module")
def pair(root: Path) -> PairReport:
    """What the page shows of them."""
    return read_pair(root, A, B)


@pytest.fixture(scope="module")
def page(root: Path, pair: PairReport) -> str:
    """The page."""
    return comparison_page(root, pair)


class Tables(HTMLParser):
    """The rows of each table, as text, by the label of its region."""

    def __init__(self, page: str) -> None:
        """Read a page."""
        super().__init__()
        self.rows: dict[str, list[list[str]]] = {}
        self._label, self._cell = "", False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A region, a row or a cell begins."""
        label = dict(attrs).get("aria-label")
        if tag == "div" and label:
            self._label = label
            self.rows.setdefault(label, [])
        if tag == "tr":
            self.rows[self._label].append([])
        if tag in ("td", "th"):
            self._cell = True
            self.rows[self._label][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """A cell ends."""
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        """Text in a cell."""
        if self._cell:
            self.rows[self._label][-1][-1] += data


def compare_command(root: Path, *arguments: str | Path) -> Result:
    """Run `gfjobs compare made other`."""
    command = ["compare", "made", "other", *map(str, arguments), "--results", str(root)]
    return CliRunner().invoke(main, command)


def in_words(row: Mapping[str, Any]) -> list[str]:
    """What the page must show of a row of `gfjobs compare --format json`."""
    is_ratio = row["figure"] in ("latency", "energy")
    digits, unit = (1, " %") if is_ratio else (2, "")
    title = row["model"] + (f" at {row['threshold']:g}" if row["threshold"] is not None else "")
    names = {"accuracy": "acc@1", "latency": "ms", "energy": "mJ", "exits": "blocks"}
    values = [row["first"], row["second"]]
    low, high, change, p = (row[name] for name in ("low", "high", "change", "p_holm"))
    remarks = [f"not compared: {row['reason']}"] if row["reason"] else []
    remarks += [row["note"]] if row["note"] else []
    if row["figure"] == "exits":
        remarks.append(f"{row['moved']} of {row['images']} images exit elsewhere")
    elif row["p_reason"]:
        remarks.append(row["p_reason"])
    return [
        title,
        names[row["figure"]],
        *("–" if v is None else f"{v:.{3 if is_ratio and v < 10 else 2}f}" for v in values),
        "–" if change is None else f"{change:+.{digits}f}{unit}",
        "–" if low is None else f"{low:+.{digits}f} to {high:+.{digits}f}",
        p_in_words(p),
        "; ".join(remarks) or "–",
    ]


def p_in_words(p: float | None) -> str:
    """A p-value as it is shown."""
    if p is None:
        return "–"
    return "<0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.2g}"


def test_every_figure_is_that_of_compare(root: Path, page: str) -> None:
    """All rows of `--format json` in their order: values of both, intervals and reasons."""
    result = compare_command(root, "--format", "json")
    rows = json.loads(result.stdout)
    assert {row["figure"] for row in rows} == {"accuracy", "latency", "energy", "exits"}
    assert any(row["reason"] for row in rows)
    tables = Tables(page).rows
    (shown,) = (table for label, table in tables.items() if label.startswith("Figures of"))
    assert shown[1:] == [in_words(row) for row in rows]
    answers = tables["McNemar's table of each pair of cells"][1:]
    tested = [row for row in rows if row["figure"] == "accuracy"]
    for row, cells in zip(tested, answers, strict=True):
        counts = [str(row[name]) for name in ("both_right", "lost", "won", "both_wrong")]
        assert cells[1:7] == [*counts, p_in_words(row["p"]), p_in_words(row["p_holm"])]


JOINED = """
SELECT c.model, a.is_correct AS a_right, b.is_correct AS b_right, a.image_id, a.label,
    a.prediction AS first, b.prediction AS second, a.exit_block AS first_exit,
    b.exit_block AS second_exit
FROM image_answers('made') a
JOIN image_answers('other') b USING (image_id)
JOIN cells c ON c.run_id = 'made' AND c.cell_id = a.cell_id
JOIN cells d ON d.run_id = 'other' AND d.cell_id = b.cell_id AND d.model = c.model
ORDER BY c.model, image_id
"""


def test_right_and_wrong_and_changed_images_are_sqls(
    root: Path, page: str, pair: PairReport
) -> None:
    """Counted by SQL; each group is the first of its images, with the answers and exits of both."""
    rows = storage.query(root, JOINED).to_pylist()
    counts = Counter((row["model"], row["a_right"], row["b_right"]) for row in rows)
    answers = Tables(page).rows["McNemar's table of each pair of cells"][1:]
    for model, cells in zip(("static", "dynn"), answers, strict=True):
        every = [(True, True), (True, False), (False, True), (False, False)]
        assert cells[1:5] == [str(counts[model, a_right, b_right]) for a_right, b_right in every]

    titles = {
        (True, False): "A right, B wrong",
        (False, True): "A wrong, B right",
        (False, False): "both wrong, differently",
    }
    found = re.findall(r"<h4>(.*?): shown (\d+) of (\d+)</h4>\n<ul.*?>(.*?)</ul>", page, re.DOTALL)
    expected = [
        (title, [row for row in rows if changed(row, model, both)])
        for model in ("static", "dynn")
        for both, title in titles.items()
    ]
    assert [title for title, *_ in found] == [title for title, _ in expected]
    for (_, shown, total, items), (_, images) in zip(found, expected, strict=True):
        assert int(total) == len(images) > int(shown) > 5
        texts = [re.sub("<[^>]*>", " ", item).split() for item in re.findall("<li>.*", items)]
        assert texts == [as_listed(row) for row in images[: int(shown)]]
    assert len(pair.comparison.changed or ()) == sum(len(images) for _, images in expected)


def changed(row: Mapping[str, Any], model: str, both: tuple[bool, bool]) -> bool:
    """Whether an image is in the group of a model and outcome."""
    outcome = (row["a_right"], row["b_right"])
    return bool(row["model"] == model and outcome == both and row["first"] != row["second"])


def as_listed(row: Mapping[str, Any]) -> list[str]:
    """The words of an image: its class, the prediction and exit of both, its number."""
    words = [str(row["label"])]
    for letter, which in (("A:", "first"), ("B:", "second")):
        words += [letter, str(row[which])]
        if row["model"] == "dynn":
            words[-1] += ","
            words += ["block", str(row[f"{which}_exit"])]
    return [*words, f"#{row['image_id']}"]


def test_frontiers_are_sqls(root: Path, pair: PairReport, page: str) -> None:
    """Each run's undominated points with their composed milliseconds, and what was routed."""
    figures = {figure.name: figure for figure in overlay_figures(pair)}
    assert list(figures) == ["both-by-latency-1", "both-by-energy-1"]
    charts = data_of(page)["parts"]["charts"]
    assert charts == {name: figure.spec for name, figure in figures.items()}
    layers = charts["both-by-latency-1"]["layer"]
    drawn = [row for layer in layers for row in layer["data"]["values"]]
    for run_id, label in zip(("made", "other"), side_labels(pair), strict=True):
        points = storage.query(
            root,
            f"SELECT threshold, acc1, forward_ms FROM frontier('{run_id}')"  # noqa: S608 (our own)
            " WHERE NOT is_dominated AND threshold IS NOT NULL ORDER BY forward_ms",
        ).to_pylist()
        mine = [row for row in drawn if row["run"] == label]
        line = sorted((row["cost"], row["acc1"]) for row in mine if not row["is_routed"])
        assert line == [pytest.approx((row["forward_ms"], row["acc1"])) for row in points]
        routed = {row["model"]: (row["cost"], row["acc1"]) for row in mine if row["is_routed"]}
        ladder = storage.query(
            root,
            f"SELECT model, forward_ms, acc1 FROM ladder WHERE run_id = '{run_id}'",  # noqa: S608
        ).to_pylist()
        assert routed == {row["model"]: (row["forward_ms"], row["acc1"]) for row in ladder}
    energies = {row[0] for row in figures["both-by-energy-1"].rows}
    assert energies == {"A: made"}  # the other has no meter
    assert "B: other has no such points." in figures["both-by-energy-1"].alternative


def test_a_long_frontier_is_thinned_out(pair: PairReport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ends stay; routed points stay all."""
    monkeypatch.setattr(frontiers, "DRAWN_FRONTIER", 5)
    layers = next(overlay_figures(pair)).spec["layer"]
    drawn = [row for layer in layers for row in layer["data"]["values"]]
    for label, side in zip(side_labels(pair), pair.sides, strict=True):
        line = [row for row in drawn if row["run"] == label and not row["is_routed"]]
        ends = [row["forward_ms"] for row in side.frontier if row["threshold"] is not None]
        assert len(line) == 5 < len(ends) <= 100
        assert (line[0]["cost"], line[-1]["cost"]) == (ends[0], ends[-1])
    assert sum(row["is_routed"] for row in drawn) == 4


def test_what_differs_is_listed(tmp_path: Path) -> None:
    """Weights, protocol and clocks of cells; what is the same is not among it."""
    nights = Nights(tmp_path / "results", rounds=3)
    nights.add({"dynn": 2.0, "flat": 1.0}, run_id="a")
    weights = {"dynn": {"checkpoint_sha256": "0123456789abcdef"}}
    nights.add({"dynn": 2.0, "flat": 1.0}, run_id="b", of_model=weights, warmup_images=50)
    found = read_pair(nights.root, Side("a"), Side("b"))
    differences = {each.what: (each.first, each.second) for each in found.differences}
    assert differences.pop("submitted, UTC") == ("2026-01-01 03:00:00", "2026-01-02 03:00:00")
    assert differences == {
        "checkpoint dynn": ("sha-dynn", "0123456789ab"),
        "warm-up images": ("10", "50"),
    }
    assert "checkpoint flat: sha-flat" in found.same
    assert "protocol version: 1" in found.same
    page = comparison_page(nights.root, found)
    assert "warm-up images: 10, then 50" in page
    assert "No prediction changed" in page


def test_machines_and_grids_that_differ(made_run: Callable[..., Path], tmp_path: Path) -> None:
    """A node of another name, a meter that one has not."""
    folder = made_run(tmp_path / "results", "made")
    made_run(folder, "other", names={"node-a": "node-b"}, day=25, has_power=False)
    found = read_pair(folder, A, B)
    differences = {each.what: (each.first, each.second) for each in found.differences}
    assert differences["nodes"] == ("node-a (cpu)", "node-b (cpu)")
    assert differences["power source"] == ("replay: made.csv", "not there")
    assert "torch: 2" in found.same
    assert not found.grid_changes
    page = comparison_page(folder, found)
    assert "node: node-a, then node-b" in page


def test_two_models_of_one_run(root: Path) -> None:
    """They are called by what they are; the run's own properties do not differ."""
    found = read_pair(root, Side("made", "static"), Side("made", "dynn"))
    assert side_labels(found) == ("A: static", "B: dynn")
    assert [each.what for each in found.differences] == ["checkpoint"]
    page = comparison_page(root, found)
    assert "<h1>static and dynn</h1>" in page
    assert "static &gt; dynn at 0.5" in page
    two = read_pair(root, Side("made", "static"), Side("other", "dynn", 0.5))
    assert side_labels(two) == ("A: made, static", "B: other, dynn at 0.5")


@pytest.mark.parametrize("threshold", [math.nan, math.inf, -1, 0.77, 2, 1e39])
def test_a_threshold_that_was_not_routed(root: Path, threshold: float) -> None:
    """What the run has is said; only static models were compared, as if nothing had been asked."""
    shown = re.escape(f"{threshold:g}")
    said = rf"run other has no cells at threshold {shown}; it has dynn at 0.5, .*static"
    with pytest.raises(UsageError, match=said):
        read_pair(root, A, Side("other", threshold=threshold))
    said = rf"no cells of model dynn at threshold {shown}; it has"
    with pytest.raises(UsageError, match=said):
        read_pair(root, A, Side("other", "dynn", threshold))
    static = Side("other", "static", threshold)
    if threshold in (0.77, 2):
        assert read_pair(root, Side("made", "static"), static).comparison.rows
    else:
        with pytest.raises(UsageError, match=rf"of model static at threshold {shown}; it"):
            read_pair(root, A, static)


def test_without_pictures_it_says_why(tmp_path: Path) -> None:
    """Images are listed all the same, and what has no counterpart too."""
    nights = Nights(tmp_path / "results", rounds=3)
    nights.add({"dynn": 2.0, "flat": 1.0}, wrong=[3], run_id="a")
    nights.add({"dynn": 2.0, "new": 1.0}, wrong=[10, 11], run_id="b")
    page = comparison_page(nights.root, read_pair(nights.root, Side("a"), Side("b")))
    assert "no pictures: the run&#39;s grid names no data set" in page
    assert "<h4>A right, B wrong: shown 2 of 2</h4>" in page
    assert "only in a: flat on" in page
    assert "only in b: new on" in page
    assert not Checked(page).all("img")


def test_a_page_compares_no_cell_with_itself(tmp_path: Path) -> None:
    """Two thresholds of one run: a model without gates is named in a remark alone."""
    nights = Nights(tmp_path / "results", rounds=3)
    nights.add({"dynn@0.5": 2.0, "dynn@0.25": 2.2, "flat": 1.0}, run_id="a")
    sides = Side("a", threshold=0.5), Side("a", threshold=0.25)
    page = comparison_page(nights.root, read_pair(nights.root, *sides))
    assert page.count("the same on both sides, so not compared: flat") == 1
    rows = [row for table in Tables(page).rows.values() for row in table]
    assert any(row[0].startswith("dynn at 0.5") for row in rows)
    assert not any(row[0].startswith("flat") for row in rows)


def test_a_page_holds_so_many_bytes_of_pictures(
    root: Path, pair: PairReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of every group come first; it says how many have one."""
    monkeypatch.setattr(page_of_pair, "MOST_PICTURE_BYTES", 4000)
    page = comparison_page(root, pair)
    urls = [each["src"] or "" for each in Checked(page).all("img")]
    assert 0 < sum(map(len, urls)) <= 4000
    (said,) = re.findall(r"(\d+) of \d+ images have a picture", page)
    assert int(said) == len(urls)
    groups = page.split('<ul class="pictures both">')[1:]
    assert all("<img" in group for group in groups)


def test_a_page_of_a_site_links_and_is_small(root: Path, pair: PairReport, page: str) -> None:
    """It has the site's assets, links both runs, and is below 2 MB; alone it links nothing."""
    inside = comparison_page(root, pair, in_site(1))
    assert len(inside.encode()) < 2_000_000
    links = [each["href"] for each in Checked(inside).all("a")]
    assert {"../runs/made.html", "../runs/other.html"} <= set(links)
    assert all(each["src"] for each in Checked(inside).all("script") if "id" not in each)
    alone = Checked(page)
    assert all((each["href"] or "").startswith("#") for each in alone.all("a"))
    assert all((each["src"] or "").startswith("data:") for each in alone.all("img"))
    assert not alone.all("link")


def test_every_chart_has_words_and_a_table(page: str, pair: PairReport) -> None:
    """Also a heading for each section that the navigation names."""
    checked = Checked(page)
    charts = [each for each in checked.all("div") if "data-chart" in each]
    assert [each["data-chart"] for each in charts] == list(data_of(page)["parts"]["charts"])
    assert all(each["aria-label"] for each in charts)
    ids = {each.get("id") for _, each in checked.elements}
    assert {(each["href"] or "")[1:] for each in checked.all("a")} <= ids
    assert all(figure.rows for figure in overlay_figures(pair))


def test_hostile_names_stay_text(made_run: Callable[..., Path], tmp_path: Path) -> None:
    """Names with markup, of models, the data set and the node."""
    names = {name: f"{name}{HOSTILE}" for name in ("static", "dynn", "digits", "node-a")}
    folder = made_run(tmp_path / "results", "made", names=names)
    made_run(folder, "other", names=names, day=25, seed=8)
    page = comparison_page(folder, read_pair(folder, A, B))
    checked = Checked(page)
    assert not [each for each in checked.all("img") if each["src"] == "x"]
    scripts = [each for each in checked.all("script") if each.get("type") is None]
    assert len(scripts) == page.count("<script>")
    assert "alert(1)" in "".join(checked.text)
    assert "<script>alert" not in page


def test_the_command_writes_it(root: Path, page: str, tmp_path: Path) -> None:
    """As one file, which stderr names with its size; stdout has nothing."""
    path = tmp_path / "comparison.html"
    result = compare_command(root, "--html", path)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    said, wrote = result.stderr.splitlines()
    assert said == f"comparing {A.run_id} with {B.run_id}"  # reading and drawing take seconds
    assert re.fullmatch(r"wrote .*comparison\.html \(\d.*B\)", wrote)
    assert path.read_text() == page


MISTAKES: Sequence[tuple[Sequence[str], str]] = [
    (["--html", "c.pdf"], "c.pdf: the page is written as .html or .htm; for a PDF"),
    (["--html", "c.csv"], "for the figures as CSV use --format csv"),
    (["--html", "c.json"], "for the figures as JSON use --format json"),
    (["--html", "none/c.html"], "there is no folder none"),
    (["--html", "c.html", "--format", "json"], "instead of what --format json shows"),
    (["--html", "c.html", "--images"], "instead of what --images shows"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTAKES, ids=[" ".join(a) for a, _ in MISTAKES])
def test_mistakes_end_before_anything_is_read(
    arguments: Sequence[str], said: str, tmp_path: Path
) -> None:
    """With 2, although there are no such runs either."""
    result = compare_command(tmp_path, *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert not (tmp_path / "c.html").exists()


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what needs none; before anything is read."""
    monkeypatch.setitem(sys.modules, "altair", None)
    result = compare_command(tmp_path, "--html", tmp_path / "c.html")
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert "the page of a comparison needs altair: pip install 'gfjobs[report]'" in said
    assert "without --html" in said
