"""What the control plane is compared with: a gRPC server that sends what another proxy was sent, ready made.

    python -m tests.bench.mesh.floor RECORD

Prints its port. Of each type a stream gets all that is recorded, once it asks. Each line on stdin is the name of a file
of RECORD, sent to all streams.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc

from mesh.encode.descriptors import message_class
from mesh.xds.types import SHORT
from tests.bench.mesh.fleet import METHOD

REQUEST = message_class("envoy.service.discovery.v3.DeltaDiscoveryRequest")


async def main(record: Path) -> None:
    """Serves until the input ends."""
    ready: dict[str, list[bytes]] = {}
    for file in sorted(record.iterdir()):
        ready.setdefault(file.name.partition("-")[2], []).append(file.read_bytes())
    streams: set[Any] = set()

    async def serve(_: Any, context: Any) -> None:
        streams.add(context)
        begun: set[str] = set()
        try:
            while (body := await context.read()) is not grpc.aio.EOF:
                name = SHORT[REQUEST.FromString(body).type_url]
                if name not in begun:
                    begun.add(name)
                    for response in ready.get(name, ()):
                        await context.write(response)
        finally:
            streams.discard(context)

    service, _, method = METHOD.strip("/").partition("/")
    server = grpc.aio.server(options=(("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)))
    handlers = {method: grpc.stream_stream_rpc_method_handler(serve)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        body = (record / line).read_bytes()
        await asyncio.gather(*(stream.write(body) for stream in streams))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
