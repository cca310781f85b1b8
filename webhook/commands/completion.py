"""`pyinject completion`: what a shell needs to complete pyinject's commands and flags."""

from __future__ import annotations

import argparse

from common.cli import add_completion


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    from webhook.commands.cli import PROGRAM

    add_completion(subparsers, PROGRAM)
