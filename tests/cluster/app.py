"""The app of the cluster tests: tells who asked, in JSON. Mounted from a ConfigMap, run by the webhook's image."""

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STARTED = time.monotonic()


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        told = {
            "peer": self.client_address[0],
            "path": self.path,
            "headers": dict(self.headers),
            "pod": os.uname().nodename,
        }
        body = json.dumps(told).encode()
        self.send_response(503 if self.path == "/broken" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        print(self.client_address[0], format % args, self.headers.get("user-agent"), flush=True)


# process 1 of a container ignores SIGTERM unless it says otherwise
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), App).serve_forever()
