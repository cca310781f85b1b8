"""The sample app, and as it knows no more than that also the server outside: says who asks and how the request arrived.

`python -m demo.app NETNS UID HOST PORT…`: HTTP on these ports. GET /healthz is 200; anything else answers
{"client": address, "address": asked, "port": asked, "path", "headers": [[name, value], …]} as JSON.
"""

from __future__ import annotations

import json
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from demo.enter import enter


class Handler(BaseHTTPRequestHandler):
    """Answers what the docstring of the module says."""

    protocol_version = "HTTP/1.1"
    server_version = "sample-app"

    def do_GET(self) -> None:
        """Any GET."""
        answer = {
            "client": self.client_address[0],
            "address": self.connection.getsockname()[0],
            "port": self.connection.getsockname()[1],
            "path": self.path,
            "headers": [list(header) for header in self.headers.items()],
        }
        body = b"ok" if self.path == "/healthz" else json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the sidecar's access log tells the story."""


class Server(ThreadingHTTPServer):
    """A server for both families, whichever the address is of."""

    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)

    def server_bind(self) -> None:
        """Binds without asking DNS for the host's name, as http.server would."""
        socketserver.TCPServer.server_bind(self)


def main(netns: str, uid: str, host: str, *ports: str) -> None:
    """Serves until it is ended."""
    enter(netns, int(uid))
    servers = [Server(host, int(port)) for port in ports]
    print("serving", flush=True)
    threads = [threading.Thread(target=server.serve_forever) for server in servers]
    for thread in threads:
        thread.start()


if __name__ == "__main__":
    main(*sys.argv[1:])
