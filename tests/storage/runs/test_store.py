"""The results root: names, leases, listing, removal, and what cannot be written."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import storage

NOON = datetime(2026, 11, 24, 12)  # noqa: DTZ001 (naive UTC throughout)


def make_run(root: Path, run_id: str, hour: int = 0, status: storage.RunStatus = "done") -> None:
    """Store an empty run."""
    run = storage.RunRow(run_id, status=status, submitted_at=NOON + timedelta(hours=hour))
    storage.RunStore.create(root, run, [], {}).close()


def test_store_gives_back_what_was_saved(tmp_path: Path) -> None:
    """Run, cells, nodes and submission survive the process."""
    cells = [
        storage.CellRow(
            "run-1",
            "a",
            kind="latency",
            threshold=0.5,
            thresholds=(0.5, 0.25),
            exit_blocks=(1, 2),
            started_at=NOON,
            is_valid=False,
        ),
        storage.CellRow("run-1", "b", status="skipped", note="no bfloat16"),
    ]
    submission = {"grid": "/g.yaml", "cwd": "/home/me"}
    node = storage.NodeRow("run-1", "node-a", are_clocks_locked=True)
    with storage.RunStore.create(tmp_path, storage.RunRow("run-1"), cells, submission) as store:
        assert store.nodes == ()
        store.save_nodes([node])
        assert store.nodes == (node,)
    with storage.RunStore.open(tmp_path, "run-1") as store:
        assert (store.run, list(store.cells)) == (storage.RunRow("run-1"), cells)
        assert (store.submission, store.nodes) == (submission, (node,))
        store.save_cells([dataclasses.replace(cells[0], status="done")])
        store.save_run(storage.RunRow("run-1", status="failed", finished_at=NOON))
    assert storage.query(tmp_path, "SELECT status, thresholds FROM cells").to_pylist() == [
        {"status": "done", "thresholds": [0.5, 0.25]}
    ]
    assert storage.query(tmp_path, "SELECT status, finished_at FROM runs").to_pylist() == [
        {"status": "failed", "finished_at": NOON}
    ]
    assert storage.query(tmp_path, "SELECT are_clocks_locked AS x FROM nodes").to_pylist() == [
        {"x": True}
    ]


def test_images_are_listed_once_a_root(tmp_path: Path) -> None:
    """The digest says that a second listing is the same."""
    digits = storage.open_images("digits")
    for run_id in ("one", "two"):
        with storage.RunStore.create(tmp_path, storage.RunRow(run_id), [], {}) as store:
            store.save_images(digits.sha256, digits.images_table())
    rows = storage.query(
        tmp_path,
        "SELECT count(*) AS n, count(DISTINCT image_id) AS d, "
        "any_value(dataset_sha256) AS sha FROM images",
    ).to_pylist()
    assert rows == [{"n": 450, "d": 450, "sha": digits.sha256}]


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", "a/b", "../x", "a..b", ".hidden", "-x", "a b", "a\n", "x" * 101, "é"]
)
def test_names_that_could_escape_are_refused(tmp_path: Path, run_id: str) -> None:
    """No name leads out of the root, for writing, reading or removing."""
    with pytest.raises(storage.StorageError, match="is not allowed; use 1 to 100"):
        storage.RunStore.create(tmp_path, storage.RunRow(run_id), [], {})
    for reach in (storage.RunStore.open, storage.remove_run, storage.is_locked):
        with pytest.raises(storage.StorageError, match="is not allowed"):
            reach(tmp_path, run_id)
    assert not list(tmp_path.iterdir())


def test_root_that_cannot_be_written_is_refused_before_anything(tmp_path: Path) -> None:
    """A root below a regular file is refused, also for root users."""
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "deep" / "results", Path("/proc/results")):
        with pytest.raises(storage.RootNotWritableError, match=r"cannot be written.*--results"):
            storage.check_root(root)
        with pytest.raises(storage.RootNotWritableError):
            make_run(root, "run-1")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_check_root_leaves_nothing_behind(tmp_path: Path) -> None:
    """Checking makes neither the root nor a probe in it."""
    assert str(storage.check_root(tmp_path / "a" / "b")) == str(tmp_path / "a" / "b")
    storage.check_root(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("root", ["https://me:secret@x.org/r", "file:///tmp/r"])
def test_other_urls_are_refused_with_the_reason(root: str) -> None:
    """Folders and s3:// are what there is."""
    for use in (storage.check_root, storage.connect, storage.list_runs, storage.checked_root):
        with pytest.raises(storage.RootNotWritableError, match="or s3://bucket/prefix") as caught:
            use(root)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "root",
    [
        *("s3://", "s3://b", "s3://Bucket/x", "s3://bucket/../x", "s3://bucket//x", "S3://bucket"),
        *("s3://bucket/.x", "s3:///x", "s3://me:secret@bucket/x", "s3://bucket/x?secret=1"),
    ],
)
def test_odd_bucket_urls_are_refused_without_a_request(root: str) -> None:
    """Neither a key that escapes nor a password that is repeated."""
    with pytest.raises(storage.RootNotWritableError, match="not of the form s3://") as caught:
        storage.checked_root(root)
    assert "secret" not in str(caught.value)


def test_bucket_url_is_written_without_a_slash_at_its_end() -> None:
    """As messages and other commands repeat it."""
    assert storage.checked_root("s3://bucket/a/b=1//") == "s3://bucket/a/b=1"
    assert storage.checked_root("s3://bucket/") == "s3://bucket"


def test_missing_root_says_what_to_do(tmp_path: Path) -> None:
    """Reading where nothing is names the command that makes something."""
    with pytest.raises(storage.StorageError, match="no such folder; create some with `gfjobs"):
        storage.connect(tmp_path / "none")


def test_lease_excludes_a_second_writer_until_closed(tmp_path: Path) -> None:
    """The second one is told who and what to do; closing frees the run."""
    store = storage.RunStore.create(tmp_path, storage.RunRow("run-1"), [], {})
    with pytest.raises(
        storage.RunLockedError, match=r"is being written by process .* cancel run-1"
    ):
        storage.RunStore.open(tmp_path, "run-1")
    with pytest.raises(storage.RunLockedError):
        storage.remove_run(tmp_path, "run-1")
    assert storage.list_runs(tmp_path)[0].status == "running"
    store.close()
    store.close()
    assert storage.query(tmp_path, "SELECT status FROM runs").to_pylist() == [
        {"status": "interrupted"}
    ]
    with pytest.raises(storage.StorageError, match="is closed"):
        store.commit(storage.CommitEntry("c", 0, 0), {})
    with pytest.raises(storage.StorageError, match="is closed"):
        store.save_cells([])


def test_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    """A taken name is an error that says how to go on; the lease is free afterwards."""
    make_run(tmp_path, "run-1")
    with pytest.raises(storage.RunExistsError, match="gfjobs resume run-1"):
        make_run(tmp_path, "run-1", status="failed")
    assert storage.list_runs(tmp_path)[0].status == "done"
    storage.RunStore.open(tmp_path, "run-1").close()


def test_half_made_run_is_invisible_and_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's row is written last."""
    replace = Path.replace

    def fail_on_run(self: Path, target: Path) -> Path:
        if Path(target).name == "run.parquet":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_on_run)
    with pytest.raises(storage.StorageError, match=r"cannot be created.*No space left"):
        make_run(tmp_path, "run-1")
    monkeypatch.undo()
    assert storage.list_runs(tmp_path) == ()
    make_run(tmp_path, "run-1")
    assert len(storage.list_runs(tmp_path)) == 1


def test_runs_are_listed_newest_first_and_found_by_name(tmp_path: Path) -> None:
    """`latest` is the newest submitted; an unknown name brings the nearest."""
    for hour, run_id in enumerate(("ladder-a", "zebra", "ladder-b")):
        make_run(tmp_path, run_id, hour=(5 if run_id == "zebra" else hour))
    assert [run.run_id for run in storage.list_runs(tmp_path)] == ["zebra", "ladder-b", "ladder-a"]
    assert storage.resolve_run(tmp_path, "latest") == "zebra"
    assert storage.resolve_run(tmp_path, "ladder-a") == "ladder-a"
    with pytest.raises(
        storage.RunNotFoundError, match=r"'laddr-b'.*did you mean ladder-b.*`gfjobs"
    ):
        storage.resolve_run(tmp_path, "laddr-b")
    with pytest.raises(storage.RunNotFoundError, match="no run 'nope'"):
        storage.RunStore.open(tmp_path, "nope")


def test_empty_root_has_no_latest(tmp_path: Path) -> None:
    """Asking for a run where none was submitted says so."""
    with pytest.raises(storage.RunNotFoundError, match="no run has been submitted"):
        storage.resolve_run(tmp_path, "latest")


def test_removed_run_is_gone_and_its_name_free(tmp_path: Path) -> None:
    """Removal leaves the other runs and no rest."""
    for run_id in ("one", "two"):
        make_run(tmp_path, run_id)
    storage.remove_run(tmp_path, "one")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["two"]
    with pytest.raises(storage.RunNotFoundError):
        storage.remove_run(tmp_path, "one")
    make_run(tmp_path, "one")


def test_crash_during_removal_hides_the_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers never see half a run that is being deleted."""
    make_run(tmp_path, "one")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("storage.backends.local.shutil.rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        storage.remove_run(tmp_path, "one")
    assert storage.list_runs(tmp_path) == ()
    monkeypatch.undo()
    make_run(tmp_path, "two")
    storage.remove_run(tmp_path, "two")
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    ("run_id", "cell_ids", "message"),
    [
        ("run-1", ["a", "a"], "found twice: a"),
        ("run-2", ["a"], "rows of run run-2 carry the run_id run-1"),
    ],
)
def test_inconsistent_cells_are_refused(
    tmp_path: Path, run_id: str, cell_ids: list[str], message: str
) -> None:
    """Cells are of their run, and each stands once; nothing is made otherwise."""
    cells = [storage.CellRow("run-1", cell_id) for cell_id in cell_ids]
    with pytest.raises(storage.StorageError, match=message):
        storage.RunStore.create(tmp_path, storage.RunRow(run_id), cells, {})
    assert not list(tmp_path.iterdir())


def test_interrupted_is_never_stored(tmp_path: Path) -> None:
    """The status that readers infer is refused from writers."""
    with pytest.raises(storage.StorageError, match="never stored"):
        make_run(tmp_path, "run-1", status="interrupted")


def test_odd_folder_names_are_taken_literally(tmp_path: Path) -> None:
    """Brackets, stars and a=b in the root are no patterns and no partitions to DuckDB."""
    root = tmp_path / "it's [1] * ?" / "image_id=7"
    (tmp_path / "it's 1 and 2").mkdir()
    cell = storage.CellRow("run-1", "a")
    with storage.RunStore.create(root, storage.RunRow("run-1"), [cell], {}) as store:
        for shard in (0, 1):
            table = storage.build_table(
                "records", {"run_id": "run-1", "cell_id": "a", "image_id": [shard]}
            )
            store.commit(storage.CommitEntry("a", 0, shard), {"records": table})
        found = storage.query(root, "SELECT image_id FROM records ORDER BY ALL")
        assert found["image_id"].to_pylist() == [0, 1]
        store.merge()
    names = [*storage.TABLES["records"].names, "dataset_sha256"]
    assert storage.query(root, "FROM records").column_names == names
