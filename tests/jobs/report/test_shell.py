"""Pages alone and in a site: what their policies allow, and where they find their parts."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
import vl_convert

from jobs.report.html import shell
from jobs.report.html.shell import (
    ALONE,
    BASIC_SCRIPTS,
    VEGA,
    Held,
    data_script,
    in_site,
    render,
    site_assets,
)


def rendered(held: Held, data: object = None) -> str:
    """A page without content."""
    return render("base.html.j2", held=held, scripts=("charts.js",), data=data)


def policy_of(page: str) -> dict[str, list[str]]:
    """The directives of a page's content security policy, with their sources."""
    (content,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)
    parts = [part.split() for part in content.replace("&#39;", "'").split(";")]
    return {name: sources for name, *sources in parts}


def test_alone_it_holds_all_it_needs() -> None:
    """Its policy allows its scripts and its style by their digests, and nothing else."""
    page = rendered(ALONE)
    policy = policy_of(page)
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        texts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in texts]
        assert policy[directive] == [f"'sha256-{digest}'" for digest in digests]
    assert policy["default-src"] == ["'none'"]
    assert "unsafe" not in str(policy)
    assert "assets/" not in page
    assert not re.search(r"<(?!html)[^>]* style=", page)


@pytest.mark.parametrize(("depth", "to_root"), [(0, ""), (1, "../"), (2, "../../")])
def test_in_a_site_it_is_linked(depth: int, to_root: str) -> None:
    """What it links to is written for all pages, and is all that its policy allows."""
    page = rendered(in_site(depth))
    assert "<style" not in page
    names = [f"assets/{name}" for name in (*BASIC_SCRIPTS, "charts.js")]
    assert re.findall(r'<script src="(.*?)">', page) == [to_root + name for name in names]
    assert f'<link rel="stylesheet" href="{to_root}assets/pages.css">' in page
    assert {*names, "assets/pages.css", f"assets/{VEGA}"} <= set(site_assets())
    policy = policy_of(page)
    assert policy["script-src"] == policy["style-src"] == ["'self'"]
    assert "unsafe" not in str(policy)
    assert f'href="{to_root}compare.html"' in page


def test_data_ends_no_script() -> None:
    """Neither in a page nor in a script file; what JSON lacks is null."""
    data = {"name": "</script><script>alert(1)</script>", "ms": [float("nan"), 1.5]}
    page = rendered(ALONE, data)
    assert page.count("</script>") == 1 + len((*BASIC_SCRIPTS, "charts.js"))
    assert '"ms":[null,1.5]' in page
    assert data_script("a/b", data).decode() == (
        'gfjobsData("a/b",{"name":"</script><script>alert(1)</script>","ms":[null,1.5]});\n'
    )


def test_the_script_that_draws_is_put_together_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later processes find it in the cache; a damaged one is put together again."""
    made: list[str] = []

    def bundle(vl_version: str) -> str:
        made.append(vl_version)
        return "vega\r\n"

    monkeypatch.setattr(vl_convert, "javascript_bundle", bundle)
    monkeypatch.setenv("GFJOBS_CACHE", str(tmp_path))
    assert [shell._vega.__wrapped__() for _ in range(2)] == ["vega\r\n"] * 2
    assert made == [shell.VEGA_LITE]
    (file,) = (tmp_path / "scripts").iterdir()
    assert shell.VEGA_LITE in file.name
    file.write_bytes(file.read_bytes()[:-1])
    assert shell._vega.__wrapped__() == "vega\r\n"
    assert len(made) == 2
