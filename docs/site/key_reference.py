"""The reference page of the keys of grids, recipes and schedules, from what their readers know."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from markdown_text import code, table

from jobs.grid import keys as grid
from jobs.nightly import schedule_keys as schedule
from jobs.training import recipe_keys as recipe

_HEADS = ("key", "required", "meaning")
_INTRODUCTION = """\
# Keys of files

Made from what the readers of these files know. An unknown key is refused, with those that are
allowed; all problems of a file are reported at once, each with its line and key.

"""
_GRID = """\
## Grid

The file of `gfjobs plan` and `gfjobs submit`: [Grids](../grids.md).

"""
_RECIPE = """\
## Recipe

The file of `gfjobs train`: [Train a ladder](../training.md). A baseline has a `model` or a `start`.

"""
_SCHEDULE = """\
## Schedule

The file of `gfjobs schedule add`: [Run sweeps every night](../nightly.md). Paths are relative to
its folder.

"""


def write_page() -> str:
    """Return the page: every key of every kind of file."""
    return "".join(
        (
            *(_INTRODUCTION, _GRID, _simple(grid.KEYS, grid.REQUIRED)),
            *(_below("Grid", grid.BELOW), _RECIPE, _by_stage(), _below("Recipe", recipe.BELOW)),
            *(_SCHEDULE, _simple(schedule.KEYS, schedule.REQUIRED)),
            _below("Schedule", schedule.BELOW),
        )
    )


def _simple(keys: Mapping[str, str], required: Collection[str]) -> str:
    rows = ((code(key), "yes" if key in required else "", text) for key, text in keys.items())
    return table(_HEADS, rows) + "\n"


def _by_stage() -> str:
    rows = (
        (code(key), _stages(key), "" if key in recipe.OPTIONAL else "yes", text)
        for key, text in recipe.KEYS.items()
    )
    return table(("key", "stages", *_HEADS[1:]), rows) + "\n"


def _stages(key: str) -> str:
    if key in recipe.COMMON:
        return "all"
    return ", ".join(code(stage) for stage, keys in recipe.OF_STAGE.items() if key in keys)


def _below(file: str, below: Mapping[str, Mapping[str, str]]) -> str:
    return "".join(
        f"### {file}: `{key}`\n\n"
        + table(_HEADS[::2], ((code(name), text) for name, text in keys.items()))
        + "\n"
        for key, keys in below.items()
    )
