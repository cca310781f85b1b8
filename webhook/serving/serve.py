"""The supervisor of `pyinject serve`: it keeps the workers running and gives them what they work with.

    files, API server ──sources──▶ supervisor ──files and SIGHUP──▶ workers (`worker`), which answer requests
                                       └── :9090 /metrics, theirs and its own

It alone talks to the API server. It answers no request, so nothing it waits for delays a pod; and of what it hears it
hands on only what has passed the checks, so a worker that is started again starts with the last good state.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UsageError
from webhook.limits import Limits
from webhook.serving.handover import DRAIN_SECONDS, METRICS_DIRECTORY, WorkerConfig
from webhook.serving.metrics import DIRECTORY_VARIABLE, SupervisorMetrics
from webhook.serving.recorder import Recorder
from webhook.serving.sources import Refusal, Source, Update

# A worker that ends sooner than this after its start is started again after a pause, which doubles each time.
SHORT_LIFE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 30.0
# Where no other answers meanwhile, what comes waits: no longer than an API server would.
LONGEST_PAUSE_ALONE_SECONDS = 1.0
BACKLOG = 2048
# Any of these ends the server in good order, that of a terminal that closes, too.
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)

log = logging.getLogger("pyinject")


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """How to serve; port 0 is any free one, metrics port 0 none. See `pyinject serve --help` for the rest."""

    address: str
    port: int
    metrics_port: int
    workers: int
    shutdown_delay: float
    revision: str
    native_sidecars: bool | None
    log_format: str
    log_level: str
    limits: Limits = field(default_factory=Limits)


class Supervisor:
    """Runs the workers until it is told to stop."""

    def __init__(self, config: ServeConfig, sources: Sequence[Source], recorder: Recorder | None = None) -> None:
        self._recorder = recorder
        self._config = config
        self._sources = sources
        self._metrics = SupervisorMetrics()
        self._events: queue.SimpleQueue[Update | Refusal | signal.Signals] = queue.SimpleQueue()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises PysidecarError where it cannot begin."""
        for number in STOPPING:
            signal.signal(number, lambda *_: sys.exit(0))  # as process 1 of a container there is no default
        # the private key lies here, for this user alone
        with tempfile.TemporaryDirectory(prefix="pyinject-") as name:
            directory = Path(name)
            (directory / METRICS_DIRECTORY).mkdir()
            for source in self._sources:
                self._take(next(source), directory)
            listening = _listen(self._config.address, self._config.port)
            if self._config.metrics_port:
                _serve_metrics(self._metrics, self._config, directory)
            workers = [_Worker(self._config, directory, listening, self._recorder) for _ in range(self._config.workers)]
            for number in (*STOPPING, signal.SIGCHLD):
                signal.signal(number, lambda received, _: self._events.put(signal.Signals(received)))
            for source in self._sources:
                threading.Thread(target=self._forward, args=[source], daemon=True).start()
            address, port = listening.getsockname()[:2]
            log.info("serving", extra={"fields": {"address": address, "port": port, "workers": len(workers)}})
            try:
                self._loop(workers, directory)
            finally:
                _stop(workers)

    def _loop(self, workers: Sequence[_Worker], directory: Path) -> None:
        deadline: float | None = None
        while deadline is None or time.monotonic() < deadline:
            alone = not any(worker.runs() for worker in workers)
            for worker in workers:
                if worker.keep_running(LONGEST_PAUSE_ALONE_SECONDS if alone else LONGEST_PAUSE_SECONDS):
                    self._metrics.worker_restarted()
            try:
                event = self._events.get(timeout=0.2 if deadline else 1.0)
            except queue.Empty:
                continue
            if isinstance(event, (Update, Refusal)):
                if self._take(event, directory):
                    for worker in workers:
                        worker.tell(signal.SIGHUP)
            elif event is not signal.SIGCHLD:
                # the Service still sends us requests until every node has heard that this pod is going
                again = deadline is not None
                delay = 0.0 if again or event is signal.SIGINT else self._config.shutdown_delay
                log.info("stopping", extra={"fields": {"signal": event.name, "in_seconds": delay}})
                deadline = time.monotonic() + delay

    def _take(self, update: Update | Refusal, directory: Path) -> bool:
        """Put an update into the workers' directory, or tell why it was not taken; returns which of the two."""
        if isinstance(update, Refusal):
            self._metrics.reloaded(update.what, applied=False)
            log.error("%s not taken, what was in force stays: %s", update.what, update.error)
            return False
        for name, content in update.files.items():
            part = directory / f"{name}.part"
            part.write_bytes(content)
            part.replace(directory / name)
        self._metrics.reloaded(update.what, applied=True)
        if update.expires:
            log.info("%s in force", update.what, extra={"fields": {"expires": update.expires.isoformat()}})
        else:
            log.info("%s in force", update.what)
        return True

    def _forward(self, source: Source) -> None:
        try:
            for update in source:
                self._events.put(update)
        except Exception:
            # an error of ours: without this source the server would go stale in silence
            log.exception("a source of updates has failed; stopping")
            self._events.put(signal.SIGTERM)


class _Worker:
    """A worker's process, and when to start it again."""

    def __init__(
        self, config: ServeConfig, directory: Path, listening: socket.socket, recorder: Recorder | None
    ) -> None:
        self._listening = listening
        self._recorder = recorder
        self._environ = os.environ | {DIRECTORY_VARIABLE: str(directory / METRICS_DIRECTORY)}
        self._argument = WorkerConfig(
            directory=str(directory),
            socket_fd=listening.fileno(),
            revision=config.revision,
            native_sidecars=config.native_sidecars,
            log_format=config.log_format,
            log_level=config.log_level,
            events=recorder is not None,
            limits=config.limits,
        ).encode()
        self._metrics_directory = directory / METRICS_DIRECTORY
        self._pause = 0.0
        self._start_at: float | None = None
        self._ended = 0.0
        self._start()

    def _start(self) -> None:
        self._started = time.monotonic()
        self._start_at = None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "webhook.serving.worker", self._argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if self._recorder else None,
            pass_fds=[self._listening.fileno()],
            env=self._environ,
        )
        if self._recorder and self._process.stdout:
            threading.Thread(target=self._recorder.follow, args=[self._process.stdout], daemon=True).start()

    def runs(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def keep_running(self, longest_pause: float) -> bool:
        """Start the process again if it has ended, at once or after a pause; tells whether it was started."""
        if self.runs():
            return False
        now = time.monotonic()
        if self._start_at is None:
            self._ended = now
            lived = now - self._started
            self._pause = min(max(1.0, self._pause * 2), LONGEST_PAUSE_SECONDS) if lived < SHORT_LIFE_SECONDS else 0.0
            self._start_at = now + self._pause
            SupervisorMetrics.worker_ended(self._process.pid, self._metrics_directory)
            fields = {"exit_code": self._process.returncode, "lived_seconds": round(lived, 1), "again_in": self._pause}
            log.error("a worker has ended", extra={"fields": fields})
        if now < min(self._start_at, self._ended + longest_pause):
            return False
        self._start()
        return True

    def tell(self, number: signal.Signals) -> None:
        """Send a signal, if the process is there."""
        self._process.send_signal(number)

    def wait(self, deadline: float) -> None:
        """Wait for the end, and force it when `deadline` (monotonic) has come."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _stop(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.tell(signal.SIGTERM)
    deadline = time.monotonic() + DRAIN_SECONDS + 2
    for worker in workers:
        worker.wait(deadline)
    log.info("stopped")


def _listen(address: str, port: int) -> socket.socket:
    """The one listening socket, from which all workers accept: what comes while one of them is away goes to another.

    It stays open here, so that what has come for nobody is answered by the worker that is started next.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if address == "::" and not socket.has_dualstack_ipv6():
        address, family = "0.0.0.0", socket.AF_INET
    try:
        made = socket.create_server((address, port), family=family, backlog=BACKLOG, dualstack_ipv6=address == "::")
    except (OSError, OverflowError) as error:
        raise UsageError(f"--address {address}, --port {port}: cannot listen there: {error}") from error
    made.set_inheritable(True)
    return made


def _serve_metrics(metrics: SupervisorMetrics, config: ServeConfig, directory: Path) -> None:
    try:
        metrics.serve(config.address, config.metrics_port, directory / METRICS_DIRECTORY)
    except (OSError, OverflowError) as error:
        raise UsageError(f"--metrics-port {config.metrics_port}: cannot listen there: {error}") from error
