"""The xDS ports: gRPC's aggregated discovery service, delta and state of the world, bytes in and bytes out.

All in asyncio's one thread, so that nothing in it needs a lock. What a stream may cost is bounded: the size of a
request, names and types asked for (mesh.xds.machine), requests a second, one response of a type under way, time without
reading, the number of streams.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# One thread that polls, in place of four that wake each other: a quarter of the processor time of a change that goes to
# 100 proxies. gRPC reads it when it is loaded.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")

import grpc

from common import tls
from common.errors import CertificateError, UsageError
from mesh.encode.messages import to_dict
from mesh.serve import auth
from mesh.serve.auth import DeniedError, Identity, ReviewFailedError, Tokens, UnauthenticatedError, is_loopback
from mesh.serve.connection import Connection, OnOutcome, StuckError, log_outcome
from mesh.serve.mesh import Mesh
from mesh.world.proxy import NodeError, Proxy, proxy_of
from mesh.xds import wire
from mesh.xds.messages import ProtocolError, Request, TooMuchError
from mesh.xds.paths import Paths

log = logging.getLogger(__name__)

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

MAX_REQUEST_BYTES = 8 << 20
MAX_NODE_BYTES = 256 << 10
MAX_STREAMS = 10_000
FIRST_REQUEST_SECONDS = 15.0
# A stream ends now and then and comes again, perhaps to another replica: so load spreads after a restart.
STREAM_SECONDS = 1800.0
STREAM_JITTER = 0.2
GRACE_SECONDS = 5.0
REMEMBERED_CLASSES = 100  # of proxies that refused something, and of which none is connected
TURN_SECONDS = 5.0

# Proxies may ask so often whether the connection lives; they do every 30 s.
PING_SECONDS = 1.0
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_concurrent_streams", 100),
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", int(PING_SECONDS * 1000)),
    # requests are small: a connection has no window to fill that a ping for each would be worth
    ("grpc.http2.bdp_probe", 0),
    ("grpc.so_reuseport", 0),  # a port that another holds is an error and not shared
)

# Labels that tell one pod of a Deployment from another, and nothing about what it is to have.
POD_LABELS = frozenset(
    {
        "pod-template-hash",
        "controller-revision-hash",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
    }
)


@dataclass(frozen=True, slots=True)
class Port:
    """Where proxies connect. `certificate` and `key` are files in PEM, read again when they change."""

    address: str
    certificate: Path | None = None
    key: Path | None = None


class Server:
    """The ports and their streams. `connections` are those that live, for status and metrics."""

    def __init__(self, mesh: Mesh, tokens: Tokens | None, on_outcome: OnOutcome = log_outcome) -> None:
        """`tokens` is None where there is no API server: then only this machine's own proxies are let in.

        `on_outcome` is told what each proxy accepted and refused.
        """
        self.connections: set[Connection] = set()
        self.bound: list[str] = []
        self._mesh, self._tokens, self._on_outcome = mesh, tokens, on_outcome
        self._classes: dict[object, Paths] = {}
        self._streams = 0
        self._servers: list[Any] = []
        self._turning: asyncio.Task[None] | None = None

    async def start(self, *ports: Port) -> None:
        """Listens. Raises UsageError for an address that cannot be had or must not, CertificateError."""
        self._turning = asyncio.create_task(self._turn())
        for port in ports:
            trusted = is_loopback(port.address)
            if not trusted and self._tokens is None:
                raise UsageError(
                    f"xDS on {port.address}: without Kubernetes no proxy can prove who it is; "
                    "only an address of this machine alone is allowed, as 127.0.0.1:15010"
                )
            made = grpc.aio.server(options=OPTIONS)
            made.add_generic_rpc_handlers((self._handlers(trusted),))
            try:
                if port.certificate is not None and port.key is not None:
                    bound = made.add_secure_port(port.address, _credentials(port.certificate, port.key))
                else:
                    bound = made.add_insecure_port(port.address)
            except RuntimeError as error:
                raise UsageError(f"xDS on {port.address}: {error}") from None
            if bound == 0 and not port.address.startswith("unix:"):
                raise UsageError(f"xDS on {port.address}: the address is not this machine's, or is in use")
            await made.start()
            self._servers.append(made)
            self.bound.append(f"{port.address.rpartition(':')[0]}:{bound}" if bound > 1 else port.address)
            log.info("xDS", extra={"fields": {"address": self.bound[-1], "tls": port.certificate is not None}})

    async def stop(self) -> None:
        """Ends all streams, each when nothing is under way, then the ports."""
        if self._turning is not None:
            self._turning.cancel()
        for connection in list(self.connections):
            connection.end()
        await asyncio.gather(*(server.stop(GRACE_SECONDS) for server in self._servers))

    def _handlers(self, trusted: bool) -> Any:
        async def delta(_: AsyncIterator[bytes], context: Any) -> None:
            await self._serve(context, delta=True, trusted=trusted)

        async def whole(_: AsyncIterator[bytes], context: Any) -> None:
            await self._serve(context, delta=False, trusted=trusted)

        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(delta),
                "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(whole),
            },
        )

    async def _serve(self, context: Any, *, delta: bool, trusted: bool) -> None:
        if self._streams >= MAX_STREAMS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_STREAMS} streams are served at most")
        self._streams += 1
        try:
            await self._identified(context, delta=delta, trusted=trusted)
        except UnauthenticatedError as error:
            await _end(context, grpc.StatusCode.UNAUTHENTICATED, error)
        except DeniedError as error:
            await _end(context, grpc.StatusCode.PERMISSION_DENIED, error)
        except ReviewFailedError as error:
            await _end(context, grpc.StatusCode.UNAVAILABLE, error)
        except TooMuchError as error:
            await _end(context, grpc.StatusCode.RESOURCE_EXHAUSTED, error)
        except (ProtocolError, NodeError) as error:
            await _end(context, grpc.StatusCode.INVALID_ARGUMENT, error)
        except StuckError as error:
            await _end(context, grpc.StatusCode.DEADLINE_EXCEEDED, error)
        finally:
            self._streams -= 1

    async def _identified(self, context: Any, *, delta: bool, trusted: bool) -> None:
        identity = None
        if not trusted:
            assert self._tokens is not None
            metadata = dict(context.invocation_metadata())
            identity = await self._tokens.identify(auth.bearer(metadata))

        try:
            body = await asyncio.wait_for(context.read(), FIRST_REQUEST_SECONDS)
        except TimeoutError:
            raise ProtocolError(f"no request within {FIRST_REQUEST_SECONDS:.0f} s") from None
        if body is grpc.aio.EOF:
            return
        request, node = wire.read(body, delta=delta)
        if node is None:
            raise ProtocolError("the first request of a stream has no node")
        await self._connected(context, request, _proxy(node, identity), node.id, delta=delta)

    async def _connected(self, context: Any, request: Request, proxy: Proxy, node_id: str, *, delta: bool) -> None:
        connection = Connection(proxy, node_id, self._mesh, self._paths(proxy), self._on_outcome, delta=delta)
        self.connections.add(connection)
        log.info("connected", extra={"fields": {"proxy": proxy.name, "kind": proxy.kind, "delta": delta}})
        try:
            seconds = STREAM_SECONDS * random.uniform(1 - STREAM_JITTER, 1 + STREAM_JITTER)
            await connection.run(request, context.read, context.write, seconds)
        finally:
            connection.close()
            self.connections.discard(connection)
            self._forget_classes()
            log.info("disconnected", extra={"fields": {"proxy": proxy.name, "requests": connection.requests}})

    def _paths(self, proxy: Proxy) -> Paths:
        labels = frozenset(item for item in proxy.labels.items() if item[0] not in POD_LABELS)
        return self._classes.setdefault((proxy.kind, proxy.namespace, labels), Paths())

    def _forget_classes(self) -> None:
        self._classes = {key: paths for key, paths in self._classes.items() if paths.verdicts.is_needed}
        left = [key for key, paths in self._classes.items() if not paths.verdicts.members]
        for key in left[: max(0, len(left) - REMEMBERED_CLASSES)]:
            del self._classes[key]

    async def _turn(self) -> None:
        """What streams did alike is forgotten once no other will do it."""
        while True:
            await asyncio.sleep(TURN_SECONDS)
            for paths in self._classes.values():
                paths.turn()


def _proxy(node: Any, identity: Identity | None) -> Proxy:
    """The proxy that a node tells of. Raises ProtocolError, NodeError, DeniedError."""
    if node.ByteSize() > MAX_NODE_BYTES:
        raise TooMuchError(f"a node of {node.ByteSize()} bytes; {MAX_NODE_BYTES} are allowed")
    # an Envoy names its hundreds of extensions, which nobody here asks for
    node.ClearField("extensions")
    proxy = proxy_of(to_dict(node))
    if identity is None:
        return proxy
    auth.matching(identity, proxy)
    return replace(proxy, service_account=identity.service_account)


async def _end(context: Any, code: Any, error: Exception) -> None:
    log.warning(
        "stream ended", extra={"fields": {"peer": context.peer(), "status": code.name, "reason": str(error)[:1000]}}
    )
    await context.abort(code, str(error)[:1000])


def _credentials(certificate: Path, key: Path) -> Any:
    """TLS from files, which are looked at when a proxy connects; a pair that cannot be served leaves the last one."""
    served = _pair(certificate, key)
    stamp = _stamp(certificate, key)

    def fetch() -> Any:
        # called by gRPC in a thread of its own, one call at a time
        nonlocal stamp
        try:
            if (now := _stamp(certificate, key)) == stamp:
                return None
            stamp = now
            fresh = _pair(certificate, key)
        except (OSError, CertificateError) as error:
            log.error("certificate not taken", extra={"fields": {"file": str(certificate), "reason": str(error)}})
            return None
        log.info("certificate", extra={"fields": {"file": str(certificate)}})
        return _configuration(fresh)

    return grpc.dynamic_ssl_server_credentials(_configuration(served), fetch)


def _configuration(pair: tls.KeyPair) -> Any:
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)])


def _pair(certificate: Path, key: Path) -> tls.KeyPair:
    try:
        pair = tls.KeyPair(certificate.read_bytes(), key.read_bytes())
    except OSError as error:
        raise CertificateError(f"{error.filename}: {error.strerror}") from None
    tls.check(pair, None, tls.now(), str(certificate))
    return pair


def _stamp(*files: Path) -> tuple[tuple[int, int], ...]:
    return tuple((stat.st_mtime_ns, stat.st_ino) for file in files for stat in (file.stat(),))
