"""The command line: one parser, made from the modules of webhook.commands.

A command module has ``add_parser(subparsers)`` and ``run(args) -> int``; it imports what is heavy inside `run`, so that
`kube-inject` starts as fast as it can.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from webhook import __version__
from webhook.errors import PyinjectError

COMMANDS = {
    "serve": "serve",
    "kube-inject": "kube_inject",
    "uninject": "uninject",
    "diff": "diff",
    "explain": "explain",
}


def run(argv: Sequence[str]) -> int:
    """Run `argv` (without the program's name); what goes wrong is one line on stderr and an exit code of
    webhook.errors.
    """
    args = _parser(argv).parse_args(argv)
    try:
        code: int = args.run(args)
    except PyinjectError as error:
        print(f"pyinject {args.command}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # who read our output has seen enough (head); a second write, by the interpreter at exit, must not fail again
        sys.stdout = None
        return 141
    return code


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the module of the command that is asked for is imported, or all of them for the general help."""
    parser = argparse.ArgumentParser(prog="pyinject", description="Give pods a sidecar: as a webhook, or in files.")
    parser.add_argument("--version", action="version", version=f"pyinject {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = COMMANDS.get(argv[0]) if argv else None
    for name in [asked] if asked else COMMANDS.values():
        module = import_module(f"webhook.commands.{name}")
        module.add_parser(subparsers)
    return parser
