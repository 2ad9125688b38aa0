"""The reference page of the commands: help, arguments and options, from their definitions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click
from markdown_text import code, escape, table

from jobs.cli import main
from jobs.cli.base import COMMANDS

_AS_IT_STANDS = "\b"
"""What click wants before a paragraph that it must not wrap."""

_INTRODUCTION = """\
# Commands

Made from the definitions of the commands: `gfjobs COMMAND --help` shows the same in a terminal.
Rows go to stdout, messages to stderr. Exit codes: 0 done, 1 work failed, 2 usage or bad input, 3 a
regression was found.

"""


def write_page() -> str:
    """Return the page: every command, by purpose, in the order of the help."""
    parts = [_INTRODUCTION, *_describe(main, ["gfjobs"], 2)]
    for title, names in COMMANDS.items():
        parts.append(f"## {title}\n\n")
        for name in names:
            parts.extend(_describe_all(main.commands[name], ["gfjobs", name], 3))
    return "".join(parts)


def _describe_all(command: click.Command, words: list[str], level: int) -> Iterator[str]:
    """Yield the sections of a command and of those below it."""
    yield from _describe(command, words, level)
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from _describe_all(each, [*words, name], level + 1)


def _describe(command: click.Command, words: list[str], level: int) -> Iterator[str]:
    name = " ".join(words)
    context = click.Context(command, info_name=name, **main.context_settings)
    yield f"{'#' * level} {name}\n\n"
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    yield f"```text\n{usage}\n```\n\n"
    yield from map(_paragraph, re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")))
    # The help explains the arguments.
    options = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    records = [record for each in options if (record := each.get_help_record(context))]
    rows = ((code(names), escape(meaning)) for names, meaning in records)
    yield table(("option", "meaning"), rows) + "\n"


def _paragraph(text: str) -> str:
    if text.startswith(_AS_IT_STANDS):
        return f"```text\n{text.removeprefix(_AS_IT_STANDS).strip(chr(10))}\n```\n\n"
    return f"{escape(text)}\n\n"
