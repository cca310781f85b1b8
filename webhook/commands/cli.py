"""The command line: one parser, made from the modules of webhook.commands.

A command module has ``add_parser(subparsers)`` and ``run(args) -> int``; it imports what is heavy inside `run`, so that
`kube-inject` starts as fast as it can.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from common.errors import PysidecarError
from webhook import __version__

COMMANDS = {
    "serve": "serve",
    "kube-inject": "kube_inject",
    "uninject": "uninject",
    "diff": "diff",
    "explain": "explain",
    "completion": "completion",
}


def run(argv: Sequence[str]) -> int:
    """Run `argv` (without the program's name); what goes wrong is one line on stderr and an exit code of
    webhook.errors.
    """
    args = parser(argv[0] if argv else None).parse_args(argv)
    try:
        code: int = args.run(args)
    except PysidecarError as error:
        print(f"pyinject {args.command}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # who read our output has seen enough (head); a second write, by the interpreter at exit, must not fail again
        sys.stdout = None
        return 141
    return code


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser: of `command`, whose module alone is imported, or of all where it is none of them."""
    whole = argparse.ArgumentParser(prog="pyinject", description="Give pods a sidecar: as a webhook, or in files.")
    whole.add_argument("--version", action="version", version=f"pyinject {__version__}")
    subparsers = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = COMMANDS.get(command or "")
    for name in [asked] if asked else COMMANDS.values():
        module = import_module(f"webhook.commands.{name}")
        module.add_parser(subparsers)
    return whole
