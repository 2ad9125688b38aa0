"""Running the checks: their time, what breaks them, who is not checked, and how it is shown."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import gfnet
from jobs.acceptance import accept as module
from jobs.acceptance.accept import GROUPS, Acceptance, accept, run_group
from jobs.acceptance.bench import Bench
from jobs.acceptance.check_result import FAIL, OK, SKIP, CheckResult, is_accepted
from jobs.acceptance.view import acceptance_json, acceptance_table, save_json
from jobs.cli import main
from jobs.common.errors import UsageError
from jobs.machine.devices import use_device

GOOD = CheckResult.judged("one", "1", "1", {"value": 1.0}, is_ok=True)
MACHINE = {"gpu": "NVIDIA X", "processor": "P", "torch": "2", "cuda": "13.0", "driver": None}
MACHINE |= {"architecture": "x86_64", "made_at": "2026-11-30T00:00:00Z"}


@pytest.fixture
def bench() -> Bench:
    """The processor; nothing runs on it."""
    return Bench(use_device("cpu"), ())


def test_all_checks_fit_into_eight_minutes() -> None:
    """With some seconds for loading torch."""
    assert sum(limit_s for _, _, limit_s in GROUPS) <= 470


def test_a_check_that_breaks_hides_no_other(bench: Bench) -> None:
    """What it had found stays, and it fails."""

    def breaking(_bench: Bench) -> Iterator[CheckResult]:
        yield GOOD
        raise RuntimeError("CUDA error:\n no kernel image")

    found = run_group("breaking", breaking, 9, bench)
    assert [result.verdict for result in found] == [OK, FAIL]
    assert found[1].reason == "RuntimeError: CUDA error: no kernel image"


def test_a_check_that_takes_too_long_is_ended(bench: Bench) -> None:
    """And fails: what was not shown in time was not shown; those after it have their own time."""

    def waiting(_bench: Bench) -> Iterator[CheckResult]:
        yield GOOD
        try:
            time.sleep(60)
        except Exception:  # noqa: BLE001 - a library between must not swallow it
            yield GOOD

    began_s = time.monotonic()
    found = run_group("waiting", waiting, 0.05, bench)
    assert time.monotonic() - began_s < 30
    assert [result.verdict for result in found] == [OK, FAIL]
    assert found[1].reason == "not done after 0.05 s"
    time.sleep(0.06)  # no alarm is left
    assert run_group("next", lambda _: iter([GOOD]), 9, bench)[0].verdict == OK


def test_a_skip_fails_nothing() -> None:
    """A fail does."""
    assert is_accepted([GOOD, CheckResult.skipped("two", "2", "no tool")])
    assert not is_accepted([GOOD, CheckResult.judged("three", "3", "4", is_ok=False)])


def test_engines_that_are_not_checked_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of gfnet.RUNTIMES, with how to check it; an unknown one is refused."""
    monkeypatch.setattr(module, "GROUPS", (("one", lambda _: iter([GOOD]), 9),))
    found = accept(lambda _: None, is_cpu=True, runtimes=("torch",)).results
    left_out = {result.name: result.reason for result in found if result.verdict == SKIP}
    assert set(left_out) == set(gfnet.RUNTIMES) - {"torch"}
    assert left_out["compile"] == ("it compiles for minutes on a processor: give --runtime compile")
    everything = accept(lambda _: None, is_cpu=True).results
    assert [result.name for result in everything] == ["compile", "one"]
    with pytest.raises(UsageError, match="runtime 'tensor' is unknown; known: torch"):
        accept(lambda _: None, is_cpu=True, runtimes=("tensor",))


def acceptance(*results: CheckResult, **machine: str | None) -> Acceptance:
    """One with these results."""
    return Acceptance(MACHINE | machine, results, 12.3)


def test_the_table_fits_a_terminal() -> None:
    """What was found, what is expected, and why something was skipped."""
    long = CheckResult.judged("a name", "words " * 30, "figures " * 30, is_ok=False)
    slow = replace(GOOD, name="slow", seconds=2.0)
    shown = [
        line
        for text in acceptance_table(
            acceptance(GOOD, slow, long, CheckResult.skipped("two", "2", "no tool"))
        )
        for line in text.splitlines()
    ]
    assert shown[0] == "NVIDIA X; torch 2, CUDA 13.0; 2026-11-30T00:00:00Z"
    assert "ok    one: 1" in shown
    assert "ok    slow: 1 (2 s)" in shown
    assert "      expected: 1" in shown
    assert "skip  two: no tool" in shown
    assert shown[-1] == "NOT accepted: 2 ok, 1 failed, 1 skipped, in 12 s"
    assert max(map(len, shown)) <= 80
    none = list(acceptance_table(acceptance(GOOD, gpu=None)))
    assert none[0].startswith("no GPU: P; ")
    assert none[-1].startswith("accepted: 1 ok")


def test_json_has_null_for_what_is_not_known(tmp_path: Path) -> None:
    """No dash, no NaN, no infinity."""
    odd = CheckResult.judged("x", "y", "z", {"a": math.nan, "b": math.inf, "c": None}, is_ok=False)
    save_json(acceptance(odd, CheckResult.skipped("two", "2", "no tool")), tmp_path / "a.json")
    read = json.loads((tmp_path / "a.json").read_text())
    assert read["is_accepted"] is False
    assert read["machine"]["driver"] is None
    assert read["checks"][0]["figures"] == {"a": None, "b": None, "c": None}
    assert (read["checks"][1]["found"], read["checks"][1]["reason"]) == (None, "no tool")
    assert "NaN" not in acceptance_json(acceptance(odd))


def gfjobs(*words: str) -> tuple[int, str, str]:
    """The exit code of a command, and what it said."""
    result = CliRunner().invoke(main, words)
    return result.exit_code, result.stdout, result.stderr


def test_without_a_gpu_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the exit code is 2: nothing was checked."""
    monkeypatch.setattr(module, "has_cuda", lambda: False)
    code, out, err = gfjobs("doctor", "--gpu")
    assert (code, out) == (2, "")
    assert err.startswith("gfjobs: no GPU: torch ")
    assert err.count("\n") == 1


def test_a_failed_check_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The table on stdout, progress on stderr, and the JSON in the file."""
    bad = CheckResult.judged("bad", "1", "2", is_ok=False)
    for result, expected in ((GOOD, 0), (bad, 1)):
        group = (("one", lambda _, each=result: iter([each]), 9),)
        monkeypatch.setattr(module, "GROUPS", group)
        file = tmp_path / "a.json"
        code, out, err = gfjobs("doctor", "--gpu", "--cpu", "--json", str(file))
        assert code == expected
        assert result.name in out
        assert "one: at most 36 s" in err  # 4 times as long as on a GPU
        assert json.loads(file.read_text())["is_accepted"] is (expected == 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cpu",), "belong to --gpu"),
        (("--json", "x"), "belong to --gpu"),
        (("--runtime", "torch"), "belong to --gpu"),
        (("--gpu", "--cpu", "--json", "gone/a.json"), "there is no folder gone; create it first"),
        (("--gpu", "--address", "10.0.0.1:6379"), "leave --address and --cluster out"),
    ],
)
def test_options_that_do_not_go_together(options: tuple[str, ...], said: str) -> None:
    """Exit code 2, and what to do."""
    code, out, err = gfjobs("doctor", *options)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
