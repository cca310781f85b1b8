"""The command line: one parser, made from the modules of mesh.commands.

A command module has ``add_parser(subparsers)`` and ``run(args) -> int``; it imports what is heavy inside `run`, so that
each command starts as fast as it can.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from common.errors import PysidecarError
from mesh import __version__

COMMANDS = {
    "bootstrap": "bootstrap",
    "proxy-config": "proxy_config.show",
    "pc": "proxy_config.show",
    "describe": "describe",
    "desc": "describe",
    "proxy-status": "proxy_status",
    "ps": "proxy_status",
    "completion": "completion",
    "serve": "serve",
    "analyze": "analyze",
}


def run(argv: Sequence[str]) -> int:
    """Runs `argv` (without the program's name); what goes wrong is a line on stderr and an exit code of mesh.errors."""
    args = parser(argv[0] if argv else None).parse_args(argv)
    try:
        code: int = args.run(args)
    except PysidecarError as error:
        print(f"pymesh {args.command}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # who read our output has seen enough (head); a second write, by the interpreter at exit, must not fail again
        sys.stdout = None
        return 141
    return code


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser: of `command`, whose module alone is imported, or of all where it is none of them."""
    whole = argparse.ArgumentParser(prog="pymesh", description="The control plane of sidecars and gateways (xDS).")
    whole.add_argument("--version", action="version", version=f"pymesh {__version__}")
    subparsers = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = COMMANDS.get(command or "")
    for name in [asked] if asked else dict.fromkeys(COMMANDS.values()):
        import_module(f"mesh.commands.{name}").add_parser(subparsers)
    return whole
