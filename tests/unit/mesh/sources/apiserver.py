"""A small API server: list in pages, watch with bookmarks, over real HTTP; and the faults of a large one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Thing = dict[str, Any]


class ApiServer:
    """Keeps objects by path; each change has a version, and watches wait for the next."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        self.paths = dict(paths)  # path of a list ──▶ the kind it holds
        self.objects: dict[str, dict[tuple[str, str], Thing]] = {path: {} for path in paths}
        self.log: list[tuple[int, str, str, Thing]] = []
        self.version = 100
        self.oldest = 0  # versions below are compacted: 410
        self.changed = threading.Condition()
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.failing: list[int] = []  # statuses that the next requests are answered with
        self.away = False  # nobody is answered
        self.breaks_off = False  # a watch ends in the middle, after its first line
        self.empty: dict[str, int] = {}  # path ──▶ so many lists are answered with nothing
        self.open = 0  # raised to end all watches
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def kubeconfig(self, folder: Path) -> str:
        data = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "clusters": [{"name": "a", "cluster": {"server": self.url}}],
            "users": [{"name": "a", "user": {"token": "t"}}],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(data))
        return str(path)

    def put(self, path: str, thing: Thing) -> None:
        with self.changed:
            self.version += 1
            metadata = {**thing["metadata"], "resourceVersion": str(self.version)}
            thing = {**thing, "metadata": metadata}
            key = (metadata.get("namespace", ""), metadata["name"])
            happened = "MODIFIED" if key in self.objects[path] else "ADDED"
            self.objects[path][key] = thing
            self.log.append((self.version, path, happened, thing))
            self.changed.notify_all()

    def delete(self, path: str, namespace: str, name: str, silently: bool = False) -> None:
        with self.changed:
            self.version += 1
            thing = self.objects[path].pop((namespace, name))
            if not silently:
                metadata = {**thing["metadata"], "resourceVersion": str(self.version)}
                self.log.append((self.version, path, "DELETED", {**thing, "metadata": metadata}))
            self.changed.notify_all()

    def go_away(self) -> None:
        """Watches end, and nobody is answered until `away` is False."""
        self.away = True
        self.end_watches()

    def end_watches(self, compact: bool = False) -> None:
        """All watches end; with `compact` what happened so far can be watched no more."""
        with self.changed:
            self.open += 1
            if compact:
                self.version += 1
                self.oldest = self.version
            self.changed.notify_all()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        watches = self.open  # before it is seen that it asks: who ends all watches then means this one too
        self.requests.append((url.path, query))
        if self.away:
            request.close_connection = True
            return None
        if self.failing:
            return self.send(request, self.failing.pop(0), {"kind": "Status", "message": "as told"})
        if url.path not in self.paths:
            return self.send(request, 404, {"kind": "Status", "message": "no such resource"})
        if "watch" in query:
            return self.watch(request, url.path, int(query["resourceVersion"]), watches)
        with self.changed:
            every = sorted(self.objects[url.path].items())
            version = self.version
        if self.empty.get(url.path):
            self.empty[url.path] -= 1
            every = []
        start = int(query.get("continue", "0"))
        end = start + 2  # pages of two, however many are asked for
        metadata = {"resourceVersion": str(version)} | ({"continue": str(end)} if end < len(every) else {})
        items = [{k: v for k, v in thing.items() if k not in ("apiVersion", "kind")} for _, thing in every[start:end]]
        group = url.path.split("/")[2:-1]
        kind = self.paths[url.path] + "List"
        return self.send(
            request, 200, {"apiVersion": "/".join(group), "kind": kind, "metadata": metadata, "items": items}
        )

    def send(self, request: BaseHTTPRequestHandler, status: int, data: Thing) -> None:
        body = json.dumps(data).encode()
        request.send_response(status)
        if status in (429, 503):
            request.send_header("Retry-After", "1")
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def watch(self, request: BaseHTTPRequestHandler, path: str, version: int, mine: int) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()

        def line(type_: str, thing: Thing) -> None:
            data = json.dumps({"type": type_, "object": thing}).encode() + b"\n"
            request.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            request.wfile.flush()

        sent = version
        try:
            if version < self.oldest:
                line("ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"})
            else:
                while mine == self.open:
                    with self.changed:
                        news = [
                            (at, type_, thing) for at, where, type_, thing in self.log if where == path and at > sent
                        ]
                        at_end = self.version
                        if not news:
                            if at_end > sent:
                                sent = at_end
                                bookmark = {"kind": self.paths[path], "metadata": {"resourceVersion": str(at_end)}}
                                line("BOOKMARK", bookmark)
                            self.changed.wait(5)
                    for at, type_, thing in news:
                        sent = at
                        line(type_, thing)
                        if self.breaks_off:
                            request.close_connection = True
                            return
            request.wfile.write(b"0\r\n\r\n")
        except OSError:
            time.sleep(0)

    def close(self) -> None:
        self.end_watches()
        self.server.shutdown()
        self.server.server_close()
