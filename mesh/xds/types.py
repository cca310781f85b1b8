"""The types of xDS that pymesh serves, and how they differ.

Source: https://www.envoyproxy.io/docs/envoy/v1.40.0/api-docs/xds_protocol
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from mesh.encode.resource import Encoded, encoded
from mesh.encode.writing import text

CDS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
EDS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LDS = "type.googleapis.com/envoy.config.listener.v3.Listener"
RDS = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
SDS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

SHORT = {CDS: "CDS", EDS: "EDS", LDS: "LDS", RDS: "RDS", SDS: "SDS"}


class XdsType(NamedTuple):
    """How a type differs from others.

    `whole`: a state-of-the-world response holds all there is, and what is not in it is deleted; only such types are
    asked for as a whole by naming nothing. `named`: who asks for a name that nobody has is sent an empty one, for
    Envoy would wait for it. `lasts`: what a proxy has and still asks for stays as it is when it goes from the world;
    connections that are drained still use it.
    """

    url: str
    whole: bool = False
    named: bool = False
    lasts: bool = False


TYPES = {
    CDS: XdsType(CDS, whole=True),
    LDS: XdsType(LDS, whole=True),
    EDS: XdsType(EDS, named=True),
    RDS: XdsType(RDS, named=True, lasts=True),
    SDS: XdsType(SDS),
}


def type_of(url: str) -> XdsType:
    """The type; one that pymesh does not serve is answered as one that holds nothing."""
    return TYPES.get(url) or XdsType(url)


@lru_cache(1024)
def empty(name: str) -> Encoded:
    """A ClusterLoadAssignment without endpoints, or a RouteConfiguration without hosts: both have their name first."""
    return encoded(name, text(0x0A, name))


# Told, or to be told, that there is no such resource. No resource has an empty version.
GONE = Encoded("", "", b"")
