"""The folder of a site: what was made of which state of a run, and files that change whole."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import storage
from jobs.common.errors import UsageError

STATE_FILE = "site.json"
"""What the site was made of; a folder that has it is a site."""

_LOCK, _TEMPORARY = ".lock", ".tmp"


@dataclass
class MadeOf:
    """What a site was made of.

    Attributes:
        version: a digest of what makes pages: templates, scripts and code.
        runs: per run, the digest of the state that its pages show.
        whole: the runs whose pages have everything.
        damaged: the runs that could not be read.
        compared: the pairs of runs that have a page, the earlier first.
        shared: a digest of what the pages about all runs show.
    """

    version: str = ""
    runs: dict[str, str] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)
    compared: set[tuple[str, str]] = field(default_factory=set)
    shared: str = ""


class SiteFolder:
    """A folder that is written by one process at a time; use as a context.

    Files are replaced whole, so that a server or a browser never reads a torn one. They are not
    flushed to the disk: a site can be made again.
    """

    def __init__(self, path: Path) -> None:
        """Open a folder, which need not exist."""
        self.path = path
        self.written = 0
        self._folders: set[Path] = set()

    def check(self) -> None:
        """Check that the folder, which is made if it is missing, can be that of a site.

        Raises: UsageError: it cannot be written, or it holds other files.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            others = sorted(each.name for each in self.path.iterdir() if each.name != _LOCK)
        except OSError as err:
            raise UsageError(f"{self.path} cannot be written: {err.strerror}") from err
        if others and STATE_FILE not in others:
            raise UsageError(
                f"{self.path} holds other files, such as {others[0]}; name a new or empty folder,"
                " or one that `gfjobs site` has written"
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing the site.

        Raises: UsageError: it cannot be written, it holds other files, or another process is
            writing it.
        """
        self.check()
        try:
            handle = storage.take_lock(self.path / _LOCK)
        except storage.HeldError as err:
            raise UsageError(
                f"{self.path} is being written by {err}; try again when that has ended"
            ) from err
        except OSError as err:
            raise UsageError(f"{self.path} cannot be written: {err}") from err
        try:
            self._clear()
            if not (self.path / STATE_FILE).exists():
                self.save(MadeOf())  # or, interrupted now, it would hold other files
                self.written = 0  # it is written once more
            yield
        finally:
            os.close(handle)

    def made_of(self) -> MadeOf:
        """Read what the site was made of; of nothing, if it is new or that cannot be read."""
        try:
            content = json.loads((self.path / STATE_FILE).read_text(encoding="utf-8"))
            return MadeOf(
                str(content["version"]),
                dict(content["runs"]),
                set(content["whole_runs"]),
                set(content["damaged_runs"]),
                {(str(first), str(second)) for first, second in content["compared_runs"]},
                str(content["shared"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return MadeOf()

    def save(self, made_of: MadeOf) -> None:
        """Write what the site was made of."""
        content = {
            "version": made_of.version,
            "runs": dict(sorted(made_of.runs.items())),
            "whole_runs": sorted(made_of.whole),
            "damaged_runs": sorted(made_of.damaged),
            "compared_runs": sorted(made_of.compared),
            "shared": made_of.shared,
        }
        self.write(STATE_FILE, json.dumps(content, indent=0).encode())

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Write several files, as `write` does."""
        for name, content in files.items():
            self.write(name, content)

    def write(self, name: str, content: bytes) -> None:
        """Write a file, named by its path in the site; one with the same content is left alone.

        Raises: UsageError: it cannot be written.
        """
        path = self.path / PurePosixPath(name)
        try:
            if path.parent not in self._folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._folders.add(path.parent)
            if _holds(path, content):
                return
            temporary = path.with_name(f".{path.name}{_TEMPORARY}")
            temporary.write_bytes(content)
            temporary.replace(path)
        except OSError as err:
            raise UsageError(f"{path} cannot be written: {err.strerror}") from err
        self.written += 1

    def remove(self, pattern: str, keep: Collection[str] = ()) -> None:
        """Remove the files whose path in the site matches a pattern, except those to keep."""
        for path in self.path.glob(pattern):
            if path.relative_to(self.path).as_posix() not in keep:
                path.unlink(missing_ok=True)

    def _clear(self) -> None:
        """Remove what a process that was killed left half-written."""
        for path in self.path.rglob(f".*{_TEMPORARY}"):
            path.unlink(missing_ok=True)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except FileNotFoundError:
        return False
