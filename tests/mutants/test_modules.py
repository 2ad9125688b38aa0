"""The table of modules, and the list of survivors: nothing in them is of files that are gone."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.mutants import sql
from tests.mutants.modules import MODULES

ROOT = Path(__file__).parents[2]
SURVIVORS = Path(__file__).with_name("survivors.yaml")


def test_modules_and_their_tests_are_there() -> None:
    """A renamed file is renamed in the table too."""
    for module, own in MODULES.items():
        assert (ROOT / module).is_file(), module
        assert (ROOT / own.tests).is_file(), own.tests


def test_every_survivor_has_a_reason() -> None:
    """Of a module in the table, and each is listed once."""
    for module, groups in yaml.safe_load(SURVIVORS.read_text()).items():
        assert module in MODULES
        assert all(len(group["reason"]) > 20 for group in groups)
        mutants = [mutant for group in groups for mutant in group["mutants"]]
        assert len(mutants) == len(set(mutants))


def test_every_mutant_of_a_query_can_be_made() -> None:
    """The text that each replaces stands in its query once: else nothing of it would be tried."""
    assert sum(len(query.mutants) for query in sql.queries()) > 400
