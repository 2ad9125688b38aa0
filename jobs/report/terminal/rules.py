"""The exit rules of a model for the terminal: a text chart, a table, and one line that judges."""

from __future__ import annotations

from jobs.analysis.thresholds.exit_rules import RuleComparison, judge_gate
from jobs.common.formatting import format_fixed
from jobs.common.tables import text_table
from jobs.common.text import fold, format_paragraphs
from jobs.common.text_chart import character_chart

_LISTED = 6
"""Mean blocks in the table."""


def draw_rules(rules: RuleComparison) -> str:
    """Formats the rules of one all-exit pass: the accuracy of each at equal mean blocks."""
    heading = f"{fold(rules.title)}\nexit rules: acc@1, percent, by mean blocks"
    rows = [[format_fixed(value, 2) for value in row] for row in rules.evenly(_LISTED)]
    table = text_table(("blocks", *rules.curves), rows)
    said = format_paragraphs([f"– {judge_gate(rules)}"])
    return f"{heading}\n\n{character_chart(rules.lines(), 'blocks', 'acc@1')}\n\n{table}\n{said}"
