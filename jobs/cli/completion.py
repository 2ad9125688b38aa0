"""The command that teaches a shell to complete the others."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from jobs.cli.base import main, show

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@main.command()
@click.argument("shell", type=click.Choice(tuple(SHELLS)))
def completion(shell: str) -> None:
    """Print what makes SHELL (bash, zsh or fish) complete gfjobs on TAB.

    It completes commands, options, files, and the runs, models and data sets of the results root.
    The examples work in this shell, or in every new one.

    \b
    Example:
      eval "$(gfjobs completion bash)"
      echo 'eval "$(gfjobs completion zsh)"' >> ~/.zshrc
      gfjobs completion fish > ~/.config/fish/completions/gfjobs.fish
    """
    show(SHELLS[shell](main, {}, "gfjobs", "_GFJOBS_COMPLETE").source())
