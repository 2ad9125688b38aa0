"""A model has one colour in all charts of a page, whichever models a chart has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.analysis.comparison.run_data import Side
from jobs.report.figures.collect import collect_figures
from jobs.report.figures.frontier import explorer_figure
from jobs.report.figures.frontiers import overlay_figures
from jobs.report.figures.load import responses_figure, throughput_figure
from jobs.report.figures.style import COLOURS
from jobs.report.pair import read_pair
from jobs.report.read import Report, read_report, setting_key
from tests.jobs.report.figures.test_load import served

Spec = Mapping[str, Any]


def units(spec: Spec) -> Iterator[tuple[Sequence[Mapping[str, Any]], Spec, Any]]:
    """The rows, the encoding and the mark of each layer."""
    for layer in spec.get("layer", [spec]):
        rows = (layer.get("data") or spec["data"])["values"]
        yield rows, layer["encoding"], layer["mark"]


def colours(spec: Spec, field: str) -> dict[str, set[str]]:
    """The colours of each value of a field, as Vega-Lite gives them."""
    own = [(rows, encoding["color"]) for rows, encoding, _ in units(spec) if "color" in encoding]
    own = [(rows, colour) for rows, colour in own if colour.get("field") == field]
    seen = list(dict.fromkeys(row[field] for rows, _ in own for row in rows))
    found = defaultdict(set)
    for rows, colour in own:
        order = colour.get("sort") or []
        drawn = [*(name for name in order if name in seen), *seen]
        scale = colour.get("scale", {})
        domain = scale.get("domain") or list(dict.fromkeys(drawn))
        shades = scale.get("range") or spec["config"]["range"]["category"]
        for name in {row[field] for row in rows}:
            found[name].add(shades[domain.index(name) % len(shades)])
    return dict(found)


def dashes(spec: Spec, field: str) -> dict[str, tuple[int, ...]]:
    """The dashes of each line."""
    scales = [each["strokeDash"] for _, each, _ in units(spec) if "strokeDash" in each]
    assert all(each["field"] == field for each in scales)
    return {
        name: tuple(dash)
        for each in scales
        for name, dash in zip(each["scale"]["domain"], each["scale"]["range"], strict=True)
    }


def by_model(specs: Sequence[Spec], models: Sequence[str]) -> dict[str, set[str]]:
    """The colours of each model in some charts; a line belongs to the model it is named after.

    Gates of a single pass are named after none: colours are gates there.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for spec in specs:
        for field in ("model", "line", "gate"):
            for name, shades in colours(spec, field).items():
                for model in models:
                    if name.startswith(model):
                        found[model] |= shades
    return dict(found)


def legends(spec: Spec) -> list[str]:
    """The values in the legend of a chart's colours."""
    (values,) = {tuple(each["color"]["legend"]["values"]) for _, each, _ in units(spec)}
    return list(values)


@pytest.fixture(scope="module")
def root(made_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that share one model; only the second has a meter."""
    folder: Path = tmp_path_factory.mktemp("colours") / "results"
    made_run(folder, "a", has_power=False)
    return made_run(folder, "b", day=25, names={"static": "another"})


def page_specs(report: Report) -> list[Spec]:
    """The charts of the page of a run, with those of its explorer."""
    (setting,) = report.settings
    drawn = [figure.spec for figure in collect_figures(report, setting, 1).values()]
    return [*drawn, *(explorer_figure(report, setting_key(p.cell), p.cell) for p in report.passes)]


def test_a_model_has_one_colour_in_a_comparison(root: Path) -> None:
    """Also where a chart lacks a model, or a side is limited to one; legends name what is drawn."""
    models = ["dynn", "static", "another"]
    figures = {
        each.name: each.spec for each in overlay_figures(read_pair(root, Side("a"), Side("b")))
    }
    assert list(figures) == ["both-by-latency-1", "both-by-energy-1"]
    expected = {model: {COLOURS[place]} for place, model in enumerate(models)}
    assert by_model(list(figures.values()), models) == expected
    assert set(legends(figures["both-by-latency-1"])) == set(models)
    assert set(legends(figures["both-by-energy-1"])) == {"dynn", "another"}
    limited = overlay_figures(read_pair(root, Side("a", "static"), Side("b", "another")))
    found = by_model([each.spec for each in limited], models)
    assert found == {model: expected[model] for model in ("static", "another")}


def test_a_model_has_one_colour_on_the_page_of_a_run(root: Path) -> None:
    """In the frontier, by exit, over the nights and in the explorer: that of a comparison too."""
    report = read_report(root, "a")
    earlier = [row | {"run_id": "before"} for row in report.history]
    report = replace(report, history=[*report.history, *earlier])
    specs = page_specs(report)
    assert by_model(specs, ["dynn", "static"]) == {"dynn": {COLOURS[0]}, "static": {COLOURS[1]}}
    line, now = (mark["color"] for _, _, mark in units(specs[-1]))
    assert (line, now) == (COLOURS[0], "currentColor")


def test_thresholds_of_a_model_differ_by_dashes() -> None:
    """Under load: in the model's colour each, the first is drawn through."""
    rows = [served(threshold=t, thresholds=[t]) for t in (0.3, 0.5)]
    rows.append(served(model="flat", threshold=None, thresholds=None))
    figure = responses_figure(rows, ["other", "flat", "dynn"], 1)
    assert figure
    assert colours(figure.spec, "model") == {
        "dynn at 0.3": {COLOURS[2]},
        "dynn at 0.5": {COLOURS[2]},
        "flat": {COLOURS[1]},
    }
    found = dashes(figure.spec, "model")
    assert found["dynn at 0.3"] == found["flat"] == (1, 0)
    assert found["dynn at 0.5"] != (1, 0)
    row: dict[str, Any] = {"model": "dynn", "threshold": None, "thresholds": None, "is_best": True}
    row |= {"batch_size": 1, "images_per_s": 9.0, "forward_images_per_s": 9.0, "is_valid": True}
    figure = throughput_figure([row], ["other", "flat", "dynn"], 1)
    assert figure
    assert colours(figure.spec, "model") == {"dynn": {COLOURS[2]}}
