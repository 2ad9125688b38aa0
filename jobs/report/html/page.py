"""The page of a run: what its template and its scripts show."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import storage
from jobs.analysis.regressions.judge import WORST_FIRST
from jobs.common.formatting import (
    SETTING,
    Row,
    format_exit,
    format_fixed,
    format_setting,
    format_threshold,
)
from jobs.report.figures.collect import collect_figures
from jobs.report.figures.frontier import explorer_figure
from jobs.report.figures.style import Figure
from jobs.report.html.classes import pictured_images
from jobs.report.html.explorer import pack_passes
from jobs.report.html.shell import ALONE, VEGA, Held, data_script, render
from jobs.report.html.thumbnails import Thumbnails, thumbnails
from jobs.report.ladder import (
    Ladder,
    collect_notes,
    collect_sources,
    describe_missing,
    make_ladder,
)
from jobs.report.read import AllExitPass, Report, Setting, select_setting, setting_key

_SCRIPTS = (VEGA, "charts.js", "pictures.js", "classes.js", "explorer.js")
_DOWNLOADS = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
"""The formats that the ladder can be downloaded in, with their types."""
_MOST_PICTURE_BYTES = 600_000  # of a data set's images in the confusion matrix


@dataclass(frozen=True)
class PagePart:
    """One setting of the run: its charts, what is missing, and the ladder that begins with it.

    Attributes:
        title: data set, device, runtime.
        ladder: the ladder of its data set, device and node, if this is its first setting.
        sources: the sources of its energies.
        figures: by name.
        notes: why figures are missing or doubtful.
        missing: what the grid did not ask for, with the key that provides it.
        is_first_run: no earlier run has any of these settings.
    """

    title: str
    ladder: Ladder | None
    sources: Sequence[str]
    figures: dict[str, Figure]
    notes: Sequence[str]
    missing: Sequence[str]
    is_first_run: bool

    @property
    def frontiers(self) -> list[Figure]:
        """The charts of accuracy against cost."""
        return [each for name, each in self.figures.items() if name.startswith("accuracy-by-")]

    @property
    def nights(self) -> list[Figure]:
        """The charts of the history."""
        return [each for name, each in self.figures.items() if "-over-nights-" in name]

    @property
    def loads(self) -> list[Figure]:
        """The charts of models under load."""
        names = ("response-by-rate-", "throughput-by-batch-")
        return [each for name, each in self.figures.items() if name.startswith(names)]

    @property
    def figures_by_exit(self) -> list[Figure]:
        """All other charts: by exit and gate."""
        apart = (*self.frontiers, *self.nights, *self.loads)
        return [each for each in self.figures.values() if each not in apart]


@dataclass(frozen=True)
class Album:
    """Images of one pass, by exit and by whether their prediction there is right.

    Attributes:
        title: model and setting.
        thresholds: the thresholds at which they exit, as text.
        exits: per exit its block and how many have run there, then groups of a heading and images.
        problem: why there are no pictures, if there are none.
        pictures: the key of the page's part with the pictures.
    """

    title: str
    thresholds: str
    exits: Sequence[tuple[tuple[str, int], Sequence[tuple[str, Sequence[Row]]]]]
    problem: str | None
    pictures: str


@dataclass(frozen=True)
class LinkedPage:
    """The page of a run in a site.

    Attributes:
        html: the page itself.
        files: what it loads when it is needed, and its downloads, by the path from the site's root.
    """

    html: str
    files: Mapping[str, bytes]


def html_page(root: storage.Root, report: Report) -> str:
    """Renders the report as one page of HTML that needs no other file."""
    content = _content(root, report)
    rows = storage.named_query(root, "summary", run_ids=[report.details.run_id])
    addresses = {
        form: f"data:{kind};base64,{base64.b64encode(storage.encode(rows, form)).decode()}"
        for form, kind in _DOWNLOADS.items()
    }
    return _render(report, content, ALONE, addresses, {"parts": content.parts})


def linked_page(root: storage.Root, report: Report, held: Held, ladder: Any) -> LinkedPage:
    """Renders the report as a page of a site, its data as files next to it.

    Args:
        root: the results root.
        report: the report, whole or without what takes long.
        held: where the page is in its site.
        ladder: the rows of `summary`, an Arrow table, to be downloaded.
    """
    content, run_id = _content(root, report), report.details.run_id
    folder = f"data/runs/{run_id}"
    downloads = {form: f"{folder}/ladder.{form}" for form in _DOWNLOADS}
    scripts = {key: f"{folder}/{key}.js" for key in content.parts}
    files = {path: storage.encode(ladder, form) for form, path in downloads.items()}
    files |= {scripts[key]: data_script(key, value) for key, value in content.parts.items()}
    addresses = {form: f"{held.to_root}{path}" for form, path in downloads.items()}
    data = {"files": {key: f"{held.to_root}{path}" for key, path in scripts.items()}}
    return LinkedPage(_render(report, content, held, addresses, data), files)


@dataclass(frozen=True)
class _Content:
    """What a page shows, however it is held.

    Attributes:
        settings: its settings with their charts.
        passes: of the explorer: cell_id, name and the key of the part with the rest.
        left_out: why other passes are not explored.
        albums: images by exit.
        parts: data by key, for the page's scripts.
    """

    settings: Sequence[PagePart]
    passes: Sequence[Row]
    left_out: Sequence[str]
    albums: Sequence[Album]
    parts: Mapping[str, Any]


def _content(root: storage.Root, report: Report) -> _Content:
    settings = [_part(report, each, number) for number, each in enumerate(report.settings, 1)]
    packed, left_out = pack_passes(report.passes)
    by_id = {each.cell["cell_id"]: each for each in report.passes}
    pictures = _pictures(root, report)
    numbers = {sha256: number for number, sha256 in enumerate(pictures, 1)}
    charts = {name: each.spec for one in settings for name, each in one.figures.items()}
    parts: dict[str, Any] = {"charts": charts} if report.is_whole else {}
    passes = []
    for number, values in enumerate(packed, 1):
        cell, key = by_id[values["cell_id"]].cell, f"pass-{number}"
        chart = explorer_figure(report, setting_key(cell), cell)
        shown = f"pictures-{numbers[cell['dataset_sha256']]}"
        parts[key] = {**values, "chart": chart, "pictures": shown}
        passes.append({"cell_id": cell["cell_id"], "name": values["name"], "key": key})
    for sha256, number in numbers.items():
        parts[f"pictures-{number}"] = {str(key): url for key, url in pictures[sha256].urls.items()}
    albums = [
        _album(each, pictures[each.cell["dataset_sha256"]], numbers[each.cell["dataset_sha256"]])
        for each in report.passes
    ]
    return _Content(settings, passes, left_out, albums, parts)


def _render(
    report: Report,
    content: _Content,
    held: Held,
    downloads: Mapping[str, str],
    data: Mapping[str, object],
) -> str:
    run_id = report.details.run_id
    return render(
        "report.html.j2",
        held=held,
        scripts=_SCRIPTS if report.is_whole else (),
        data={"run_id": run_id, "passes": content.passes, **data},
        report=report,
        parts=content.settings,
        passes=content.passes,
        left_out=content.left_out,
        judged=[_judged(row) for row in sorted(report.judged, key=_severity)],
        albums=content.albums,
        downloads=[
            (form, address, f"{run_id}-ladder.{form}") for form, address in downloads.items()
        ],
        command=f"gfjobs report {run_id} -o report.html",
    )


def _pictures(root: storage.Root, report: Report) -> dict[str, Thumbnails]:
    """The pictures of each data set: of the albums, and of the matrix as far as they fit."""
    found = {}
    for sha256 in dict.fromkeys(each.cell["dataset_sha256"] for each in report.passes):
        own = [each for each in report.passes if each.cell["dataset_sha256"] == sha256]
        shown = {row["image_id"] for each in own for row in each.images}
        further = dict.fromkeys(
            image_id for each in own for image_id in pictured_images(each) if image_id not in shown
        )
        all_of_them = thumbnails(root, report.details, sha256, {*shown, *further})
        urls = {key: url for key, url in all_of_them.urls.items() if key in shown}
        room = _MOST_PICTURE_BYTES
        for image_id in further:
            url = all_of_them.urls.get(image_id, "")
            room -= len(url)
            if room < 0:
                break
            if url:
                urls[image_id] = url
        found[sha256] = Thumbnails(urls, all_of_them.problem)
    return found


def _part(report: Report, setting: Setting, number: int) -> PagePart:
    history = select_setting(report.history, setting)
    return PagePart(
        title=format_setting(dict(zip(SETTING, setting, strict=True))),
        ladder=make_ladder(report, setting),
        sources=collect_sources(report, setting),
        figures=collect_figures(report, setting, number) if report.is_whole else {},
        notes=collect_notes(report, setting),
        missing=list(describe_missing(report, setting)) if report.is_whole else [],
        is_first_run=len({row["run_id"] for row in history}) <= 1,
    )


def _album(each: AllExitPass, pictures: Thumbnails, number: int) -> Album:
    cell, exits = each.cell, []
    for block, group in groupby(each.images, key=lambda row: int(row["exit_block"])):
        groups = [
            (_group_title(list(rows)), rows)
            for _, grouped in groupby(group, key=lambda row: (row["is_correct"], row["ease"]))
            for rows in (list(grouped),)
        ]
        exits.append((format_exit(block, cell["depth"]), groups))
    return Album(
        title=f"{cell['model']}, {format_setting(cell)}",
        thresholds=_thresholds(each),
        exits=exits,
        problem=pictures.problem,
        pictures=f"pictures-{number}",
    )


def _thresholds(each: AllExitPass) -> str:
    """The thresholds as text: `0.5 for all gates`, or one per gate with the block it follows."""
    if len(set(each.thresholds)) == 1:
        return f"{each.thresholds[0]:g} for all gates"
    gates = zip(each.thresholds, each.cell["gates"], strict=True)
    return ", ".join(f"{threshold:g} after block {block}" for threshold, block in gates)


def _severity(row: Row) -> int:
    return WORST_FIRST.index(row["verdict"])


def _judged(row: Row) -> tuple[object, ...]:
    """Formats a row of the table `regressions` for the page; changes of accuracy are in points."""
    interval = None
    if row["low"] is not None and row["high"] is not None:
        interval = f"{row['low']:+.1f} to {row['high']:+.1f}"
    unit = "points" if row["metric"] == "accuracy" else "%"
    return (
        row["verdict"],
        row["model"],
        row["dataset"],
        format_threshold(row),
        row["metric"],
        format_fixed(row["value"], 3),
        format_fixed(row["expected"], 3),
        None if row["effect_pct"] is None else f"{row['effect_pct']:+.1f} {unit}",
        interval,
        row["note"],
    )


def _group_title(rows: Sequence[Row]) -> str:
    first = rows[0]
    answered = "right" if first["is_correct"] else "wrong"
    return f"{first['ease']} of {first['group_images']:,} {answered}"
