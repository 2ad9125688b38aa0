"""The page of a comparison: what its template and its script show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import storage
from jobs.analysis.comparison.accuracy import BOTH_WRONG, LOST, WON, Compared
from jobs.analysis.comparison.compare import CellPair
from jobs.analysis.comparison.view import (
    FIGURE_NAMES,
    format_both,
    format_both_thresholds,
    format_change,
    format_change_interval,
    format_p,
    format_pair_setting,
)
from jobs.common.formatting import Row, format_model
from jobs.report.figures.frontiers import overlay_figures, side_labels
from jobs.report.html.shell import ALONE, VEGA, Held, render
from jobs.report.html.thumbnails import Thumbnails, thumbnails
from jobs.report.pair import PairReport

MOST_PICTURE_BYTES = 1_200_000
"""Limit for the pictures of a page: a page of a site stays below 2 MB."""

_MOST_IMAGES = 360
"""Images listed on a page, over all pairs of cells and outcomes."""

_MOST_OF_GROUP, _FEWEST_OF_GROUP = 24, 2

_OUTCOMES = {
    LOST: "A right, B wrong",
    WON: "A wrong, B right",
    BOTH_WRONG: "both wrong, differently",
}

_Urls = Mapping[tuple[int, Any], str]
"""Pictures as `data:` URLs, by the number of a pair and image_id."""


@dataclass(frozen=True)
class SettingTable:
    """The figures of all pairs in one setting: its title, and rows as text."""

    title: str
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class ChangedImage:
    """An image whose prediction changed: its row of the comparison, and its picture, if any."""

    row: Row
    url: str | None


@dataclass(frozen=True)
class ChangedGroup:
    """Some of the images of one outcome.

    Attributes:
        title: the outcome.
        outcome: its name in the comparison.
        images: those that are shown, in the order of the data set.
        total: how many there are.
    """

    title: str
    outcome: str
    images: Sequence[ChangedImage]
    total: int


@dataclass(frozen=True)
class ChangedCell:
    """The images of one pair of cells whose prediction changed.

    Attributes:
        key: what the page's address calls it.
        title: model and threshold, and the setting.
        has_exits: whether images exit early in either cell.
        groups: by outcome; those without images are left out.
    """

    key: str
    title: str
    has_exits: bool
    groups: Sequence[ChangedGroup]


def comparison_page(root: storage.Root, pair: PairReport, held: Held = ALONE) -> str:
    """Render a comparison as one page of HTML."""
    figures = {figure.name: figure for figure in overlay_figures(pair)}
    pairs = pair.comparison.pairs
    chosen = _choose(pairs)
    pictures = _pictures(root, pair, chosen)
    urls = _within_limit(chosen, pictures)
    return render(
        "comparison.html.j2",
        held=held,
        scripts=(*((VEGA, "charts.js") if figures else ()), "comparison.js"),
        data={"parts": {"charts": {name: figure.spec for name, figure in figures.items()}}},
        pair=pair,
        labels=side_labels(pair),
        settings=list(_settings(pairs)),
        answers=[row for each in pairs for row in _answers(each)],
        figures=list(figures.values()),
        cells=list(_changed_cells(pairs, chosen, urls)),
        unchanged=[_unchanged(each) for each in pairs if each.changed == [] and _tested(each)],
        picture_remarks=list(_picture_remarks(chosen, pictures, urls)),
    )


def _title(row: Compared) -> str:
    """Name both cells of a pair: `dynn at 0.5`; if they differ, both."""
    first, second = format_both_thresholds(row)
    names = format_model(row.model, first), format_model(row.second_model, second)
    return " > ".join(dict.fromkeys(names))


def _full_title(row: Compared) -> str:
    """Name both cells of a pair and what they have in common."""
    return f"{_title(row)} on {format_pair_setting(row)}"


def _settings(pairs: Sequence[CellPair]) -> Iterator[SettingTable]:
    """Yield the figures by setting, in the order of `gfjobs compare`."""
    tables: dict[str, list[Sequence[str]]] = {}
    for pair in pairs:
        for row in pair.figures:
            tables.setdefault(format_pair_setting(row), []).append(_figure_row(row))
    yield from (SettingTable(title, rows) for title, rows in tables.items())


def _figure_row(row: Compared) -> Sequence[str]:
    """Format one figure: the cells, both values, the change with its interval and p, remarks."""
    if row.reason is not None:
        remarks = [f"not compared: {row.reason}"]
    else:
        remarks = [row.note or "", row.p_reason or "" if row.figure != "exits" else ""]
    if row.figure == "exits" and row.moved is not None:
        remarks.append(f"{row.moved:,} of {row.images:,} images exit elsewhere")
    return (
        _title(row),
        FIGURE_NAMES[row.figure],
        *format_both(row),
        format_change(row),
        format_change_interval(row),
        format_p(row.p_holm),
        "; ".join(filter(None, remarks)) or "–",
    )


def _tested(pair: CellPair) -> Compared | None:
    """The accuracy of a pair, if its predictions were compared."""
    tested = (row for row in pair.figures if row.figure == "accuracy" and row.reason is None)
    return next(tested, None)


def _answers(pair: CellPair) -> Iterator[Sequence[str]]:
    """Yield McNemar's table of a pair as a row, if its predictions were compared."""
    if row := _tested(pair):
        counts = (row.both_right, row.lost, row.won, row.both_wrong)
        ps = format_p(row.p), format_p(row.p_holm)
        yield _title(row), *(f"{count:,}" for count in counts), *ps, format_pair_setting(row)


def _unchanged(pair: CellPair) -> str:
    row = pair.figures[0]
    return f"{_full_title(row)}: none of {row.images:,} images"


@dataclass(frozen=True)
class _Chosen:
    """The images of one pair and outcome: all, and how many of these are shown."""

    number: int
    digest: str
    outcome: str
    rows: Sequence[Row]
    most: int

    @property
    def shown(self) -> Sequence[Row]:
        return self.rows[: self.most]


def _choose(pairs: Sequence[CellPair]) -> list[_Chosen]:
    """Choose the images to show: as many per pair and outcome as the page has room for."""
    changed = [pair for pair in pairs if pair.changed]
    most = _MOST_IMAGES // (len(_OUTCOMES) * max(len(changed), 1))
    most = max(_FEWEST_OF_GROUP, min(_MOST_OF_GROUP, most))
    return [
        _Chosen(number, pair.first["dataset_sha256"], outcome, rows, most)
        for number, pair in enumerate(changed, 1)
        for outcome in _OUTCOMES
        if (rows := [row for row in pair.changed or () if row["outcome"] == outcome])
    ]


def _pictures(
    root: storage.Root, pair: PairReport, chosen: Sequence[_Chosen]
) -> dict[str, Thumbnails]:
    """Read pictures by digest of the data set, from where the first or the second run found it."""
    found = {}
    for digest in dict.fromkeys(each.digest for each in chosen):
        ids = {row["image_id"] for each in chosen if each.digest == digest for row in each.shown}
        found[digest] = thumbnails(root, pair.first.details, digest, ids)
        if found[digest].problem and not pair.is_one_run:
            other = thumbnails(root, pair.second.details, digest, ids)
            found[digest] = found[digest] if other.problem else other
    return found


def _within_limit(chosen: Sequence[_Chosen], pictures: Mapping[str, Thumbnails]) -> _Urls:
    """Return the pictures that a page holds, by pair and image: the first of every group first."""
    urls, used = {}, 0
    for place in range(max((each.most for each in chosen), default=0)):
        for each in chosen:
            if place >= len(each.shown):
                continue
            image_id = each.shown[place]["image_id"]
            url = pictures[each.digest].urls.get(image_id)
            if url and used + len(url) <= MOST_PICTURE_BYTES:
                urls[each.number, image_id] = url
                used += len(url)
    return urls


def _changed_cells(
    pairs: Sequence[CellPair], chosen: Sequence[_Chosen], urls: _Urls
) -> Iterator[ChangedCell]:
    """Yield the pairs of cells whose predictions differ, with the images that are shown."""
    for number, pair in enumerate((pair for pair in pairs if pair.changed), 1):
        groups = [
            ChangedGroup(
                _OUTCOMES[each.outcome],
                each.outcome,
                [ChangedImage(row, urls.get((number, row["image_id"]))) for row in each.shown],
                len(each.rows),
            )
            for each in chosen
            if each.number == number
        ]
        has_exits = any(row["exit_blocks"] for row in (pair.first, pair.second))
        yield ChangedCell(str(number), _full_title(pair.figures[0]), has_exits, groups)


def _picture_remarks(
    chosen: Sequence[_Chosen], pictures: Mapping[str, Thumbnails], urls: _Urls
) -> Iterator[str]:
    """Yield why images have no picture."""
    problems = dict.fromkeys(each.problem for each in pictures.values() if each.problem)
    yield from (f"no pictures: {problem}" for problem in problems)
    wanted = sum(len(each.shown) for each in chosen)
    if not problems and len(urls) < wanted:
        yield (
            f"{len(urls):,} of {wanted:,} images have a picture: a page holds"
            f" {MOST_PICTURE_BYTES / 1e6:g} MB of them, and some cannot be decoded"
        )
