"""`pyinject serve`: the admission webhook."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UsageError
from webhook import limits
from webhook.limits import Limits

if TYPE_CHECKING:
    from common.kube import Kubernetes
    from webhook.serving.sources import Source


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "serve",
        help="answer a cluster's admission requests",
        description="Answer AdmissionReviews at https://ADDRESS:PORT/inject. Files are read again when they change; "
        "what cannot be used is refused with a message, and what was in force stays.",
    )
    parser.set_defaults(run=run)

    network = parser.add_argument_group("network")
    network.add_argument("--address", default="::", help="where to listen (default: every address)")
    network.add_argument("--port", type=int, default=9443, help="for HTTPS (default %(default)s; 0: any free one)")
    network.add_argument(
        "--metrics-port", type=int, default=9090, help="for http …/metrics (default %(default)s; 0: none)"
    )
    network.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes that answer (default: one for each CPU)"
    )
    network.add_argument(
        "--shutdown-delay",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="go on serving so long after SIGTERM, until no API server sends requests here any more (default 0)",
    )

    settings = parser.add_argument_group("settings", "Istio's; without a file, this project's own defaults")
    settings.add_argument("--valuesFile", type=Path, metavar="FILE", help="values, as in istio-sidecar-injector")
    settings.add_argument("--meshConfigFile", type=Path, metavar="FILE", help="mesh configuration, as in istio")
    settings.add_argument("--injectConfigFile", type=Path, metavar="FILE", help="policy, selectors, templates")
    settings.add_argument(
        "--last-good",
        metavar="NAME",
        help="the ConfigMap, already there, where settings in force are kept: for a start when files are wrong",
    )
    settings.add_argument("--revision", default="", help="the revision that pods are told they were injected by")
    settings.add_argument(
        "--native-sidecars", choices=["auto", "true", "false"], default="auto", help="auto: as nodes can"
    )

    tls = parser.add_argument_group("TLS", "a certificate from files, or one of an authority that is made here")
    tls.add_argument("--tls-cert-file", type=Path, metavar="FILE", help="certificate and chain, PEM")
    tls.add_argument("--tls-key-file", type=Path, metavar="FILE", help="its private key, PEM")
    tls.add_argument("--ca-secret", metavar="NAME", help="the Secret, already there, where replicas share an authority")
    tls.add_argument("--webhook-configuration", metavar="NAME", help="whose caBundle to write, with --ca-secret")
    tls.add_argument("--service", metavar="NAME", help="the Service that API servers call: the certificate's DNS name")
    tls.add_argument("--namespace", metavar="NAME", help="of the Service and the Secret")

    bounds = parser.add_argument_group("bounds", "for each worker; what goes beyond is refused, others are served")
    for flag, default, meaning in limits.flags():
        bounds.add_argument(
            flag, type=type(default), default=default, metavar="N", help=f"{meaning} (default %(default)s)"
        )

    parser.add_argument(
        "--cluster",
        action="store_true",
        help="follow the cluster's namespaces, nodes and ProxyConfigs (service account or KUBECONFIG)",
    )
    parser.add_argument("--events", action="store_true", help="make an Event on the owner of a pod that is refused")
    parser.add_argument(
        "--log-format", choices=["auto", "json", "text"], default="auto", help="auto: text on a terminal"
    )
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    from common import logs
    from webhook.serving.serve import ServeConfig, Supervisor

    if args.workers < 1:
        raise UsageError(f"--workers {args.workers}: at least 1 is needed")
    bounds = _limits(args)
    logs.configure(args.log_format, args.log_level)
    config = ServeConfig(
        address=args.address,
        port=args.port,
        metrics_port=args.metrics_port,
        workers=args.workers,
        shutdown_delay=args.shutdown_delay,
        revision=args.revision,
        native_sidecars={"auto": None, "true": True, "false": False}[args.native_sidecars],
        log_format=args.log_format,
        log_level=args.log_level,
        limits=bounds,
    )
    recorder = None
    if args.events:
        from common.kube import Kubernetes
        from webhook.serving.recorder import Recorder

        recorder = Recorder(Kubernetes())
    Supervisor(config, _sources(args), recorder).run()
    return 0


def _limits(args: argparse.Namespace) -> Limits:
    given = {it.name: getattr(args, f"limit_{it.name}") for it in fields(Limits)}
    for name, value in given.items():
        if not 0 < value < float("inf"):
            raise UsageError(f"--limit-{name.replace('_', '-')} {value}: more than 0 is needed")
    if given["bodies_bytes"] < given["body_bytes"]:
        raise UsageError(
            f"--limit-bodies-bytes {given['bodies_bytes']}: less than --limit-body-bytes, so none would fit"
        )
    return Limits(**given)


def _sources(args: argparse.Namespace) -> list[Source]:
    """Where settings, certificate and the cluster's state come from. Raises UsageError for flags that do not fit."""
    from webhook.serving import sources
    from webhook.serving.handover import CONFIG, MESH, VALUES
    from webhook.serving.lastgood import LastGood

    kubernetes = last_good = None
    if args.ca_secret or args.cluster or args.last_good:
        from common.kube import Kubernetes

        kubernetes = Kubernetes()
    if args.last_good and kubernetes:
        if not args.namespace:
            raise UsageError(f"--last-good {args.last_good}: --namespace is needed, where it is")
        last_good = LastGood(kubernetes, args.namespace, args.last_good)
    paths = {VALUES: args.valuesFile, MESH: args.meshConfigFile, CONFIG: args.injectConfigFile}
    given = {name: path for name, path in paths.items() if path}
    found = [sources.settings_files(given, args.revision, last_good)]
    found.append(_certificate(args, kubernetes))
    if args.cluster and kubernetes:
        found += [sources.namespaces(kubernetes), sources.nodes(kubernetes), sources.proxy_configs(kubernetes)]
    return found


def _certificate(args: argparse.Namespace, kubernetes: Kubernetes | None) -> Source:
    from common import tls
    from webhook.serving import sources

    names = tls.service_names(args.service, args.namespace) if args.service and args.namespace else ()
    if args.tls_cert_file and args.tls_key_file and not args.ca_secret:
        return sources.certificate_files(args.tls_cert_file, args.tls_key_file, names[0] if names else None)
    if kubernetes and args.ca_secret and names and args.webhook_configuration and not args.tls_cert_file:
        return sources.own_certificate(kubernetes, args.namespace, args.ca_secret, args.webhook_configuration, names)
    raise UsageError(
        "a certificate is needed: either --tls-cert-file and --tls-key-file, "
        "or --ca-secret with --webhook-configuration, --service and --namespace"
    )
