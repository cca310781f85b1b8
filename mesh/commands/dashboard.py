"""`pymesh dashboard`: the mesh in a browser."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from common.cli import add_command
from common.errors import UsageError
from mesh.commands import control_plane, options

if TYPE_CHECKING:
    from mesh.commands.several import Several

PORT = 15016
DESCRIPTION = """\
Open a page that shows the mesh: who calls whom, how far each proxy is and why, what a Service's rules do with requests,
and which objects are faulty. It changes nothing.

It is served on this machine's loopback, until Ctrl-C. What it shows it asks of every replica of the control plane, by
port-forward, so that the API server decides who may look; and of Prometheus, where there is one: --prometheus names it,
else it is looked for in the cluster (a ready pod labelled app.kubernetes.io/name=prometheus, or app=prometheus).
"""
EPILOG = f"""\
examples:
  pymesh dashboard
  pymesh dashboard --prometheus http://prometheus.example:9090
  pymesh dashboard -i mesh-system --context staging --no-browser --port 0
  pymesh dashboard --debug-address 127.0.0.1:15014 --prometheus http://127.0.0.1:9090     of a pymesh serve here

{options.EXIT_CODES}"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "dashboard", "the mesh in a browser", DESCRIPTION, EPILOG, aliases=["dash"])
    parser.set_defaults(run=run)
    parser.add_argument(
        "-p",
        "--port",
        type=int,
        default=PORT,
        metavar="PORT",
        help="where the page is, on 127.0.0.1 (%(default)s; 0: any)",
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument(
        "--prometheus", metavar="URL", default="", help="whom to ask who calls whom; none: nobody (default: looked for)"
    )
    control_plane.add_source(parser)


def run(args: argparse.Namespace) -> int:
    """Serves the page until it is told to stop; 0."""
    import asyncio

    from mesh.commands.several import Several

    if not 0 <= args.port <= 65535:
        raise UsageError(f"--port {args.port}: 0 to 65535 are allowed")
    source = Several(args)
    source.probe()
    asyncio.run(_serve(source, args.port, browser=not args.no_browser))
    return 0


async def _serve(source: Several, port: int, *, browser: bool) -> None:
    import asyncio
    import signal
    import sys

    from mesh.serve.dashboard.app import application
    from mesh.serve.http import HttpPort

    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    http = HttpPort("--port", f"127.0.0.1:{port}", application(source))
    try:
        await http.start()
    except UsageError as error:
        raise UsageError(f"{error}; name another port, or 0 for any that is free") from None
    url = f"http://{http.bound}/"
    print(f"{url}\nCtrl-C ends it.", flush=True)
    print(f"calls: {source.calls}", file=sys.stderr)
    if browser:
        await asyncio.to_thread(_open, url)
    await stop.wait()
    await http.stop()


def _open(url: str) -> None:
    """A browser with windows; one in this terminal would take it over."""
    import os
    import sys
    import webbrowser

    if sys.platform == "linux" and not any(os.environ.get(one) for one in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")):
        return
    webbrowser.open(url)
