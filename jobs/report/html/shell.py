"""What all pages have in common: how a page holds its style, scripts and data, and its templates.

A page stands alone (everything is in it, and nothing is fetched), or in a site of pages that share
their assets. Either way its content security policy allows exactly that.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from typing import Any

import altair as alt
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from gfnet.runtimes.kept import kept
from jobs.common.formatting import Row, format_duration, format_threshold
from jobs.common.tables import format_value
from jobs.common.text import escape_controls
from jobs.report.figures.style import Doubtful

VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
"""The version of Vega-Lite that Altair writes."""

VEGA = "vega.js"
"""The name, as a script of a page, of Vega, Vega-Lite and Vega-Embed."""

BASIC_SCRIPTS = ("permalink.js", "data.js", "tables.js")
"""What every page runs first: its address, its data, its tables."""

SITE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'"
)
"""The content security policy of the pages of a site."""

_AS_THEY_ARE = frozenset((int, bool, type(None)))
_STYLE = "pages.css"
_ASSETS = "assets"
_QUOTED = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Held:
    """How a page holds its parts.

    Attributes:
        to_root: the way from the page's folder to that of the site, such as `../`; None if the
            page stands alone.
    """

    to_root: str | None = None

    @property
    def is_alone(self) -> bool:
        """Whether the page is in no site, and holds everything itself."""
        return self.to_root is None

    def asset(self, name: str) -> str:
        """Returns the address of an asset, from the page."""
        return f"{self.to_root}{_ASSETS}/{name}"


ALONE = Held()
"""A page that is one file, and needs no other."""


def in_site(depth: int) -> Held:
    """Returns how a page in a site is held that lies this many folders below its root."""
    return Held("../" * depth)


@dataclass(frozen=True)
class _Shell:
    """What `base.html.j2` fills in."""

    held: Held
    policy: str
    style: Markup
    style_name: str
    scripts: dict[str, Markup]
    data: Any


def render(
    template: str, *, held: Held, scripts: Sequence[str], data: object, **context: object
) -> str:
    """Renders a page.

    Args:
        template: its template, which extends `base.html.j2`.
        held: whether it stands alone.
        scripts: what it runs after the BASIC_SCRIPTS, by name: files of the templates, or VEGA.
        data: what its scripts read as `pageData.data`; NaN and infinity become null.
        context: what its template reads.
    """
    sources = {name: _script(name) for name in (*BASIC_SCRIPTS, *scripts)}
    style = _read(_STYLE)
    shell = _Shell(
        held=held,
        policy=_policy(list(sources.values()), style) if held.is_alone else SITE_POLICY,
        style=Markup(style),  # noqa: S704 - ours
        style_name=_STYLE,
        scripts={name: Markup(source) for name, source in sources.items()},  # noqa: S704 - ours and Vega's
        data=replace_non_finite(data),
    )
    return _environment().get_template(template).render({"shell": shell, **context})


def site_assets() -> dict[str, bytes]:
    """Returns what the pages of a site share, by the path from its root."""
    names = [each.name for each in _templates().iterdir() if each.name.endswith(".js")]
    texts = {_STYLE: _read(_STYLE), VEGA: _script(VEGA), **{name: _read(name) for name in names}}
    return {f"{_ASSETS}/{name}": text.encode() for name, text in sorted(texts.items())}


def data_script(key: str, value: object) -> bytes:
    """Returns the script file of a part of a page's data, which `pageData.load(key)` loads."""
    text = json.dumps(replace_non_finite(value), allow_nan=False, separators=(",", ":"))
    return f"gfjobsData({json.dumps(key)},{text});\n".encode()


def replace_non_finite(value: Any) -> Any:
    """Replaces NaN and infinity, which JSON lacks, by null; control characters are escaped."""
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, dict):
        return {name: replace_non_finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        # Most are long lists of numbers: a call for each would take most of a site's time.
        return [
            each
            if type(each) in _AS_THEY_ARE or (type(each) is float and math.isfinite(each))
            else replace_non_finite(each)
            for each in value
        ]
    if isinstance(value, str):
        return escape_controls(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _policy(scripts: Sequence[str], style: str) -> str:
    """The policy of a page that stands alone: its own scripts and style, by their digests."""
    return (
        f"default-src 'none'; script-src {' '.join(map(_digest, scripts))}; style-src"
        f" {_digest(style)}; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    """The source expression that allows this script or style in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _remark(text: object) -> Markup:
    """Renders a remark with backquoted text as code; its text is escaped first."""
    escaped = str(escape(escape_controls(format_value(text))))
    return Markup(_QUOTED.sub(r"<code>\1</code>", escaped))  # noqa: S704 - escaped, then ours


def _took(run: Row) -> float | None:
    """The seconds from a run's submission to its end; None before that, and of a clock set back."""
    if run["submitted_at"] is None or run["finished_at"] is None:
        return None
    seconds: float = (run["finished_at"] - run["submitted_at"]).total_seconds()
    return seconds if seconds >= 0 else None


def _duration(seconds: float | None) -> str:
    return "–" if seconds is None else format_duration(seconds)


def _shown(value: object) -> object:
    """Escapes control characters in a text that a template shows; markup is ours."""
    return escape_controls(value) if type(value) is str else value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("jobs.report.html"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # `tojson` writes <, > and & as \u003c...: no name can end a script element.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.tests["doubtful"] = lambda value: isinstance(value, Doubtful)
    environment.filters |= {
        "shown": format_value,
        "remark": _remark,
        "threshold": format_threshold,
        "took": _took,
        "duration": _duration,
    }
    return environment


def _script(name: str) -> str:
    return _vega() if name == VEGA else _read(name)


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, which any process of this user kept."""
    key = f"vega-lite-{VEGA_LITE}-{metadata.version('vl-convert-python')}.js"
    return kept(key, _bundle_vega, "scripts").decode()


def _bundle_vega() -> bytes:
    """Puts them together, which takes seconds."""
    bundle: Any = vl_convert.javascript_bundle  # its types do not say that the snippet is optional
    return str(bundle(vl_version=VEGA_LITE)).encode()


def _templates() -> Any:
    return resources.files("jobs.report.html") / "templates"


@cache
def _read(name: str) -> str:
    """The text of a file in the templates' folder."""
    return str((_templates() / name).read_text(encoding="utf-8"))
