"""Shell completion of arguments that name a run, a model, a data set or a schedule.

Names come from the runs on this machine and their submissions, within milliseconds: a TAB loads
neither torch, ray nor duckdb, makes no network request, and offers nothing if something is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from storage import StorageError

LATEST = "latest"
DATASETS = ("digits", "cifar10", "cifar100")
"""The data sets without a path or $GFJOBS_DATA: what `storage` says, which would load pyarrow."""

ASKED_RUNS = 50
"""How many runs, the last by name, offer their models if the command names no run yet."""

# Other names would need quoting, which differs from shell to shell.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@/-]*")

Hint = Callable[[click.Context, click.Parameter, str], list[str]]


def run_hints(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Complete the runs of the results root, and `latest`."""
    return _plain([LATEST, *_runs(context)], begun)


def meaning_hints(what: str) -> Hint:
    """Make a completion of the models or data sets of the runs that the command names.

    Args:
        what: the kind, as `jobs.runs.resolved_inputs` calls it: `model` or `data set`.
    """

    def hints(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
        known = _runs(context)
        # While an option's value is still missing, click leaves the arguments unread.
        said = {*map(context.params.get, ("run", "run_a", "run_b")), *context.args}
        named = [run for run in known if run in said] or known[-ASKED_RUNS:]
        found = {name for run in named for name in _meant(context, run, what)}
        return _plain(sorted(found), begun)

    return hints


def schedule_hints(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Complete the schedules of the ledger, if there is one."""
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


def checkpoint_hints(
    _context: click.Context, _parameter: click.Parameter, begun: str
) -> list[CompletionItem[str]]:
    """Complete the bundled checkpoints, and files."""
    import gfnet

    return _plain_or_file(gfnet.bundled(), begun)


def data_hints(
    _context: click.Context, _parameter: click.Parameter, begun: str
) -> list[CompletionItem[str]]:
    """Complete the data sets that gfjobs knows by name, and files."""
    return _plain_or_file(DATASETS, begun)


def folder_hints(
    _context: click.Context, _parameter: click.Parameter, begun: str
) -> list[CompletionItem[str]]:
    """Let the shell complete folders."""
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
    """Yield the names of that kind in one run; none if a library wrote it, without a grid."""
    import json

    import storage

    try:
        text = storage.read_submission(context.params["results"], run).get("meanings", "{}")
        meanings = json.loads(text)
    except (StorageError, OSError, ValueError):
        return
    for key in meanings if isinstance(meanings, dict) else ():
        if key.startswith(f"{what} "):
            yield key[len(what) + 1 :]


def _plain_or_file(names: Iterable[str], begun: str) -> list[CompletionItem[str]]:
    """Offer names; where none begins so, the shell's own files."""
    found = _plain([*names], begun)
    return [*map(CompletionItem, found)] or [CompletionItem(begun, type="file")]


def _plain(names: list[str], begun: str) -> list[str]:
    return [name for name in names if name.startswith(begun) and _PLAIN.fullmatch(name)]
