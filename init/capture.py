"""The policy: which rules make a pod's TCP traffic pass Envoy. Pure; serves every backend and both families.

The way of a packet through the chains:

    from outside ──▶ PREROUTING ──▶ ISTIO_INBOUND ──▶ ISTIO_IN_REDIRECT ──▶ Envoy :15006     (nat; TPROXY: mangle,
                                                                                             ISTIO_DIVERT, ISTIO_TPROXY)
    from the app ──▶ OUTPUT ──▶ ISTIO_OUTPUT ──▶ ISTIO_REDIRECT ──▶ Envoy :15001             (nat)
                                    │    └─▶ ISTIO_OUTPUT_DNS ──▶ agent :15053                (nat; zones in raw)
                                    └─▶ ISTIO_IN_REDIRECT       Envoy calls its own pod by its own address

RETURN means: not captured, go on as if there were no sidecar.
"""

from init.config import SETTINGS
from init.kinds import ALL, ENVOY_OUTBOUND_MARK
from init.network import BITS, LOOPBACK, PASSTHROUGH, Network
from init.rules import Match, Routing, Rule, Ruleset, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from init.config import Config
    from init.host import Host

DNS_PORT, AGENT_DNS_PORT = 53, 15053
ZONE_OF_AGENT, ZONE_OF_APP = 1, 2

RETURN, ACCEPT, DROP = Target("RETURN"), Target("ACCEPT"), Target("DROP")
TCP, UDP = Match("protocol", "tcp"), Match("protocol", "udp")
FROM_LO, TO_LO = Match("in_interface", "lo"), Match("out_interface", "lo")


def capture(config: "Config", host: "Host") -> Ruleset:
    """The rules and routing that this configuration needs on this host."""
    families = host.families(config)
    rules = tuple(rule for family in families for rule in _Family(config, host, family).build())
    return Ruleset(rules, tuple(_routing(config, family) for family in families))


# What capture() puts into the kernel's own chains beside jumps to ours: table, chain, matches as (kind, negated, value;
# None for any), and target.
_PROXY_TO_ITSELF: "list[tuple[str, bool, str | None]]" = [
    ("destination", True, None),
    ("out_interface", False, "lo"),
    ("protocol", False, "tcp"),
]
_SHAPES: "list[tuple[str, str, list[tuple[str, bool, str | None]], Target]]" = [
    ("nat", "PREROUTING", [("in_interface", False, None)], RETURN),
    ("nat", "OUTPUT", [("out_interface", False, None)], RETURN),
    ("mangle", "PREROUTING", [("in_interface", False, None)], RETURN),
    ("mangle", "OUTPUT", [("out_interface", False, None)], RETURN),
    ("mangle", "PREROUTING", [("protocol", False, "tcp"), ("mark", False, None)], Target("CONNMARK", "save")),
    (
        "mangle",
        "OUTPUT",
        [("out_interface", False, "lo"), ("protocol", False, "tcp"), ("mark", False, None)],
        RETURN,
    ),
    *(
        ("mangle", "OUTPUT", [*_PROXY_TO_ITSELF, (owner, False, None)], Target("MARK", ENVOY_OUTBOUND_MARK))
        for owner in ("uid", "gid")
    ),
    ("mangle", "OUTPUT", [("protocol", False, "tcp"), ("connmark", False, None)], Target("CONNMARK", "restore")),
]


def has_our_shape(rule: Rule) -> bool:
    """Whether capture() makes rules like this one, whatever their values, in a chain of the kernel's."""
    return any(
        (rule.table, rule.chain, rule.target, len(rule.matches)) == (table, chain, target, len(matches))
        and all(
            (match.kind, match.negated) == (kind, negated) and value in (None, match.value)
            for match, (kind, negated, value) in zip(rule.matches, matches, strict=True)
        )
        for table, chain, matches, target in _SHAPES
    )


def redirects_dns(config: "Config", host: "Host") -> bool:
    """Whether DNS is captured: it was asked for, and it is known where to."""
    return config.redirect_dns and (config.capture_all_dns or bool(host.nameservers))


def _routing(config: "Config", family: int) -> Routing:
    # IPv4 has all of 127.0.0.0/8 on lo; of IPv6 only ::1 is there, so ::6 is added to be sent from.
    source = PASSTHROUGH[6] if family == 6 else None
    if config.mode != "TPROXY" or not config.inbound_ports:
        return Routing(family, source=source)
    return Routing(family, config.tproxy_mark, config.tproxy_table, source)


def _jump(chain: str) -> Target:
    return Target("JUMP", chain)


def _dport(port: int) -> Match:
    return Match("dport", port)


def _to(network: Network, negated: bool = False) -> "tuple[Match, ...]":
    """Match a destination; all of a family's addresses need no match."""
    return (Match("destination", network.masked, negated),) if network.length else ()


class _Family:
    """Collects the rules of one family."""

    def __init__(self, config: "Config", host: "Host", family: int) -> None:
        self.config, self.host, self.family = config, host, family
        self.loopback = config.loopback if family == 4 else LOOPBACK[6]
        self.nameservers = tuple(n for n in host.nameservers if n.family == family)
        self.dns = redirects_dns(config, host)
        self.tproxy = config.mode == "TPROXY"
        # The proxy's own traffic is told by its user or by its group.
        self.owners = [("uid", "proxy_uids", uid) for uid in host.proxy_uids]
        self.owners += [("gid", "proxy_gids", gid) for gid in host.proxy_gids]
        self.rules: list[Rule] = []
        self.heads: list[Rule] = []

    def build(self) -> "list[Rule]":
        """All rules of the family."""
        self.exclude_interfaces()
        self.drop_invalid()
        self.inbound()
        self.outbound()
        if self.tproxy:
            self.keep_client_address()
        return self.heads + self.rules

    def add(self, why: str, table: str, chain: str, *matches: Match, to: Target) -> None:
        self.rules.append(Rule(self.family, table, chain, matches, to, _flag(why)))

    def put_first(self, why: str, *matches: Match, to: Target) -> None:
        """A rule at the head of nat PREROUTING, before those put there already."""
        self.heads.insert(0, Rule(self.family, "nat", "PREROUTING", matches, to, _flag(why), first=True))

    def exclude_interfaces(self) -> None:
        for table in ("nat", "mangle") if self.tproxy else ("nat",):
            for name in self.config.exclude_interfaces:
                self.add("exclude_interfaces", table, "PREROUTING", Match("in_interface", name), to=RETURN)
                self.add("exclude_interfaces", table, "OUTPUT", Match("out_interface", name), to=RETURN)
        for name in self.config.kube_virt_interfaces:
            self.put_first("kube_virt_interfaces", Match("in_interface", name), to=RETURN)

    def drop_invalid(self) -> None:
        # A packet outside its connection's window makes the kernel reset the connection; dropped, it is sent again.
        if self.config.drop_invalid:
            invalid = Match("state", ("INVALID",))
            self.add("drop_invalid", "mangle", "PREROUTING", invalid, to=_jump("ISTIO_DROP"))
            self.add("drop_invalid", "mangle", "ISTIO_DROP", to=DROP)

    def inbound(self) -> None:
        config = self.config
        self.add("inbound_tunnel_port", "nat", "ISTIO_INBOUND", TCP, _dport(config.inbound_tunnel_port), to=RETURN)
        self.add("envoy_port", "nat", "ISTIO_REDIRECT", TCP, to=Target("REDIRECT", config.envoy_port))
        to_envoy = Target("REDIRECT", config.inbound_capture_port)
        self.add("inbound_capture_port", "nat", "ISTIO_IN_REDIRECT", TCP, to=to_envoy)
        if not config.inbound_ports:
            return
        table = "mangle" if self.tproxy else "nat"
        if self.tproxy:
            self.divert()
        self.add("inbound_ports", table, "PREROUTING", TCP, to=_jump("ISTIO_INBOUND"))
        if config.inbound_ports == ALL:
            for port in config.inbound_exclude_ports:
                self.add("inbound_exclude_ports", table, "ISTIO_INBOUND", TCP, _dport(port), to=RETURN)
            self.capture_inbound(table)
        else:
            for port in config.inbound_ports:
                self.capture_inbound(table, _dport(port))

    def capture_inbound(self, table: str, *port: Match) -> None:
        if not self.tproxy:
            self.add("inbound_ports", table, "ISTIO_INBOUND", TCP, *port, to=_jump("ISTIO_IN_REDIRECT"))
            return
        # A packet of a connection that has its socket goes to that socket; one that opens a connection goes to Envoy.
        known = Match("state", ("RELATED", "ESTABLISHED"))
        self.add("inbound_ports", table, "ISTIO_INBOUND", TCP, *port, known, to=_jump("ISTIO_DIVERT"))
        self.add("inbound_ports", table, "ISTIO_INBOUND", TCP, *port, to=_jump("ISTIO_TPROXY"))

    def divert(self) -> None:
        # The mark makes policy routing deliver the packet on this machine, whatever its destination.
        config = self.config
        self.add("tproxy_mark", "mangle", "ISTIO_DIVERT", to=Target("MARK", config.tproxy_mark))
        self.add("mode", "mangle", "ISTIO_DIVERT", to=ACCEPT)
        to_envoy = Target("TPROXY", (config.inbound_capture_port, config.tproxy_mark))
        self.add("mode", "mangle", "ISTIO_TPROXY", *_to(self.loopback, True), TCP, to=to_envoy)

    def outbound(self) -> None:
        config = self.config
        self.add("outbound_networks", "nat", "OUTPUT", to=_jump("ISTIO_OUTPUT"))
        for port in config.outbound_exclude_ports:
            for protocol in (TCP, UDP):
                self.output("outbound_exclude_ports", protocol, _dport(port))
        # What Envoy received for the app and now hands to it.
        self.output("inbound_capture_port", Match("source", PASSTHROUGH[self.family]), TO_LO)
        for kind, setting, owner in self.owners:
            self.own_traffic(kind, setting, owner)
        self.owner_groups()
        if self.dns:
            self.capture_dns()
        # The app speaks to its own container by loopback.
        self.output("loopback", *_to(self.loopback))
        for network in config.outbound_exclude_networks:
            if network.family == self.family:
                self.output("outbound_exclude_networks", *_to(network))
        for port in config.outbound_ports:
            self.output("outbound_ports", TCP, _dport(port), to=_jump("ISTIO_REDIRECT"))
        self.capture_outbound()

    def output(self, why: str, *matches: Match, to: Target = RETURN) -> None:
        self.add(why, "nat", "ISTIO_OUTPUT", *matches, to=to)

    def own_traffic(self, kind: str, setting: str, owner: int) -> None:
        # app ─▶ Envoy ─▶ the pod's own address: through Envoy's inbound side as well, as if it came from another pod.
        # But not what goes to the tunnel, nor (of a user) DNS: app ─▶ agent ─▶ nameserver is enough.
        tunnel = self.config.inbound_tunnel_port
        other_ports = Match("dport", tunnel, negated=True)
        if self.dns and kind == "uid":
            other_ports = Match("dports", (DNS_PORT, tunnel), negated=True)
        mine, not_mine = Match(kind, owner), Match(kind, owner, negated=True)
        itself = (*_to(self.loopback, True), TO_LO)
        self.output(setting, *itself, TCP, other_ports, mine, to=_jump("ISTIO_IN_REDIRECT"))
        # The app speaks to its own pod by the pod's address: past Envoy, unless loopback is asked to be captured. A
        # nameserver on localhost is still captured, hence not port 53.
        if not self.captures_loopback():
            not_dns = (TCP, Match("dport", DNS_PORT, negated=True)) if self.dns else ()
            self.output(setting, TO_LO, *not_dns, not_mine)
        # All else that the proxy sends goes out, of any protocol; else it would come back to it for ever.
        self.output(setting, mine)

    def captures_loopback(self) -> bool:
        """Whether a network was written with a loopback address, of either family, whatever its length."""
        written = [n for n in self.config.outbound_networks if isinstance(n, Network)]
        addresses = [n.replace(length=BITS[n.family]).unmapped for n in written]
        return any(LOOPBACK[address.family].contains(address) for address in addresses)

    def owner_groups(self) -> None:
        if self.config.owner_groups == ALL:
            for gid in self.host.owner_groups_exclude:
                self.output("owner_groups_exclude", Match("gid", gid))
        else:
            self.output("owner_groups", *(Match("gid", gid, negated=True) for gid in self.host.owner_groups))

    def capture_outbound(self) -> None:
        included = self.config.outbound_networks
        for network in (None,) if included == ALL else included:
            if isinstance(network, Network) and network.family != self.family:
                continue
            destination = _to(network) if isinstance(network, Network) else ()
            for name in self.config.kube_virt_interfaces:
                interface = Match("in_interface", name)
                self.put_first("kube_virt_interfaces", *destination, interface, to=_jump("ISTIO_REDIRECT"))
            self.output("outbound_networks", *destination, to=_jump("ISTIO_REDIRECT"))

    def capture_dns(self) -> None:
        """DNS to the agent, TCP and UDP; for UDP also conntrack zones.

        The app's query and the agent's own to the same nameserver can have the same ports; in one conntrack zone they
        would be taken for one connection.
        """
        why = "capture_all_dns" if self.config.capture_all_dns else "redirect_dns"
        chain = "ISTIO_OUTPUT_DNS"
        # No destination: any nameserver.
        servers = ((),) if self.config.capture_all_dns else tuple(_to(n) for n in self.nameservers)
        to_agent = Target("REDIRECT", AGENT_DNS_PORT)
        if servers:
            self.output("redirect_dns", to=_jump(chain))
        for protocol in (TCP, UDP):
            for server in servers:
                self.add(why, "nat", chain, *server, protocol, _dport(DNS_PORT), to=to_agent)
        self.add("redirect_dns", "raw", "OUTPUT", to=_jump(chain))
        zone = {owner: Target("CT", owner) for owner in (ZONE_OF_AGENT, ZONE_OF_APP)}
        for kind, setting, owner in self.owners:
            mine = Match(kind, owner)
            self.add(setting, "raw", chain, UDP, _dport(DNS_PORT), mine, to=zone[ZONE_OF_AGENT])
            self.add(setting, "raw", chain, UDP, Match("sport", AGENT_DNS_PORT), mine, to=zone[ZONE_OF_APP])
        if servers:
            self.add("redirect_dns", "raw", "PREROUTING", to=_jump("ISTIO_INBOUND"))
        for server in servers:
            answers = tuple(m.replace(kind="source") for m in server)
            self.add(why, "raw", chain, *server, UDP, _dport(DNS_PORT), to=zone[ZONE_OF_APP])
            self.add(why, "raw", "ISTIO_INBOUND", *answers, UDP, Match("sport", DNS_PORT), to=zone[ZONE_OF_AGENT])

    def keep_client_address(self) -> None:
        """TPROXY: Envoy speaks to the app from the client's address, with the mark; answers must come back to Envoy."""
        marked = Match("mark", self.config.tproxy_mark)
        self.add("mode", "mangle", "PREROUTING", TCP, marked, to=Target("CONNMARK", "save"))
        self.add("mode", "mangle", "OUTPUT", TO_LO, TCP, marked, to=RETURN)
        for kind, setting, owner in self.owners:
            # app ─▶ Envoy outbound ─(mark 1338)▶ Envoy inbound ─▶ app
            itself = (*_to(self.loopback, True), TO_LO, TCP, Match(kind, owner))
            self.add(setting, "mangle", "OUTPUT", *itself, to=Target("MARK", ENVOY_OUTBOUND_MARK))
        answer = Match("connmark", self.config.tproxy_mark)
        self.add("mode", "mangle", "OUTPUT", TCP, answer, to=Target("CONNMARK", "restore"))
        # Not captured a second time: what is marked, what Envoy hands to the app, what the app sends to itself.
        for matches in (
            (TCP, marked),
            (Match("source", PASSTHROUGH[self.family]), FROM_LO, TCP),
            (FROM_LO, TCP, Match("mark", ENVOY_OUTBOUND_MARK, negated=True)),
        ):
            self.heads.append(Rule(self.family, "mangle", "ISTIO_INBOUND", matches, RETURN, _flag("mode")))


def _flag(name: str) -> str:
    return f"--{SETTINGS[name].flag}"
