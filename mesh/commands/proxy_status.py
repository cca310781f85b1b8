"""`pymesh proxy-status`: who is connected, how far each is, and why it is no further."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from common.cli import add_command
from mesh.commands import admin, control_plane, options
from mesh.commands.proxy_config.tables import Row, text
from mesh.errors import NotFoundError

DESCRIPTION = """\
Show all proxies that are connected, and for each type of resource:
  SYNCED    the proxy accepted all that it is to have
  STALE     it was told something and has not answered yet, or something has to be accepted before that
  ERROR     it refused what it was told, and goes on with what it had
  NOT SENT  it was told nothing
with since when, and below the table why: Envoy's own words, and the object to blame. With POD: the difference between
what that proxy is to have and what its Envoy has.
"""
EPILOG = f"""\
examples:
  pymesh proxy-status
  pymesh proxy-status productpage-v1-7d4.bookinfo
  pymesh proxy-status --debug-address 127.0.0.1:15014 -o json
  pymesh proxy-status client.default --debug-address 127.0.0.1:15014 --admin 127.0.0.1:15000

{options.EXIT_CODES}"""

TYPES = ("CDS", "LDS", "EDS", "RDS")
HEADER = ("NAME", "CLUSTER", *TYPES, "CONTROL PLANE", "VERSION")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "proxy-status", "how far each proxy is", DESCRIPTION, EPILOG, aliases=["ps"])
    parser.set_defaults(run=run)
    parser.add_argument("pod", nargs="?", metavar="POD[.NAMESPACE]", help="only this one, with the difference")
    options.add_namespace(parser)
    parser.add_argument("-o", "--output", choices=["table", "json", "yaml"], default="table")
    parser.add_argument("--admin", metavar="HOST:PORT", help="with POD: the admin API of its Envoy, if that is here")
    parser.add_argument("--file", metavar="FILE", help="with POD: a saved config_dump?include_eds of its Envoy")
    parser.add_argument("--proxy-admin-port", type=int, default=admin.PORT, metavar="PORT", help="(%(default)s)")
    control_plane.add_source(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table, or the difference; 0."""
    answers = list(control_plane.ask(args, "/debug/proxies"))
    proxies = [{**proxy, "control_plane": one["control_plane"]} for one in answers for proxy in one["proxies"]]
    if args.pod:
        name = ".".join(admin.pod_of(args))
        proxies = [one for one in proxies if one["name"] == name]
        if not proxies:
            raise NotFoundError(f"no proxy {name} is connected; those that are: pymesh proxy-status")
    proxies.sort(key=lambda one: (str(one["namespace"]), str(one["pod"])))
    if args.output != "table":
        print(_as(proxies, args.output))
        return 0
    print(text(HEADER, [_row(one, datetime.now(UTC)) for one in proxies]))
    for line in reasons(proxies):
        print(line)
    for one in answers:
        for what in one.get("waits_for") or ():
            print(f"\n{one['control_plane']} is not ready, it waits for {what}")
    if args.pod:
        print()
        print(_difference(args, proxies[0]["name"]))
    return 0


def _row(proxy: Mapping[str, Any], now: datetime) -> Row:
    cells = (_cell((proxy["types"] or {}).get(name), now) for name in TYPES)
    return (
        str(proxy["name"]), str(proxy.get("cluster_id") or "-"), *cells,
        str(proxy["control_plane"]), str(proxy.get("envoy") or "-"),
    )  # fmt: skip


def _cell(of: Mapping[str, Any] | None, now: datetime) -> str:
    if of is None:
        return "-"
    since = age(str(of.get("since") or ""), now)
    return f"{of['state']} ({since})" if since else str(of["state"])


def age(since: str, now: datetime) -> str:
    """How long ago, as kubectl writes it: 5s, 7m, 3h, 4d."""
    if not since:
        return ""
    seconds = max(0, int((now - datetime.fromisoformat(since)).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def reasons(proxies: list[dict[str, Any]]) -> Iterator[str]:
    """A paragraph for each type that is not as it should be."""
    for proxy in proxies:
        for name, of in proxy["types"].items():
            if of["state"] not in ("ERROR", "STALE"):
                continue
            yield ""
            since = f" since {of['since']}" if of.get("since") else ""
            yield f"{proxy['name']}: {name} {of['state']}{since}: {of.get('why') or 'no reason is known'}"
            if of.get("object"):
                yield f"    because of: {of['object']}"
            if of.get("refused"):
                yield f"    refused: {', '.join(of['refused'])}"


def _difference(args: argparse.Namespace, name: str) -> str:
    from mesh.commands.compare import difference

    wanted = next(control_plane.ask(args, f"/debug/config?proxy={name}", missing=True), None)
    if wanted is None:
        raise NotFoundError(f"proxy {name} has just gone")
    if args.admin or args.file:
        args.pod = None
    return difference(wanted["types"], admin.source(args)("/config_dump?include_eds"))


def _as(data: Any, output: str) -> str:
    if output == "yaml":
        import yaml

        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120).rstrip()
    return json.dumps(data, indent=2, ensure_ascii=False)
