"""The remark that rows get whose node has another time of day than the driver."""

from __future__ import annotations

from dataclasses import replace

from jobs.plan.task import Outcome

CLOCK_TOLERANCE_S = 60.0
"""Between a node's clock and this machine's, before rows of its cells say so."""


def with_clock_remark(outcome: Outcome, now_s: float) -> Outcome:
    """Say so in the note where a node's clock is minutes off this machine's.

    Its latencies are right, being of a clock that nobody sets; its times of day are not.
    """
    if outcome.ended_s is None or abs(outcome.ended_s - now_s) < CLOCK_TOLERANCE_S:
        return outcome
    minutes = round(abs(outcome.ended_s - now_s) / 60)
    side = "ahead of" if outcome.ended_s > now_s else "behind"
    node = outcome.node.node if outcome.node else "its node"
    remark = f"the clock of {node} is {minutes} min {side} the driver's: started_at is by its own"
    return replace(outcome, note="; ".join(filter(None, (outcome.note, remark))))
