"""A program's command line: one parser, made from the modules of its commands.

A command module has ``add_parser(subparsers)`` and ``run(args) -> int``; it imports what is heavy inside `run`, so that
each command starts as fast as it can.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from common.errors import PysidecarError


@dataclass(frozen=True, slots=True)
class Program:
    """`commands` are names, as they are typed, with the module of `package` that each is."""

    name: str
    description: str
    version: str
    package: str
    commands: Mapping[str, str]

    def run(self, argv: Sequence[str]) -> int:
        """Runs `argv` (without the program's name); what goes wrong is a line on stderr and the error's exit code."""
        args = self.parser(argv[0] if argv else None).parse_args(argv)
        try:
            code: int = args.run(args)
        except PysidecarError as error:
            print(f"{self.name} {args.command}: {error}", file=sys.stderr)
            return error.exit_code
        except BrokenPipeError:
            # who read our output has seen enough (head); a second write, by the interpreter at exit, must not fail
            sys.stdout = None
            return 141
        return code

    def parser(self, command: str | None = None) -> argparse.ArgumentParser:
        """The parser: of `command`, whose module alone is imported, or of all where it is none of them."""
        whole = argparse.ArgumentParser(prog=self.name, description=self.description)
        whole.add_argument("--version", action="version", version=f"{self.name} {self.version}")
        subparsers = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
        asked = self.commands.get(command or "")
        for module in [asked] if asked else dict.fromkeys(self.commands.values()):
            import_module(f"{self.package}.{module}").add_parser(subparsers)
        return whole


def add_command(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    help_text: str,
    description: str,
    epilog: str,
    aliases: Sequence[str] = (),
) -> argparse.ArgumentParser:
    """A command's parser, whose help keeps the lines of its description and epilog."""
    return subparsers.add_parser(
        name,
        aliases=aliases,
        help=help_text,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_completion(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], program: Program) -> None:
    """The command `completion`, of every program."""
    name = program.name
    epilog = (
        "examples:\n"
        f"  {name} completion bash > /etc/bash_completion.d/{name}\n"
        f'  {name} completion zsh > "${{fpath[1]}}/_{name}"\n'
        f"  {name} completion fish > ~/.config/fish/completions/{name}.fish\n"
    )
    description = f"Print a script that completes {name}'s commands, flags and file names in a shell."
    parser = add_command(subparsers, "completion", "completion for a shell", description, epilog)

    def run(args: argparse.Namespace) -> int:
        import shtab

        print(shtab.complete(program.parser(), shell=args.shell))
        return 0

    parser.set_defaults(run=run)
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])
