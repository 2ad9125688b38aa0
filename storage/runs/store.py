"""The store of one run: the only thing that writes under a results root."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import TYPE_CHECKING

import duckdb

from storage.errors import RunLockedError, StorageError
from storage.runs.claims import Claims
from storage.runs.folder import make_run, released_on_error, take_run
from storage.runs.history import seal, unseal
from storage.runs.layout import check_root, existing_root, images_path, run_paths
from storage.runs.listing import read_cell_rows, read_node_rows, read_row
from storage.runs.manifests import (
    CommitEntry,
    CommitKey,
    Manifest,
    publish_manifest,
    read_snapshot,
)
from storage.runs.merge import merge_run
from storage.runs.row_files import join_shards, write_row_files
from storage.runs.submission import read_submission
from storage.tables.parquet import publish_table
from storage.tables.records import CellRow, NodeRow, RunRow, rows_to_table
from storage.tables.validation import (
    check_late,
    check_run_ids,
    check_shard,
    check_table,
    rows_as_tables,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    import pyarrow as pa
    from typing_extensions import Self

    from storage.backends import Backend, Lease, Root
    from storage.runs.layout import RunPaths
    from storage.tables.round_times import RoundSums


class RunStore:
    """One run, open for writing: a context manager that holds the run's lease.

    Made by `create` or `open`. Reading needs no store: see `storage.results.connection`.
    """

    def __init__(self, root: Backend, paths: RunPaths, lease: Lease) -> None:
        """Read the run; for `create` and `open`, which hold the lease already."""
        self._root = root
        self._paths = paths
        self._lease = lease
        self._is_unsealed = False
        self.run = read_row(paths)
        self.cells = read_cell_rows(paths)
        self.nodes: tuple[NodeRow, ...] = ()
        if paths.nodes.is_file():
            self.nodes = read_node_rows(paths)
        self.submission = read_submission(str(root), self.run.run_id)
        self._read_entries()

    @classmethod
    def create(
        cls,
        root: Root,
        run: RunRow,
        cells: Sequence[CellRow],
        submission: Mapping[str, str],
    ) -> Self:
        """Make a new run and take its lease. It becomes visible whole, or not at all.

        Args:
            root: the results root; made if it does not exist.
            run: its run_id names the folder.
            cells: in the order of the plan.
            submission: what the caller needs to resume the run.

        Raises:
            RootNotWritableError: the root is not writable; nothing was written.
            RunExistsError: the name is taken.
            RunLockedError: another process is making this run.
            StorageError: the run_id is not allowed, or a row does not fit its schema.
        """
        backend = check_root(root)
        paths = run_paths(backend, run.run_id)
        lease = make_run(backend, paths, *rows_as_tables(run, cells), submission)
        with released_on_error(lease):
            return cls(backend, paths, lease)

    @classmethod
    def open(cls, root: Root, run_id: str) -> Self:
        """Take the lease of an existing run, to write to it.

        Raises: RunNotFoundError, RunLockedError, SchemaVersionError.
        """
        backend = existing_root(root)
        paths = run_paths(backend, run_id)
        lease = take_run(backend, paths)
        with released_on_error(lease), _failing_as(f"run {run_id} cannot be opened"):
            return cls(backend, paths, lease)

    def save_run(self, run: RunRow) -> None:
        """Replace the run's row.

        Raises: StorageError: it is of another run, or cannot be written.
        """
        run_table, _ = rows_as_tables(run, (), self.run.run_id)
        self._save("run", self._paths.run, run_table)
        self.run = run

    def save_submission(self, submission: Mapping[str, str]) -> None:
        """Replace the submission, which is kept for a resume.

        Raises: StorageError: it cannot be written.
        """
        self._check_open()
        with _failing_as(f"submission of run {self.run.run_id} cannot be saved"):
            self._paths.submission.publish(json.dumps(dict(submission)).encode())
        self.submission = dict(submission)

    def keep_grid(self, text: str) -> str:
        """Write the run's grid next to its rows, for a grid that is in no file of the user's.

        Returns: its path, or its URL on an object store.
        Raises: StorageError: it cannot be written.
        """
        self._check_open()
        with _failing_as(f"grid of run {self.run.run_id} cannot be written"):
            self._paths.grid.publish(text.encode())
        return str(self._paths.grid)

    def is_cancel_asked(self) -> bool:
        """Whether the run was asked to stop; cheap enough to check every second."""
        return self._paths.cancel.is_file()

    def forget_cancel(self) -> None:
        """Delete the request to stop, after the run has stopped or when it starts again.

        Raises: StorageError: the file system refuses.
        """
        with _failing_as(f"the request to stop run {self.run.run_id} cannot be deleted"):
            self._paths.cancel.delete()

    def save_cells(self, cells: Sequence[CellRow]) -> None:
        """Replace all cells of the run.

        Raises: StorageError: one is of another run, or they cannot be written.
        """
        _, cells_table = rows_as_tables(self.run, cells)
        self._save("cells", self._paths.cells, cells_table)
        self.cells = tuple(cells)

    def save_nodes(self, nodes: Sequence[NodeRow]) -> None:
        """Replace the nodes of the run.

        Raises: StorageError: one is of another run, or they cannot be written.
        """
        check_run_ids(self.run.run_id, nodes)
        self._save("nodes", self._paths.nodes, rows_to_table(NodeRow, nodes))
        self.nodes = tuple(nodes)

    def save_images(self, dataset_sha256: str, table: pa.Table) -> None:
        """Write the list of a data set's images, once per root: the digest identifies them.

        Raises: StorageError: the table is not of the schema `images`, or cannot be written.
        """
        backend = images_path(self._root, dataset_sha256)
        if backend.is_file():
            return
        check_table("images", table)
        with _failing_as(f"images of {dataset_sha256} cannot be written"):
            (self._root / "images").make_folder()
            publish_table(backend, table)

    def entries(self) -> tuple[CommitEntry, ...]:
        """List the committed entries."""
        return tuple(self._entries.values())

    def throttled_rounds(self) -> frozenset[tuple[str, int]]:
        """List the committed rounds (cell_id, round) that are throttled."""
        return read_snapshot(self._paths).throttled_rounds()

    def unanswered_images(self) -> Counter[tuple[str, int]]:
        """Count the images of each committed round (cell_id, round) whose logits are not finite.

        Raises: StorageError: rows are damaged, or cannot be read.
        """
        with _failing_as(f"rows of run {self.run.run_id} cannot be read"):
            return read_snapshot(self._paths).unanswered_images()

    def round_sums(self) -> RoundSums:
        """Sum the times of each committed round, throttled ones too.

        Raises: StorageError: rows are damaged, or cannot be read.
        """
        with _failing_as(f"rows of run {self.run.run_id} cannot be read"):
            return read_snapshot(self._paths).round_sums()

    def commit(self, entry: CommitEntry, tables: Mapping[str, pa.Table]) -> bool:
        """Commit the rows of one shard, all tables in one atomic step.

        Args:
            entry: its (cell_id, round, shard) may be committed once.
            tables: by name, with exactly their schemas; empty tables are left out.

        Returns: False, with nothing changed, if this shard is committed already: a task may run
            twice, and duplicates are normal.
        Raises: StorageError: a table is not of its schema, of another cell, or cannot be
            written; then nothing of this commit counts. A commit that counts although an error
            came afterwards, such as a lost answer of an object store, is reported as committed.
            RunLockedError: another driver took the run over; its commits count.
        """
        return self.commit_group([(entry, tables)]) == [True]

    def commit_group(
        self, shards: Sequence[tuple[CommitEntry, Mapping[str, pa.Table]]]
    ) -> list[bool]:
        """Commit the rows of several shards that arrived together, all in one atomic step.

        Their rows share files, and all are flushed to the disk together: that costs hardly more
        than a commit of one.

        Args:
            shards: entries and tables, as for `commit`.

        Returns: for each, whether it is committed now; False if it was before, or is twice in the
            group.
        Raises: as `commit`; then nothing of the group counts.
        """
        self._check_open()
        group: dict[CommitKey, tuple[CommitEntry, Mapping[str, pa.Table]]] = {}
        is_new = []
        for entry, tables in shards:
            check_shard(self.run.run_id, entry.cell_id, tables)
            is_new.append(entry.key not in self._entries and entry.key not in group)
            group.setdefault(entry.key, (entry, tables))
        for key in self._entries.keys() & group.keys():
            del group[key]
        if group:
            self._publish(group)
        return is_new

    def _publish(
        self, group: Mapping[CommitKey, tuple[CommitEntry, Mapping[str, pa.Table]]]
    ) -> None:
        entries = tuple(entry for entry, _ in group.values())
        what = f"shard {entries[0].key}"
        if len(entries) > 1:
            what = f"{len(entries)} shards from {entries[0].key} on"
        with _failing_as(f"{what} of run {self.run.run_id} cannot be committed"):
            names = self._claims.names(list(group))
            # A new name each time: a file that a crash left is orphaned, not overwritten.
            suffix = f"{names[0].removesuffix('.json')}.{uuid.uuid4().hex[:8]}"
            joined = join_shards(tables for _, tables in group.values())
            files, digests = write_row_files(self._paths, joined, suffix)
            self._lease.confirm()
            try:
                self._claims.publish(names, Manifest(entries, files, digests=digests))
            except FileExistsError as err:
                raise self._committed_by_another(what, digests) from err
        self._entries.update((entry.key, entry) for entry in entries)

    def add_power(self, table: pa.Table) -> None:
        """Add rows of `power` that arrived after their shards, all in one atomic step.

        Raises: StorageError: the table is not of the schema, of another run, or cannot be written;
            then none of it is visible.
        """
        self._check_open()
        check_late("power", self.run.run_id, table)
        suffix = uuid.uuid4().hex
        with _failing_as(f"power of run {self.run.run_id} cannot be added"):
            files, digests = write_row_files(self._paths, {"power": table}, suffix)
            self._lease.confirm()
            manifest = Manifest((), files, digests=digests)
            publish_manifest(self._paths, f"power-{suffix}.json", manifest)

    def replace_power(
        self,
        nodes: Collection[str],
        table: pa.Table,
        rounds: pa.Table | None = None,
        *,
        has_rails: bool = False,
    ) -> None:
        """Replace all readings of some nodes' total by rows of `power`, in one atomic step.

        The rows that mark the ends of a window stay.

        Args:
            nodes: those whose readings are dropped; none, if rows are only added.
            table: rows of `power`.
            rounds: rows of `rounds` that replace those of the same cell, round, node and start in
                the same step.
            has_rails: the readings of all rails of the nodes are dropped, not of the total alone.

        Raises: StorageError: as for `add_power`.
        """
        self._check_open()
        check_late("power", self.run.run_id, table)
        if rounds is not None:
            check_late("rounds", self.run.run_id, rounds)
        with _failing_as(f"power of run {self.run.run_id} cannot be replaced"):
            merge_run(
                self._paths,
                self._lease,
                power=(nodes, table),
                has_rails=has_rails,
                rounds=rounds,
            )

    def merge(self) -> None:
        """Merge the committed files into one sorted file per table, and summarise them.

        For a run that is merged already, only a missing or stale summary is made.

        Raises: StorageError: a step failed; the visible rows are unchanged.
        """
        self._check_open()
        with _failing_as(f"files of run {self.run.run_id} cannot be merged"):
            merge_run(self._paths, self._lease)

    def discard(self, cell_ids: Collection[str]) -> None:
        """Drop all rows of some cells in one atomic step; they may be committed again.

        Raises: StorageError: a step failed; the visible rows are unchanged.
        """
        self._check_open()
        with _failing_as(f"cells of run {self.run.run_id} cannot be dropped"):
            merge_run(self._paths, self._lease, without=cell_ids)
        self._read_entries()

    def seal(self) -> str:
        """Mark the run as unchanged until it is written again; see `storage.runs.history`.

        Returns: the name of the seal.
        Raises: StorageError: it cannot be written.
        """
        with _failing_as(f"run {self.run.run_id} cannot be sealed"):
            self._lease.confirm()
            name = seal(self._root, self.run.run_id)
        self._is_unsealed = False
        return name

    def close(self) -> None:
        """Release the lease; a second call does nothing."""
        self._lease.release()

    def __enter__(self) -> Self:
        """Return the store, whose lease is held already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lease."""
        self.close()

    def _committed_by_another(self, what: str, files: Iterable[str]) -> RunLockedError:
        """Delete our rows: a driver that lost the lease to us committed the same shard first."""
        self._paths.data.delete_all([self._paths.data / file for file in files])
        return RunLockedError(
            f"{what} of run {self.run.run_id} was committed by another driver just now; "
            "its rows count, these are dropped, and no row is duplicated"
        )

    def _read_entries(self) -> None:
        snapshot = read_snapshot(self._paths)
        self._entries = {entry.key: entry for entry in snapshot.entries()}
        self._claims = Claims(snapshot)

    def _save(self, what: str, backend: Backend, table: pa.Table) -> None:
        self._check_open()
        with _failing_as(f"{what} of run {self.run.run_id} cannot be saved"):
            self._lease.confirm()
            publish_table(backend, table)

    def _check_open(self) -> None:
        """Check before each change that the lease is held, and delete the run's seal once."""
        if not self._lease.is_held:
            raise StorageError(
                f"the store of run {self.run.run_id} is closed; open it again with RunStore.open"
            )
        if not self._is_unsealed:
            with _failing_as(f"run {self.run.run_id} cannot be changed"):
                unseal(self._root, self.run.run_id)
            self._is_unsealed = True


@contextlib.contextmanager
def _failing_as(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, duckdb.Error) as err:
        raise StorageError(f"{what}: {err}") from err
