"""Ends the program with a message if storage or gfnet is another package than gfjobs' own.

All commands need both. Without this, Python would end with a traceback about a missing name.
"""

from __future__ import annotations

from jobs.common.packages import find_foreign
from jobs.common.text import escape_controls, fold


def refuse_foreign_packages() -> None:
    """Check the packages before anything is imported from them.

    Raises:
        SystemExit: another package has the name of one; the exit code is 1.
    """
    lines = []
    for origin in find_foreign():
        found, remedy = origin.describe_foreign()
        lines.append(fold(escape_controls(found), start="gfjobs: ", indent="    "))
        lines.append(fold(remedy, start="    -> ", indent="       "))
    if lines:
        raise SystemExit("\n".join(lines))
