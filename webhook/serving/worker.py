"""One worker: a process that answers admission requests, with what the supervisor put into its directory.

Started as ``python -m webhook.serving.worker JSON`` (a `WorkerConfig`), with the listening socket inherited, and as
stdin a pipe that closes when the supervisor is gone. SIGHUP: read what has changed. SIGTERM: answer what has come, then
end.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import shutil
import signal
import socket
import ssl
import sys
from pathlib import Path

import orjson
import uvicorn
import uvloop

from common import logs
from common.errors import NotReadyError
from webhook.serving import events
from webhook.serving.connections import Connections, Server
from webhook.serving.handover import (
    CONFIG,
    DRAIN_SECONDS,
    MESH,
    NAMESPACES,
    NODES,
    PAIR,
    PROXY_CONFIGS,
    VALUES,
    WorkerConfig,
)
from webhook.serving.metrics import ConnectionMetrics, ReviewMetrics
from webhook.serving.server import Cluster, InjectEndpoint, Reviewer, create_app
from webhook.settings import Settings
from webhook.settings.proxyconfigs import ProxyConfigs

READY_SECONDS = 4.0

_END = b"-----END CERTIFICATE-----"
# X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python has no name for.
_NO_CHECK_TIME = 0x200000

log = logging.getLogger("pyinject")


class Worker:
    """The server of one process and the files it was made from."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._directory = Path(config.directory)
        self._socket = socket.socket(fileno=config.socket_fd)
        self._seen: dict[str, bytes] = {}
        self._told = asyncio.Event()
        self._reviewer = Reviewer(self._settings(), self._cluster(), config.limits.review_seconds)
        if config.events:
            os.set_blocking(1, False)
            self._reviewer.tell = events.write
        app = create_app(InjectEndpoint(self._reviewer, ReviewMetrics(), config.limits), self._ready)
        serving = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=config.limits.idle_seconds,  # type: ignore[arg-type]
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        serving.load()
        self._metrics = ConnectionMetrics()
        self._trusted: list[str] = []
        context, self._self_call = self._contexts()
        self._server = Server(serving, self._socket, context, Connections(config.limits, self._metrics))

    async def serve(self) -> None:
        """Answer until told to stop."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._told.set)
        loop.add_reader(sys.stdin, self._supervisor_gone)
        # What has been loaded stays: the collector need not look at it again and again. Nor need it look at a pod while
        # it is read, as it would after every 700 objects: a tree goes when its last reference does.
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000)
        reloading = asyncio.create_task(self._reload_when_told())
        await self._server.serve()
        reloading.cancel()

    async def _reload_when_told(self) -> None:
        while await self._told.wait():
            self._told.clear()
            # templates take their time to compile; requests are answered with the former settings meanwhile
            try:
                await asyncio.to_thread(self._reload)
            except Exception:
                # the supervisor has taken it, so this is an error of ours; what was in force stays
                log.exception("an update could not be put in force")

    def _reload(self) -> None:
        """Take over what the supervisor has put into the directory since the last time; it has checked it."""
        if self._changed(PAIR):
            context, self._self_call = self._contexts()
            self._server.use(context)
        if self._changed(VALUES, MESH, CONFIG):
            self._reviewer.settings = self._settings()
        if self._changed(NAMESPACES, NODES, PROXY_CONFIGS):
            self._reviewer.cluster = self._cluster()

    def _changed(self, *names: str) -> bool:
        before = [self._seen.get(name) for name in names]
        return [self._read(name) for name in names] != before

    def _read(self, name: str) -> bytes | None:
        """A file of the directory; None where the supervisor was not given such a thing."""
        try:
            content = (self._directory / name).read_bytes()
        except FileNotFoundError:
            return None
        self._seen[name] = content
        return content

    def _settings(self) -> Settings:
        files = self._read(VALUES), self._read(MESH), self._read(CONFIG)
        settings = Settings.load(*files, revision=self._config.revision)
        for name in settings.templates.names:
            _ = settings.templates[name]  # compiled now, lest the first pod that asks for it waits
        return settings

    def _cluster(self) -> Cluster:
        namespaces, nodes, resources = map(self._read, (NAMESPACES, NODES, PROXY_CONFIGS))
        native, others = self._config.native_sidecars, frozenset[str]()
        if native is None:
            known = orjson.loads(nodes) if nodes else {}
            native, others = known.get("native_sidecars", False), frozenset(known.get("other_nodes", ()))
        configs, _ = ProxyConfigs.read(orjson.loads(resources) if resources else ())  # the supervisor has told
        return Cluster(native, others, orjson.loads(namespaces) if namespaces else {}, configs)

    def _contexts(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """For the server, and for a client that trusts what it serves, whoever signed it.

        Made anew for each certificate: a context keeps one of each type of key, and goes on with the one it knows. The
        client also trusts the former certificate, which another worker may still serve; names were checked before.
        """
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(self._directory / PAIR)
        pair = self._read(PAIR) or b""
        chain = pair[: pair.rindex(_END) + len(_END)].decode("ascii") + "\n"
        self._metrics.certificate_expires(_end_of_served(server, chain))
        self._trusted = [*self._trusted[-1:], chain]
        return server, _client("".join(self._trusted))

    async def _ready(self) -> None:
        """Call /healthz of this very server as a client would, over TLS."""
        host, port = self._socket.getsockname()[:2]
        host = {"::": "::1", "0.0.0.0": "127.0.0.1"}.get(host, host)
        try:
            async with asyncio.timeout(READY_SECONDS):
                reader, writer = await asyncio.open_connection(host, port, ssl=self._self_call)
                try:
                    writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                    status = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise NotReadyError(f"a TLS call to {host} port {port}, this server itself, failed: {error!r}") from error
        if b" 200 " not in status:
            raise NotReadyError(f"/healthz of this server at {host} port {port} answered {status!r}")

    def _supervisor_gone(self) -> None:
        log.error("the supervisor is gone; this worker ends")
        shutil.rmtree(self._directory, ignore_errors=True)  # the private key is in there, and nobody else is left
        self._server.should_exit = True
        asyncio.get_running_loop().remove_reader(sys.stdin)


def _client(trusted: str) -> ssl.SSLContext:
    """For a client that trusts these certificates themselves (PEM), and asks for no name."""
    context = ssl.create_default_context(cadata=trusted)
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


def _end_of_served(server: ssl.SSLContext, chain: str) -> float:
    """When the certificate ends that this context serves (Unix time), as a client sees it: by a handshake in memory."""
    client = _client(chain)
    client.verify_flags |= _NO_CHECK_TIME
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    sides = (asking, server.wrap_bio(to_server, to_client, server_side=True))
    for side in sides * 3:
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return ssl.cert_time_to_seconds(str((asking.getpeercert() or {})["notAfter"]))


def main() -> None:
    """Run the worker that the one argument describes."""
    config = WorkerConfig.decode(sys.argv[1])
    logs.configure(config.log_format, config.log_level)
    worker = Worker(config)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(worker.serve())


if __name__ == "__main__":
    main()
