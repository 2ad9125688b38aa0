"""YAML values that know their place, and problems collected instead of raised."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.common.errors import BadInputError
from jobs.common.yaml_document import Document, suggest_near


def document(text: str) -> Document:
    """A document that was never a file."""
    return Document(Path("g.yaml"), text)


def test_values_know_line_and_key() -> None:
    """A problem three levels down names its line and dotted key."""
    doc = document("a:\n  b:\n    - {c: 1}\n    - {c: x}\n")
    items = doc.root().mapping(["a"])["a"].mapping(["b"])["b"].items()
    assert [item.mapping(["c"])["c"].whole(0, 9) for item in items] == [1, 0]
    with pytest.raises(BadInputError) as caught:
        doc.check()
    assert str(caught.value) == "g.yaml:4: a.b[1].c: 'x'\n    allowed: a whole number from 0 to 9"


def test_all_problems_are_reported_in_the_order_of_the_file() -> None:
    """Unknown, double and missing keys, wrong types, an empty list."""
    doc = document("modles: 1\na: [1]\na: [2]\nb: {}\nc: []\nd: maybe\n")
    entries = doc.root().mapping(["models", "a", "b", "c", "d"], required=["models"])
    entries["b"].items()
    entries["c"].items()
    entries["d"].boolean()
    with pytest.raises(BadInputError) as caught:
        doc.check()
    found = [(problem.line, problem.key, problem.found) for problem in caught.value.problems]
    assert found == [
        (1, "modles", "unknown key; did you mean 'models'?"),
        (1, "", "the key models is missing"),
        (3, "a", "this key is given twice"),
        (4, "b", "a mapping"),
        (5, "c", "an empty list"),
        (6, "d", "unknown value 'maybe'"),
    ]


def test_right_values_are_read() -> None:
    """Each reader gives what stands there, and no problem."""
    doc = document("{a: 3, b: 1e-3, c: true, d: text, e: [1, 2], f: .5}")
    entries = doc.root().mapping(list("abcdef"))
    assert entries["a"].whole(3, 3) == 3
    assert entries["b"].number(0, 1) == 0.001
    assert entries["c"].boolean() is True
    assert entries["d"].text() == "text"
    assert entries["d"].choice(["text", "other"]) == "text"
    assert [item.whole(0) for item in entries["e"].items()] == [1, 2]
    assert entries["f"].number(0, 0.5) == 0.5
    doc.check()


@pytest.mark.parametrize("value", [".nan", "-0.1", "1.1", "x", "[1]", "{}", "", "~", ".inf"])
def test_numbers_out_of_range(value: str) -> None:
    """NaN and infinities are no numbers from 0 to 1, and neither is nothing."""
    doc = document(f"a: {value}")
    doc.root().mapping(["a"])["a"].number(0, 1)
    with pytest.raises(BadInputError, match="a number from 0 to 1"):
        doc.check()


@pytest.mark.parametrize("value", ["1.5", "-1", "x", "[]", "", "10"])
def test_whole_numbers_out_of_range(value: str) -> None:
    """Fractions are not cut off."""
    doc = document(f"a: {value}")
    doc.root().mapping(["a"])["a"].whole(0, 9)
    with pytest.raises(BadInputError, match="a whole number from 0 to 9"):
        doc.check()


@pytest.mark.parametrize("value", ["010", "-07", "1_0", "0x10", "1:30", "٣", "0.1_5", "1 0"])
def test_numbers_that_yaml_versions_read_differently(value: str) -> None:
    """A leading 0 is base 8 in YAML 1.1: 8 or 10 rounds, and nobody would notice."""
    for read in ("whole", "number"):
        doc = document(f"a: {value}")
        getattr(doc.root().mapping(["a"])["a"], read)(0, 99)
        with pytest.raises(BadInputError, match=f"a: '{value}'") as caught:
            doc.check()
        is_octal = "which YAML 1.1 reads in base 8 and YAML 1.2 in base 10" in str(caught.value)
        assert is_octal == (value in {"010", "-07"})


@pytest.mark.parametrize("value", ["0", "+7", "0.50", ".5", "5.", "5e-1", "1E1"])
def test_numbers_in_all_their_forms(value: str) -> None:
    """As programs write them."""
    doc = document(f"a: {value}")
    assert doc.root().mapping(["a"])["a"].number(0, 99) == float(value)
    doc.check()


def test_a_star_without_quotes() -> None:
    """As in a cron expression, which YAML takes for an alias."""
    with pytest.raises(BadInputError, match=r"begins with \* needs quotes, such as '\*/5 "):
        document("cron: */5 * * * *").root()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1\nb: 2", 2),
        ("a: b: c", 1),
        ("\tx", 1),
        ("--- 1\n--- 2", 2),
        ("a: &x 1\nb: *y", 2),
        ("x\0y", 0),
        ("[" * 5000, 1),
    ],
)
def test_text_that_is_not_yaml(text: str, line: int) -> None:
    """Syntax errors say where; nesting without end is no crash."""
    with pytest.raises(BadInputError, match="not YAML") as caught:
        document(text).root()
    (problem,) = caught.value.problems
    assert problem.line == line


@pytest.mark.parametrize("text", ["", "# only a comment", "3", "[]"])
def test_a_document_that_is_no_mapping(text: str) -> None:
    """An empty file, a number or a list where a mapping is needed."""
    doc = document(text)
    assert doc.root().mapping(["a", "b"]) == {}
    with pytest.raises(BadInputError, match="a mapping with the keys a, b"):
        doc.check()


def test_a_mapping_that_contains_itself() -> None:
    """An alias to its own parent is read no deeper than asked."""
    doc = document("a: &x {b: *x}")
    inner = doc.root().mapping(["a"])["a"].mapping(["b"])["b"]
    assert inner.is_mapping


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, a folder, and not text."""
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, words in [
        (tmp_path / "none.yaml", "no such file"),
        (tmp_path, "directory"),
        (binary, "text in UTF-16, as PowerShell writes it: save it as UTF-8"),
    ]:
        with pytest.raises(BadInputError, match=words) as caught:
            Document.read(path)
        assert str(path) in str(caught.value)


def test_a_mistyped_path_suggests_its_neighbours(tmp_path: Path) -> None:
    """YAML files of near names in the same folder, and no other file."""
    for name in ("quickstart.yaml", "thresholds.yml", "quickstrt.pem"):
        (tmp_path / name).touch()
    with pytest.raises(BadInputError, match=r"no such file; did you mean 'quickstart.yaml'"):
        Document.read(tmp_path / "quickstrat.yaml")
    for path in (tmp_path / "zzz.yaml", tmp_path / "none" / "quickstart.yaml"):
        with pytest.raises(BadInputError, match=r"there is no such file\n"):
            Document.read(path)


def test_suggestions() -> None:
    """Only what is near is suggested."""
    assert suggest_near("digits-gfnt", ["digits-gfnet", "x"]) == "; did you mean 'digits-gfnet'?"
    assert suggest_near("zzz", ["digits-gfnet"]) == ""


@pytest.mark.parametrize(
    ("written", "meant"), [("fp32", "float32"), ("half", "float16"), ("bf16", "bfloat16")]
)
def test_what_is_called_otherwise_elsewhere(written: str, meant: str) -> None:
    """Spelling is no guide from `half` to `float16`."""
    known = ("float32", "bfloat16", "float16")
    assert suggest_near(written, known) == f"; did you mean {meant!r}?"
    assert suggest_near(written, ("other",)) == ""


def test_another_kind_of_file_is_named_with_its_command() -> None:
    """A recipe given to `submit`: one problem, not one for each key."""
    text = "name: r\nstage: baseline\ndataset: {name: digits}\nepochs: 3\n"
    document = Document(Path("r.yaml"), text)
    document.root().mapping(("name", "models", "datasets"), ("models",))
    (problem,) = document.problems
    assert problem.found == "this is a recipe; use it with `gfjobs train r.yaml`"
    document = Document(Path("g.yaml"), "models: [m]\ndatasets: [d]\nname: n\n")
    document.root().mapping(("name", "stage", "dataset"))
    assert [problem.found[:14] for problem in document.problems] == ["this is a grid"]
    document.problems.clear()
    document.root().mapping(("name", "models", "datasets"))
    assert not document.problems


def test_what_is_allowed_is_listed_once() -> None:
    """Not at each of twenty unknown keys."""
    document = Document(Path("g.yaml"), "name: n\none: 1\ntwo: 2\n")
    document.root().mapping(("name", "models"))
    assert [problem.allowed for problem in document.problems] == [
        "name, models",
        "those listed for one",
    ]


def test_an_empty_file_is_called_so() -> None:
    """Not `nothing`."""
    document = Document(Path("g.yaml"), "")
    document.root().mapping(("name",))
    assert document.problems[0].found == "an empty file"
