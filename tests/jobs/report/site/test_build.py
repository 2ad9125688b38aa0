"""A site of several runs: its figures are SQL's, and only what changed is made anew."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet
import pytest

import storage
from jobs.report.read import Report
from jobs.report.site import build
from jobs.report.site.build import build_site
from tests.storage.conftest import NOON, Builder

STATIC = {"params": 10_000}
LIMIT_BYTES = 2_000_000
"""Of a page of a site."""


def make_run(root: Path, night: int, *, name: str = "nightly", **changes: Any) -> str:
    """A night of two models, one of them at two thresholds; each night takes longer."""
    build = Builder(root, f"night-{night}")
    build.run = dataclasses.replace(
        build.run, name=name, submitted_at=NOON + timedelta(days=night), **changes
    )
    for model, thresholds in (("static", [None]), ("early", [0.5, 0.9])):
        for threshold in thresholds:
            cell = build.cell(
                model=model,
                threshold=threshold,
                exit_blocks=(1,) if threshold else (3,),
                images=70,
                **STATIC,
            )
            ms = 2.0 + night + (threshold or 0)
            build.records(cell, 70, forward_ms=ms, elapsed_ms=ms)
    build.store([storage.NodeRow(build.run.run_id, "node-a", torch=f"2.{night}")], merge=True)
    return build.run.run_id


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three nights."""
    for night in range(3):
        make_run(tmp_path / "results", night)
    return tmp_path / "results"


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Each file with its inode, which a new file of the same name has not."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def changed(before: dict[str, tuple[int, bytes]], folder: Path) -> set[str]:
    """The files that were written since, or are gone."""
    after = contents(folder)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def data_of(path: Path) -> Any:
    """The value in a script file of data."""
    found = re.fullmatch(r'gfjobsData\("[^"]*",(.*)\);\n', path.read_text(encoding="utf-8"))
    assert found
    return json.loads(found[1])


def test_a_page_per_run_and_four_about_all(root: Path, tmp_path: Path) -> None:
    """None is too large for a phone, and each link leads to a file."""
    site = tmp_path / "site"
    made = build_site(root, site, whole_runs=0)
    assert (made.made, made.runs) == (3, 3)
    assert made.written == len(contents(site))
    pages = {name for name in contents(site) if name.endswith(".html")}
    assert pages == {
        *("index.html", "runs.html", "history.html", "compare.html"),
        *(f"runs/night-{night}.html" for night in range(3)),
    }
    assert all(len(content) < LIMIT_BYTES for name, (_, content) in contents(site).items())
    for name in pages:
        page = (site / name).read_text(encoding="utf-8")
        assert not re.search(r'(src|href)="(https?:|//)', page)
        for address in re.findall(r'(?:src|href)="([^"#]+)"', page):
            assert (site / name).parent.joinpath(address).resolve().is_file(), (name, address)


def test_every_figure_is_that_of_sql(root: Path, tmp_path: Path) -> None:
    """Of the history, of two ladders side by side, and of the files to download."""
    site = tmp_path / "site"
    build_site(root, site, whole_runs=0)
    sql = storage.query(root, "FROM ladder ORDER BY run_id, model, threshold").to_pylist()
    figures = ("acc1", "forward_ms", "energy_mj", "mean_blocks")

    found = [
        (name, line["threshold"], data["nights"][night], *(line[f][place] for f in figures))
        for file in (site / "data/history").iterdir()
        for data in [data_of(file)]
        for name in ["static" if len(data["lines"]) == 1 else "early"]
        for line in data["lines"]
        for place, night in enumerate(line["night"])
    ]
    shown = {None: "–", 0.5: "0.5"}
    expected = [
        (
            row["model"],
            shown.get(row["threshold"], "0.9"),
            row["run_id"],
            *(row[f] for f in figures),
        )
        for row in sql
    ]
    assert sorted(found, key=str) == sorted(expected, key=str)
    for night in range(3):
        of_run = [row for row in sql if row["run_id"] == f"night-{night}"]
        ladder = data_of(site / f"data/ladders/night-{night}.js")
        key = ("model", "threshold")
        assert {(r["model"], r["key"][-2], *(r[f] for f in figures)) for r in ladder} == {
            (*(row[k] for k in key), *(row[f] for f in figures)) for row in of_run
        }
        parquet = pyarrow.parquet.read_table(
            site / f"data/runs/night-{night}/ladder.parquet"
        ).to_pylist()
        csv = pyarrow.csv.read_csv(
            io.BytesIO((site / f"data/runs/night-{night}/ladder.csv").read_bytes())
        ).to_pylist()
        for table in (parquet, csv):
            assert sorted(row["forward_ms"] for row in table) == sorted(
                row["forward_ms"] for row in of_run
            )


def test_unchanged_pages_are_left_alone(root: Path, tmp_path: Path) -> None:
    """Nothing changed: nothing is written. One run more: its page and those about all."""
    site = tmp_path / "site"
    build_site(root, site, whole_runs=0)
    before = contents(site)
    assert build_site(root, site, whole_runs=0).made == 0
    assert changed(before, site) == set()
    make_run(root, 3)
    assert build_site(root, site, whole_runs=0).made == 1
    histories = {name for name in before if name.startswith("data/history/")}
    assert changed(before, site) == {
        *("index.html", "runs.html", "history.html", "compare.html", "site.json"),
        *histories,
        *("runs/night-3.html", "data/runs/night-3/ladder.csv", "data/runs/night-3/ladder.parquet"),
        "data/ladders/night-3.js",
    }


def test_a_run_that_changed_is_made_anew(root: Path, tmp_path: Path) -> None:
    """It alone, and what is about all."""
    site = tmp_path / "site"
    build_site(root, site, whole_runs=0)
    before = contents(site)
    with storage.RunStore.open(root, "night-1") as store:
        store.save_nodes([storage.NodeRow("night-1", "node-a", torch="9.9")])
    assert build_site(root, site, whole_runs=0).made == 1
    names = {name for name in changed(before, site) if name.startswith("runs/")}
    assert names == {"runs/night-1.html"}
    for file in (site / "data/history").iterdir():
        explained = data_of(file)["lines"][0]["explained"]
        assert explained == {"1": "torch 2.0 → 9.9", "2": "torch 9.9 → 2.2"}


def test_a_run_that_is_gone_has_no_pages(root: Path, tmp_path: Path) -> None:
    """Neither its own nor a line elsewhere."""
    site = tmp_path / "site"
    build_site(root, site, whole_runs=0)
    storage.remove_run(root, "night-2")
    assert build_site(root, site, whole_runs=0).made == 0
    assert not [name for name in contents(site) if "night-2" in name]
    assert not [name for name, (_, text) in contents(site).items() if b"night-2" in text]


def test_a_whole_page_stays_while_its_run_does_not_change(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a newer one has become the newest, too: so a year of nights keeps all."""

    def complete_quickly(_root: Path, report: Report) -> Report:
        """Reads no more than of other runs, and says that it is all."""
        return dataclasses.replace(report, is_whole=True, means={})

    monkeypatch.setattr(build, "complete_report", complete_quickly)
    site = tmp_path / "site"
    told: list[str] = []
    build_site(root, site, whole_runs=1, say=told.append)
    assert told == ["night-2: reading all of it", "night-2: comparing it with night-1"]
    whole = (site / "runs/night-2.html").read_bytes()
    make_run(root, 3)
    assert build_site(root, site, whole_runs=1).made == 1
    assert (site / "runs/night-2.html").read_bytes() == whole
    assert json.loads((site / "site.json").read_text())["whole_runs"] == ["night-2", "night-3"]


def test_an_interrupted_site_is_gone_on_with(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was made before is not made again, and everything is there in the end."""
    site, complete = tmp_path / "site", tmp_path / "complete"
    build_site(root, complete, whole_runs=0)
    written = iter(range(2))
    run_files = build.run_files

    def interrupted(*arguments: Any) -> dict[str, bytes]:
        if next(written, None) is None:
            raise KeyboardInterrupt
        return run_files(*arguments)

    monkeypatch.setattr(build, "BATCH", 1)
    with monkeypatch.context() as patch:
        patch.setattr(build, "run_files", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_site(root, site, whole_runs=0)
    assert build_site(root, site, whole_runs=0).made == 1
    assert {name: text for name, (_, text) in contents(site).items()} == {
        name: text for name, (_, text) in contents(complete).items()
    }


def test_other_templates_make_everything_anew(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of an older version would find other scripts."""
    site = tmp_path / "site"
    build_site(root, site, whole_runs=0)
    monkeypatch.setattr(build, "_version", lambda: "another")
    assert build_site(root, site, whole_runs=0).made == 3


@pytest.mark.parametrize("damaged", ["cells.parquet", "nodes.parquet"])
def test_a_damaged_run_is_shown_as_such(root: Path, tmp_path: Path, damaged: str) -> None:
    """It needs a look; the others are as before."""
    (root / "runs" / "night-2" / damaged).write_bytes(b"PAR1 no more")
    site = tmp_path / "site"
    made = build_site(root, site, whole_runs=0)
    assert made.runs == 3
    overview = (site / "index.html").read_text(encoding="utf-8")
    assert "nightly: the run is damaged" in overview
    assert "gfjobs fsck night-2" in (site / "runs/night-2.html").read_text(encoding="utf-8")
    assert "early" in (site / "runs/night-1.html").read_text(encoding="utf-8")


def test_a_root_without_runs_has_a_site_that_says_so(tmp_path: Path) -> None:
    """And how to make one."""
    (tmp_path / "results").mkdir()
    build_site(tmp_path / "results", tmp_path / "site")
    overview = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    assert "No run has been submitted to this results root yet" in overview


def test_a_run_that_went_while_templates_changed_has_no_pages(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade forgets nothing that is to be removed."""
    site = tmp_path / "site"
    build_site(root, site, whole_runs=0)
    storage.remove_run(root, "night-0")
    monkeypatch.setattr(build, "_version", lambda: "another")
    assert build_site(root, site, whole_runs=0).made == 2
    assert not [name for name in contents(site) if "night-0" in name]
