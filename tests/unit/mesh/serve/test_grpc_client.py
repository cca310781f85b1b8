"""gRPC's own xDS client against the server: it asks in the state of the world, each type by name.

What it needs, beside what Envoy takes: a listener named as the target is, with `api_listener` alone; router as last
filter; clusters of type EDS with ROUND_ROBIN; each locality with a `load_balancing_weight`, or it is passed over.
"""

import asyncio
import concurrent.futures
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from mesh.encode import check, encode
from mesh.encode.resource import Part, Snapshot, encoded
from mesh.serve.plane import Plane
from mesh.world.events import Listed
from mesh.xds.types import CDS, EDS, LDS, RDS
from tests.unit.mesh.objects import endpoints, event, pod, service
from tests.unit.mesh.serve.streams import NODE_ID, HandMade, serving

TARGET = "reviews.bookinfo:9080"
ADS = {"ads": {}, "resource_api_version": "V3"}
PACKAGE = "envoy.extensions.filters."
ROUTER = {"@type": PACKAGE + "http.router.v3.Router"}


def cluster(name):
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ADS, "service_name": name},
        "lb_policy": "ROUND_ROBIN",
    }


def assignment(name, port):
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"endpoint": {"address": address}, "health_status": "HEALTHY"}]
    locality = {"locality": {"region": "here"}, "load_balancing_weight": 1, "lb_endpoints": endpoints}
    return {"cluster_name": name, "endpoints": [locality]}


def listener():
    manager = {
        "@type": PACKAGE + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "reviews",
        "rds": {"config_source": ADS, "route_config_name": "9080"},
        "http_filters": [{"name": "router", "typed_config": ROUTER}],
    }
    return {"name": TARGET, "api_listener": {"api_listener": manager}}


def table(**weights):
    split = [{"name": name, "weight": weight} for name, weight in weights.items()]
    route = {"match": {"prefix": ""}, "route": {"weighted_clusters": {"clusters": split}}}
    return {"name": "9080", "virtual_hosts": [{"name": TARGET, "domains": [TARGET], "routes": [route]}]}


def made(ports, **weights):
    """The state of two clusters with these weights."""
    bodies = {
        LDS: {TARGET: listener()},
        RDS: {"9080": table(**weights)},
        CDS: {name: cluster(name) for name in weights},
        EDS: {name: assignment(name, ports[name]) for name in weights},
    }
    state = {}
    for url, of_type in bodies.items():
        kind = url.rpartition("/")[2]
        assert [check(kind, body) for body in of_type.values()] == [()] * len(of_type)
        state[url] = Snapshot((Part({name: encoded(name, encode(kind, body)) for name, body in of_type.items()}),))
    return state


def backend(name):
    """A server that says its name; returns it and its port."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(lambda *_: name.encode())
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Who": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def bootstrap(address):
    return {
        "xds_servers": [
            {"server_uri": address, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}
        ],
        "node": {"id": NODE_ID, "metadata": {"GENERATOR": "grpc"}},
    }


async def calls(process, count):
    process.stdin.write(f"{count}\n".encode())
    await process.stdin.drain()
    return json.loads(await process.stdout.readline())


def shared(ports, first):
    """The objects of a service in two versions, with a share of so many per cent for the first."""
    metadata = {"namespace": "bookinfo", "name": "reviews"}
    subsets = [{"name": one, "labels": {"version": one}} for one in ports]
    weights = zip(ports, (first, 100 - first), strict=True)
    route = [{"destination": {"host": "reviews", "subset": one}, "weight": weight} for one, weight in weights]
    api = {"apiVersion": "networking.istio.io/v1", "metadata": metadata}
    things = [
        api | {"kind": "DestinationRule", "spec": {"host": "reviews", "subsets": subsets}},
        api | {"kind": "VirtualService", "spec": {"hosts": ["reviews"], "http": [{"route": route}]}},
        service("reviews", "10.96.0.1", ("grpc", 9080), namespace="bookinfo"),
    ]
    for number, (version, where) in enumerate(ports.items()):
        # all on this machine, each at a port of its own
        made = endpoints("reviews", "127.0.0.1", ports=[("grpc", where)], namespace="bookinfo", number=number)
        made["endpoints"][0]["targetRef"]["name"] = version
        things += [made, pod(version, "127.0.0.1", "bookinfo", version=version)]
    return [event(one) for one in things]


@asynccontextmanager
async def built(events):
    """A mesh whose states are built from objects."""
    plane = Plane(["Service"])
    plane.deliver([*events, Listed("Service")])
    running = asyncio.create_task(plane.run())
    try:
        yield plane
    finally:
        running.cancel()


def test_it_is_told_what_objects_say():
    (one, one_port), (two, two_port) = backend("v1"), backend("v2")
    ports = {"v1": one_port, "v2": two_port}

    async def talk():
        async with built(shared(ports, 90)) as mesh, serving(mesh) as served:
            environment = os.environ | {"GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap(served.bound[0]))}
            program = Path(__file__).with_name("grpc_client.py")
            client = await asyncio.create_subprocess_exec(
                sys.executable, program, TARGET, env=environment,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                assert json.loads(await client.stdout.readline())["ready"] in ports
                counted = await calls(client, 500)
                assert set(counted) == {"v1", "v2"}
                assert 10 <= counted["v2"] <= 110
                mesh.deliver(shared(ports, 0))
                while "v1" in (counted := await calls(client, 50)):
                    pass
                assert counted == {"v2": 50}  # no call has failed either
                assert not any(
                    ledger.refused for live in served.connections for ledger in live.machine.ledgers.values()
                )
            finally:
                client.stdin.close()
                await client.wait()

    try:
        asyncio.run(asyncio.wait_for(talk(), 60))
    finally:
        one.stop(0)
        two.stop(0)


def test_it_splits_its_calls_by_weight_and_follows_a_live_change():
    (one, one_port), (two, two_port) = backend("v1"), backend("v2")
    ports = {"v1": one_port, "v2": two_port}

    async def talk():
        mesh = HandMade(made(ports, v1=90, v2=10))
        async with serving(mesh) as served:
            environment = os.environ | {"GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap(served.bound[0]))}
            program = Path(__file__).with_name("grpc_client.py")
            client = await asyncio.create_subprocess_exec(
                sys.executable, program, TARGET, env=environment,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                assert json.loads(await client.stdout.readline())["ready"] in ports
                counted = await calls(client, 500)
                assert set(counted) == {"v1", "v2"}
                assert 10 <= counted["v2"] <= 110
                mesh.change(made(ports, v1=0, v2=100))
                while "v1" in (counted := await calls(client, 50)):
                    pass
                assert counted == {"v2": 50}  # no call has failed either
                assert not any(
                    ledger.refused for live in served.connections for ledger in live.machine.ledgers.values()
                )
            finally:
                client.stdin.close()
                await client.wait()

    try:
        asyncio.run(asyncio.wait_for(talk(), 60))
    finally:
        one.stop(0)
        two.stop(0)
