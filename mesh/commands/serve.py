"""`pymesh serve`: the control plane."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.cli import add_command
from common.errors import UsageError
from mesh.commands import options

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from mesh.serve.app import Settings

DESCRIPTION = """\
Watch Services and routing objects, and tell every sidecar and gateway what to do by xDS (aggregated, delta or state of
the world). The objects come from the cluster, or with --files from a folder of YAML that is watched: for laptops, VMs,
tests and CI. What cannot be read is told and left out; nothing is served before everything was read once.
"""
EPILOG = f"""\
examples:
  pymesh serve --files objects/                    xDS for this machine's own proxies, at 127.0.0.1:15010
  pymesh serve --ca-secret pymesh-ca --service pymesh --namespace pysidecar
                                                   in a cluster: xDS at :15012, by TLS and token

{options.EXIT_CODES}"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "serve", "tell proxies what to do", DESCRIPTION, EPILOG)
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
    parser.add_argument(
        "--debug-address",
        default="127.0.0.1:15014",
        metavar="HOST:PORT",
        help="/metrics, /ready, and what the tools ask (default: %(default)s; empty: none)",
    )
    cluster = parser.add_argument_group("in a cluster")
    options.add_cluster(cluster)
    cluster.add_argument(
        "--xds-tls-address",
        default="[::]:15012",
        metavar="HOST:PORT",
        help="xDS by TLS, for proxies that show their service account's token (default: %(default)s)",
    )
    cluster.add_argument(
        "--admission-address",
        default="[::]:15017",
        metavar="HOST:PORT",
        help="where API servers ask about routing objects, by TLS (default: %(default)s; empty: none)",
    )
    cluster.add_argument(
        "--webhook-configuration",
        default="",
        metavar="NAME",
        help="the ValidatingWebhookConfiguration whose caBundle to write (default: none)",
    )
    cluster.add_argument(
        "--ca-secret", metavar="NAME", help="the Secret, already there, where replicas share an authority"
    )
    cluster.add_argument(
        "--service", default="pymesh", metavar="NAME", help="the Service that proxies call (%(default)s)"
    )
    cluster.add_argument(
        "--gateway-class",
        default="",
        metavar="NAME",
        help="a GatewayClass to make where Gateway API is (default: none)",
    )
    cluster.add_argument(
        "--gateway-template",
        type=Path,
        metavar="FILE",
        help="how the pods of Gateway API's Gateways look: YAML with the specs `deployment` and `service`; "
        "without it none are run",
    )
    cluster.add_argument(
        "--no-conditions",
        action="store_true",
        help="write no conditions into the status of Istio's objects: where Istio itself does (default: what is wrong "
        "in them, in PassedAnalysis and Reconciled)",
    )
    cluster.add_argument("--namespace", metavar="NAME", help="of the Service and the Secret (default: the pod's own)")
    logs = parser.add_argument_group("logs")
    logs.add_argument("--log-format", choices=["auto", "json", "text"], default="auto", help="auto: text in a terminal")
    logs.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")


def run(args: argparse.Namespace) -> int:
    """Serves until it is told to stop."""
    import os

    from common import logs
    from mesh.serve.app import Settings, serve
    from mesh.serve.server import Port

    if args.files is None and not args.ca_secret:
        raise UsageError("--files DIR, or in a cluster --ca-secret NAME, is needed")
    for flag in ("--xds-address", "--debug-address", "--xds-tls-address", "--admission-address"):
        given = getattr(args, flag.removeprefix("--").replace("-", "_"))
        if given and not given.startswith("unix:"):
            options.host_port(flag, given, "127.0.0.1:15010")
    logs.configure(args.log_format, args.log_level)
    name = os.environ.get("POD_NAME") or os.uname().nodename
    ports = (Port(args.xds_address),) if args.xds_address else ()
    settings = Settings(ports, args.debug_address, name, domain=args.domain)
    if args.files is not None:
        from mesh.sources.files import Files

        _until_it_ends(serve(Files(args.files, args.domain), settings))
        return 0
    return _in_cluster(args, settings)


def _until_it_ends(serving: Coroutine[Any, Any, None]) -> None:
    import asyncio
    import os
    from contextlib import suppress

    import uvloop

    # A thread is not taken off its core whenever another has something to do (sched(7)): what comes meanwhile is taken
    # together, and a change that goes to 100 proxies costs a tenth less. Where that is forbidden it goes without.
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)


def _in_cluster(args: argparse.Namespace, settings: Settings) -> int:
    import os
    from tempfile import TemporaryDirectory

    from common.kube import Kubernetes
    from mesh.serve.cluster import CONNECTIONS, Cluster, serve_cluster

    namespace = args.namespace or os.environ.get("POD_NAMESPACE")
    if not namespace:
        raise UsageError("--namespace NAME (or the variable POD_NAMESPACE) is needed beside --ca-secret")
    kubernetes = Kubernetes(args.kubeconfig, args.context, connections=CONNECTIONS)
    cluster = Cluster(
        namespace,
        args.service,
        args.ca_secret,
        args.xds_tls_address,
        args.admission_address,
        args.webhook_configuration,
        args.gateway_class,
        _template(args.gateway_template) if args.gateway_template else {},
        not args.no_conditions,
    )
    with TemporaryDirectory(prefix="pymesh-") as folder:
        _until_it_ends(serve_cluster(kubernetes, cluster, settings, Path(folder), args.domain))
    return 0


def _template(file: Path) -> dict[str, Any]:
    """What the file says. Raises UsageError for what cannot be read, and where a part is missing."""
    from common.yamlio import load_yaml

    try:
        found = load_yaml(file.read_text(encoding="utf-8"), f"--gateway-template {file}")
    except (OSError, ValueError) as error:
        raise UsageError(f"--gateway-template {file}: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("deployment"), dict):
        raise UsageError(f"--gateway-template {file}: want a map with `deployment` and `service`")
    return found
