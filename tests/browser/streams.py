"""Proxies that only ask: `python -m tests.browser.streams SOCKET COUNT` holds so many streams until it is killed."""

from __future__ import annotations

import asyncio
import sys

import grpc

from mesh.encode.descriptors import message_class
from mesh.serve.server import SERVICE
from mesh.xds import wire

CLUSTERS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


async def hold(socket: str, number: int) -> None:
    """One stream, which asks for clusters and never says whether it took them."""
    channel = grpc.aio.insecure_channel(f"unix:{socket}", options=[("grpc.use_local_subchannel_pool", 1)])
    call = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")()
    request = message_class(wire.DELTA)(type_url=CLUSTERS)
    request.node.id = f"sidecar~10.{100 + number // 250}.0.{number % 250 + 1}~stream-{number}.team-{number % 20}~svc"
    await call.write(request.SerializeToString())
    while await call.read() is not grpc.aio.EOF:
        pass


async def main(socket: str, count: int) -> None:
    """All of them."""
    await asyncio.gather(*(hold(socket, number) for number in range(count)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
