"""Drivers that are killed, interrupted, doubled."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter

from faults.bench import RUN, Bench, Run, environment, until
from faults.scenario import Scenario

import storage
from jobs.common.yaml_document import Document
from jobs.driver.looks import end_known_rounds
from jobs.machine.registration import VARIABLE, Registration
from jobs.plan.plan import plan_document


def _until_done(bench: Bench, run: Run, wound: str = "") -> None:
    """Resume until a driver lives long enough; each gets a wound of its own."""
    wounded = run.submit("--inline", wound=wound)
    code, said = wounded.end()
    assert code == -signal.SIGKILL, f"the driver was to die: {code} {said}"
    began_s = time.monotonic()
    run.injected()
    run.finish("--inline")
    bench.tally.recoveries_s.append(time.monotonic() - began_s)
    run.compare()


def killed(bench: Bench, times: int) -> None:
    """At random moments, on and on; a run that gets through makes way for another."""
    whole_s = bench.whole().seconds
    run, started = bench.run(), None
    while bench.tally.times < times:
        started = run.resume("--inline")
        began_s = time.monotonic()
        time.sleep(bench.random.random() * whole_s)
        started.signal(signal.SIGKILL)
        code, said = started.end()
        assert code in (-signal.SIGKILL, 0), said
        if code == 0:
            run.compare()
            run = bench.run()
            continue
        run.injected()
        bench.tally.recoveries_s.append(0.0)
        started = run.resume("--inline")
        before, began_s = run.commits(), time.monotonic()
        until(
            lambda at=before, r=run, s=started: r.commits() != at or not s.process.is_alive(),
            "a commit",
        )
        bench.tally.recoveries_s[-1] = time.monotonic() - began_s
        started.signal(signal.SIGKILL)
        code, said = started.end()
        if code:
            bench.tally.times += 1
    run.finish("--inline")
    run.compare()


UNTIL = "rounds: {min: 3, max: 12}, until: 25%"
"""Rounds that end when figures are known, somewhere on the way: timings are real."""


def killed_until_known(bench: Bench, times: int) -> None:
    """Before a look or after it; what ended the rounds is what the rows of the whole run say."""
    fixed = re.sub(r"rounds: \d+", "rounds: 12", bench.grid)
    while bench.tally.times < times:
        run = bench.run(re.sub(r"rounds: \d+", UNTIL, bench.grid))
        started = run.submit("--inline")
        most = 3 + bench.random.randrange(9)
        until(lambda at=most, r=run: r.commits() >= at or r.status() == "done", "commits")
        started.signal(signal.SIGKILL)
        code, said = started.end()
        assert code in (-signal.SIGKILL, 0), said
        began_s = time.monotonic()
        run.finish("--inline")
        bench.tally.recoveries_s.append(time.monotonic() - began_s)
        run.injected(int(code != 0))
        ended = {cell["rounds"] for cell in run.cells() if cell["until_pct"] is not None}
        assert len(ended) == 1, f"cells that are compared ran {ended} rounds"
        plan = plan_document(Document.read(run.grid), run.folder, None)
        with storage.RunStore.open(run.root, RUN) as store:
            known = end_known_rounds(plan, store)
        assert {cell.rounds for cell in known.cells if cell.until} == ended
        run.text = fixed  # of an undisturbed run with all rounds these are the first ones
        (rounds,) = ended
        run.compare(lambda row, most=rounds: row[0] != "records" or row[5] < most)


def killed_in_commit(bench: Bench, times: int) -> None:
    """At a random file operation of one of its first commits."""
    for _ in range(times):
        seed = bench.random.randrange(10**9)
        _until_done(bench, bench.run(), wound=f"die-in:commit_group:{seed}")


def killed_in_merge(bench: Bench, times: int) -> None:
    """At a random file operation, or some milliseconds into one."""
    for _ in range(times):
        seed = bench.random.randrange(10**9)
        _until_done(bench, bench.run(), wound=f"die-in:merge:{seed}")


def killed_on_ray(bench: Bench, times: int) -> None:
    """With workers at work, which must end too."""
    run = bench.run()
    bench.whole()
    for _ in range(times):
        started = run.resume()
        most = run.commits() + bench.random.randrange(1, 4)
        until(lambda at=most: run.commits() >= at or run.status() == "done", "commits")
        workers = started.below()
        os.kill(started.pid, signal.SIGKILL)
        started.end()
        works = [each for each in workers if "gent" not in " ".join(_words(each))]
        until(lambda all_=works: not any(each.is_running() for each in all_), "workers to end", 60)
        run.injected()
        if run.status() == "done":
            break
    began_s = time.monotonic()
    started = run.resume()
    if run.status() != "done":
        run.recovers(began_s)
    code, said = started.end()
    assert code == 0, said
    run.compare()


def _words(process: object) -> list[str]:
    import psutil

    try:
        words: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return words


LOADED = """\
name: loaded
models: [digits-gfnet, digits-dynn]
datasets: [{name: digits, limit: 20}]
thresholds: [0.5]
threads: [1]
batch_sizes: {throughput: [4]}
measure: [throughput, serving]
latency: {rounds: 2, warmup_images: 4}
serving: {arrivals: [8], seconds: 4}
"""


def killed_while_serving(bench: Bench, times: int) -> None:
    """While requests arrive: the round is asked again at the same moments, each request once.

    A run that gets through makes way for another.
    """
    while bench.tally.times < times:
        run = bench.run(LOADED)
        started = run.submit("--inline")
        run.until_commits(bench.random.randrange(3))
        time.sleep(bench.random.random() * 4)
        started.signal(signal.SIGKILL)
        code, said = started.end()
        assert code in (-signal.SIGKILL, 0), said
        began_s = time.monotonic()
        if code == 0:
            run.compare()
            continue
        run.injected()
        run.finish("--inline")
        bench.tally.recoveries_s.append(time.monotonic() - began_s)
        run.compare()


def two_drivers(bench: Bench, times: int) -> None:
    """The second is told who has the run, and ends at once."""
    for _ in range(times):
        run = bench.run()
        first = run.submit("--inline")
        run.until_commits(1)
        os.kill(first.pid, signal.SIGSTOP)  # so that it is surely there
        code, said = run.resume("--inline").end()
        os.kill(first.pid, signal.SIGCONT)
        assert code == 2, said
        assert f"process {first.pid}" in said, said
        run.injected()
        began_s = time.monotonic()
        run.recovers(began_s)
        code, said = first.end()
        assert code == 0, said
        run.compare()


def interrupted(bench: Bench, times: int) -> None:
    """Ctrl-C: what is committed is kept, and the way on is named."""
    for number in range(times):
        _interrupt(bench, ["--inline"], twice=False, commits=2 + number % 5)


def interrupted_twice(bench: Bench, times: int) -> None:
    """A second Ctrl-C on the heels of the first, with Ray to end."""
    for number in range(times):
        _interrupt(bench, [], twice=True, commits=2 + number % 5)


def _interrupt(bench: Bench, options: list[str], *, twice: bool, commits: int) -> None:
    run = bench.run()
    started = run.submit(*options)
    run.until_commits(commits)
    started.signal(signal.SIGINT)
    if twice:
        time.sleep(bench.random.random() * 0.3)
        started.signal(signal.SIGINT)
    code, said = started.end()
    assert code != 0, said
    assert "Traceback" not in said, said
    assert twice or "gfjobs resume" in said, said
    run.injected(2 if twice else 1)
    assert not storage.is_locked(run.root, "r")
    began_s = time.monotonic()
    started = run.resume(*options)
    run.recovers(began_s)
    code, said = started.end()
    assert code == 0, said
    run.compare()


def borrowing(bench: Bench, times: int) -> None:
    """A driver is killed while a device borrows its accuracy; and the lender is not there at first.

    Both devices are this machine's processor, registered under two names.
    """
    laptop = Registration("laptop", "cpu", {"fast": (0,), "slow": (0,)})
    grid = f"{bench.grid}devices: [slow]\naccuracy: {{borrow: fast, sample: 10}}\n"
    with environment(**{VARIABLE: laptop.text()}):
        whole = bench.run(grid)
        whole.finish("--inline")
        expected = _by_device(whole)
        for number in range(times):
            run = bench.run(grid)
            if number % 2:
                _kill_soon(bench, run)
            else:
                _lose_lender(run)
            run.injected()
            began_s = time.monotonic()
            run.finish("--inline")
            bench.tally.recoveries_s.append(time.monotonic() - began_s)
            found = _by_device(run)
            bench.tally.expected += expected.total()
            bench.tally.lost += (expected - found).total()
            bench.tally.doubled += (found - expected).total()


def _kill_soon(bench: Bench, run: Run) -> None:
    started = run.submit("--inline")
    run.until_commits(bench.random.randrange(1, 5))
    started.signal(signal.SIGKILL)
    code, said = started.end()
    assert code == -signal.SIGKILL, f"the driver was to die: {code} {said}"


def _lose_lender(run: Run) -> None:
    """Its tasks fail: nothing is borrowed, for a reason that is told, and the rest is there."""
    code, said = run.submit("--inline", wound="lose-device:fast").end()
    assert code == 1, said
    rows = storage.query(run.root, "select acc1, samples, note from ladder where device = 'slow'")
    for row in rows.to_pylist():
        assert row["acc1"] is None, row
        assert row["samples"] > 0, row
        assert "not borrowed: fast has not answered all images" in row["note"], row


def _by_device(run: Run) -> Counter[tuple[object, ...]]:
    """Every answer with its device, and what the ladder makes of them."""
    found: Counter[tuple[object, ...]] = Counter()
    for query in (
        "select device, model, image_id, exit_block, prediction, gate_score from exits",
        "select device, model, threshold, round, image_id, exit_block, prediction from records",
        "select device, model, threshold, acc1, accuracy_from, acc1_bound_points from ladder",
    ):
        rows = storage.query(run.root, query).to_pylist()
        found.update(tuple(row.values()) for row in rows)
    return found


SCENARIOS = (
    Scenario("driver-killed", "driver killed, random moments", killed, times=50, quick=1),
    Scenario("commit-killed", "driver killed in a commit", killed_in_commit, times=30, quick=1),
    Scenario("merge-killed", "driver killed in a merge", killed_in_merge, times=30, quick=1),
    Scenario("until-killed", "driver killed, until known", killed_until_known, times=20, quick=1),
    Scenario(
        "serving-killed", "driver killed while serving", killed_while_serving, times=6, quick=1
    ),
    Scenario("two-drivers", "two drivers on one run", two_drivers, times=3),
    Scenario("ctrl-c", "Ctrl-C once", interrupted, times=5),
    Scenario("ctrl-c-twice", "Ctrl-C twice, on Ray", interrupted_twice, times=4),
    Scenario("borrowing", "lender lost, borrower killed", borrowing, times=8, quick=2),
    Scenario("driver-killed-ray", "driver killed, on Ray", killed_on_ray, times=4),
)
