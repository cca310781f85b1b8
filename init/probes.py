"""Which probes tell whether the kernel does what the rules say. Pure; `init.validate` sends them.

A probe is a packet, and where it must arrive is what the rules themselves say of it (`init.landing`): there is no
second policy here. What is chosen here is what to ask about: senders, destinations and ports of the settings.
"""

from init.capture import AGENT_DNS_PORT, DNS_PORT, redirects_dns
from init.kinds import ALL
from init.landing import Packet, landing
from init.network import BITS, LOOPBACK, PASSTHROUGH, Network
from init.values import Value
from init.wire import INNER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from init.config import Config
    from init.host import Host
    from init.rules import Rule

# Addresses for documentation (RFC 5737, RFC 3849), which no machine has.
_ANYWHERE = {4: Network.parse("192.0.2.1"), 6: Network.parse("2001:db8::1")}
_SEVERAL = 4  # so many of a list of the settings are asked about
_TRIES = 16  # so many addresses of a network are looked at to find one that is captured


class Probe(Value):
    """One packet that opens a connection.

    what: for people. sender: "app" or "proxy", whose ids the packet has, or "outside". arrives: the local port where it
    must arrive, or None when it must arrive at none of the proxy's ports. why: the flag that says so. unsent: why it
    cannot be sent, or an empty text.
    """

    what: str
    sender: str
    packet: Packet
    arrives: "int | None" = None
    why: str = ""
    unsent: str = ""


class Place(Value):
    """Where probes are sent from. route: the interface to an address; raises OSError. uid, gid: this process'."""

    route: "Callable[[Network], str]"
    uid: int
    gid: int


def plan(config: "Config", host: "Host", rules: "Sequence[Rule]", place: Place) -> "tuple[Probe, ...]":
    """The probes for all families that have rules."""
    asked: list[Probe] = []
    for family in host.families(config):
        mine = [rule for rule in rules if rule.family == family]
        asked += dict.fromkeys(_Plan(config, host, family, mine, place).probes())
    # What is let through to one of the proxy's ports arrives there.
    theirs = listening(config, host)
    return tuple(p.replace(arrives=p.packet.port) if _meets(p, theirs) else p for p in asked)


def listening(config: "Config", host: "Host") -> "set[tuple[int, str, int]]":
    """Where the proxy and its agent listen: family, protocol, port."""
    sockets = {("tcp", config.envoy_port), ("tcp", config.inbound_capture_port)}
    if redirects_dns(config, host):
        sockets |= {("tcp", AGENT_DNS_PORT), ("udp", AGENT_DNS_PORT)}
    return {(family, *where) for family in host.families(config) for where in sockets}


def _meets(probe: Probe, sockets: "set[tuple[int, str, int]]") -> bool:
    packet = probe.packet
    here = not packet.sent_here or packet.interface == "lo"
    return here and not probe.arrives and (packet.destination.family, packet.protocol, packet.port) in sockets


class _Plan:
    def __init__(self, config: "Config", host: "Host", family: int, rules: "Sequence[Rule]", place: Place) -> None:
        self.config, self.host, self.family, self.rules, self.place = config, host, family, rules, place
        self.app, self.proxy = self.ids_of_app(), self.ids_of_proxy()
        self.loopback = LOOPBACK[6] if family == 6 else Network.parse("127.0.0.1")
        self.own = next((a for a in host.addresses if a.family == family), None)
        self.open_port = self.free_port(config.outbound_exclude_ports)
        excluded = config.outbound_exclude_networks
        self.excluded = [n for n in excluded if n.family == family]

    def probes(self) -> "Iterator[Probe]":
        yield from self.outbound()
        if self.own:
            yield from self.to_itself(self.own)
            yield from self.inbound(self.own)
        if redirects_dns(self.config, self.host):
            yield from self.dns()

    def outbound(self) -> "Iterator[Probe]":
        config, anywhere = self.config, _ANYWHERE[self.family]
        asked = [self.sent("outbound", "app", target, self.open_port) for target in dict.fromkeys(self.targets())]
        listed = config.outbound_ports[:_SEVERAL]
        asked += [self.sent("outbound, listed port", "app", anywhere, port) for port in listed]
        yield from asked
        # What of the app's is captured must not be captured of others'.
        captured = next((probe for probe in asked if probe.arrives), asked[0]).packet
        target, port = captured.destination, captured.port
        yield self.sent("the proxy's own, outbound", "proxy", target, port, ids=self.proxy)
        for by, ids in self.owners():
            yield self.sent(f"the proxy's own, outbound, by its {by}", "proxy", target, port, ids=ids)
        for gid in self.strangers():
            yield self.sent("outbound, of another group", "app", target, port, ids=(self.app[0], gid))
        for excluded in config.outbound_exclude_ports[:_SEVERAL]:
            yield self.sent("outbound, excluded port", "app", target, excluded)
        for network in self.excluded[:_SEVERAL]:
            yield self.sent("outbound, excluded network", "app", _address_in(network), port)
        yield self.sent("the app's own loopback", "app", self.loopback, port)

    def to_itself(self, own: Network) -> "Iterator[Probe]":
        port = self.free_port((self.config.inbound_tunnel_port, DNS_PORT, *self.config.outbound_exclude_ports))
        yield self.sent("to its own pod", "app", own, port)
        yield self.sent("inbound, from the proxy", "proxy", own, port, ids=self.proxy)
        for by, ids in self.owners():
            yield self.sent(f"inbound, from the proxy by its {by}", "proxy", own, port, ids=ids)
        yield self.sent("its own tunnel", "proxy", own, self.config.inbound_tunnel_port, ids=self.proxy)
        yield self.sent("what the proxy hands to the app", "proxy", own, port, PASSTHROUGH[self.family], self.proxy)

    def inbound(self, own: Network) -> "Iterator[Probe]":
        config = self.config
        listed = () if config.inbound_ports == ALL else config.inbound_ports
        excluded = config.inbound_exclude_ports
        free = self.free_port((config.inbound_tunnel_port, *excluded, *listed))
        ports = [(port, "inbound, listed port") for port in listed[:_SEVERAL]] + [(free, "inbound")]
        ports += [(port, "inbound, excluded port") for port in excluded[:_SEVERAL]]
        for port, what in [*ports, (config.inbound_tunnel_port, "inbound, tunnel")]:
            yield self.asked(what, "outside", Packet("tcp", own, int(port), INNER))

    def dns(self) -> "Iterator[Probe]":
        servers = [n for n in self.host.nameservers if n.family == self.family]
        for server in [*servers[:_SEVERAL], _ANYWHERE[self.family]]:
            for protocol in ("udp", "tcp"):
                what = f"DNS over {protocol.upper()}"
                yield self.sent(what, "app", server, DNS_PORT, protocol=protocol)
                yield self.sent(f"the proxy's own {what}", "proxy", server, DNS_PORT, ids=self.proxy, protocol=protocol)

    def sent(
        self,
        what: str,
        sender: str,
        to: Network,
        port: int,
        source: "Network | None" = None,
        ids: "tuple[int, int] | None" = None,
        protocol: str = "tcp",
    ) -> Probe:
        """A packet that this machine sends."""
        packet = Packet(protocol, to, port, "", *(ids or self.app), source=source)
        if not to.address:  # connect(2) would take it for loopback
            return Probe(what, sender, packet, unsent="no machine has this address")
        try:
            return self.asked(what, sender, packet.replace(interface=self.place.route(to)))
        except OSError as e:
            return self.asked(what, sender, packet).replace(unsent=e.strerror or str(e))

    def asked(self, what: str, sender: str, packet: Packet) -> Probe:
        """The probe with what the rules say of it."""
        expected = landing(self.rules, packet)
        return Probe(what, sender, packet, expected.port, expected.why)

    def targets(self) -> "Iterator[Network]":
        """Addresses outside: of each network that is captured, where there is one; and any other."""
        included = self.config.outbound_networks
        everything = Network(self.family, 0, 0)
        networks = [n.masked for n in (included if included != ALL else [everything]) if n.family == self.family]
        for network in networks[:_SEVERAL]:
            candidates = list(self.candidates(network))
            yield next((a for a in candidates if self.captures(a)), candidates[0])
        yield _ANYWHERE[self.family]

    def candidates(self, network: Network) -> "Iterator[Network]":
        """Addresses of a network: one, and the first behind each excluded network in it."""
        yield _address_in(network)
        inside = [n for n in self.excluded if network.contains(n)]
        for behind in (n.address + (1 << BITS[n.family] - n.length) for n in inside[:_TRIES]):
            address = network.replace(address=behind, length=BITS[self.family])
            if network.contains(address):
                yield address

    def captures(self, address: Network) -> bool:
        return self.sent("", "app", address, self.open_port).arrives is not None

    def free_port(self, taken: "tuple[int, ...]") -> int:
        """The port of the probes, or one beside it when that is taken."""
        spared = {*taken, *self.config.outbound_ports}
        ports = (self.config.probe_port, *range(15100, 65536))
        return next((p for p in ports if p not in spared), self.config.probe_port)

    def ids_of_proxy(self) -> "tuple[int, int]":
        """This process' own ids where they will do: others need privilege."""
        uid, gid = self.place.uid, self.place.gid
        return (uid, gid) if uid in self.host.proxy_uids else (self.host.proxy_uids[0], self.host.proxy_gids[0])

    def ids_of_app(self) -> "tuple[int, int]":
        """Ids whose traffic is captured, where any is; this process' own where they will do."""
        host, uid, gid = self.host, self.place.uid, self.place.gid
        if uid in host.proxy_uids:
            uid = next(u for u in range(1000, 65534) if u not in host.proxy_uids)
        spared = {*host.proxy_gids, *host.owner_groups_exclude}
        if host.owner_groups and gid not in host.owner_groups:
            gid = next((g for g in host.owner_groups if g not in spared), gid)
        if gid in spared:
            gid = next(g for g in range(1000, 65534) if g not in spared)
        return uid, gid

    def owners(self) -> "Iterator[tuple[str, tuple[int, int]]]":
        """Each user of the proxy's without its group, and each group without its user: rules ask for either."""
        uid, gid = self.app
        yield from ((f"uid {u}", (u, gid)) for u in self.host.proxy_uids[:_SEVERAL])
        yield from ((f"gid {g}", (uid, g)) for g in self.host.proxy_gids[:_SEVERAL])

    def strangers(self) -> "Iterator[int]":
        """Groups, neither the app's nor the proxy's, whose traffic is treated in another way than the app's."""
        yield from self.host.owner_groups_exclude[:_SEVERAL]
        if self.config.owner_groups != ALL:
            known = {*self.host.owner_groups, *self.host.proxy_gids, self.app[1]}
            yield next(g for g in range(1000, 65534) if g not in known)


def _address_in(network: Network) -> Network:
    """An address of a network: one that no machine has where the network holds it, else the first."""
    anywhere = _ANYWHERE[network.family]
    if network.contains(anywhere):
        return anywhere
    bits = BITS[network.family]
    return network.replace(address=network.address + (1 if network.length < bits else 0), length=bits)
