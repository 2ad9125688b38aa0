"""YAML files in which every value knows its line, so that all problems are reported at once.

A reader asks each value for what it should be (`whole`, `choice`, `mapping`, ...). A value that is
something else records a problem and returns a harmless stand-in, so that reading can continue;
`Document.check` raises at the end.

The path may be that of a private file, by mistake. So the content of a file is quoted only if it is
a mapping with at least one known key, which may have a slip in it.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import yaml

from jobs.common.errors import BadInputError, InputProblem
from jobs.common.files import describe_undecodable

_SUFFIXES = (".yaml", ".yml")
_NEAREST = 3
_SLIP = 0.8
"""Least likeness of a mistyped key; a suggestion may be less like it."""

MAX_BYTES = 64 * 1024
"""Of a file: some thirty times what such a file needs, and read within a second or two."""

MAX_VALUES = 100_000
"""Values read from one file; only aliases of lists that hold aliases exceed this."""

MAX_NESTING = 50

_QUOTED = re.compile(r"""(['"])((?:\\.|(?!\1)[^\\])*)\1""")
"""What PyYAML quotes in a message."""
_HARMLESS = re.compile(r"<[a-z ]+>|\\?.")
"""Of that, names of tokens and single characters; the rest is content of the file."""

_SHOWN = 500  # characters of a wrong value in a message

_VALID = "YAML: a key, a colon and a value on each line; texts with a sign of YAML in quotes"
_IN_ALIAS = "while scanning an alias"  # of PyYAML's errors
_WHOLE = re.compile(r"[+-]?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
"""Numbers that every version of YAML reads alike. YAML 1.1 takes 010 for 8, and 1_0 for 10."""

_LEADING_0 = re.compile(r"[+-]?0[0-9]")


_FILES = {
    "grid": (("models", "datasets"), "gfjobs submit"),
    "recipe": (("stage", "dataset"), "gfjobs train"),
    "schedule": (("grid", "cron"), "gfjobs schedule add"),
}
"""The kinds of files with their own keys, and the command that each is for."""


class _Loader(yaml.SafeLoader):
    """The safe loader with a limit on nesting: its work grows with the square of the depth."""

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        """Refuse an opening bracket that is nested too deeply."""
        if self.flow_level >= MAX_NESTING:
            raise yaml.scanner.ScannerError(
                None, None, f"brackets nested more than {MAX_NESTING} deep", self.get_mark()
            )
        super().fetch_flow_collection_start(token)


@dataclass
class Document:
    """One file, and the problems found in it so far.

    `is_file` is false for a text that the user has in no file, made of options.
    """

    path: Path
    text: str
    problems: list[InputProblem] = field(default_factory=list)
    values: int = 0
    is_file: ClassVar[bool] = True

    @classmethod
    def read(cls, path: str | Path) -> Document:
        """Read a file.

        Raises:
            BadInputError: it is missing, is not text, or is longer than MAX_BYTES.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                problem = InputProblem(
                    str(path), 0, "", f"more than {MAX_BYTES:,} bytes", "a YAML file of less"
                )
                raise BadInputError([problem])
            return cls(path, data.decode().replace("\r\n", "\n").replace("\r", "\n"))
        except FileNotFoundError as err:
            found = f"there is no such file{_suggest_neighbour(path)}"
            problem = InputProblem(str(path), 0, "", found, "the path of a YAML file")
            raise BadInputError([problem]) from err
        except OSError as err:
            problem = InputProblem(str(path), 0, "", f"{err.strerror}", "a readable YAML file")
            raise BadInputError([problem]) from err
        except UnicodeDecodeError as err:
            found = describe_undecodable(err)
            problem = InputProblem(str(path), 0, "", found, "a YAML file in UTF-8")
            raise BadInputError([problem]) from err
        except ValueError as err:  # a NUL in the path
            problem = InputProblem(repr(str(path)), 0, "", str(err), "the path of a YAML file")
            raise BadInputError([problem]) from err

    def root(self) -> Value:
        """Return the whole content.

        Raises:
            BadInputError: the text is not YAML.
        """
        return Value(self, "", self._node)

    @cached_property
    def _node(self) -> yaml.Node:
        """The node of `root`; parsed once."""
        try:
            node = yaml.compose(self.text, Loader=_Loader)
        except yaml.MarkedYAMLError as err:
            mark = err.problem_mark or err.context_mark
            line = mark.line + 1 if mark else 0
            found = f"not YAML: {_without_content(str(err.problem or err.context))}"
            if err.context == _IN_ALIAS:
                found += "; a text that begins with * needs quotes, such as '*/5 * * * *'"
            problem = InputProblem(str(self.path), line, "", found, _VALID)
            raise BadInputError([problem]) from err
        except (yaml.YAMLError, RecursionError) as err:
            found = f"not YAML: {str(err).splitlines()[0]}"
            problem = InputProblem(str(self.path), 0, "", found, _VALID)
            raise BadInputError([problem]) from err
        return node or yaml.ScalarNode("tag:yaml.org,2002:null", "")

    def record(self, line: int, key: str, found: str, allowed: str) -> None:
        """Add a problem with the value of a key."""
        self.problems.append(InputProblem(str(self.path), line, key, found, allowed))

    def check(self) -> None:
        """Raise all problems found so far, in the order of the file.

        Raises:
            BadInputError: there are any.
        """
        if self.problems:
            raise BadInputError(sorted(self.problems, key=lambda problem: problem.line))


@dataclass(frozen=True)
class Value:
    """A value and its place in a document."""

    document: Document
    key: str
    node: yaml.Node

    @property
    def line(self) -> int:
        """Its line, counted from 1; 0 in an empty document."""
        return self.node.start_mark.line + 1 if self.node.start_mark else 0

    @property
    def is_scalar(self) -> bool:
        """Whether it is a single text, number, boolean or null."""
        return isinstance(self.node, yaml.ScalarNode)

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping of keys to values."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def shown(self) -> str:
        """The value as an error message shows it."""
        if self.is_mapping:
            return "a mapping"
        if self.is_list:
            return "a list" if self.node.value else "an empty list"
        if not self.key:  # the whole file
            return "a text" if self.node.value else "an empty file"
        return f"{_shortened(self.node.value)!r}" if self.node.value != "" else "nothing"

    def problem(self, found: str, allowed: str) -> None:
        """Record a problem with this value."""
        self.document.record(self.line, *map(_shortened, (self.key, found, allowed)))

    def mapping(self, known: Collection[str], required: Collection[str] = ()) -> dict[str, Value]:
        """Return its entries; unknown, duplicate and missing keys are problems."""
        if not isinstance(self.node, yaml.MappingNode):
            self.problem(f"{self.shown}", f"a mapping with the keys {', '.join(known)}")
            return {}
        if not self.key and (other := self._find_other_file(known)):
            self.problem(f"this is a {other}", f"a file with the keys {', '.join(known)}")
            return {}
        if not self.key and self.node.value and not self._has_near(known):
            self.problem("no known key", f"a mapping with the keys {', '.join(known)}")
            return {}
        entries: dict[str, Value] = {}
        allowed = ", ".join(known)
        for key_node, node in self.node.value:
            name = _printable(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            entry = Value(self.document, f"{self.key}.{name}" if self.key else name, node)
            if name not in known:
                at_key = Value(self.document, entry.key, key_node)
                at_key.problem(f"unknown key{suggest_near(name, known)}", allowed)
                allowed = f"those listed for {entry.key}"  # each key once, not at each problem
            elif name in entries:
                entry.problem("this key is given twice", "each key once")
            else:
                entries[name] = entry
        for name in required:
            if name not in entries:
                self.problem(f"the key {name} is missing", f"required: {', '.join(required)}")
        return entries

    def _has_near(self, known: Collection[str]) -> bool:
        """Whether any key of its mapping is known, or a known one with a slip in it."""
        names = [key.value for key, _ in self.node.value if isinstance(key, yaml.ScalarNode)]
        return any(difflib.get_close_matches(name, known, 1, _SLIP) for name in names)

    def _find_other_file(self, known: Collection[str]) -> str | None:
        """Say what the file is, if its keys are those of another kind of file."""
        names = {key.value for key, _ in self.node.value if isinstance(key, yaml.ScalarNode)}
        for what, (own, command) in _FILES.items():
            if names.issuperset(own) and not names.intersection(known).issuperset(own):
                return f"{what}; use it with `{command} {self.document.path}`"
        return None

    def items(self) -> list[Value]:
        """Return the values of its list; anything but a list of one or more is a problem.

        Raises:
            BadInputError: all problems so far, if aliases expand to too many values.
        """
        if not isinstance(self.node, yaml.SequenceNode) or not self.node.value:
            self.problem(f"{self.shown}", "a list of at least one value")
            return []
        self.document.values += len(self.node.value)
        if self.document.values > MAX_VALUES:
            self.problem("more values than can be read", f"at most {MAX_VALUES:,} in one file")
            self.document.check()
        return [
            Value(self.document, f"{self.key}[{index}]", node)
            for index, node in enumerate(self.node.value)
        ]

    def text(self) -> str:
        """Return its text; an empty one, a list or a mapping is a problem."""
        if not self.is_scalar or self.node.value == "":
            self.problem(f"{self.shown}", "a text")
            return ""
        text = str(self.node.value)
        if text != _printable(text):
            self.problem(f"{self.shown}", "a text of whole characters (this one holds a surrogate)")
            return ""
        return text

    def choice(self, options: Sequence[str], what: str = "value", others: str = "") -> str:
        """Return one of the options; the problem lists them all, followed by `others`."""
        text = self.node.value if self.is_scalar else None
        if not options:
            return ""  # the source of the options has a problem of its own
        if text not in options:
            near = suggest_near(text, options) if text else ""
            self.problem(f"unknown {what} {self.shown}{near}", ", ".join(options) + others)
            return options[0]
        return str(text)

    def whole(self, low: int, high: int | None = None) -> int:
        """Return a whole number from `low` to `high`, both included."""
        try:
            number = int(self._digits(_WHOLE))
        except ValueError:
            number = None
        if number is None or number < low or (high is not None and number > high):
            upper = f"to {high}" if high is not None else "upwards"
            self.problem(self._shown_number(), f"a whole number from {low} {upper}")
            return low
        return number

    def number(self, low: float, high: float) -> float:
        """Return a finite number from `low` to `high`, both included; NaN is a problem."""
        number = float(self._digits(_NUMBER) or math.nan)
        if not low <= number <= high:
            self.problem(self._shown_number(), f"a number from {low:g} to {high:g}")
            return low
        return number

    def _digits(self, form: re.Pattern[str]) -> str:
        """Return the text of a number of this form; an empty text for anything else."""
        is_number = self.is_scalar and form.fullmatch(self.node.value)
        return str(self.node.value) if is_number else ""

    def _shown_number(self) -> str:
        """The value as a message shows it, with the reason why a leading 0 is refused."""
        if self.is_scalar and _LEADING_0.match(self.node.value):
            return f"{self.shown}, which YAML 1.1 reads in base 8 and YAML 1.2 in base 10"
        return self.shown

    def boolean(self) -> bool:
        """Return a boolean: true or false."""
        return self.choice(("true", "false")) == "true"


def _without_content(message: str) -> str:
    """Leave out what a message of PyYAML quotes of a file, which may be a private one."""
    return _QUOTED.sub(lambda found: found[0] if _HARMLESS.fullmatch(found[2]) else "…", message)


def _shortened(text: str) -> str:
    """Shorten a text that is too long for a message to its beginning and its length."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"


def _printable(text: str) -> str:
    """Write out lone surrogates, which no encoding has."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


_SHORT = {
    "fp32": "float32",
    "f32": "float32",
    "fp16": "float16",
    "f16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "gpu": "cuda",
}
"""What people call precisions and devices elsewhere."""


def _suggest_neighbour(path: Path) -> str:
    """Return a hint at the YAML files of near names in the folder of a missing one."""
    try:
        names = [each.name for each in path.parent.iterdir() if each.suffix in _SUFFIXES]
    except OSError:
        return ""
    return suggest_near(path.name, names)


def suggest_near(name: str, known: Collection[str]) -> str:
    """Return `; did you mean 'x'?` if a known name is near, else an empty text."""
    near = difflib.get_close_matches(name, list(known), n=_NEAREST, cutoff=0.6)
    if (meant := _SHORT.get(name)) in known:
        near = [str(meant)]
    return f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
