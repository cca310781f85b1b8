"""Endpoints ──▶ bytes (endpoint.v3.ClusterLoadAssignment), without a dict for each.

There are more of them than of all else, and they change most; and all that is said of one fits into a few fields.
"""

from __future__ import annotations

from functools import lru_cache

from mesh.build.clusters import Assignment
from mesh.build.locality import Group
from mesh.build.metrics import endpoint_metadata
from mesh.encode.plans import WRITERS, encode
from mesh.encode.writing import nested, text, varint
from mesh.model.workload import Locality
from mesh.world.index import Endpoint

MOST_PORT, MOST_WEIGHT, MOST_PRIORITY = 65535, 2**32 - 1, 128
SOCKET = "unix://"


def written(one: Assignment) -> bytes:
    """A ClusterLoadAssignment as bytes. Raises ValueError for what Envoy would refuse."""
    if not one.cluster:
        raise ValueError("endpoints of a cluster without a name")
    # cluster_name 1, endpoints 2
    groups = [nested(0x12, _group(group, one.is_counted)) for group in one.groups]
    return b"".join([text(0x0A, one.cluster), *groups])


def _group(group: Group, counted: bool) -> bytes:
    # LocalityLbEndpoints: locality 1, lb_endpoints 2, load_balancing_weight 3, priority 5
    # the locality also where nothing is known of it: gRPC's own client takes no endpoints without
    parts = [_locality(group.locality), *(nested(0x12, _endpoint(each, counted)) for each in group.endpoints)]
    parts.append(b"\x1a" + _weight(group.weight))
    if group.priority > MOST_PRIORITY:
        raise ValueError(f"a priority of {group.priority}; 0 to {MOST_PRIORITY} are allowed")
    if group.priority:
        parts.append(b"\x28" + varint(group.priority))
    return b"".join(parts)


@lru_cache(1024)
def _locality(where: Locality) -> bytes:
    # region 1, zone 2, sub_zone 3
    told = (text(tag, part) for tag, part in zip((0x0A, 0x12, 0x1A), where, strict=True) if part)
    return nested(0x0A, b"".join(told))


def _endpoint(one: Endpoint, counted: bool) -> bytes:
    # LbEndpoint: endpoint 1 (Endpoint: address 1), metadata 3, load_balancing_weight 4
    where = nested(0x0A, nested(0x0A, _address(one)))
    metadata = nested(0x1A, encode("envoy.config.core.v3.Metadata", endpoint_metadata(one))) if counted else b""
    return where + metadata + b"\x22" + _weight(one.weight or 1)


def _address(one: Endpoint) -> bytes:
    # Address: socket_address 1 (SocketAddress: address 2, port_value 3), pipe 2 (Pipe: path 1)
    if one.address.startswith(SOCKET) and one.address != SOCKET:
        return nested(0x12, text(0x0A, one.address.removeprefix(SOCKET)))
    if one.address in ("", SOCKET) or not 0 <= one.port <= MOST_PORT:
        raise ValueError(f"an endpoint at {one.address or 'no address'}, port {one.port}; 0 to {MOST_PORT} are allowed")
    return nested(0x0A, text(0x12, one.address) + b"\x18" + varint(one.port))


@lru_cache(1024)
def _weight(number: int) -> bytes:
    # a google.protobuf.UInt32Value, after its tag
    if not 1 <= number <= MOST_WEIGHT:
        raise ValueError(f"a weight of {number}; 1 to {MOST_WEIGHT} are allowed")
    value = b"\x08" + varint(number)
    return varint(len(value)) + value


WRITERS[Assignment] = written
