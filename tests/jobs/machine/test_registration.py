"""What a node's processes inherit, and what is said of a value that no node has set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.cli import main
from jobs.common.errors import UsageError
from jobs.machine.registration import VARIABLE, Registration, read_registration

NODE = Registration("node-1", "cuda", {"orin": (0, 1)}, "NVIDIA Orin")
FIELDS = json.loads(NODE.text())


@pytest.fixture(autouse=True)
def _none_remembered() -> Iterator[None]:
    read_registration.cache_clear()
    yield
    read_registration.cache_clear()


def test_it_is_read_as_it_was_written() -> None:
    """With an accelerator and without."""
    assert Registration.read(NODE.text()) == NODE
    plain = Registration("node-2", "cpu", {"cpu": (0,)})
    assert Registration.read(plain.text()) == plain


WRONG: list[dict[str, Any]] = [
    {"name": 1},
    {"kind": "tpu"},
    {"accelerator": 3},
    {"devices": []},
    {"devices": {}},
    {"devices": {"orin": 3}},
    {"devices": {"orin": ["a"]}},
    {"devices": {"orin": [True]}},
    {"devices": {"orin": [-1]}},
    {"more": 1},
]
TEXTS = ["{", "5", '"x"', "[]", "{}", '{"devices": {}}', "[" * 100_000, "9" * 5000]


@pytest.mark.parametrize("text", [*TEXTS, *(json.dumps(FIELDS | wrong) for wrong in WRONG)])
def test_a_malformed_value_is_refused(text: str) -> None:
    """Each ended in a traceback of its own, or in devices that no torch knows."""
    with pytest.raises(UsageError, match=r"^\$GFJOBS_NODE is .* no registration of a node.*unset"):
        Registration.read(text)


def test_a_command_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was found, shortened."""
    monkeypatch.setenv(VARIABLE, '["' + "a" * 500)
    done = CliRunner().invoke(main, ["plan", "examples/quickstart.yaml"])
    assert done.exit_code == 2
    assert done.output.startswith("gfjobs: $GFJOBS_NODE is '[\"aaa")
    assert len(done.output.splitlines()) == 1
    assert len(done.output) < 400
