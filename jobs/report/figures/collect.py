"""The charts of one setting of a run."""

from __future__ import annotations

from jobs.report.figures.exits import calibration_figure, exits_figure, latencies_figure
from jobs.report.figures.frontier import COSTS, frontier_figure
from jobs.report.figures.load import responses_figure, throughput_figure
from jobs.report.figures.nights import history_figures
from jobs.report.figures.rules import rules_figure
from jobs.report.figures.style import Figure
from jobs.report.read import Report, Setting, select_setting, setting_key


def collect_figures(report: Report, setting: Setting, number: int) -> dict[str, Figure]:
    """Draws the charts of one setting, by name; charts without data are left out.

    Args:
        report: the run's report.
        setting: one of its settings.
        number: the number of the setting, used in names.
    """
    drawn = (
        *(frontier_figure(report, setting, cost, number) for cost in COSTS),
        exits_figure(select_setting(report.histogram, setting), number),
        latencies_figure(select_setting(report.latencies, setting), report.models, number),
        calibration_figure(select_setting(report.calibration, setting), report.models, number),
        *(
            rules_figure(each.rules, f"exit-rules-{number}-{place}")
            for place, each in enumerate(report.passes, 1)
            if each.rules and setting_key(each.cell) == setting
        ),
        responses_figure(select_setting(report.served, setting), report.models, number),
        throughput_figure(select_setting(report.throughputs, setting), report.models, number),
        *history_figures(report, setting, number),
    )
    return {figure.name: figure for figure in drawn if figure}
