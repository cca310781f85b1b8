"""`pymesh completion`: what a shell needs to complete pymesh's commands and flags."""

from __future__ import annotations

import argparse

from mesh.commands import options

DESCRIPTION = "Print a script that completes pymesh's commands, flags and file names in a shell."
EPILOG = """\
examples:
  pymesh completion bash > /etc/bash_completion.d/pymesh
  pymesh completion zsh > "${fpath[1]}/_pymesh"
  pymesh completion fish > ~/.config/fish/completions/pymesh.fish
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = options.add_command(subparsers, "completion", "completion for a shell", DESCRIPTION, EPILOG)
    parser.set_defaults(run=run)
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])


def run(args: argparse.Namespace) -> int:
    """Print the script; 0."""
    import shtab

    from mesh.cli import parser

    print(shtab.complete(parser(), shell=args.shell))
    return 0
