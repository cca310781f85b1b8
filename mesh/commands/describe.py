"""`pymesh describe`: which objects bear on a pod or a Service, and what is wrong in them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from common.cli import add_command
from mesh.commands import objects, options
from mesh.errors import NotFoundError

if TYPE_CHECKING:
    from mesh.build.describe import Description, OfService

DESCRIPTION = """\
Tell which Services lead to a pod, at which ports, and which DestinationRules and VirtualServices hold for them: as the
control plane sees it, by the same queries. What is wrong in any of these is told below; it ends with 5 for an error.
"""
EPILOG = f"""\
examples:
  pymesh describe pod reviews-v1-6d5.bookinfo
  pymesh describe service reviews -n bookinfo
  pymesh describe pod reviews-v1 -f objects/

{options.EXIT_CODES}"""
LINE = "-" * 20


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers, "describe", "what bears on a pod or a Service", DESCRIPTION, EPILOG, aliases=["desc"]
    )
    parser.set_defaults(run=run)
    parser.add_argument("kind", choices=["pod", "po", "service", "svc"], metavar="pod|service")
    parser.add_argument("name", metavar="NAME[.NAMESPACE]")
    options.add_namespace(parser)
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        default=[],
        metavar="FILE",
        help="objects from files (default: the cluster's)",
    )
    parser.add_argument("--domain", default="cluster.local", help="what Services' names end with (%(default)s)")
    options.add_cluster(parser)


def run(args: argparse.Namespace) -> int:
    """Print the description; 5 where something has an error."""
    from mesh.build.describe import of_pod, of_service
    from mesh.world.index import new_world

    name, dot, namespace = args.name.rpartition(".")
    if not dot:
        name, namespace = args.name, args.namespace
    world = new_world()
    if args.filename:
        for file in args.filename:
            world.apply(objects.of_file(file))
    else:
        world.apply(objects.of_cluster(args.kubeconfig, args.context))
    kind = "Pod" if args.kind in ("pod", "po") else "Service"
    found = (of_pod if kind == "Pod" else of_service)(world, namespace, name, args.domain)
    if found is None:
        where = f"in {', '.join(args.filename)}" if args.filename else "in the cluster"
        raise NotFoundError(f"{kind} {namespace}/{name} is not {where}")
    print("\n".join(lines(found)))
    return 5 if any(one.severity == "error" for one in found.problems) else 0


def lines(found: Description) -> Iterator[str]:
    """The description for people, in the shape that istioctl's has."""
    if found.pod is not None:
        pod = found.pod
        yield f"Pod: {pod.meta.name}.{pod.meta.namespace}"
        ports = [f"{port.container_port} ({one.name})" for one in pod.containers for port in one.ports]
        yield f"   Pod Ports: {', '.join(ports) or 'none are named'}"
        if not any(one.name == "istio-proxy" for one in pod.containers):
            yield "   WARNING: it has no sidecar (istio-proxy): what is told here holds for its clients only"
        if not pod.ready:
            yield "   WARNING: it is not ready, and gets no requests"
        if found.sidecar:
            yield f"   {found.sidecar} narrows what it sees"
        yield LINE
    for number, one in enumerate(found.services):
        if number:
            yield LINE
        yield from _service(one)
    if not found.services:
        yield "No Service leads to it: nobody reaches it by a name"
    if found.problems:
        yield LINE
        for problem in found.problems:
            yield f"{problem.severity.upper()}: {problem}"


def _service(one: OfService) -> Iterator[str]:
    from mesh.routing.words import done, met

    service = one.service
    yield f"Service: {service.name}.{service.namespace}"
    if service.external_name:
        yield f"   Another name for {service.external_name}"
    for alias in one.aliases:
        yield f"   Also called {alias}"
    for port in one.ports:
        named = f"{port.name} " if port.name else ""
        targets = one.targets.get(port.number)
        to = f" targets pod port {', '.join(map(str, targets))}" if targets else ""
        count = len(one.endpoints.get(port.number, ()))
        yield f"   Port: {named}{port.number}/{port.protocol}{to} ({count} endpoint{'' if count == 1 else 's'})"
    for ref in one.rules:
        yield f'DestinationRule: {ref.name}.{ref.namespace} for "{service.hostname}"'
    if one.rules:
        inside = [name for name, _, matching in one.subsets if matching]
        if inside:
            yield f"   Matching subsets: {', '.join(inside)}"
        others = [f"{name} ({_labels(labels)})" for name, labels, matching in one.subsets if not matching]
        if others:
            yield f"   {'Other subsets' if inside else 'Subsets'}: {', '.join(others)}"
        yield f"   {'Traffic policy' if one.has_policy else 'No traffic policy'} for the whole host"
    heard = {route.origins[0].ref for table in one.tables.values() for route in table}
    heard |= {route.origins[0].ref for table in one.connections.values() for route in table if route.origins}
    for rank, ref in enumerate(one.routes):
        other = "the one above" if rank else "another"
        shadowed = f" (not heard: {other} is for the same host)" if ref not in heard and (heard or rank) else ""
        yield f"{ref.kind}: {ref.name}.{ref.namespace}{shadowed}"

    for number, table in one.tables.items():
        yield f"Requests to port {number}:"
        rows = [(met(route.match), done(route.action), " > ".join(map(str, route.origins))) for route in table]
        widths = [max(len(row[at]) for row in rows) for at in range(2)]
        for matched, action, origin in rows:
            yield f"   {matched:<{widths[0]}}  {action:<{widths[1]}}  {origin}".rstrip()


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())
