"""Manifests: they decide which row files of a run count, and are published in one atomic step each.

A manifest is a small JSON file in `<run>/commits`. It names the shards that it commits, the data
files that hold their rows, and the manifests that it supersedes. A data file counts if a live
manifest names it, and a manifest is live if no other supersedes it. So a commit of several
tables, and a merge of a thousand commits, both happen in one step.

Two manifests that would make a row count twice can never both be published, even if locks fail: a
commit is named after its shard (of several shards, see `storage.runs.claims`), and a merge after
the number of merges before it, so the later of two writers finds the name taken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import re
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from storage.errors import DamagedError, StorageError
from storage.runs.layout import checked_name
from storage.tables.answers import ANSWERS, unanswered
from storage.tables.parquet import read_table
from storage.tables.round_times import (
    TIMED_COLUMNS,
    RoundSums,
    add_round_sums,
    sum_round_times,
)
from storage.tables.schemas import SCHEMA_VERSION, build_table, check_version, make_empty_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from storage.backends import Backend
    from storage.runs.layout import RunPaths

MERGED_PREFIX = "merged-"
_NUMBERED = re.compile(rf"{MERGED_PREFIX}g(\d+)\.json")

# Tries of a reader; one merge disturbs it once.
_ATTEMPTS = 100

CommitKey = tuple[str, int, int]
"""cell_id, round and shard."""


@dataclasses.dataclass(frozen=True)
class CommitEntry:
    """One committed shard of one cell and round.

    `rows` is the number of its images, `busy_s` the seconds that its worker spent on it,
    `committed_at` naive UTC. `load_s`, `build_s` and `first_answer_s` are the seconds that loading
    the model, building its engine, and both with the first batch took; None if the worker had them.
    The peaks are of its process and of what torch had handed out of its GPU; None if not known.
    """

    cell_id: str
    round: int
    shard: int
    node: str | None = None
    rows: int = 0
    busy_s: float | None = None
    committed_at: datetime | None = None
    note: str | None = None
    load_s: float | None = None
    build_s: float | None = None
    first_answer_s: float | None = None
    peak_process_bytes: int | None = None
    peak_device_bytes: int | None = None

    @property
    def key(self) -> CommitKey:
        """cell_id, round, shard; each key may be committed once."""
        return self.cell_id, self.round, self.shard


@dataclasses.dataclass(frozen=True)
class Summary:
    """Rows of views that stand for all rows of a run: file names in `<run>/data`, by view.

    `made_of` is a digest of all their inputs other than the rows that the same manifest names
    (storage.runs.summaries): if these inputs have changed, the summary does not count.
    """

    files: Mapping[str, str]
    made_of: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The content of a manifest file; `files` are names in `<run>/data`, by table.

    `digests` are SHA-256 in hex by file name; manifests before schema version 4 have none. One with
    `claimed_for` commits nothing: it holds a shard's name for the manifest of that name, which
    commits the shard with others (storage.runs.claims).
    """

    entries: tuple[CommitEntry, ...]
    files: Mapping[str, tuple[str, ...]]
    supersedes: tuple[str, ...] = ()
    digests: Mapping[str, str] = dataclasses.field(default_factory=dict)
    summary: Summary | None = None
    claimed_for: str | None = None

    def named(self) -> list[str]:
        """Return the names of all its data files."""
        rows = [name for names in self.files.values() for name in names]
        return [*rows, *(self.summary.files.values() if self.summary else ())]


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The live manifests of a run at one moment, by file name.

    `superseded` are manifest names that no longer count, even if a file reappears under them;
    `dead_files` are data files that only such manifests name.
    """

    paths: RunPaths
    manifests: dict[str, Manifest]
    superseded: frozenset[str] = frozenset()
    dead_files: frozenset[str] = frozenset()

    def files(self, table: str) -> list[Backend]:
        """List the live data files of a table."""
        return [
            self.paths.data / name
            for manifest in self.manifests.values()
            for name in manifest.files.get(table, ())
        ]

    @property
    def summary(self) -> Summary | None:
        """The summary of all rows; None unless a single manifest names all rows and a summary."""
        if len(self.manifests) != 1:
            return None
        (manifest,) = self.manifests.values()
        return manifest.summary

    def without_summary(self) -> Snapshot:
        """Return the same snapshot without its summary."""
        manifests = {
            name: dataclasses.replace(manifest, summary=None)
            for name, manifest in self.manifests.items()
        }
        return dataclasses.replace(self, manifests=manifests)

    @property
    def digests(self) -> dict[str, str]:
        """The known SHA-256 digests by file name."""
        return {
            name: digest
            for manifest in self.manifests.values()
            for name, digest in manifest.digests.items()
        }

    @property
    def unmerged_entries(self) -> list[CommitEntry]:
        """The entries in manifests; the entries of a merge are in its `commits` file instead."""
        return [entry for manifest in self.manifests.values() for entry in manifest.entries]

    def entries(self) -> tuple[CommitEntry, ...]:
        """List all committed entries, merged or not."""
        merged = [
            CommitEntry(**{name: value for name, value in row.items() if name != "run_id"})
            for backend in self.files("commits")
            for row in read_table(backend).to_pylist()
        ]
        return (*merged, *self.unmerged_entries)

    def throttled_rounds(self) -> frozenset[tuple[str, int]]:
        """List the throttled rounds (cell_id, round)."""
        return frozenset(
            (row["cell_id"], row["round"])
            for backend in self.files("rounds")
            for row in read_table(backend).to_pylist()
            if row["is_throttled"]
        )

    def unanswered_images(self) -> Counter[tuple[str, int]]:
        """Count the images of each round (cell_id, round) whose logits were not finite."""
        counts: Counter[tuple[str, int]] = Counter()
        for table, columns in ANSWERS.items():
            for backend in self.files(table):
                counts += unanswered(read_table(backend, columns))
        return counts

    def round_sums(self) -> RoundSums:
        """Sum the times of each round, throttled ones too."""
        sums: RoundSums = {}
        for table, columns in TIMED_COLUMNS.items():
            for backend in self.files(table):
                add_round_sums(sums, sum_round_times(table, read_table(backend, columns)))
        return sums


def candidate_names(key: CommitKey) -> Iterator[str]:
    """Yield the names that the manifest of a shard may have, the first that was never used counts.

    They are made from its key, so that a second commit finds the name taken; once the shard was
    dropped, with a number, since no name is used again.
    """
    cell_id, number, shard = key
    stem = f"{checked_name(cell_id, 'cell_id')}.{number}.{shard}"
    return itertools.chain([f"{stem}.json"], (f"{stem}.{n}.json" for n in itertools.count(1)))


def merge_name(snapshot: Snapshot) -> str:
    """Return the name of the next merge's manifest: two merges of one snapshot get the same name.

    Older merges have a random name instead of a number.
    """
    names = {*snapshot.manifests, *snapshot.superseded}
    numbers = [int(found[1]) for name in names if (found := _NUMBERED.fullmatch(name))]
    return f"{MERGED_PREFIX}g{max(numbers, default=0) + 1:06}.json"


def publish_manifest(paths: RunPaths, name: str, manifest: Manifest) -> None:
    """Publish a manifest in one step, so that its files count.

    Raises:
        FileExistsError: a manifest of that name exists already.
        OSError: it cannot be written, and does not count.
    """
    backend, content = paths.commits / name, manifest_bytes(manifest)
    try:
        backend.publish_new(content)
    except FileExistsError:
        raise
    except OSError:
        # The answer of a store was lost, or a disk could not undo a failed write: a manifest that
        # is there counts, and must not be reported as failed.
        if not _holds(backend, content):
            raise


def _holds(backend: Backend, content: bytes) -> bool:
    with contextlib.suppress(OSError):
        return backend.read() == content
    return False


def manifest_bytes(manifest: Manifest) -> bytes:
    """Serialise a manifest for its file."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "entries": [_entry_to_json(entry) for entry in manifest.entries],
        "files": dict(manifest.files),
        "supersedes": manifest.supersedes,
        "digests": dict(manifest.digests),
        "summary": manifest.summary and dataclasses.asdict(manifest.summary),
    }
    if manifest.claimed_for:
        content["claimed_for"] = manifest.claimed_for
    return json.dumps(content).encode()


def read_snapshot(paths: RunPaths) -> Snapshot:
    """Read the live manifests of a run, even while its driver commits or merges.

    A merge publishes its manifest and then deletes those it supersedes. A listing during a merge
    may miss both; so a listing counts only if no new merge has appeared once all was read.

    Raises:
        SchemaVersionError: a newer version wrote a manifest.
        DamagedError: a manifest is damaged, or names what another one names.
    """
    for _ in range(_ATTEMPTS):
        names = manifest_names(paths)
        try:
            manifests = _read_manifests([paths.commits / name for name in names])
        except FileNotFoundError:
            continue
        appeared = set(manifest_names(paths)).difference(names)
        if not any(name.startswith(MERGED_PREFIX) for name in appeared):
            break
    else:
        raise StorageError(
            f"the manifests in {paths.commits} kept changing while they were read; try again"
        )
    superseded = frozenset(name for each in manifests.values() for name in each.supersedes)
    live = {name: manifest for name, manifest in manifests.items() if name not in superseded}
    dead = [manifest for name, manifest in manifests.items() if name in superseded]
    for name, why in find_copies(live).items():
        where = paths.commits / name
        raise DamagedError(f"manifest {where} is damaged: it {why}: see `gfjobs fsck`")
    return Snapshot(paths, live, superseded, frozenset(_file_names(dead)))


def find_copies(live: Mapping[str, Manifest]) -> dict[str, str]:
    """Find live manifests that name a file or a shard which another one names.

    Such a one was copied by hand, and every row of it would count twice.

    Returns: why it must not count, by its name; of copies, the one counts that has a name of ours,
        then the one that names most.
    """

    def rank(name: str) -> tuple[bool, int, int, str]:
        starts = [f"{'.'.join(map(str, entry.key))}." for entry in live[name].entries]
        is_ours = name.startswith((MERGED_PREFIX, *starts))
        return not is_ours, -len(live[name].named()), len(name), name

    taken: dict[str | CommitKey, str] = {}
    found: dict[str, str] = {}
    for name in sorted(live, key=rank):
        named: list[str | CommitKey] = [
            *live[name].named(),
            *(entry.key for entry in live[name].entries),
        ]
        if others := [taken[each] for each in named if each in taken]:
            found[name] = f"names rows, and commits/{others[0]} names them too"
        else:
            taken |= dict.fromkeys(named, name)
    return found


def manifest_names(paths: RunPaths) -> list[str]:
    """List the names of all manifests, superseded ones too."""
    names = [backend.name for backend in paths.commits.children()]
    return [name for name in names if name.endswith(".json") and not name.startswith(".")]


def entries_to_table(run_id: str, entries: Sequence[CommitEntry]) -> pa.Table:
    """Turn entries of one run into rows of the table `commits`."""
    if not entries:  # as of all runs that are merged
        return make_empty_table("commits")
    columns: dict[str, object] = {
        field.name: [getattr(entry, field.name) for entry in entries]
        for field in dataclasses.fields(CommitEntry)
    }
    return build_table("commits", {**columns, "run_id": run_id})


def _entry_to_json(entry: CommitEntry) -> dict[str, Any]:
    content = dict(vars(entry))
    if entry.committed_at is not None:
        content["committed_at"] = entry.committed_at.isoformat()
    return content


def _entry_from_json(content: dict[str, Any]) -> CommitEntry:
    known = {field.name for field in dataclasses.fields(CommitEntry)}
    fields = {name: value for name, value in content.items() if name in known}
    if fields.get("committed_at") is not None:
        fields["committed_at"] = datetime.fromisoformat(fields["committed_at"])
    return CommitEntry(**fields)


def _file_names(manifests: Iterable[Manifest]) -> Iterator[str]:
    return (name for each in manifests for name in each.named())


def _read_manifests(backends: Sequence[Backend]) -> dict[str, Manifest]:
    contents = backends[0].read_all(backends) if backends else []
    return {
        backend.name: _parse_manifest(backend, content)
        for backend, content in zip(backends, contents, strict=True)
    }


def read_manifest(backend: Backend) -> Manifest:
    """Read one manifest; raises like `read_snapshot`, or FileNotFoundError."""
    return _parse_manifest(backend, backend.read())


def _parse_manifest(backend: Backend, text: bytes) -> Manifest:
    try:
        content = json.loads(text)
        check_version(content["schema_version"], str(backend))
        return Manifest(
            tuple(_entry_from_json(entry) for entry in content["entries"]),
            {table: bare_names(names) for table, names in content["files"].items()},
            tuple(content["supersedes"]),
            dict(content.get("digests", {})),
            _summary_from_json(content.get("summary")),
            content.get("claimed_for"),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise DamagedError(
            f"manifest {backend} is damaged ({type(err).__name__}: {err}); it was published whole, "
            "so something else wrote to it: `gfjobs fsck` says what can be repaired; else restore "
            "it, or remove the run with `gfjobs rm`"
        ) from err


def _summary_from_json(content: dict[str, Any] | None) -> Summary | None:
    if content is None:
        return None
    bare_names(content["files"].values())
    return Summary(dict(content["files"]), str(content["made_of"]))


def bare_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return file names, and refuse any that would point outside their folder."""
    checked = tuple(names)
    for name in checked:
        if "/" in name or name in {"", ".", ".."}:
            raise ValueError(f"{name!r} is not a bare file name")
    return checked
