"""`pymesh serve`: the control plane."""

from __future__ import annotations

import argparse
from pathlib import Path

from mesh.commands import options

DESCRIPTION = """\
Watch Services and routing objects, and tell every sidecar and gateway what to do by xDS (aggregated, delta or state of
the world). The objects come from the cluster, or with --files from a folder of YAML that is watched: for laptops, VMs,
tests and CI. What cannot be read is told and left out; nothing is served before everything was read once.
"""
EPILOG = f"""\
examples:
  pymesh serve --files objects/                         xDS for this machine's own proxies, at 127.0.0.1:15010
  pymesh serve --tls-cert-file tls.crt --tls-key-file tls.key        in a cluster: xDS at :15012, by TLS and token

{options.EXIT_CODES}"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = options.add_command(subparsers, "serve", "tell proxies what to do", DESCRIPTION, EPILOG)
    parser.set_defaults(run=run)
    parser.add_argument("--files", type=Path, metavar="DIR", help="objects as YAML; default: the cluster's")
    parser.add_argument(
        "--domain", default="cluster.local", help="what Services' names end with (default: %(default)s)"
    )
    parser.add_argument(
        "--xds-address",
        default="127.0.0.1:15010",
        metavar="HOST:PORT",
        help="xDS in plain text, for this machine's own proxies (default: %(default)s; empty: none)",
    )
    logs = parser.add_argument_group("logs")
    logs.add_argument("--log-format", choices=["auto", "json", "text"], default="auto", help="auto: text in a terminal")
    logs.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")


def run(args: argparse.Namespace) -> int:
    """Serves until it is told to stop."""
    import asyncio

    from common import logs
    from mesh.serve.app import Settings, serve
    from mesh.serve.server import Port
    from mesh.sources.files import Files

    logs.configure(args.log_format, args.log_level)
    source = Files(args.files, args.domain)
    ports = (Port(args.xds_address),) if args.xds_address else ()
    asyncio.run(serve(source, Settings(ports)))
    return 0
