"""`pyinject completion`: what a shell needs to complete pyinject's commands and flags."""

from __future__ import annotations

import argparse

from webhook.commands import options

DESCRIPTION = "Print a script that completes pyinject's commands, flags and file names in a shell."
EPILOG = """\
examples:
  pyinject completion bash > /etc/bash_completion.d/pyinject
  pyinject completion zsh > "${fpath[1]}/_pyinject"
  pyinject completion fish > ~/.config/fish/completions/pyinject.fish
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = options.add_command(subparsers, "completion", "completion for a shell", DESCRIPTION, EPILOG)
    parser.set_defaults(run=run)
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])


def run(args: argparse.Namespace) -> int:
    """Print the script; 0."""
    import shtab

    from webhook.commands.cli import parser

    print(shtab.complete(parser(), shell=args.shell))
    return 0
