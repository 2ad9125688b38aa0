"""Charts of exit rules: the accuracy of each at equal mean blocks."""

from __future__ import annotations

import altair as alt

from jobs.analysis.thresholds.exit_rules import RuleComparison, judge_gate
from jobs.common.formatting import format_fixed
from jobs.report.figures.style import HEIGHT, Figure, finish_chart, make_chart, make_legend

_LISTED = 6  # levels in the table


def rules_figure(rules: RuleComparison, name: str) -> Figure:
    """Draws the rules of one all-exit pass, a line each; the title judges the gate."""
    lines = rules.lines()
    points = [
        {"rule": rule, "mean_blocks": mean_blocks, "acc1": acc1}
        for rule, line in lines.items()
        for mean_blocks, acc1 in line
    ]
    chart = (
        make_chart(points)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("mean_blocks:Q", title="mean blocks", scale=alt.Scale(zero=False)),
            y=alt.Y("acc1:Q", title="acc@1, percent", scale=alt.Scale(zero=False)),
            color=alt.Color(
                "rule:N", title=None, sort=list(lines), legend=make_legend(list(lines))
            ),
            order=alt.Order("mean_blocks:Q"),
            tooltip=[alt.Tooltip(f"{each}:N") for each in ("rule", "mean_blocks", "acc1")],
        )
    )
    verdict = judge_gate(rules)
    levels = rules.evenly(_LISTED)
    return Figure(
        name=name,
        title=f"Exit rules of {rules.cell['model']}: {verdict}",
        alternative=f"Accuracy by mean blocks under {', '.join(lines)}. {verdict}.",
        spec=finish_chart(chart, HEIGHT),
        columns=("blocks", *lines),
        rows=[[format_fixed(value, 2) for value in row] for row in levels],
    )
