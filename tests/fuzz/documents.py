"""Documents as nobody should write them: valid ones mutated, patterns repeated, and noise."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import yaml
from hypothesis import strategies as st

MOST_BYTES = 70_000
"""Beyond what a document may have, so that its bound is met too."""

_INDEX = st.integers(0, 2**20)
_CHANGES = st.sampled_from((1, 1, 1, 2, 4))


class Raw(str):
    """A scalar that stands in the document as it is, without quotes."""

    __slots__ = ()


SCALARS = [
    Raw(text)
    for text in (
        *("", "~", "null", "true", "False", "yes", "0", "-1", "1", "2", "3", "1.5", "0.5", "1e-3"),
        *(
            "1e400",
            "-1e400",
            ".inf",
            "-.inf",
            ".nan",
            "NaN",
            "inf",
            "0x7f",
            "0o17",
            "1_000",
            "1:30",
        ),
        *(str(2**31), str(2**63), str(2**64), str(10**12), str(-(10**30)), "9" * 400, "9" * 5000),
        *(
            "[]",
            "{}",
            "[[]]",
            "[[], {}]",
            "{a: 1}",
            "? a",
            "- a",
            "*a",
            "*nobody",
            "&a 1",
            "&a [*a]",
        ),
        *(
            "!!python/object/apply:os.system ['true']",
            "!!binary aGk=",
            "!!set {a}",
            "!!int x",
            "!x y",
        ),
        *(
            "<<: {a: 1}",
            "{<<: *a}",
            "|\n  text",
            ">-\n  text",
            "%YAML 9.9",
            "---",
            "...",
            "\t",
            "# x",
        ),
        *(
            "2026-01-01",
            "'\\x00'",
            '"\\x00"',
            '"\\ud800"',
            '"\\x1b[31m"',
            '"\\u202e"',
            "\ufeff",
            "\u0085",
        ),
        *(
            "../../etc/passwd",
            "/proc/self/mem",
            "/proc/kmsg",
            "/dev/zero",
            "/dev/stdin",
            "~root/x.pth",
        ),
        *(
            "parquet:/proc/self/environ",
            "imagefolder:/",
            "imagefolder:.",
            "parquet:",
            "x:y",
            ":",
            "~nobody",
        ),
        *(
            "parquet:/dev/zero",
            "tiny.safetensors",
            "broken.pth",
            "empty.pth",
            "tiny",
            "digits",
            "any",
        ),
        *(
            "'; DROP TABLE runs; --'",
            "<script>alert(1)</script>",
            "a\u0301\u0327",
            "\U0001f600",
            "k" * 300,
        ),
        *(
            "default",
            "digits-gfnet",
            "digits-dynn",
            "accuracy",
            "latency",
            "float32",
            "onnx",
            "cuda:1",
        ),
    )
]


def pairs(node: Any) -> Any:
    """Mappings as lists of pairs, so that a key can stand twice."""
    if isinstance(node, dict):
        return {"pairs": [[Raw(json.dumps(key)), pairs(value)] for key, value in node.items()]}
    if isinstance(node, list):
        return [pairs(item) for item in node]
    return node


def written(node: Any) -> str:
    """Such a tree as text: JSON, which is YAML too, but for what is raw."""
    if isinstance(node, Raw):
        return str(node)
    if isinstance(node, dict):
        return "{" + ", ".join(f"{written(k)}: {written(v)}" for k, v in node["pairs"]) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(written, node)) + "]"
    return json.dumps(node)


def _places(node: Any, found: list[tuple[list[Any], int]]) -> list[tuple[list[Any], int]]:
    """Every place in a tree, as a list and an index into it."""
    rows = node["pairs"] if isinstance(node, dict) else node if isinstance(node, list) else []
    for index, row in enumerate(rows):
        if isinstance(node, dict):
            found.append((row, 1))
            _places(row[1], found)
        else:
            found.append((rows, index))
            _places(row, found)
    return found


@st.composite
def trees(draw: st.DrawFn, bases: Sequence[Any], scalars: Sequence[str] = SCALARS) -> Any:
    """A valid tree with some places changed."""
    tree = copy.deepcopy(bases[draw(_INDEX) % len(bases)])
    for _ in range(draw(_CHANGES)):
        places = _places(tree, [])
        if not places:
            break
        parent, index = places[draw(_INDEX) % len(places)]
        change = draw(st.integers(0, 9))
        if change <= 4:
            parent[index] = scalars[draw(_INDEX) % len(scalars)]
        elif change == 5:
            parent[index] = draw(st.text(max_size=20) | st.integers() | st.floats())
        elif change == 6:
            other, where = places[draw(_INDEX) % len(places)]
            parent[index] = copy.deepcopy(other[where])
        elif change == 7:
            parent[index] = [parent[index]] * draw(st.integers(0, 40))
        elif change == 8:
            depth = draw(st.sampled_from((1, 3, 60, 900)))
            parent[index] = Raw("[" * depth + written(parent[index]) + "]" * depth)
        else:
            _change_keys(draw, parent[index], scalars)
    return tree


def _change_keys(draw: st.DrawFn, node: Any, scalars: Sequence[str]) -> None:
    """Of a mapping: drop one, let one stand twice, or call one something else."""
    rows = node.get("pairs", []) if isinstance(node, dict) else []
    if not rows:
        return
    index = draw(_INDEX) % len(rows)
    what = draw(st.integers(0, 2))
    if what == 0:
        del rows[index]
    elif what == 1:
        rows.append(copy.deepcopy(rows[index]))
    else:
        rows[index][0] = scalars[draw(_INDEX) % len(scalars)]


@st.composite
def edited(draw: st.DrawFn, bases: Sequence[str]) -> str:
    """A valid text with some tokens put in, spans taken out, and lines doubled."""
    text = bases[draw(_INDEX) % len(bases)]
    for _ in range(draw(_CHANGES)):
        start = draw(_INDEX) % (len(text) + 1)
        change = draw(st.integers(0, 3))
        if change == 0:
            text = text[:start] + SCALARS[draw(_INDEX) % len(SCALARS)] + text[start:]
        elif change == 1:
            text = text[:start] + text[start + draw(st.integers(1, 40)) :]
        elif change == 2:
            lines = text.split("\n")
            line = draw(_INDEX) % len(lines)
            lines[line:line] = [lines[line]] * draw(st.integers(1, 3))
            text = "\n".join(lines)
        else:
            text = text[:start] + draw(st.text(min_size=1, max_size=4)) + text[start + 1 :]
    return text


_PATTERNS = (
    *(
        "[",
        "{",
        "- ",
        "? ",
        "a: ",
        "[a, ",
        "{a: ",
        "&a ",
        "!a ",
        "'",
        '"',
        "|",
        "\n",
        " ",
        "\t",
        "#",
    ),
    *("a", "é", "- 1\n", "a: 1\n", "*a, ", "---\n", "- &a x\n", ">\n ", "\\", '"\\', "%x\n", "\r"),
)
_HEADS = ("", "models: ", "thresholds: [", "name: ", "datasets: [digits", "exclude: [", "model: {")


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """One pattern, very often: nesting without end, very long texts, very many values."""
    pattern = draw(st.sampled_from(_PATTERNS))
    times = draw(st.sampled_from((10, 300, 2_000, MOST_BYTES)))
    return (draw(st.sampled_from(_HEADS)) + pattern * times)[:MOST_BYTES]


@st.composite
def bombs(draw: st.DrawFn, keys: Sequence[str]) -> str:
    """Few lines that mean very much: lists of lists by aliases, under a key that is read."""
    levels, width = draw(st.integers(1, 30)), draw(st.sampled_from((2, 9, 300, 2_000)))
    seed = draw(
        st.sampled_from(("0.5", "[0.1, 0.2]", "{name: digits}", "digits-dynn", "{model: x}"))
    )
    lines = [f"a0: &a0 {seed}"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels + 1)]
    key = draw(st.sampled_from(keys))
    body = draw(st.sampled_from((f"*a{levels}", f"[*a{levels}, *a{levels}]", f"{{x: *a{levels}}}")))
    return "\n".join([*lines, f"{key}: {body}", "models: [digits-dynn]", "datasets: [digits]"])[
        :MOST_BYTES
    ]


def documents(texts: Sequence[str], keys: Sequence[str]) -> st.SearchStrategy[bytes]:
    """Everything of the above, most of it near to what is valid; and bytes that are no text."""
    bases = [pairs(yaml.safe_load(text)) for text in texts]
    near = st.one_of(trees(bases).map(written), edited(texts))
    some = st.one_of(bombs(keys), patterns(), st.text(max_size=200))
    # Few are big or noise: those are slow, and say little each.
    kinds = st.integers(0, 39)
    return kinds.flatmap(
        lambda kind: (
            st.binary(max_size=200)
            if kind == 0
            else (some if kind == 1 else near).map(lambda t: t.encode("utf-8", "surrogatepass"))
        )
    )
