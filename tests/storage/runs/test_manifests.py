"""Manifests by themselves: what is written, what is read back, and what counts of several."""

from __future__ import annotations

import errno
import json
import re
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import storage
from storage.backends import open_backend
from storage.backends.local import LocalBackend
from storage.runs import manifests
from storage.runs.layout import RunPaths, run_paths
from storage.runs.manifests import (
    CommitEntry,
    Manifest,
    Snapshot,
    Summary,
    bare_names,
    candidate_names,
    entries_to_table,
    manifest_bytes,
    manifest_names,
    merge_name,
    publish_manifest,
    read_manifest,
    read_snapshot,
)
from storage.tables.parquet import publish_table

AT = datetime(2026, 11, 24, 12, 30, 15, 250_000)  # noqa: DTZ001 (naive UTC throughout)
ENTRY = CommitEntry(
    "cell-1", 2, 3, "node-a", 10, 2.5, AT, "a note", 0.5, None, 0.75, peak_process_bytes=2**30
)
WHOLE = Manifest(
    (ENTRY, CommitEntry("cell-2", 0, 0)),
    {"records": ("records-1.parquet", "records-2.parquet"), "power": ("power-1.parquet",)},
    ("cell-1.2.3.json",),
    {"records-1.parquet": "ab", "power-1.parquet": "cd"},
    Summary({"ladder": "ladder-1.parquet"}, "made of this"),
)


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    """A run's folders, with nothing in them."""
    found = run_paths(open_backend(tmp_path), "run-1")
    found.commits.make_folder()
    found.data.make_folder()
    return found


def manifest(*shards: int, supersedes: tuple[str, ...] = (), cell: str = "cell-1") -> Manifest:
    """One that commits shards of a cell, with a file each."""
    return Manifest(
        tuple(CommitEntry(cell, 0, shard) for shard in shards),
        {"records": tuple(f"records-{cell}-{shard}.parquet" for shard in shards)},
        supersedes,
    )


def test_what_is_written_is_read_back(paths: RunPaths) -> None:
    """All of it, and a manifest without anything."""
    publish_manifest(paths, "a.json", WHOLE)
    publish_manifest(paths, "b.json", Manifest((), {}))
    assert read_manifest(paths.commits / "a.json") == WHOLE
    assert read_manifest(paths.commits / "b.json") == Manifest((), {})
    assert WHOLE.named() == [
        "records-1.parquet",
        "records-2.parquet",
        "power-1.parquet",
        "ladder-1.parquet",
    ]
    assert manifest(1).named() == ["records-cell-1-1.parquet"]


def test_a_manifest_as_json() -> None:
    """What other programs, and other versions, find."""
    content = json.loads(manifest_bytes(WHOLE))
    assert content["schema_version"] == 8
    assert content["entries"][0] == {
        "cell_id": "cell-1",
        "round": 2,
        "shard": 3,
        "node": "node-a",
        "rows": 10,
        "busy_s": 2.5,
        "committed_at": "2026-11-24T12:30:15.250000",
        "note": "a note",
        "load_s": 0.5,
        "build_s": None,
        "first_answer_s": 0.75,
        "peak_process_bytes": 2**30,
        "peak_device_bytes": None,
    }
    assert content["entries"][1]["committed_at"] is None
    assert content["files"] == {table: list(names) for table, names in WHOLE.files.items()}
    assert content["supersedes"] == ["cell-1.2.3.json"]
    assert content["digests"] == WHOLE.digests
    assert content["summary"] == {
        "files": {"ladder": "ladder-1.parquet"},
        "made_of": "made of this",
    }
    assert json.loads(manifest_bytes(manifest(1)))["summary"] is None


def test_what_an_older_version_left_out(paths: RunPaths) -> None:
    """Digests and summary came later; what a later one adds to an entry is left."""
    content = json.loads(manifest_bytes(WHOLE))
    del content["digests"], content["summary"]
    content["entries"] = [{"cell_id": "c", "round": 0, "shard": 1, "color": "red"}]
    (paths.commits / "a.json").write(json.dumps(content).encode())
    found = read_manifest(paths.commits / "a.json")
    assert (found.digests, found.summary) == ({}, None)
    assert found.entries == (CommitEntry("c", 0, 1),)


def change(**changes: Any) -> bytes:
    """The whole manifest with other values."""
    return json.dumps(json.loads(manifest_bytes(WHOLE)) | changes).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"{}",
        change(entries=[{"round": 0}]),
        change(entries=[3]),
        change(files={"records": ["../x.parquet"]}),
        change(files=[]),
        change(supersedes=None),
        change(summary={"files": {"ladder": "a/b"}, "made_of": ""}),
        change(summary={"files": {}}),
        change(summary=3),
    ],
)
def test_a_damaged_manifest_is_named(paths: RunPaths, content: bytes) -> None:
    """With what is wrong, and what can be done."""
    backend = paths.commits / "a.json"
    backend.write(content)
    said = (
        rf"^manifest {re.escape(str(backend))} is damaged \(\w+: .*\); it was published whole, so"
        r" something else wrote to it: `gfjobs fsck` says what can be repaired; else restore it, or"
        r" remove the run with `gfjobs rm`$"
    )
    with pytest.raises(storage.DamagedError, match=said):
        read_manifest(backend)


def test_a_newer_version_is_refused(paths: RunPaths) -> None:
    """By the name of the file; as it is one of several, too."""
    publish_manifest(paths, "0.json", manifest(1))
    (paths.commits / "a.json").write(change(schema_version=9))
    for read in (lambda: read_manifest(paths.commits / "a.json"), lambda: read_snapshot(paths)):
        with pytest.raises(storage.SchemaVersionError, match=r"a\.json has schema version 9"):
            read()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "../a"])
def test_names_that_lead_elsewhere(name: str) -> None:
    """None of them is a file of the run."""
    with pytest.raises(ValueError, match=f"^{re.escape(repr(name))} is not a bare file name$"):
        bare_names(["a.parquet", name])


def test_bare_names() -> None:
    """In their order, whatever they come as."""
    assert bare_names(iter(["b", "a", "..a"])) == ("b", "a", "..a")


def test_a_commit_is_named_after_its_shard() -> None:
    """Once; where names of it count no more, with a number."""
    assert ENTRY.key == ("cell-1", 2, 3)
    assert list(islice(candidate_names(ENTRY.key), 3)) == [
        "cell-1.2.3.json",
        "cell-1.2.3.1.json",
        "cell-1.2.3.2.json",
    ]
    with pytest.raises(storage.StorageError, match=r"^cell_id '\.\./x' is not allowed"):
        candidate_names(("../x", 0, 0))


def test_a_merge_is_named_after_the_merges_before_it(paths: RunPaths) -> None:
    """Also those that count no more; names that are no numbers do not count."""
    live = dict.fromkeys(["merged-g000002.json", "cell.0.0.json", "merged-g9.jsonx"], WHOLE)
    assert merge_name(Snapshot(paths, {})) == "merged-g000001.json"
    assert merge_name(Snapshot(paths, live)) == "merged-g000003.json"
    gone = frozenset({"merged-g000011.json", "merged-abc.json", "xmerged-g000099.json"})
    assert merge_name(Snapshot(paths, live, gone)) == "merged-g000012.json"


def test_a_name_counts_once(paths: RunPaths) -> None:
    """The first stays as it is, also where the second is the same."""
    publish_manifest(paths, "a.json", manifest(1))
    for each in (manifest(1), manifest(2)):
        with pytest.raises(FileExistsError):
            publish_manifest(paths, "a.json", each)
    assert read_manifest(paths.commits / "a.json") == manifest(1)


@pytest.mark.parametrize("is_there", [True, False])
def test_an_error_counts_where_nothing_is_there(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    """What is there has been published, whatever was reported; another content has not."""
    publish = LocalBackend.publish_new

    def failing(backend: LocalBackend, content: bytes) -> None:
        publish(backend, content if is_there else content + b" ")
        raise OSError(errno.EIO, "lost")

    monkeypatch.setattr(LocalBackend, "publish_new", failing)
    if is_there:
        publish_manifest(paths, "a.json", manifest(1))
    else:
        with pytest.raises(OSError, match="lost"):
            publish_manifest(paths, "a.json", manifest(1))

    def nothing(_place: LocalBackend, _content: bytes) -> None:
        raise OSError(errno.EIO, "not there")

    monkeypatch.setattr(LocalBackend, "publish_new", nothing)
    with pytest.raises(OSError, match="not there"):
        publish_manifest(paths, "b.json", manifest(1))


def test_what_counts_of_several(paths: RunPaths) -> None:
    """Those that no other supersedes; of the rest, the names of their files."""
    publish_manifest(paths, "cell-1.0.1.json", manifest(1))
    publish_manifest(paths, "cell-1.0.2.json", manifest(2))
    merged = manifest(1, 4, supersedes=("cell-1.0.1.json", "gone.json"), cell="cell-2")
    publish_manifest(paths, "merged-g000001.json", merged)
    (paths.commits / ".hidden.json").write(b"{")
    (paths.commits / "torn.tmp").write(b"{")
    found = read_snapshot(paths)
    assert found == Snapshot(
        paths,
        {"cell-1.0.2.json": manifest(2), "merged-g000001.json": merged},
        frozenset({"cell-1.0.1.json", "gone.json"}),
        frozenset({"records-cell-1-1.parquet"}),
    )
    assert sorted(manifest_names(paths)) == [
        "cell-1.0.1.json",
        "cell-1.0.2.json",
        "merged-g000001.json",
    ]
    assert sorted(backend.name for backend in found.files("records")) == [
        "records-cell-1-2.parquet",
        "records-cell-2-1.parquet",
        "records-cell-2-4.parquet",
    ]
    assert {str(backend).rpartition("/")[0] for backend in found.files("records")} == {
        str(paths.data)
    }
    assert found.files("power") == []
    assert sorted(entry.key for entry in found.unmerged_entries) == [
        ("cell-1", 0, 2),
        ("cell-2", 0, 1),
        ("cell-2", 0, 4),
    ]
    assert found.entries() == tuple(found.unmerged_entries)


def test_nothing_is_there(paths: RunPaths) -> None:
    """Neither manifests nor what they would name."""
    assert read_snapshot(paths) == Snapshot(paths, {}, frozenset(), frozenset())


def test_a_summary_stands_for_all_or_for_nothing(paths: RunPaths) -> None:
    """Of one manifest; beside another it stands for nothing, nor where it is left out."""
    alone = Snapshot(paths, {"a": WHOLE}, frozenset({"x"}), frozenset({"y"}))
    assert alone.summary == WHOLE.summary
    without = alone.without_summary()
    assert without.summary is None
    assert without.manifests["a"].files == WHOLE.files
    assert (without.superseded, without.dead_files) == ({"x"}, {"y"})
    assert Snapshot(paths, {"a": WHOLE, "b": manifest(1)}).summary is None
    assert Snapshot(paths, {}).summary is None
    assert Snapshot(paths, {"a": WHOLE, "b": manifest(1)}).digests == WHOLE.digests


def test_a_listing_that_a_merge_overtook_is_made_again(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where what it listed was gone, or a merge appeared while it was read."""
    publish_manifest(paths, "merged-g000001.json", manifest(1))
    publish_manifest(paths, "a.json", manifest(2))
    names = manifest_names(paths)
    listings = iter([["gone.json"], ["a.json"], names, names, names])
    monkeypatch.setattr(manifests, "manifest_names", lambda _: next(listings))
    assert sorted(read_snapshot(paths).manifests) == ["a.json", "merged-g000001.json"]
    assert next(listings, None) is None


@pytest.mark.parametrize("is_over", [False, True])
def test_no_reader_looks_without_end(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch, *, is_over: bool
) -> None:
    """After a hundred times something else is wrong."""
    left = [100 if is_over else 99]

    def listed(_: RunPaths) -> list[str]:
        left[0] -= 1
        return ["gone.json"] if left[0] >= 0 else []

    monkeypatch.setattr(manifests, "manifest_names", listed)
    if not is_over:
        assert read_snapshot(paths).manifests == {}
        return
    said = f"the manifests in {paths.commits} kept changing while they were read; try again"
    with pytest.raises(storage.StorageError, match=f"^{re.escape(said)}$"):
        read_snapshot(paths)
    assert left == [0]


def test_a_commit_that_appears_meanwhile_is_for_the_next_reader(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a merge takes anything away."""
    publish_manifest(paths, "cell-1.0.1.json", manifest(1))
    listings = iter([["cell-1.0.1.json"], ["cell-1.0.1.json", "cell-1.0.2.json"]])
    monkeypatch.setattr(manifests, "manifest_names", lambda _: next(listings))
    assert list(read_snapshot(paths).manifests) == ["cell-1.0.1.json"]


def test_merged_entries_are_rows(paths: RunPaths) -> None:
    """As they were committed; those of manifests come after them."""
    table = entries_to_table("run-1", [ENTRY, CommitEntry("cell-2", 0, 0)])
    assert table.column("run_id").to_pylist() == ["run-1"] * 2
    publish_table(paths.data / "commits-1.parquet", table)
    merged = Manifest((), {"commits": ("commits-1.parquet",)})
    snapshot = Snapshot(paths, {"merged-g000001.json": merged, "a": manifest(7)})
    assert snapshot.entries() == (ENTRY, CommitEntry("cell-2", 0, 0), CommitEntry("cell-1", 0, 7))


def test_rounds_of_a_throttled_machine(paths: RunPaths) -> None:
    """By cell and round, each once."""
    table = storage.build_table(
        "rounds",
        {
            "run_id": "run-1",
            "cell_id": ["a", "a", "a", "b"],
            "round": [0, 1, 1, 2],
            "is_throttled": [False, True, True, None],
        },
    )
    publish_table(paths.data / "rounds-1.parquet", table)
    snapshot = Snapshot(paths, {"a": Manifest((), {"rounds": ("rounds-1.parquet",)})})
    assert snapshot.throttled_rounds() == {("a", 1)}


def test_images_without_an_answer(paths: RunPaths) -> None:
    """Of passes and of what was timed, added up over files."""
    for name, images in (("records-1", [0, 1]), ("records-2", [2])):
        table = storage.build_table(
            "records",
            {
                "run_id": "run-1",
                "cell_id": "a",
                "round": 1,
                "image_id": images,
                "loss": [float("nan")] * len(images),
            },
        )
        publish_table(paths.data / f"{name}.parquet", table)
    exits = storage.build_table(
        "exits",
        {
            "run_id": "run-1",
            "cell_id": "b",
            "image_id": [0, 0, 1],
            "loss": [float("inf"), float("nan"), 0.5],
        },
    )
    publish_table(paths.data / "exits-1.parquet", exits)
    files = {"records": ("records-1.parquet", "records-2.parquet"), "exits": ("exits-1.parquet",)}
    snapshot = Snapshot(paths, {"a": Manifest((), files)})
    assert snapshot.unanswered_images() == {("a", 1): 3, ("b", 0): 1}
