"""ServiceEntry (networking.istio.io): hosts that Kubernetes does not know."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.model import fields as f
from mesh.model.common import PROTOCOLS, WorkloadSelector, export_to
from mesh.model.meta import Meta
from mesh.model.protocol import Protocol, protocol_named
from mesh.model.reading import Reading
from mesh.model.service import DISTRIBUTION, Resolution, Service, ServicePort
from mesh.model.shape import one_of, port, sub, subs, text, texts
from mesh.model.workload import Workload


@dataclass(frozen=True, slots=True)
class EntryPort:
    """A port of the hosts (networking.istio.io ServicePort); `target_port` 0 is the same number."""

    number: int = port(0, needed=True)
    name: str = text(needed=True, longest=256)
    protocol: str = text()
    target_port: int = port(0)

    def check(self, r: Reading) -> None:
        """A protocol that there is."""
        check_protocol(self.protocol, r)


def check_protocol(name: str, r: Reading) -> None:
    """A protocol's name, whatever its case; empty is found out from the bytes."""
    if name and name.upper() not in PROTOCOLS:
        r.error("not-allowed", f'"{name}" is not allowed: {", ".join(PROTOCOLS)}', "protocol")


_RESOLUTIONS = {
    "NONE": Resolution.PASSTHROUGH,
    "STATIC": Resolution.CLIENT_SIDE,
    "DNS": Resolution.DNS,
    "DNS_ROUND_ROBIN": Resolution.DNS_ROUND_ROBIN,
    "DYNAMIC_DNS": Resolution.DYNAMIC_DNS,
}


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """Hosts outside of Kubernetes, or that Kubernetes does not know as such (ServiceEntry). See `services`."""

    ONE_OF = (("endpoints", "workloadSelector"),)

    meta: Meta
    hosts: tuple[str, ...] = texts(f.wildcard_fqdn, least=1, most=256, needed=True)
    addresses: tuple[str, ...] = texts(f.subnet, most=256)
    ports: tuple[EntryPort, ...] = subs(EntryPort, most=256)
    location: str = one_of("MESH_EXTERNAL", "MESH_INTERNAL")
    resolution: str = one_of(*_RESOLUTIONS)
    endpoints: tuple[Workload, ...] = subs(Workload, most=4096)
    workload_selector: WorkloadSelector | None = sub(WorkloadSelector)
    export_to: tuple[str, ...] = texts()
    subject_alt_names: tuple[str, ...] = texts()

    def check(self, r: Reading) -> None:
        """What goes with which resolution (Istio's ValidateServiceEntry)."""
        for index, host in enumerate(self.hosts):
            if host == "*":
                r.error("not-allowed", '"*" would be every host there is', "hosts", index)
            elif host.startswith("*") and self.resolution not in ("NONE", "STATIC", "DYNAMIC_DNS"):
                # With endpoints of its own nothing has to be resolved.
                if not self.endpoints:
                    r.error("conflict", f"{self.resolution} cannot resolve a wildcard", "hosts", index)
            elif "." not in host:
                r.warn("short-host", "a host without a dot is taken as it is, without the namespace", "hosts", index)
        if self.resolution not in ("NONE", "STATIC"):
            for index, address in enumerate(self.addresses):
                if "/" in address:
                    r.error(
                        "conflict", f"a CIDR goes with NONE and STATIC, not with {self.resolution}", "addresses", index
                    )
        self._check_ports(r)
        self._check_endpoints(r)
        if not self.addresses and any(protocol_named(one.protocol) is Protocol.TCP for one in self.ports):
            message = "TCP without addresses takes every connection to this port, wherever it goes"
            r.warn("no-addresses", message, "addresses")
        export_to(self.export_to, r, "exportTo")

    def _check_ports(self, r: Reading) -> None:
        names: set[str] = set()
        numbers: set[int] = set()
        for index, one in enumerate(self.ports):
            if one.name in names:
                r.error("conflict", f'"{one.name}" is there twice', "ports", index, "name")
            if one.number in numbers:
                r.error("conflict", f"{one.number} is there twice", "ports", index, "number")
            names.add(one.name)
            numbers.add(one.number)

    def _check_endpoints(self, r: Reading) -> None:
        names = {one.name for one in self.ports}
        if self.resolution == "NONE" and self.endpoints:
            r.error("conflict", "NONE goes to where the client meant to go, so there are no endpoints", "endpoints")
        if self.resolution == "DNS_ROUND_ROBIN" and len(self.endpoints) > 1:
            r.error("conflict", "DNS_ROUND_ROBIN has one endpoint at most", "endpoints", 1)
        if self.resolution == "STATIC" and not self.endpoints and not self.workload_selector:
            r.warn("no-endpoints", "STATIC without endpoints and workloadSelector: nobody answers", "endpoints")
        for index, one in enumerate(self.endpoints):
            is_socket = one.address.startswith("unix://")
            if self.resolution == "STATIC" and one.address and not one.is_ip and not is_socket:
                r.error(
                    "not-allowed", f'STATIC wants an IP address, not "{one.address}"', "endpoints", index, "address"
                )
            if is_socket and self.resolution != "STATIC":
                r.error("not-allowed", "a unix domain socket goes with STATIC alone", "endpoints", index, "address")
            for name in one.ports:
                if name not in names:
                    r.error("not-allowed", f'no port is called "{name}"', "endpoints", index, "ports", name)

    def services(self) -> tuple[Service, ...]:
        """A Service for each host, with the entry's own endpoints."""
        ports = tuple(
            ServicePort(one.number, one.name, protocol_named(one.protocol), one.target_port) for one in self.ports
        )
        return tuple(
            Service(
                meta=self.meta,
                hostname=host.lower().removesuffix("."),
                ports=ports,
                addresses=tuple(dict.fromkeys(f.canonical(one) for one in self.addresses)),
                resolution=_RESOLUTIONS[self.resolution],
                mesh_external=self.location == "MESH_EXTERNAL",
                export_to=self.export_to,
                workload_selector=self.workload_selector.labels if self.workload_selector else None,
                endpoints=self.endpoints,
                subject_alt_names=self.subject_alt_names,
                traffic_distribution=self.meta.annotations.get(DISTRIBUTION, ""),
            )
            for host in self.hosts
        )
