"""An app that kubelet can ask by HTTP, HTTPS, TCP and gRPC; it is well until the file /tmp/down is there."""

import datetime
import signal
import socket
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DOWN = Path("/tmp/down")


class Http(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if DOWN.exists() or self.headers.get("x-probe") != "yes" else 200)
        self.end_headers()


def https(port: int) -> None:
    """With a certificate that nobody can verify; kubelet does not try."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    pem = Path("/tmp/pem")
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = ThreadingHTTPServer(("", port), Http)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


def tcp(port: int) -> None:
    """Listens while the app is up."""
    while True:
        with socket.create_server(("", port)) as listening:
            listening.settimeout(0.1)
            while not DOWN.exists():
                try:
                    listening.accept()[0].close()
                except TimeoutError:
                    continue
        while DOWN.exists():
            time.sleep(0.1)


def grpc(port: int) -> None:
    """grpc.health.v1.Health/Check in the frames of RFC 9113 that one answer takes."""
    server = socket.create_server(("", port))
    while True:
        threading.Thread(target=answer_grpc, args=[server.accept()[0]], daemon=True).start()


def answer_grpc(connection: socket.socket) -> None:
    def send(kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        connection.sendall(len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload)

    def literal(name: bytes, value: bytes) -> bytes:
        return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value

    data, headers, settings, ping = 0, 1, 4, 6
    end_stream, ack, end_headers = 1, 1, 4
    frames = connection.makefile("rb")
    frames.read(24)  # the preface
    send(settings, 0, 0)
    while head := frames.read(9):
        size, kind, flags, stream = int.from_bytes(head[:3]), head[3], head[4], int.from_bytes(head[5:])
        payload = frames.read(size)
        if kind in (settings, ping) and not flags & ack:
            send(kind, ack, 0, payload if kind == ping else b"")
        elif kind in (data, headers) and flags & end_stream:
            send(headers, end_headers, stream, b"\x88" + literal(b"content-type", b"application/grpc"))
            send(data, 0, stream, b"\0\0\0\0\2\x08" + (b"\2" if DOWN.exists() else b"\1"))
            send(headers, end_headers | end_stream, stream, literal(b"grpc-status", b"0"))


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
for serve, number in ((https, 8443), (tcp, 9000), (grpc, 9001)):
    threading.Thread(target=serve, args=[number], daemon=True).start()
ThreadingHTTPServer(("", 8080), Http).serve_forever()
