"""Many proxies' streams: they ask as Envoy does, by delta, acknowledge all, and tell when what came.

    python -m tests.bench.mesh.fleet ADDRESS PROXIES SERVICES [RECORD]

On stdout a line of JSON an event, `at` in seconds of time.monotonic: {"begun": PROXIES}; {"synced": bytes} when every
proxy has the endpoints of all Services and a route table; after that {"type": "EDS", "proxy": 0, "bytes": …} for each
response. A stream that ends comes again, with the versions that it has: {"again": 0}. What the first proxy is sent is
written to the folder RECORD, a file a response.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import grpc

from mesh.encode.descriptors import message_class
from mesh.xds.types import CDS, EDS, LDS, RDS, SHORT
from tests.bench.mesh.world import NAMESPACE

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
REQUEST = message_class("envoy.service.discovery.v3.DeltaDiscoveryRequest")
RESPONSE = message_class("envoy.service.discovery.v3.DeltaDiscoveryResponse")
CLUSTER = message_class("envoy.config.cluster.v3.Cluster")
LISTENER = message_class("envoy.config.listener.v3.Listener")
MANAGER = message_class("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager")
NEXT = {CDS: EDS, LDS: RDS}
OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    # as Envoy: no pings to find the bandwidth out, and a window that holds any response
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 16 << 20),
)


class Fleet:
    """What the proxies have in common."""

    def __init__(self, address: str, proxies: int, services: int, record: Path | None) -> None:
        self.address, self.proxies, self.services, self.record = address, proxies, services, record
        self.bytes = self.synced = self.recorded = 0
        self._named: dict[tuple[str, str], tuple[str, ...]] = {}

    def names(self, type_url: str, resource: Any) -> tuple[str, ...]:
        """What a cluster or a listener makes a proxy ask for; looked up once for all who are sent the same."""
        at = (resource.name, resource.version)
        if (found := self._named.get(at)) is None:
            found = self._named[at] = tuple(_eds(resource) if type_url == CDS else _tables(resource))
        return found

    async def run(self) -> None:
        """Until the input ends."""
        tell(begun=self.proxies)
        streams = [asyncio.create_task(self._proxy(number)) for number in range(self.proxies)]
        await asyncio.to_thread(sys.stdin.read)
        for stream in streams:
            stream.cancel()

    async def _proxy(self, number: int) -> None:
        has: dict[str, dict[str, str]] = {CDS: {}, LDS: {}, EDS: {}, RDS: {}}
        asked: dict[str, set[str]] = {EDS: set(), RDS: set()}
        done = False
        while True:
            async with grpc.aio.insecure_channel(self.address, options=OPTIONS) as channel:
                call = channel.stream_stream(METHOD)(wait_for_ready=True)
                try:
                    await self._begin(call, number, has, asked)
                    async for body in call:
                        self.bytes += len(body)
                        response = RESPONSE.FromString(body)
                        type_url = response.type_url
                        await self._take(call, response, has[type_url], asked)
                        if number == 0 and self.record is not None:
                            self.recorded += 1
                            (self.record / f"{self.recorded:04}-{SHORT[type_url]}").write_bytes(body)
                        if done:
                            tell(type=SHORT[type_url], proxy=number, bytes=len(body))
                        elif has[CDS] and has[LDS] and has[RDS] and len(has[EDS]) >= self.services:
                            done = True
                            self.synced += 1
                            if self.synced == self.proxies:
                                tell(synced=self.bytes)
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.1)
            tell(again=number)

    async def _begin(self, call: Any, number: int, has: dict[str, dict[str, str]], asked: dict[str, set[str]]) -> None:
        request = REQUEST(type_url=CDS)
        ip = f"10.250.{number // 250}.{number % 250 + 1}"
        request.node.id = f"sidecar~{ip}~load-{number}.{NAMESPACE}~{NAMESPACE}.svc.cluster.local"
        request.node.cluster = f"load.{NAMESPACE}"
        request.node.metadata.update({"NAMESPACE": NAMESPACE, "LABELS": {"app": "load"}})
        for type_url, versions in has.items():
            if type_url in NEXT or versions:
                request.type_url = type_url
                request.initial_resource_versions.update(versions)
                request.resource_names_subscribe.extend(sorted(asked.get(type_url, ())))
                await call.write(request.SerializeToString())
            request = REQUEST()

    async def _take(self, call: Any, response: Any, has: dict[str, str], asked: dict[str, set[str]]) -> None:
        type_url = response.type_url
        for resource in response.resources:
            has[resource.name] = sys.intern(resource.version)
        for name in response.removed_resources:
            has.pop(name, None)
        await call.write(REQUEST(type_url=type_url, response_nonce=response.nonce).SerializeToString())
        if (follows := NEXT.get(type_url)) is None:
            return
        names = {name for resource in response.resources for name in self.names(type_url, resource)} - asked[follows]
        if names:
            asked[follows] |= names
            request = REQUEST(type_url=follows, resource_names_subscribe=sorted(names))
            await call.write(request.SerializeToString())


def _eds(resource: Any) -> list[str]:
    cluster = CLUSTER.FromString(resource.resource.value)
    is_eds = cluster.type == CLUSTER.DESCRIPTOR.enum_types_by_name["DiscoveryType"].values_by_name["EDS"].number
    return [cluster.eds_cluster_config.service_name or cluster.name] if is_eds else []


def _tables(resource: Any) -> list[str]:
    listener = LISTENER.FromString(resource.resource.value)
    found = []
    for chain in (*listener.filter_chains, listener.default_filter_chain):
        for one in chain.filters:
            if one.typed_config.type_url.endswith("HttpConnectionManager"):
                name = MANAGER.FromString(one.typed_config.value).rds.route_config_name
                found += [name] if name else []
    return found


def tell(**event: object) -> None:
    """Prints an event."""
    print(json.dumps(event | {"at": time.monotonic()}), flush=True)


if __name__ == "__main__":
    asyncio.run(
        Fleet(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]) if sys.argv[4:] else None).run()
    )
