"""The command that prints a shell's completion script."""

from __future__ import annotations

import os

import click
from click.shell_completion import (
    BashComplete,
    FishComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from jobs.cli.base import main, show


class WholeWordsBash(BashComplete):
    """Bash completion that splits the typed line itself: bash ends words at each `=` and `:`.

    A completion still replaces bash's own word only: a value, not the option before it.
    """

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n'
    local response type value completion

    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" %(complete_var)s=bash_complete "$1")

    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"

        if [[ $type == 'dir' ]]; then
            COMPREPLY=()
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            COMPREPLY=()
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            COMPREPLY+=("$value")
        fi
    done

    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one being typed, without the program; and that one."""
        end = "."  # makes an empty word after a space, and is cut off again
        *words, begun = split_arg_string(os.environ["COMP_LINE"] + end)
        return words[1:], begun.removesuffix(end)


add_completion_class(WholeWordsBash)

SHELLS = {"bash": WholeWordsBash, "zsh": ZshComplete, "fish": FishComplete}


@main.command()
@click.argument("shell", type=click.Choice(tuple(SHELLS)))
def completion(shell: str) -> None:
    """Print the completion script of SHELL: bash, zsh or fish.

    It completes commands, options, files, and the runs, models and data sets of the results root.
    The first example works in this shell, the others in every new one.

    \b
    Example:
      eval "$(gfjobs completion bash)"
      echo 'eval "$(gfjobs completion zsh)"' >> ~/.zshrc
      gfjobs completion fish > ~/.config/fish/completions/gfjobs.fish
    """
    show(SHELLS[shell](main, {}, "gfjobs", "_GFJOBS_COMPLETE").source())
