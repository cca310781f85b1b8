"""`pymesh analyze`: what is wrong in objects, before they are applied."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.cli import add_command
from mesh.commands import objects, options

if TYPE_CHECKING:
    from mesh.model.problem import Problem
    from mesh.world.events import Event

DESCRIPTION = """\
Tell what is wrong in objects: fields that the kind does not have, values that are not allowed, rules that are never
reached; and what only the whole shows, such as hosts, subsets and gateways that nobody has.

With -f only those files are looked at, so give the Services with them, or -A to see the files in the cluster as it
would be with them. The control plane leaves an object with an error out and serves the others; a warning is served.
"""
EPILOG = f"""\
examples:
  pymesh analyze -f objects/                       a folder, with all below it
  pymesh analyze -f rule.yaml -A                   what a file would do to the cluster
  pymesh analyze -A --fail-on warning              all that is in the cluster; warnings fail too
  kubectl get vs -A -o yaml | pymesh analyze -f - -o json | jq -r '.[].path'

{options.EXIT_CODES}"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "analyze", "what is wrong in objects", DESCRIPTION, EPILOG)
    parser.set_defaults(run=run)
    parser.add_argument("-f", "--filename", action="append", default=[], metavar="FILE", help="a file, a folder, or -")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="the cluster's objects")
    parser.add_argument("-n", "--namespace", metavar="NAME", help="tell only of this namespace's objects")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    parser.add_argument(
        "--fail-on", choices=["error", "warning", "never"], default="error", help="what ends with 5 (default: error)"
    )
    options.add_cluster(parser)


def run(args: argparse.Namespace) -> int:
    """Tell the problems; 5 where there are any to fail on."""
    from common.errors import UsageError
    from mesh.world.events import Upsert

    if not args.filename and not args.all_namespaces:
        raise UsageError("nothing to look at: give -f FILE, or -A for the cluster")
    events: list[Event] = []
    if args.all_namespaces:
        events += objects.of_cluster(args.kubeconfig, args.context)
    for name in args.filename:
        events += objects.of_file(name)
    found = problems_of(events)
    if args.namespace:
        found = [one for one in found if one.ref.namespace in (args.namespace, "")]
    _show(found, args.output)
    errors = sum(one.severity == "error" for one in found)
    count = len({(one.kind, one.key) for one in events if isinstance(one, Upsert) and one.kind != "File"})
    print(
        f"{_count(count, 'object')}: {_count(errors, 'error')}, {_count(len(found) - errors, 'warning')}",
        file=sys.stderr,
    )
    if args.fail_on == "never":
        return 0
    return 5 if errors or (found and args.fail_on == "warning") else 0


def problems_of(events: Sequence[Event]) -> list[Problem]:
    """What is wrong in each object and in all together, in the order of files, kinds and names; errors first."""
    from mesh.routing.analysis import problems
    from mesh.world.index import new_world

    world = new_world()
    world.apply(events)
    found = [one for many in world.problems.values() for one in many]
    return sorted(
        dict.fromkeys([*found, *problems(world)]), key=lambda one: (one.severity, one.ref, one.path, one.code)
    )


def _show(found: Sequence[Problem], output: str) -> None:
    if output == "json":
        import json

        print(json.dumps([_as_json(one) for one in found], indent=2))
        return
    rows = [("LEVEL", "OBJECT", "PATH", "MESSAGE", "CODE")]
    rows += [(one.severity, str(one.ref), one.path, one.message, one.code) for one in found]
    if found:
        widths = [max(len(row[at]) for row in rows) for at in range(4)]
        for row in rows:
            print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]))


def _as_json(one: Problem) -> dict[str, str]:
    kind, namespace, name = one.ref
    return {
        "severity": one.severity, "code": one.code, "kind": kind, "namespace": namespace, "name": name,
        "path": one.path, "message": one.message,
    }  # fmt: skip


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
