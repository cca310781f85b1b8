"""Every service of Bookinfo, small: says who it is and what those said that it called. Mounted from a ConfigMap.

NAME and VERSION are who it is, CALLS whom it calls (names, with commas), at port 9080. A query tells it what to do:
delay=SECONDS, status=CODE, times=N&key=K (that status for the first N requests of K, then 200).
GET /seen answers how many requests came for each path.
"""

import collections
import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME, VERSION = os.environ["NAME"], os.environ.get("VERSION", "v1")
CALLS = [name for name in os.environ.get("CALLS", "").split(",") if name]
# what a request brings along through all services
PASSED_ON = ("end-user", "x-request-id", "traceparent", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled")
seen, keys, lock = collections.Counter(), collections.Counter(), threading.Lock()


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query))
        status = self.order(asked)
        if path == "/seen":
            self.answer(200, seen)
            return
        with lock:
            seen[path] += 1
        calls = {} if status != 200 or path.startswith("/static") else {name: self.call(name) for name in CALLS}
        self.answer(status, {"name": NAME, "version": VERSION, "path": path, "calls": calls})

    def order(self, asked: dict[str, str]) -> int:
        time.sleep(float(asked.get("delay", 0)))
        status = int(asked.get("status", 200))
        if "times" in asked:
            with lock:
                keys[asked["key"]] += 1
                if keys[asked["key"]] > int(asked["times"]):
                    return 200
        return status

    def call(self, name: str) -> object:
        headers = {key: self.headers[key] for key in PASSED_ON if key in self.headers}
        request = urllib.request.Request(f"http://{name}:9080/{name}/0", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return {"status": error.code}
        except OSError as error:
            return {"error": str(error)}

    def answer(self, status: int, told: object) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        print(format % args, flush=True)


class Server(ThreadingHTTPServer):
    request_queue_size = 128


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
Server(("", 9080), Service).serve_forever()
