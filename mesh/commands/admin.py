"""Envoy's admin API, wherever the proxy is: here, in a pod of a cluster, or as a file that someone saved."""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import InputError, NotReadyError, UsageError

if TYPE_CHECKING:
    from common.kube import Kubernetes

PORT = 15000
SECONDS = 30


class RefusedError(NotReadyError):
    """An answer that is none; `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


Get = Callable[[str], Any]
"""What a GET of a path answers, as data."""


def add_source(parser: argparse.ArgumentParser, what: str = "the proxy") -> None:
    """POD, or what stands in its place."""
    from mesh.commands import options

    parser.add_argument("pod", nargs="?", metavar="POD[.NAMESPACE]", help=f"{what} of this pod")
    options.add_namespace(parser)
    parser.add_argument("--file", metavar="FILE", help="a saved config_dump (?include_eds for endpoints), - for stdin")
    parser.add_argument("--admin", metavar="HOST:PORT", help="the admin API of a proxy here, like 127.0.0.1:15000")
    parser.add_argument("--proxy-admin-port", type=int, default=PORT, metavar="PORT", help="in the pod (%(default)s)")
    options.add_cluster(parser)


def pod_of(args: argparse.Namespace) -> tuple[str, str]:
    """Name and namespace. Pods' names may have dots: the last part is the namespace unless -n was given."""
    name = args.pod.removeprefix("pod/").removeprefix("pods/")
    pod, dot, namespace = name.rpartition(".")
    return (pod, namespace) if dot else (name, args.namespace)


def source(args: argparse.Namespace) -> Get:
    """Reads from what the flags name. Raises UsageError for none or several of them."""
    given = [name for name in ("pod", "file", "admin") if getattr(args, name)]
    if len(given) != 1:
        raise UsageError(f"one of POD, --file and --admin is needed{', not ' + ' and '.join(given) if given else ''}")
    if args.file:
        saved = _load(args.file)
        return lambda _path: saved
    if args.admin:
        from mesh.commands import options

        host, port = options.host_port("--admin", args.admin, "127.0.0.1:15000")
        return lambda path: get(http.client.HTTPConnection(host, port, timeout=SECONDS), path, args.admin)
    pod, namespace = pod_of(args)

    from common.kube import Kubernetes

    kubernetes = Kubernetes(args.kubeconfig, args.context)

    return forwarded(kubernetes, namespace, pod, args.proxy_admin_port, f"the proxy of pod {namespace}/{pod}")


def forwarded(kubernetes: Kubernetes, namespace: str, pod: str, port: int, whom: str) -> Get:
    """Reads from a port of a pod, by port-forward."""

    def read(path: str) -> Any:
        connection = http.client.HTTPConnection("localhost", timeout=SECONDS)
        connection.sock = kubernetes.forward(namespace, pod, port)
        return get(connection, path, whom)

    return read


def get(connection: http.client.HTTPConnection, path: str, whom: str) -> Any:
    """A GET's JSON. Raises NotReadyError, and RefusedError for another status than 200."""
    try:
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
    except (OSError, EOFError, zlib.error, http.client.HTTPException) as error:
        raise NotReadyError(f"{whom} does not answer GET {path}: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if answer.status != 200:
        said = body[:200].decode(errors="replace").strip()
        raise RefusedError(f"{whom} answers GET {path} with {answer.status}: {said}", answer.status)
    return _json(body, f"{whom}: GET {path}")


def _load(name: str) -> Any:
    try:
        return _json(sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes(), name)
    except OSError as error:
        raise UsageError(f"--file {name}: {error.strerror or error}") from error


def _json(body: bytes, what: str) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise InputError(f"{what}: no JSON: {error}") from error
