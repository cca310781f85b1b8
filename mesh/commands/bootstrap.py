"""`pymesh bootstrap`: what a proxy starts with."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.cli import add_command
from common.errors import InputError, SettingsError, UsageError
from mesh.commands import options
from mesh.errors import NotFoundError

if TYPE_CHECKING:
    from common.envoy import Discovery, Sidecar
    from mesh.model.workload import Node, Pod

DESCRIPTION = """\
Print Envoy's bootstrap for a pod, as JSON: who it is, where the control plane answers, and what it does until then. It
is what pyinject's profile `mesh` writes into a pod; here for an Envoy on a laptop, on a VM, or in a test.

The Pod is read from --files or from the cluster; what flags say counts more, and with --ip none is needed. A gateway
(--kind router) is known by the label istio=…gateway, by gateway.networking.k8s.io/gateway-name, by the annotation
inject.istio.io/templates=gateway, or as the pod that a Gateway's selector names.
"""
EPILOG = f"""\
examples:
  pymesh bootstrap --pod web -n shop --files objects/ --xds-address 127.0.0.1:15010 > envoy.json && envoy -c envoy.json
  pymesh bootstrap --pod vm-1 -n vms --ip 192.168.4.2 --labels app=billing --xds-address 127.0.0.1:15010
  pymesh bootstrap --pod web -n shop --xds-address pymesh.pysidecar.svc:15012 --tls-ca ca.pem --token token

{options.EXIT_CODES}"""

GATEWAY_NAMES = ("gateway.networking.k8s.io/gateway-name", "istio.io/gateway-name")
TEMPLATES = "inject.istio.io/templates"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "bootstrap", "what a proxy starts with", DESCRIPTION, EPILOG)
    parser.set_defaults(run=run)
    parser.add_argument("--pod", required=True, metavar="NAME", help="the pod beside whose app Envoy is to run")
    options.add_namespace(parser)
    parser.add_argument("--files", metavar="DIR", help="objects as YAML, as for pymesh serve; default: the cluster's")
    options.add_cluster(parser)

    parser.add_argument("-o", "--output", metavar="FILE", help="where to write (default: stdout)")

    asked = parser.add_argument_group("the control plane")
    asked.add_argument("--xds-address", metavar="HOST:PORT", default="127.0.0.1:15010", help="(default: %(default)s)")
    asked.add_argument(
        "--tls-ca",
        metavar="FILE",
        default="",
        help="whom Envoy trusts to have signed its certificate: PEM, or a .json of SDS, read again when it changes",
    )
    asked.add_argument("--server-name", metavar="NAME", default="", help="whose certificate it is (default: HOST)")
    asked.add_argument(
        "--token", metavar="FILE", default="", help="the service account's token, by which Envoy is known"
    )

    who = parser.add_argument_group("the proxy", "default: as the Pod says")
    who.add_argument("--kind", choices=["sidecar", "router"], help="a gateway is a router")
    who.add_argument("--ip", metavar="ADDRESS", help="its IP address; several with commas, the main one first")
    who.add_argument("--labels", metavar="K=V,…", help="its labels")
    who.add_argument("--service-account", metavar="NAME", help="whose token it has")
    who.add_argument("--cluster-id", metavar="NAME", default="Kubernetes", help="(default: %(default)s)")
    who.add_argument(
        "--mode", choices=["REDIRECT", "TPROXY", "NONE"], default="REDIRECT", help="how traffic gets to it"
    )
    who.add_argument("--admin-port", type=int, default=15000, metavar="PORT", help="(default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Write the bootstrap; 0."""
    from common.envoy import bootstrap

    objects = _objects(args)
    text = json.dumps(bootstrap(_sidecar(args, objects)), indent=2, ensure_ascii=False)
    # what is written for kubelet to expand has its dollars doubled
    text = text.replace("$$", "$")
    if not args.output or args.output == "-":
        print(text)
        return 0
    try:
        Path(args.output).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"-o {args.output}: {error.strerror or error}") from error
    return 0


def _objects(args: argparse.Namespace) -> list[Mapping[str, Any]]:
    """The objects that may say something of the pod."""
    if args.files:
        return list(read_folder(Path(args.files)))
    if args.ip:
        return []
    from common.kube import Kubernetes

    kubernetes = Kubernetes(args.kubeconfig, args.context)
    pod = kubernetes.get("Pod", args.pod, args.namespace) | {"apiVersion": "v1", "kind": "Pod"}
    if not (node := pod["spec"].get("nodeName")):
        return [pod]
    return [pod, kubernetes.get("Node", node) | {"apiVersion": "v1", "kind": "Node"}]


def read_folder(folder: Path) -> Iterable[Mapping[str, Any]]:
    """The objects in a folder's files; as for `pymesh serve`, what cannot be read is told of and left out.

    Raises UsageError where there is no such folder.
    """
    from mesh.sources.documents import SUFFIXES, read_documents

    if not folder.is_dir():
        raise UsageError(f"--files {folder}: no such folder")
    for file in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file()):
        try:
            found = read_documents(file.read_bytes(), str(file))
        except OSError as error:
            print(f"warning: {file}: left out: {error.strerror}", file=sys.stderr)
            continue
        for problem in found.problems:
            print(f"warning: {problem}", file=sys.stderr)
        yield from found.objects


def _sidecar(args: argparse.Namespace, objects: list[Mapping[str, Any]]) -> Sidecar:
    from common.envoy import Sidecar
    from common.envoy.parts import literal
    from common.envoy.settings import of_mesh
    from mesh.model.workload import workload_name

    thing, pod = _pod(args, objects)
    labels = _labels(args.labels) if args.labels is not None else dict(pod.meta.labels if pod else {})
    addresses = _addresses(args.ip) if args.ip else list(pod.ips if pod else ())
    if not addresses:
        raise InputError(f"Pod {args.namespace}/{args.pod}: status.podIPs: it has no address yet; give one with --ip")
    router = args.kind == "router" if args.kind else _is_gateway(thing, labels, objects)
    workload = workload_name(thing) or args.pod
    node = pod.node_name if pod else ""
    metadata = {
        "NAME": args.pod,
        "NAMESPACE": args.namespace,
        "SERVICE_ACCOUNT": args.service_account or (pod.service_account if pod else "default"),
        "LABELS": labels,
        "CLUSTER_ID": args.cluster_id,
        "INTERCEPTION_MODE": args.mode,
        "WORKLOAD_NAME": workload,
        "APP_CONTAINERS": ",".join(one.name for one in (pod.containers if pod else ()) if one.name != "istio-proxy"),
        "INSTANCE_IPS": ",".join(addresses),
        "NODE_NAME": node,
    }
    try:
        told = of_mesh(_mesh(objects))
    except ValueError as error:
        raise SettingsError(f"mesh configuration: {error}") from error
    return Sidecar(
        ip=addresses[0],
        pod=literal(args.pod),
        namespace=literal(args.namespace),
        node_cluster=literal(f"{labels.get('app') or workload}.{args.namespace}"),
        metadata={key: value for key, value in _literal(metadata).items() if value},
        locality=_locality(node, objects),
        router=router,
        discovery=_discovery(args),
        app_metrics=_app_metrics(thing),
        transparent=args.mode == "TPROXY",
        admin_port=args.admin_port,
        **told,
    )


def _app_metrics(thing: Mapping[str, Any]) -> dict[str, str]:
    """Where the app's own metrics are, as the Pod's annotations say it."""
    annotations = (thing.get("metadata") or {}).get("annotations") or {}
    found = {field: str(annotations.get(f"prometheus.io/{field}") or "") for field in ("scrape", "port", "path")}
    # an injected pod's say where the proxy is
    return {} if found["port"] == "15020" else found


def _pod(args: argparse.Namespace, objects: list[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Pod | None]:
    """The Pod as it was written, and as it is read."""
    if args.ip and not objects:
        return {}, None  # nothing to be read: the kinds would take most of the time in which a gateway starts
    from mesh.model.kinds import KINDS

    kind = KINDS["", "Pod"]
    names = []
    for thing in objects:
        if thing.get("apiVersion") == "v1" and thing.get("kind") == "Pod":
            read = kind.parse(thing)
            names.append(f"{read.ref.namespace}/{read.ref.name}")
            if (read.ref.namespace, read.ref.name) == (args.namespace, args.pod):
                if read.value is None:
                    raise InputError("; ".join(map(str, read.problems)))
                return thing, read.value
    if args.ip:
        return {}, None
    there = f"there are {', '.join(sorted(names)[:10])}" if names else "there is no Pod at all"
    raise NotFoundError(
        f"Pod {args.namespace}/{args.pod} is not in --files {args.files}: {there}; without a Pod give --ip"
    )


def _is_gateway(thing: Mapping[str, Any], labels: Mapping[str, str], objects: Iterable[Mapping[str, Any]]) -> bool:
    annotations = (thing.get("metadata") or {}).get("annotations") or {}
    if any(one.strip() == "gateway" for one in str(annotations.get(TEMPLATES, "")).split(",")):
        return True
    if labels.get("istio", "").endswith("gateway") or any(labels.get(name) for name in GATEWAY_NAMES):
        return True
    selectors = (
        (one.get("spec") or {}).get("selector")
        for one in objects
        if one.get("kind") == "Gateway" and str(one.get("apiVersion")).startswith("networking.istio.io/")
    )
    return any(isinstance(each, Mapping) and each and each.items() <= labels.items() for each in selectors)


def _mesh(objects: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The mesh configuration: key `mesh` of the ConfigMap `istio`."""
    from common.yamlio import load_yaml

    for thing in objects:
        if thing.get("kind") == "ConfigMap" and (thing.get("metadata") or {}).get("name") == "istio":
            text = (thing.get("data") or {}).get("mesh")
            mesh = load_yaml(text, "ConfigMap istio: mesh") if isinstance(text, str) else None
            if mesh is not None and not isinstance(mesh, Mapping):
                raise SettingsError("ConfigMap istio: mesh: a mapping is needed")
            return mesh or {}
    return {}


def _locality(node: str, objects: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Where the pod's node stands (core.v3.Locality), as far as it is known."""
    from mesh.model.kinds import KINDS

    for thing in objects:
        if thing.get("kind") == "Node" and (thing.get("metadata") or {}).get("name") == node:
            found: Node | None = KINDS["", "Node"].parse(thing).value
            named = zip(("region", "zone", "sub_zone"), found.locality if found else (), strict=False)
            return {key: value for key, value in named if value}
    return {}


def _discovery(args: argparse.Namespace) -> Discovery:
    from dataclasses import replace

    from common.envoy.settings import discovery_at

    try:
        found = discovery_at(args.xds_address, args.tls_ca, args.token)
    except ValueError as error:
        raise UsageError(f"--xds-address {error}") from error
    if args.token and not args.tls_ca:
        raise UsageError(f"--token {args.token}: a token is not sent in plain text; give --tls-ca too")
    for flag, path in (("--tls-ca", args.tls_ca), ("--token", args.token)):
        if path and not path.startswith("/"):
            raise UsageError(f"{flag} {path}: Envoy needs an absolute path")
    return replace(found, server_name=args.server_name)


def _labels(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    if bad := next((key + sep for key, sep, _ in pairs if not key or not sep), None):
        raise UsageError(f"--labels {text}: {bad!r} is no KEY=VALUE")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _addresses(text: str) -> list[str]:
    from ipaddress import ip_address

    try:
        return [str(ip_address(one.strip())) for one in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--ip {text}: {error}") from error


def _literal(value: Any) -> Any:
    """The same, with all its texts as kubelet would leave them."""
    from common.envoy.parts import literal

    if isinstance(value, Mapping):
        return {literal(key): _literal(each) for key, each in value.items()}
    return literal(value) if isinstance(value, str) else value
