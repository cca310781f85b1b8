"""`pymesh proxy-config`: the command, its filters and its output."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from common.cli import add_command
from common.errors import InputError
from mesh.commands import admin, options
from mesh.commands.proxy_config import tables
from mesh.commands.proxy_config.dump import Dump, Endpoint, Message, address_of, endpoints
from mesh.model.names import cluster_name

DESCRIPTION = """\
Show what a proxy has: from its pod (by way of the API server, which must let you port-forward), from an Envoy here, or
from a saved config_dump. Filters and columns are those of `istioctl proxy-config`.
"""
EPILOG = f"""\
examples:
  pymesh proxy-config listener productpage-v1-7d4.bookinfo --port 9080
  pymesh proxy-config route productpage-v1-7d4.bookinfo --name 9080 -o json
  pymesh proxy-config cluster web-1.shop --fqdn reviews.bookinfo.svc.cluster.local --subset v2
  pymesh proxy-config endpoint --admin 127.0.0.1:15000 --cluster 'outbound|9080||reviews.bookinfo.svc.cluster.local'
  curl -s '127.0.0.1:15000/config_dump?include_eds' | pymesh proxy-config all --file -

{options.EXIT_CODES}"""


class View(NamedTuple):
    """One subcommand: its names, the filters it knows, and how what it is about is found and shown."""

    names: tuple[str, ...]
    filters: tuple[str, ...]
    find: Callable[[Any, argparse.Namespace], Sequence[Any]]
    header: tables.Row = ()
    rows: Callable[[Any], Iterable[tables.Row]] | None = None


def _clusters(data: Any, args: argparse.Namespace) -> list[Message]:
    def wanted(one: Message) -> bool:
        name = cluster_name(str(one.get("name")))
        if name is None:
            return not (args.port or args.subset or args.direction) and args.fqdn in ("", one.get("name"))
        return (
            args.fqdn in ("", name.host)
            and args.port in (0, name.port)
            and args.subset in ("", name.subset)
            and args.direction in ("", name.direction)
        )

    return [one for one in Dump(data).clusters if wanted(one)]


def _listeners(data: Any, args: argparse.Namespace) -> list[Message]:
    def wanted(one: Message) -> bool:
        address, port = address_of(one)
        return (
            args.address in ("", address)
            and args.port in (0, port)
            and (not args.type or args.type.upper() in tables.kind_of(one).split("+"))
        )

    return [one for one in Dump(data).listeners if wanted(one)]


def _routes(data: Any, args: argparse.Namespace) -> list[Message]:
    return [one for one in Dump(data).routes if args.name in ("", one.get("name"))]


def _endpoints(data: Any, args: argparse.Namespace) -> list[Endpoint]:
    return [
        one
        for one in endpoints(data)
        if args.address in ("", one.address)
        and args.port in (0, one.port)
        and args.cluster in ("", one.cluster)
        and args.status.upper() in ("", one.status)
    ]


def _secrets(data: Any, _args: argparse.Namespace) -> list[Message]:
    return Dump(data).secrets


def _bootstrap(data: Any, _args: argparse.Namespace) -> list[Message]:
    return [Dump(data).bootstrap]


def _secret_rows(secret: Message) -> list[tables.Row]:
    return [tables.secret_row(secret, datetime.now(UTC))]


VIEWS = (
    View(("bootstrap", "b"), (), _bootstrap),
    View(
        ("listener", "listeners", "l"),
        ("address", "port", "type"),
        _listeners,
        tables.LISTENERS,
        tables.listener_rows,
    ),
    View(("route", "routes", "r"), ("name",), _routes, tables.ROUTES, tables.route_rows),
    View(
        ("cluster", "clusters", "c"),
        ("fqdn", "port", "subset", "direction"),
        _clusters,
        tables.CLUSTERS,
        lambda one: [tables.cluster_row(one)],
    ),
    View(
        ("endpoint", "endpoints", "ep"),
        ("address", "port", "cluster", "status"),
        _endpoints,
        tables.ENDPOINTS,
        lambda one: [tables.endpoint_row(one)],
    ),
    View(("secret", "secrets", "s"), (), _secrets, tables.SECRETS, _secret_rows),
)
FILTERS: dict[str, dict[str, Any]] = {
    "address": {"metavar": "IP", "help": "at this address"},
    "port": {"metavar": "PORT", "type": int, "default": 0, "help": "at this port"},
    "type": {"metavar": "TYPE", "help": "HTTP or TCP"},
    "name": {"metavar": "NAME", "help": "the table of this name, like 9080 or http.8080"},
    "fqdn": {"metavar": "HOST", "help": "of this host, its full name"},
    "subset": {"metavar": "NAME", "help": "of this subset of a DestinationRule"},
    "direction": {"choices": ["inbound", "outbound"], "help": "of this direction"},
    "cluster": {"metavar": "NAME", "help": "of the cluster of this name"},
    "status": {"metavar": "STATUS", "help": "that fare so: healthy, unhealthy, draining, …"},
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "proxy-config", "what a proxy has", DESCRIPTION, EPILOG, aliases=["pc"])
    views = parser.add_subparsers(dest="view", required=True, metavar="WHAT")
    for view in VIEWS:
        [name, *aliases] = view.names
        added = add_command(views, name, f"its {name}s", DESCRIPTION, EPILOG, aliases=aliases)
        _add_output(added, "json" if view.rows is None else "table")
        for one in view.filters:
            added.add_argument(f"--{one}", **({"default": ""} | FILTERS[one]))
        added.set_defaults(run=_run, what=view)
    added = add_command(views, "all", "all of these", DESCRIPTION, EPILOG, aliases=["a"])
    _add_output(added, "table")
    added.set_defaults(run=_run_all, **dict.fromkeys(FILTERS, "") | {"port": 0})


def _add_output(parser: argparse.ArgumentParser, default: str) -> None:
    admin.add_source(parser)
    choices = ["json", "yaml"] if default == "json" else ["table", "json", "yaml"]
    parser.add_argument("-o", "--output", choices=choices, default=default, help="(default: %(default)s)")


def _run(args: argparse.Namespace) -> int:
    """Print one kind of resources; 0."""
    get = admin.source(args)
    view: View = args.what
    # /clusters knows how endpoints fare; -o json shows what was said of them there
    data = get("/clusters?format=json" if view.find is _endpoints else "/config_dump?include_eds")
    print(_shown(view, _found(view, data, args), args.output))
    return 0


def _found(view: View, data: Any, args: argparse.Namespace) -> Sequence[Any]:
    try:
        return view.find(data, args)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"no config_dump of Envoy: {error}") from error


def _run_all(args: argparse.Namespace) -> int:
    """Print everything; 0."""
    get = admin.source(args)
    data = get("/config_dump?include_eds")
    if args.output != "table":
        print(_as(data, args.output))
        return 0
    parts = [_shown(view, _found(view, data, args), "table") for view in VIEWS if view.rows]
    print("\n\n".join(parts))
    return 0


def _shown(view: View, found: Sequence[Any], output: str) -> str:
    if output == "table" and view.rows is not None:
        return tables.text(view.header, [row for one in found for row in view.rows(one)])
    if view.find is _bootstrap:
        return _as({"bootstrap": found[0]}, output)
    return _as([_plain(one) for one in found], output)


def _plain(one: Any) -> Any:
    """A resource as Envoy wrote it, a secret without what its dump has around it."""
    if isinstance(one, Endpoint):
        return {"cluster": one.cluster, **one.source}
    return one


def _as(data: Any, output: str) -> str:
    if output == "yaml":
        import yaml

        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120).rstrip()
    return json.dumps(data, indent=2, ensure_ascii=False)
