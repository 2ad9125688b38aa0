"""Writes reports to files: the page of a run or a comparison, Markdown, or only the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import storage
from gfnet.atomic import replace_file
from jobs.common.errors import UsageError
from jobs.common.text import escape_controls
from jobs.report.markdown import markdown_report
from jobs.report.pair import PairReport
from jobs.report.read import Report

_WIDTH = 560  # pixels of a figure that stands alone
_EXTRA = ("altair", "vl_convert", "jinja2")
_PAGE, _MARKDOWN = (".html", ".htm"), (".md",)
_PRINTED = "for a PDF, write the page and print it from a browser"
_INSTEAD = {
    ".pdf": _PRINTED,
    ".md": "for Markdown add --markdown",
    ".html": "for the page leave out --markdown",
    ".htm": "for the page leave out --markdown",
    ".svg": "for the charts as SVG use --figures DIR",
}
_INSTEAD_OF_COMPARISON = {
    ".pdf": _PRINTED,
    ".csv": "for the figures as CSV use --format csv",
    ".json": "for the figures as JSON use --format json",
}


def check_extra(why: str, otherwise: str = "") -> None:
    """Check that the drawing packages are installed, before minutes of reading.

    Args:
        why: what needs them.
        otherwise: what does not, if there is such.

    Raises:
        UsageError: a package of the extra `report` is missing.
    """
    try:
        for name in _EXTRA:
            import_module(name)
    except ImportError as err:
        raise UsageError(
            f"{why} needs {err.name}: pip install 'gfjobs[report]'{otherwise and f'; {otherwise}'}"
        ) from err


def check_suffix(output: Path, *, is_markdown: bool) -> None:
    """Check that the output's suffix matches its format; a name without a suffix is allowed.

    Raises:
        UsageError: the suffix belongs to a different format.
    """
    allowed, what = (_MARKDOWN, "Markdown") if is_markdown else (_PAGE, "the page")
    _check_suffix(output, allowed, what, _INSTEAD)


def check_comparison(output: Path) -> None:
    """Check that the page of a comparison can be written there, before reading for long.

    Raises:
        UsageError: its suffix belongs to a different format, its folder is missing, or a package.
    """
    _check_suffix(output, _PAGE, "the page", _INSTEAD_OF_COMPARISON)
    check_extra("the page of a comparison", "without --html, `gfjobs compare` needs no extra")
    check_places(output, None)


def _check_suffix(
    output: Path, allowed: Sequence[str], what: str, instead: Mapping[str, str]
) -> None:
    suffix = output.suffix.lower()
    if suffix and suffix not in allowed:
        other = instead.get(suffix, "use that suffix or none")
        raise UsageError(f"{output}: {what} is written as {' or '.join(allowed)}; {other}")


def check_places(output: Path | None, figures: Path | None) -> None:
    """Check that the outputs can be written, before minutes of reading.

    The folder of figures is created if it is missing.

    Raises:
        UsageError: the page or the figures cannot be written there.
    """
    if output and not output.absolute().parent.is_dir():
        raise UsageError(f"{output} cannot be written: there is no folder {output.parent}")
    if figures:
        try:
            figures.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise UsageError(f"{figures} cannot be created: {err.strerror}") from err


def write_page(root: storage.Root, report: Report, path: Path) -> None:
    """Write the page in one step.

    Raises:
        UsageError: it cannot be written there.
    """
    from jobs.report.html.page import html_page

    _write(path, html_page(root, report).encode())


def write_comparison(root: storage.Root, pair: PairReport, path: Path) -> None:
    """Write the page of a comparison in one step.

    Raises:
        UsageError: it cannot be written there.
    """
    from jobs.report.html.comparison import comparison_page

    _write(path, comparison_page(root, pair).encode())


def write_markdown(report: Report, path: Path) -> None:
    """Write the Markdown document in one step.

    Raises:
        UsageError: it cannot be written there.
    """
    _write(path, escape_controls(markdown_report(report)).encode())


def write_figures(report: Report, folder: Path) -> list[Path]:
    """Write each figure as SVG into a folder.

    Returns: the written files.

    Raises:
        UsageError: a figure cannot be written.
    """
    import vl_convert

    from jobs.report.figures.collect import collect_figures
    from jobs.report.html.shell import VEGA_LITE

    written = []
    for number, setting in enumerate(report.settings, 1):
        for name, figure in collect_figures(report, setting, number).items():
            title = escape_controls(figure.title)
            spec = figure.spec | {"width": _WIDTH, "title": title, "background": "white"}
            svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)
            _write(folder / f"{name}.svg", svg.encode())
            written.append(folder / f"{name}.svg")
    return written


def _write(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as err:
        raise UsageError(f"{path} cannot be written: {err.strerror}") from err
