"""Claims: the names under which the shards of a run are committed, each of which is given once.

A shard that is committed alone has a manifest of its own, named after it. Shards that arrive
together have one manifest, named after the first of them, the *leader*; the others' names are
claimed before, by files that say for which leader and commit nothing. So all shards of a group are
there in one step, that of the leader's manifest, and a second writer finds each of their names
taken, even if locks fail.

A writer that dies in between leaves claims without a leader. Whoever commits such a shard later
first buries the leader: it takes its name with a manifest that commits nothing, so that the dead
writer, if it only slept, cannot publish it any more. Then the shard gets another name.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from storage.errors import RunLockedError
from storage.runs.manifests import (
    CommitKey,
    Manifest,
    candidate_names,
    manifest_bytes,
    publish_manifest,
    read_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.runs.manifests import Snapshot


class Claims:
    """The manifest names of a run's shards, as one writer knows them."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Read which names are spent, and which are claimed for leaders that never came."""
        self._paths = snapshot.paths
        empty = {
            name for name, each in snapshot.manifests.items() if not (each.entries or each.named())
        }
        self._spent = snapshot.superseded | empty
        known = {*snapshot.manifests, *snapshot.superseded}
        self._orphans = {
            name: each.claimed_for
            for name, each in snapshot.manifests.items()
            if each.claimed_for and each.claimed_for not in known
        }

    def names(self, keys: Sequence[CommitKey]) -> list[str]:
        """Return the name for each of these shards, which no writer has used as far as is known.

        Raises:
            RunLockedError: another driver has committed one of them meanwhile.
            OSError: a leader that never came cannot be buried.
        """
        for key in keys:
            self._bury_leader(key)
        return [self._free_name(key) for key in keys]

    def publish(self, names: Sequence[str], manifest: Manifest) -> None:
        """Publish a manifest for all shards of a group in one step; the first name is the leader's.

        Raises:
            FileExistsError: another driver has taken one of the names; nothing is committed.
            OSError: it cannot be written, and nothing is committed.
        """
        leader, *others = names
        try:
            if others:
                claim = manifest_bytes(Manifest((), {}, claimed_for=leader))
                self._paths.commits.publish_all_new(others, claim)
            publish_manifest(self._paths, leader, manifest)
        except OSError:
            # Some claims may be there, and stay: by deleting them we could hit another driver's.
            self._orphans |= dict.fromkeys(others, leader)
            self._spent |= set(others)
            raise

    def _free_name(self, key: CommitKey) -> str:
        return next(name for name in candidate_names(key) if name not in self._spent)

    def _bury_leader(self, key: CommitKey) -> None:
        """Make sure that a leader which claimed a shard and never came never will."""
        for name in itertools.takewhile(self._spent.__contains__, candidate_names(key)):
            leader = self._orphans.pop(name, None)
            if leader is None:
                continue
            try:
                publish_manifest(self._paths, leader, Manifest((), {}))
            except FileExistsError as err:
                found = read_manifest(self._paths.commits / leader)
                if key in {entry.key for entry in found.entries}:
                    raise RunLockedError(
                        f"shard {key} of run {self._paths.folder.name} was committed by another "
                        "driver just now; its rows count"
                    ) from err
            self._spent |= {leader}
