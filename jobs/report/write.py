"""Writes a run's report to files: an HTML page, a Markdown document, or only the figures."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import storage
from gfnet.atomic import replace_file
from jobs.common.errors import UsageError
from jobs.common.text import escape_controls
from jobs.report.markdown import markdown_report
from jobs.report.read import Report

_WIDTH = 560  # pixels of a figure that stands alone
_EXTRA = ("altair", "vl_convert", "jinja2")
_PAGE, _MARKDOWN = (".html", ".htm"), (".md",)
_INSTEAD = {
    ".pdf": "for a PDF, write the page and print it from a browser",
    ".md": "for Markdown add --markdown",
    ".html": "for the page leave out --markdown",
    ".htm": "for the page leave out --markdown",
    ".svg": "for the charts as SVG use --figures DIR",
}


def check_extra(why: str) -> None:
    """Check that the drawing packages are installed, before minutes of reading.

    Raises:
        UsageError: a package of the extra `report` is missing.
    """
    try:
        for name in _EXTRA:
            import_module(name)
    except ImportError as err:
        raise UsageError(
            f"{why} needs {err.name}: pip install 'gfjobs[report]'; --markdown needs no extra"
        ) from err


def check_suffix(output: Path, *, is_markdown: bool) -> None:
    """Check that the output's suffix matches its format; a name without a suffix is allowed.

    Raises:
        UsageError: the suffix belongs to a different format.
    """
    allowed = _MARKDOWN if is_markdown else _PAGE
    suffix = output.suffix.lower()
    if suffix and suffix not in allowed:
        what = "Markdown" if is_markdown else "the page"
        instead = _INSTEAD.get(suffix, "use that suffix or none")
        raise UsageError(f"{output}: {what} is written as {' or '.join(allowed)}; {instead}")


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
