"""What a shell offers where a command names a run, a model or a data set.

Read from the names and submissions of runs on this machine, within milliseconds: a TAB loads
neither torch, ray nor duckdb, asks nothing over a network, and is silent where something is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from storage import StorageError

LATEST = "latest"
ASKED_RUNS = 50
"""Of the runs, the last by name, whose models are offered where no run is named yet."""

# Others would need quoting, which shells do in as many ways as there are shells.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@/-]*")

Hint = Callable[[click.Context, click.Parameter, str], list[str]]


def run_hints(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """The runs of the results root, and `latest`."""
    return _plain([LATEST, *_runs(context)], begun)


def meaning_hints(what: str) -> Hint:
    """A hint: what of one kind the runs have that the command names.

    Args:
        what: the kind, as `jobs.runs.resolved_inputs` calls it: `model` or `data set`.
    """

    def hints(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
        known = _runs(context)
        # Where an option's value is still to come, click leaves the arguments unread.
        said = {*map(context.params.get, ("run", "run_a", "run_b")), *context.args}
        named = [run for run in known if run in said] or known[-ASKED_RUNS:]
        found = {name for run in named for name in _meant(context, run, what)}
        return _plain(sorted(found), begun)

    return hints


def schedule_hints(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """The schedules of the ledger, where there is one."""
    from jobs.common.errors import UsageError
    from jobs.nightly.ledger import Ledger

    path = context.params.get("ledger")
    if not isinstance(path, Path) or not path.is_file():
        return []
    try:
        with closing(Ledger(path)) as ledger:
            return _plain([entry.name for entry in ledger.schedules()], begun)
    except UsageError:
        return []


def folder_hints(
    _context: click.Context, _parameter: click.Parameter, begun: str
) -> list[CompletionItem[str]]:
    """Folders, which the shell itself knows."""
    return [CompletionItem(begun, type="dir")]


def _runs(context: click.Context) -> list[str]:
    import storage

    root = context.params.get("results")
    if not isinstance(root, Path):  # a URL of an object store
        return []
    try:
        return list(storage.run_names(root))
    except StorageError:
        return []


def _meant(context: click.Context, run: str, what: str) -> Iterator[str]:
    """Names of that kind in one run; none where a library wrote it, without a grid."""
    import json

    import storage

    try:
        text = storage.read_submission(context.params["results"], run).get("meanings", "{}")
        meanings = json.loads(text)
    except (StorageError, OSError, ValueError):
        return
    for key in meanings:
        if key.startswith(f"{what} "):
            yield key[len(what) + 1 :]


def _plain(names: list[str], begun: str) -> list[str]:
    return [name for name in names if name.startswith(begun) and _PLAIN.fullmatch(name)]
