"""Gateway (networking.istio.io): at which ports and for which hosts a gateway's proxies listen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mesh.model import fields as f
from mesh.model.meta import Meta
from mesh.model.protocol import Protocol, protocol_named
from mesh.model.reading import Reading
from mesh.model.serviceentry import check_protocol
from mesh.model.shape import port, sub, subs, text, text_map, texts
from mesh.model.sidecar import bind
from mesh.model.tls import ServerTLSSettings


@dataclass(frozen=True, slots=True)
class Port:
    """Where a server listens (networking.istio.io Port)."""

    number: int = port(0, needed=True)
    protocol: str = text(needed=True, empty=False)
    name: str = text(needed=True)
    target_port: int = port(0, low=0, doc="Deprecated.")

    def check(self, r: Reading) -> None:
        """A protocol that there is."""
        check_protocol(self.protocol, r)

    @property
    def speaks(self) -> Protocol:
        """The protocol."""
        return protocol_named(self.protocol)


@dataclass(frozen=True, slots=True)
class Server:
    """A port with its hosts (Server)."""

    port: Port | None = sub(Port, needed=True)
    bind: str = text(bind)
    hosts: tuple[str, ...] = texts(least=1, needed=True)
    tls: ServerTLSSettings | None = sub(ServerTLSSettings)
    default_endpoint: str = text(doc="Deprecated.")
    name: str = text()

    def check(self, r: Reading) -> None:
        """Hosts, and TLS where the protocol wants it (Istio's validateServer)."""
        for index, host in enumerate(self.hosts):
            if allowed := server_host(host):
                r.error("not-allowed", f'"{host}" is not allowed: {allowed}', "hosts", index)
        if self.port is None:
            return
        speaks, tls = self.port.speaks, self.tls
        if speaks.is_tls and tls is None:
            r.error("missing", f"{speaks} needs tls", "tls")
        elif tls is not None and not speaks.is_tls:
            if not tls.https_redirect and tls.mode != "PASSTHROUGH":
                message = f"{speaks} is plain: of tls only httpsRedirect has an effect; HTTPS or TLS is meant?"
                r.warn("no-effect", message, "tls")
        elif tls is not None and tls.https_redirect:
            r.error("conflict", f"httpsRedirect is for plain HTTP, not for {speaks}", "tls", "httpsRedirect")
        if speaks is Protocol.HTTPS and tls is not None and tls.mode == "AUTO_PASSTHROUGH":
            r.error("conflict", "AUTO_PASSTHROUGH goes with protocol TLS", "tls", "mode")


def server_host(text: str) -> str:
    """A host, or `namespace/host` where the namespace may be `*` or `.`; the host `*` or begin with `*.`."""
    allowed = "a DNS name, *, one that begins with *., or namespace/host with namespace, * or . before the /"
    namespace, slash, host = text.rpartition("/")
    if slash and (not namespace or (namespace not in ("*", ".") and f.label(namespace))):
        return allowed
    return "" if host == "*" or not f.wildcard_fqdn(host) or f.is_address(host) else allowed


@dataclass(frozen=True, slots=True)
class Gateway:
    """Servers of the gateways whose pods have all these labels (Gateway); an empty selector takes every proxy."""

    meta: Meta
    servers: tuple[Server, ...] = subs(Server)
    selector: Mapping[str, str] = text_map()

    def check(self, r: Reading) -> None:
        """Servers whose ports' names differ (Istio's ValidateGateway)."""
        if not self.servers:
            r.error("missing", "a gateway needs at least one server", "servers")
        names: dict[str, int] = {}
        for index, one in enumerate(self.servers):
            if one.port is None:
                continue
            if one.port.name in names:
                message = f'"{one.port.name}" is there twice; each port needs a name of its own'
                r.error("conflict", message, "servers", index, "port", "name")
            names[one.port.name] = index
        if not self.selector:
            r.warn("selects-all", "without a selector every proxy of the mesh is this gateway", "selector")
        redirected = [
            one for one in self.servers
            if one.port and one.tls and one.tls.https_redirect and not one.port.speaks.is_tls
        ]  # fmt: skip
        if redirected and not any(one.port and one.port.speaks is Protocol.HTTPS for one in self.servers):
            r.warn("no-effect", "httpsRedirect sends to HTTPS, but no server here takes it", "servers")
