"""Which probes tell whether a configuration captures what it should. Pure; `init.validate` sends them.

app   ─▶ a captured destination          arrives at Envoy's outbound port
app   ─▶ a port or network left out      does not arrive at the proxy
app   ─▶ its own loopback                does not arrive at the proxy
proxy ─▶ a captured destination          does not come back to the proxy
proxy ─▶ the pod's own address           arrives at Envoy's inbound port, as if it came from another pod
app   ─▶ a nameserver, UDP and TCP       arrives at the agent
"""

from init.capture import AGENT_DNS_PORT, DNS_PORT, redirects_dns
from init.kinds import ALL
from init.network import BITS, LOOPBACK, Network
from init.values import Value
from init.wire import INNER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from init.config import Config
    from init.host import Host

# Addresses for documentation (RFC 5737, RFC 3849), which no machine has.
_ANYWHERE = {4: Network.parse("192.0.2.1"), 6: Network.parse("2001:db8::1")}


class Probe(Value):
    """One packet that opens a connection.

    what: for people. sender: "app" or "proxy", whose ids the socket has, or "outside". protocol: "tcp" or "udp".
    arrives: the local port where it must arrive, or None when it must arrive at none of the proxy's ports.
    """

    what: str
    sender: str
    protocol: str
    destination: Network
    port: int
    arrives: "int | None"


def plan(config: "Config", host: "Host") -> "tuple[Probe, ...]":
    """The probes for all families that have rules."""
    return tuple(probe for family in host.families(config) for probe in _Plan(config, host, family).probes())


class _Plan:
    def __init__(self, config: "Config", host: "Host", family: int) -> None:
        self.config, self.host, self.family = config, host, family

    def probes(self) -> "Iterator[Probe]":
        config = self.config
        outside = self.captured_address()
        port = self.captured_port(config.outbound_networks == ALL or outside is not None)
        target = outside or _ANYWHERE[self.family]
        if port:
            yield Probe("outbound", "app", "tcp", target, port, config.envoy_port)
            yield Probe("the proxy's own, outbound", "proxy", "tcp", target, port, None)
        else:
            yield Probe("outbound, not captured", "app", "tcp", target, config.probe_port, None)
        for excluded in config.outbound_exclude_ports[:1]:
            yield Probe("outbound, excluded port", "app", "tcp", target, excluded, None)
        for network in self.excluded_networks()[:1]:
            if config.probe_port not in config.outbound_ports:
                address = _first_address(network)
                yield Probe("outbound, excluded network", "app", "tcp", address, config.probe_port, None)
        if port and not self.captures_loopback():
            loopback = Network.parse("127.0.0.1" if self.family == 4 else "::1")
            yield Probe("the app's own loopback", "app", "tcp", loopback, port, None)
        yield from self.inbound()
        if redirects_dns(config, self.host):
            yield from self.dns(target)

    def inbound(self) -> "Iterator[Probe]":
        config = self.config
        own = next((a for a in self.host.addresses if a.family == self.family), None)
        if not own:
            return
        port = self.free_port((config.inbound_tunnel_port, DNS_PORT, *config.outbound_exclude_ports))
        yield Probe("inbound, from the proxy", "proxy", "tcp", own, port, config.inbound_capture_port)
        if any(INNER.startswith(name.removesuffix("+")) for name in config.exclude_interfaces):
            return
        port = self.free_port((config.inbound_tunnel_port, *config.inbound_exclude_ports))
        if config.inbound_ports and config.inbound_ports != ALL:
            port = int(config.inbound_ports[0])
        arrives = config.inbound_capture_port if config.inbound_ports else None
        yield Probe("inbound", "outside", "tcp", own, port, arrives)
        if config.inbound_ports == ALL:
            for excluded in config.inbound_exclude_ports[:1]:
                yield Probe("inbound, excluded port", "outside", "tcp", own, excluded, None)

    def free_port(self, taken: "tuple[int, ...]") -> int:
        """The port of the probes, or one beside it when that is taken."""
        ports: Iterator[int] = (p for p in (self.config.probe_port, *range(15100, 15200)) if p not in taken)
        return next(ports)

    def dns(self, anywhere: Network) -> "Iterator[Probe]":
        if DNS_PORT in self.config.outbound_exclude_ports:
            return
        servers = [n for n in self.host.nameservers if n.family == self.family]
        for server in [anywhere] if self.config.capture_all_dns else servers[:1]:
            for protocol in ("udp", "tcp"):
                yield Probe(f"DNS over {protocol.upper()}", "app", protocol, server, DNS_PORT, AGENT_DNS_PORT)

    def captured_address(self) -> "Network | None":
        """An address that is captured because of its network."""
        included = self.config.outbound_networks
        networks = [n for n in included if isinstance(n, Network) and n.family == self.family]
        candidates = [_ANYWHERE[self.family]] if included == ALL else [_first_address(n) for n in networks]
        return next((a for a in candidates if self.may_capture(a)), None)

    def may_capture(self, address: Network) -> bool:
        spared = (*self.excluded_networks(), LOOPBACK[self.family], *self.host.addresses)
        return not any(network.contains(address) for network in spared)

    def captured_port(self, by_network: bool) -> int:
        """A port that is captured; 0 for none."""
        excluded = self.config.outbound_exclude_ports
        if by_network:
            return self.free_port(excluded)
        ports: Iterator[int] = (p for p in self.config.outbound_ports if p not in excluded)
        return next(ports, 0)

    def excluded_networks(self) -> "list[Network]":
        return [n for n in self.config.outbound_exclude_networks if n.family == self.family]

    def captures_loopback(self) -> bool:
        included = self.config.outbound_networks
        return included != ALL and any(LOOPBACK[n.family].contains(n) for n in included if isinstance(n, Network))


def _first_address(network: Network) -> Network:
    """The first address of a network that a machine could have."""
    bits = BITS[network.family]
    return network.replace(address=network.address + (1 if network.length < bits else 0), length=bits)
