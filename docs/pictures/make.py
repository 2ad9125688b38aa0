"""Takes the pictures of the README from real runs: `make pictures`.

What a terminal was sent is shown in a browser, as the report is. It needs a Chromium.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from html import escape
from pathlib import Path

from PIL import Image

from tests.integration.browser import Page, browser

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
COLUMNS, ROWS = 80, 50
COLOURS = 128
"""Of a picture: text and charts have few."""

REPORT_WIDTH = 900
TERMINAL_WIDTH = 760

_FIRST_CHARTS = "document.querySelector('.charts').getBoundingClientRect().bottom"
"""Where the first charts end, in pixels from the top of the page."""

_LIVE = re.compile(r"\x1b\[\?25l.*?\x1b\[\?25h(?:\r|\x1b\[1A|\x1b\[2K)*", re.DOTALL)
"""The live view of a run, which is removed when the run ends."""

_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TERMINAL = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #fff }}
figure {{ margin: 0; padding: 14px 20px 18px; background: #16191f; color: #dfe3ea; width: 720px }}
pre {{ margin: 0; font: 14px/1.3 "DejaVu Sans Mono", monospace }}
b {{ color: #8fd0a8; font-weight: normal }}
</style><figure><pre><b>$</b> {command}
{text}</pre></figure>
"""


def main() -> None:
    """Run two grids, and take both pictures."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        root, page_file = Path(folder) / "results", Path(folder) / "terminal.html"
        shown = ["gfjobs", "submit", "examples/quickstart.yaml"]
        text = _run_in_terminal([*shown, "--results", str(root), "--run", "digits"])
        page_file.write_text(
            _TERMINAL.format(command=escape(" ".join(shown)), text=escape(_finished(text))),
            encoding="utf-8",
        )
        report = Path(folder) / "report.html"
        grid = "examples/thresholds.yaml"
        _run("submit", grid, "--results", str(root), "--run", "thresholds")
        _run("report", "thresholds", "--results", str(root), "-o", str(report))
        with browser(Path(folder) / "profile") as page:
            page.resize(REPORT_WIDTH)
            page.open(report)
            _save(page, "report", REPORT_WIDTH, int(page.run(_FIRST_CHARTS)) + 16)
            page.resize(TERMINAL_WIDTH, 100)
            page.open(page_file)
            height = page.run("document.querySelector('figure').offsetHeight")
            _save(page, "terminal", TERMINAL_WIDTH, height)


def _run(*arguments: str) -> None:
    subprocess.run(["gfjobs", *arguments], cwd=REPOSITORY, check=True, capture_output=True)


def _run_in_terminal(command: list[str]) -> str:
    """Run a command on a terminal of COLUMNS; all that it was sent.

    Raises:
        CalledProcessError: the command failed.
    """
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    sent = b""
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=terminal, stdout=terminal, stderr=terminal
    ) as process:
        os.close(terminal)
        with contextlib.suppress(OSError):  # the command has ended
            while part := os.read(reader, 1 << 16):
                sent += part
    os.close(reader)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, sent)
    return sent.decode()


def _finished(sent: str) -> str:
    """What stands on a terminal in the end, up to where the rows are."""
    text = _SEQUENCE.sub("", _LIVE.sub("", sent)).replace("\r\n", "\n")
    return text.partition("\nrows: ")[0].rstrip("\n") + "\n"


def _save(page: Page, name: str, width: int, height: int) -> None:
    """Keep the upper part of a page, in few colours."""
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    answer = page.call(
        "Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True
    )
    picture = Image.open(io.BytesIO(base64.b64decode(answer["data"]))).convert("RGB")
    few = picture.quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(HERE / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
