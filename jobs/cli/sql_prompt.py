"""The prompt of `gfjobs sql`: statements typed one after the other, with history and completion."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, ThreadedCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory

import storage
from jobs.cli.base import narrate, show
from jobs.cli.query_output import show_rows
from jobs.cli.sql_completion import candidates
from jobs.common.state_folder import state_folder
from jobs.report.terminal.relations import list_of_relations, relation_page
from storage import Root

PROMPT = "gfjobs> "
GOING_ON = "   ...> "

EXITS = ("exit", "quit", ".exit", ".quit")
HELP = """\
STATEMENT;       run it; it may span lines, up to the semicolon
.schema          list the tables, views and macros
.schema NAME     show the columns of one, and what they mean
.all             show the last result again, with all columns
exit or Ctrl-D   leave
Ctrl-C           abandon the line, or end the query that runs
Tab              complete a table, column or word
"""
_WORD = re.compile(r"\w+")
_FIRST = "End a statement with a semicolon. .help shows more, Ctrl-D leaves."
_KEPT = (
    "This session now has something of its own; its statements read the results as they were a"
    " moment ago."
)


def run_prompt(results: Root, memory: str | None, *, is_all: bool) -> None:
    """Read statements from the terminal and run them, until the user leaves.

    Args:
        results: the results root.
        memory: most memory of a statement, such as 8GB.
        is_all: tables have all columns.

    Raises: StorageError: there is no such root.
    """
    prompt = _prompt_session()
    with closing(storage.Session(results, memory=memory)) as session:
        dialogue = Dialogue(session, is_all=is_all)
        narrate(_FIRST)
        while True:
            try:
                text = prompt.prompt(PROMPT)
                if _is_exit(text):
                    return
                dialogue.answer(text)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return


def is_finished(text: str) -> bool:
    """Whether Enter sends a text: it ends with a semicolon, or is a command of the prompt."""
    if text.lstrip().startswith(".") or _is_exit(text):
        return True
    return all(statement.is_ended for statement in storage.split_statements(text))


def _is_exit(text: str) -> bool:
    return text.strip().rstrip(";").rstrip().lower() in EXITS


class Dialogue:
    """Answers what is typed at the prompt; an error is a message, and the next line is answered.

    Args:
        session: runs the statements.
        is_all: tables have all columns.
    """

    def __init__(self, session: storage.Session, *, is_all: bool) -> None:
        self._session, self._is_all = session, is_all
        self._last: tuple[Any, str] | None = None

    def answer(self, text: str) -> None:
        """Run the statements or the command of a text."""
        try:
            if text.lstrip().startswith("."):
                self._command(*text.strip().rstrip(";").split())
            else:
                for statement in storage.split_statements(text):
                    self._run(statement.sql)
        except storage.StorageError as err:
            narrate(str(err))
        except KeyboardInterrupt:
            narrate("interrupted")

    def _run(self, sql: str) -> None:
        was_kept = self._session.is_kept
        rows = self._session.run(sql)
        if rows.num_columns:
            self._last = rows, sql
            show_rows(rows, sql, is_all=self._is_all, how_all=".all")
        if self._session.is_kept and not was_kept:
            narrate(_KEPT)

    def _command(self, name: str, *arguments: str) -> None:
        if name == ".schema" and len(arguments) <= 1:
            show(relation_page(arguments[0]) if arguments else list_of_relations())
        elif name == ".all" and not arguments:
            if self._last is None:
                narrate("there is no result yet; .all shows the last one with all columns")
            else:
                show_rows(*self._last, is_all=True)
        elif name == ".help" and not arguments:
            show(HELP)
        else:
            narrate(f"{' '.join((name, *arguments))!r} is no command here; there are\n\n{HELP}")


def history_file() -> Path:
    """Return the file of what was typed at the prompt."""
    return state_folder() / "sql_history"


class _History(FileHistory):
    """What was typed, in a file that only the user reads; without one, if it cannot be written."""

    def load_history_strings(self) -> Iterable[str]:
        """Return the entries, the newest first."""
        try:
            return list(super().load_history_strings())
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        """Add an entry."""
        with contextlib.suppress(OSError):
            path = Path(os.fsdecode(self.filename))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            super().store_string(string)


class _Completer(Completer):
    """Offers the names that fit at the cursor."""

    def get_completions(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002 (of prompt_toolkit)
    ) -> Iterable[Completion]:
        """Return them, each with what it means."""
        begun = document.get_word_before_cursor(pattern=_WORD)
        for found in candidates(document.text_before_cursor, document.text_after_cursor):
            yield Completion(found.text, -len(begun), display_meta=found.meaning)


def _prompt_session() -> PromptSession[str]:
    return PromptSession(
        history=_History(history_file()),
        completer=ThreadedCompleter(_Completer()),
        complete_while_typing=False,
        multiline=Condition(lambda: not is_finished(get_app().current_buffer.text)),
        prompt_continuation=GOING_ON,
    )
