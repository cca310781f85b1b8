"""One worker: a process that answers admission requests, with what the supervisor put into its directory.

Started as ``python -m webhook.serving.worker JSON`` (a `WorkerConfig`), with the listening socket inherited, and as
stdin a pipe that closes when the supervisor is gone. SIGHUP: read what has changed. SIGTERM: answer what has come, then
end.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import ssl
import sys
from pathlib import Path

import orjson
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from common import logs
from common.errors import NotReadyError
from webhook.serving.handover import (
    CERTIFICATE,
    CONFIG,
    DRAIN_SECONDS,
    KEY,
    MESH,
    NAMESPACES,
    NODES,
    VALUES,
    WorkerConfig,
)
from webhook.serving.metrics import ReviewMetrics
from webhook.serving.server import Cluster, InjectEndpoint, Reviewer, create_app
from webhook.settings import Settings

# An API server keeps its connections and uses them whenever a pod is made; a closed one costs the next pod a handshake.
KEEP_ALIVE_SECONDS = 180
READY_SECONDS = 4.0

log = logging.getLogger("pyinject")


class _Connection(HttpToolsProtocol):
    """A connection that leaves nothing behind when it breaks.

    uvicorn cancels the keep-alive timer of those that are closed in good order alone: a broken one's would hold its
    buffers, up to 400 KB, for KEEP_ALIVE_SECONDS more.
    """

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, or with `exc` broken."""
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)


class Worker:
    """The server of one process and the files it was made from."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._directory = Path(config.directory)
        self._socket = socket.socket(fileno=config.socket_fd)
        self._seen: dict[str, bytes] = {}
        self._told = asyncio.Event()
        self._reviewer = Reviewer(self._settings(), self._cluster())
        app = create_app(InjectEndpoint(self._reviewer, ReviewMetrics()), self._ready)
        self._uvicorn = uvicorn.Config(
            app,
            http=_Connection,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=2048,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            ssl_certfile=self._directory / CERTIFICATE,
            ssl_keyfile=str(self._directory / KEY),
        )
        self._uvicorn.load()
        self._server = uvicorn.Server(self._uvicorn)
        self._self_call = self._trusting_itself()

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
        await self._server.serve(sockets=[self._socket])
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
        if self._changed(CERTIFICATE, KEY):
            # connections made from now on get it; those that are open go on
            context = self._uvicorn.ssl
            assert context is not None
            context.load_cert_chain(self._directory / CERTIFICATE, self._directory / KEY)
            self._self_call = self._trusting_itself()
        if self._changed(VALUES, MESH, CONFIG):
            self._reviewer.settings = self._settings()
        if self._changed(NAMESPACES, NODES):
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
        namespaces, nodes = self._read(NAMESPACES), self._read(NODES)
        native = self._config.native_sidecars
        if native is None:
            native = orjson.loads(nodes)["native_sidecars"] if nodes else False
        return Cluster(native, orjson.loads(namespaces) if namespaces else {})

    def _trusting_itself(self) -> ssl.SSLContext:
        """For a client that trusts the certificate in force, whoever signed it; its names were checked when it came."""
        self._read(KEY)
        chain = self._read(CERTIFICATE)
        assert chain is not None
        context = ssl.create_default_context(cadata=chain.decode("ascii"))
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
        return context

    async def _ready(self) -> None:
        """Call /healthz of this very server as a client would, over TLS."""
        port = self._socket.getsockname()[1]
        host = "::1" if self._socket.family == socket.AF_INET6 else "127.0.0.1"
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
        self._server.should_exit = True
        asyncio.get_running_loop().remove_reader(sys.stdin)


def main() -> None:
    """Run the worker that the one argument describes."""
    config = WorkerConfig.decode(sys.argv[1])
    logs.configure(config.log_format, config.log_level)
    worker = Worker(config)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(worker.serve())


if __name__ == "__main__":
    main()
