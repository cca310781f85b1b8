"""A served mesh with hand-made states, and raw clients of gRPC's."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import grpc

from mesh.encode.descriptors import message_class
from mesh.encode.resource import State
from mesh.serve.server import SERVICE, Port, Server
from mesh.xds import wire

DELTA_RESPONSE = "envoy.service.discovery.v3.DeltaDiscoveryResponse"
WHOLE_RESPONSE = "envoy.service.discovery.v3.DiscoveryResponse"
NODE_ID = "sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local"


@dataclass(eq=False)
class HandMade:
    """A mesh in which each proxy has the same state, swapped by hand."""

    state: State = field(default_factory=dict)
    sessions: list[HandSession] = field(default_factory=list)

    def connect(self, proxy, wake):
        session = HandSession(self, proxy, wake)
        self.sessions.append(session)
        return session

    def change(self, state):
        self.state = state
        for session in self.sessions:
            session.wake()


@dataclass(eq=False)
class HandSession:
    mesh: HandMade
    proxy: object
    wake: object

    @property
    def state(self):
        return self.mesh.state

    def close(self):
        self.mesh.sessions.remove(self)


@asynccontextmanager
async def serving(mesh, *ports, tokens=None):
    server = Server(mesh, tokens)
    await server.start(*(ports or (Port("127.0.0.1:0"),)))
    try:
        yield server
    finally:
        await server.stop()


class Client:
    """A raw stream: requests as fields, responses as messages."""

    def __init__(self, channel, *, delta=True, metadata=None):
        method = "DeltaAggregatedResources" if delta else "StreamAggregatedResources"
        self.delta = delta
        self.call = channel.stream_stream(f"/{SERVICE}/{method}")(metadata=metadata)

    async def ask(self, type_url, *, node=NODE_ID, error=None, **fields):
        request = message_class(wire.DELTA if self.delta else wire.WHOLE)(type_url=type_url, **fields)
        if node:
            request.node.id = node
        if error:
            request.error_detail.message = error
        await self.call.write(request.SerializeToString())

    async def answer(self):
        got = await self.call.read()
        if got is grpc.aio.EOF:
            return None
        return message_class(DELTA_RESPONSE if self.delta else WHOLE_RESPONSE).FromString(got)

    async def ends(self):
        """How the stream ends: its code and words."""
        with suppress(grpc.aio.AioRpcError):
            while await self.call.read() is not grpc.aio.EOF:
                pass
        return await self.call.code(), await self.call.details()


@asynccontextmanager
async def client(server, *, delta=True, credentials=None, options=(), metadata=None, port=0):
    address = server.bound[port]
    if credentials is not None:
        opened = grpc.aio.secure_channel(address, credentials, options=options)
    else:
        opened = grpc.aio.insecure_channel(address, options=options)
    async with opened:
        yield Client(opened, delta=delta, metadata=metadata)
