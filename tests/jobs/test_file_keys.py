"""Keys of grids, recipes and schedules: each has a description, and its page names it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from gfnet.training.settings import Augmentation, HoldOut, Teaching
from jobs.grid import keys as grid
from jobs.grid.grid import LatencyProtocol
from jobs.machine.power.protocol import EnergyProtocol
from jobs.nightly import schedule_keys as schedule
from jobs.training import recipe_keys as recipe

DOCS = Path(__file__).parents[2] / "docs"
FILES = {"grids.md": grid, "training.md": recipe, "nightly.md": schedule}
MAPPINGS: dict[str, Mapping[str, str]] = {
    **{page: each.KEYS for page, each in FILES.items()},
    **{f"{page} {key}": keys for page, each in FILES.items() for key, keys in each.BELOW.items()},
}


@pytest.mark.parametrize("name", MAPPINGS)
def test_every_key_is_described(name: str) -> None:
    """In sentences, one line of a table."""
    for key, text in MAPPINGS[name].items():
        assert text.strip(), key
        assert text.endswith("."), f"{key}: {text}"
        assert not re.search(r"\n|\||  ", text), f"{key}: {text}"


@pytest.mark.parametrize("page", FILES)
def test_every_key_stands_in_the_page_of_its_file(page: str) -> None:
    """A reader of the page alone, on a code host, learns of each."""
    text = (DOCS / page).read_text()
    known = {*FILES[page].KEYS, *(key for keys in FILES[page].BELOW.values() for key in keys)}
    assert {key for key in known if not re.search(rf"\b{key}\b", text)} == set()


def test_keys_of_mappings_are_those_of_a_key() -> None:
    """No description of a key that is gone."""
    for file in FILES.values():
        assert set(file.BELOW) <= set(file.KEYS)


def test_every_key_of_a_recipe_is_of_some_stage() -> None:
    """And every key of a stage is described."""
    staged = {key for keys in recipe.OF_STAGE.values() for key in keys}
    assert {*recipe.COMMON, *staged} == set(recipe.KEYS)
    assert set(recipe.OPTIONAL) <= set(recipe.KEYS)


@pytest.mark.parametrize(
    ("keys", "settings"),
    [
        (recipe.BELOW["augmentation"], Augmentation),
        (recipe.BELOW["validation"], HoldOut),
        (recipe.BELOW["teaching"], Teaching),
        (grid.BELOW["latency"], LatencyProtocol),
        (grid.BELOW["energy"], EnergyProtocol),
    ],
)
def test_each_setting_has_a_key(keys: Mapping[str, str], settings: type) -> None:
    """A new field of these records is a key of the file."""
    assert set(keys) == {field.name for field in fields(settings)}
