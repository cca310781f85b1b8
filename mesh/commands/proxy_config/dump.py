"""What a proxy has, out of its /config_dump (admin.v3.ConfigDump) or /clusters?format=json (admin.v3.Clusters)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import InputError

Message = Mapping[str, Any]

# Of each section of the dump: its lists, and where in an entry the resource is.
SECTIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "ClustersConfigDump": {
        "static_clusters": ("cluster",),
        "dynamic_active_clusters": ("cluster",),
        "dynamic_warming_clusters": ("cluster",),
    },
    "ListenersConfigDump": {
        "static_listeners": ("listener",),
        "dynamic_listeners": ("active_state", "listener"),
    },
    "RoutesConfigDump": {
        "static_route_configs": ("route_config",),
        "dynamic_route_configs": ("route_config",),
    },
    "EndpointsConfigDump": {
        "static_endpoint_configs": ("endpoint_config",),
        "dynamic_endpoint_configs": ("endpoint_config",),
    },
    "SecretsConfigDump": {
        "static_secrets": ("secret",),
        "dynamic_active_secrets": ("secret",),
        "dynamic_warming_secrets": ("secret",),
    },
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that a cluster's requests may go to."""

    address: str
    port: int
    status: str
    outlier: str
    cluster: str
    source: Message

    @property
    def shown(self) -> str:
        """ADDRESS:PORT; a pipe has no port."""
        if not self.port:
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Dump:
    """A config_dump. Raises InputError for what is none."""

    def __init__(self, data: Any) -> None:
        configs = data.get("configs") if isinstance(data, Mapping) else None
        if not isinstance(configs, list):
            raise InputError("no config_dump of Envoy: it has no list `configs`")
        self._sections = {str(one.get("@type", "")).rpartition(".")[2]: one for one in configs}

    @property
    def bootstrap(self) -> Message:
        """What the proxy was started with."""
        found: Message = (self._sections.get("BootstrapConfigDump") or {}).get("bootstrap") or {}
        return found

    @property
    def clusters(self) -> list[Message]:
        """All clusters by name, those that still wait for endpoints too."""
        return sorted(self._resources("ClustersConfigDump"), key=lambda one: str(one.get("name")))

    @property
    def listeners(self) -> list[Message]:
        """All listeners in use, by port and address."""
        return sorted(self._resources("ListenersConfigDump"), key=lambda one: (address_of(one)[1], address_of(one)[0]))

    @property
    def routes(self) -> list[Message]:
        """All route tables: those by RDS first, and those within listeners, which mostly have no name."""
        found = [one for one in self._resources("RoutesConfigDump") if one.get("virtual_hosts")]
        return sorted(found, key=lambda one: (not str(one.get("name", "")), *_by_number(str(one.get("name", "")))))

    @property
    def secrets(self) -> list[Message]:
        """Certificates and authorities, with their lists' names as state."""
        found: list[Message] = []
        for name in SECTIONS["SecretsConfigDump"]:
            for entry in (self._sections.get("SecretsConfigDump") or {}).get(name) or ():
                state = "WARMING" if "warming" in name else "ACTIVE"
                found.append({"name": entry.get("name"), "state": state, "secret": entry.get("secret") or {}})
        return found

    @property
    def assignments(self) -> list[Message]:
        """The endpoints of all clusters, as they were sent (they are there only with ?include_eds)."""
        return list(self._resources("EndpointsConfigDump"))

    def told(self, section: str) -> list[Message]:
        """What came from the control plane, of a section such as ClustersConfigDump."""
        return list(self._resources(section, "dynamic"))

    def _resources(self, section: str, which: str = "") -> Iterator[Message]:
        found = self._sections.get(section) or {}
        for name, path in SECTIONS[section].items():
            if not name.startswith(which):
                continue
            for entry in found.get(name) or ():
                for step in path:
                    entry = (entry or {}).get(step)
                if entry:
                    yield entry


def endpoints(data: Any) -> list[Endpoint]:
    """The endpoints of a config_dump, or of /clusters?format=json, which also knows how they fare."""
    if isinstance(data, Mapping) and "cluster_statuses" in data:
        return sorted(_live(data), key=_place)
    dump = Dump(data)
    all_of_them = [*dump.assignments, *(one["load_assignment"] for one in dump.clusters if one.get("load_assignment"))]
    found = {(one.shown, one.cluster): one for each in all_of_them for one in assigned(each)}
    return sorted(found.values(), key=_place)


def _place(one: Endpoint) -> tuple[str, int, str]:
    return one.address, one.port, one.cluster


def _live(data: Message) -> Iterator[Endpoint]:
    for cluster in data["cluster_statuses"]:
        for host in cluster.get("host_statuses") or ():
            health = host.get("health_status") or {}
            failed = health.get("failed_outlier_check")
            address, port = socket_of(host.get("address"))
            status = str(health.get("eds_health_status") or "UNKNOWN")
            if health.get("failed_active_health_check"):
                status = "UNHEALTHY"
            yield Endpoint(address, port, status, "FAILED" if failed else "OK", str(cluster.get("name")), host)


def assigned(assignment: Message) -> Iterator[Endpoint]:
    """The endpoints of one ClusterLoadAssignment; `source` of each is the LbEndpoint."""
    for locality in assignment.get("endpoints") or ():
        for one in locality.get("lb_endpoints") or ():
            address, port = socket_of((one.get("endpoint") or {}).get("address"))
            status = str(one.get("health_status") or "HEALTHY")
            yield Endpoint(address, port, status, "OK", str(assignment.get("cluster_name")), one)


def socket_of(address: Message | None) -> tuple[str, int]:
    """Host and port of a core.v3.Address; of a pipe its path."""
    if not address:
        return "", 0
    if pipe := address.get("pipe"):
        return f"unix://{pipe.get('path')}", 0
    if internal := address.get("envoy_internal_address"):
        return f"envoy://{internal.get('server_listener_name')}/{internal.get('endpoint_id', '')}", 0
    socket = address.get("socket_address") or {}
    return str(socket.get("address") or ""), int(socket.get("port_value") or 0)


def address_of(listener: Message) -> tuple[str, int]:
    """Host and port at which a listener is."""
    return socket_of(listener.get("address"))


def _by_number(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (65536, name)
