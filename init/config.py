"""What was asked: the settings, each declared once, and `Config`, the frozen value they are parsed into.

A setting's flag, variable, default, kind and help come from its one declaration below; `init.argv` reads them. Names
are istio-iptables' own where it has the setting.
"""

from init import kinds
from init.kinds import ALL
from init.network import Network
from init.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from init.kinds import Kind, Networks, Owners, Ports

# All included groups become matches of one rule, of which iptables takes 255 words; nft takes 63 groups.
MAX_OWNER_GROUPS = 48


class Setting(Value):
    """One setting. variables: in the environment, a later one wins; default: the parsed value; group: help heading."""

    flag: str
    short: str
    variables: "tuple[str, ...]"
    kind: "Kind"
    default: "Any"
    group: str
    help: str


def _group(title: str) -> "Callable[..., Any]":
    """A heading of the help. Called with a setting's flag, short, kind, default and help, it declares a field.

    Its first variable is the flag's name in capitals, with PYINIT_ before it where the setting is pyinit's `own`, for a
    plain name may be the application's. `also` names more variables; or `variables` names all.
    """

    def declare(
        flag: str,
        short: str,
        kind: "Kind",
        default: object,
        text: str,
        also: "Sequence[str]" = (),
        variables: "Sequence[str] | None" = None,
        own: bool = False,
    ) -> Setting:
        name = f"{'PYINIT_' if own else ''}{flag.upper().replace('-', '_')}"
        return Setting(
            flag, short, (name, *also) if variables is None else tuple(variables), kind, default, title, text
        )

    return declare


_PORTS = _group("Ports of the proxy")
_WHO = _group("Whose traffic is the proxy's own")
_IN = _group("Inbound capture")
_OUT = _group("Outbound capture")
_DNS = _group("DNS and families")
_RUN = _group("What to do")
_KERNEL = _group("Where and how rules are written")
_SHOW = _group("Output")


class Config(Value):
    """What was asked of pyinit. Ports, ids and marks are ints; lists are tuples; ALL ("*") stands for everything."""

    envoy_port: int = _PORTS("envoy-port", "p", kinds.PORT, 15001, "where outbound TCP goes", variables=())
    inbound_capture_port: int = _PORTS("inbound-capture-port", "z", kinds.PORT, 15006, "where inbound TCP goes")
    inbound_tunnel_port: int = _PORTS(
        "inbound-tunnel-port", "e", kinds.PORT, 15008, "inbound port of the proxy's own tunnel, never captured"
    )
    proxy_uids: "Owners" = _WHO(
        "proxy-uid",
        "u",
        kinds.USERS,
        (),
        "users whose traffic is not captured; empty: the user of --envoy-user, else 1337",
    )
    proxy_gids: "Owners" = _WHO(
        "proxy-gid", "g", kinds.GROUPS, (), "groups whose traffic is not captured; empty: the same as --proxy-uid"
    )
    envoy_user: str = _WHO("envoy-user", "", kinds.TEXT, "istio-proxy", "the proxy's user, where --proxy-uid is empty")
    mode: str = _IN(
        "istio-inbound-interception-mode",
        "m",
        kinds.choice("REDIRECT", "TPROXY", empty="REDIRECT"),
        "REDIRECT",
        "REDIRECT rewrites the destination; TPROXY keeps it, and the client's address",
    )
    inbound_ports: "Ports" = _IN(
        "istio-inbound-ports", "b", kinds.PORTS_OR_ALL, (), "inbound ports to capture: *, a list, or empty for none"
    )
    inbound_exclude_ports: "tuple[int, ...]" = _IN(
        "istio-local-exclude-ports", "d", kinds.PORTS, (), "inbound ports not to capture, where all others are"
    )
    tproxy_mark: int = _IN(
        "istio-inbound-tproxy-mark", "t", kinds.MARK, 1337, "TPROXY: mark of packets to be delivered to the proxy"
    )
    tproxy_table: int = _IN(
        "istio-inbound-tproxy-route-table", "r", kinds.ROUTE_TABLE, 133, "TPROXY: routing table for marked packets"
    )
    outbound_networks: "Networks" = _OUT(
        "istio-service-cidr", "i", kinds.NETWORKS_OR_ALL, (), "destinations to capture: *, a list, or empty for none"
    )
    outbound_exclude_networks: "tuple[Network, ...]" = _OUT(
        "istio-service-exclude-cidr", "x", kinds.NETWORKS, (), "destinations not to capture"
    )
    outbound_ports: "tuple[int, ...]" = _OUT(
        "istio-outbound-ports", "q", kinds.PORTS, (), "destination ports to capture whatever the address"
    )
    outbound_exclude_ports: "tuple[int, ...]" = _OUT(
        "istio-local-outbound-ports-exclude", "o", kinds.PORTS, (), "destination ports not to capture, TCP and UDP"
    )
    owner_groups: "Owners | str" = _OUT(
        "istio-outbound-owner-groups", "", kinds.GROUPS_OR_ALL, ALL, "groups whose traffic is captured: * or a list"
    )
    owner_groups_exclude: "Owners" = _OUT(
        "istio-outbound-owner-groups-exclude",
        "",
        kinds.GROUPS,
        (),
        "groups whose traffic is not captured, where all others' is",
    )
    loopback: Network = _OUT(
        "istio-outbound-ipv4-loopback-cidr",
        "",
        kinds.LOOPBACK,
        Network.parse("127.0.0.1/32"),
        "IPv4 addresses that mean the application's own container",
    )
    kube_virt_interfaces: "tuple[str, ...]" = _OUT(
        "kube-virt-interfaces", "k", kinds.INTERFACES, (), "interfaces whose inbound traffic counts as outbound"
    )
    exclude_interfaces: "tuple[str, ...]" = _OUT(
        "istio-exclude-interfaces", "c", kinds.INTERFACES, (), "interfaces whose traffic is not captured, in or out"
    )
    redirect_dns: bool = _DNS(
        "redirect-dns", "", kinds.BOOLEAN, False, "send DNS to the agent on port 15053", also=["ISTIO_META_DNS_CAPTURE"]
    )
    capture_all_dns: bool = _DNS(
        "capture-all-dns", "", kinds.BOOLEAN, False, "with --redirect-dns: not only the nameservers of resolv.conf"
    )
    dual_stack: bool = _DNS(
        "dual-stack",
        "",
        kinds.BOOLEAN,
        False,
        "IPv6 rules when any address is IPv6, not only when the first is",
        also=["ISTIO_DUAL_STACK"],
    )
    drop_invalid: bool = _DNS(
        "drop-invalid", "", kinds.BOOLEAN, False, "drop packets outside any connection's window", also=["INVALID_DROP"]
    )
    dry_run: bool = _RUN("dry-run", "n", kinds.BOOLEAN, False, "print what would be written, and write nothing")
    check: bool = _RUN(
        "check",
        "",
        kinds.BOOLEAN,
        False,
        "write nothing; exit code 0 when all is as asked for and nothing else of ours is there, 3 when not",
        own=True,
    )
    explain: str = _RUN(
        "explain",
        "",
        kinds.PACKET,
        "",
        "say where the rules let a packet land, as in 'tcp out 10.0.0.1:80 uid 1000' or 'tcp in 10.244.0.5:8080'",
        variables=(),
    )
    reconcile: bool = _RUN("reconcile", "", kinds.BOOLEAN, False, "replace the rules of another configuration")
    prune: bool = _RUN(
        "prune",
        "",
        kinds.BOOLEAN,
        False,
        "with --reconcile: take away also what only the other configuration had (native nftables always does)",
        own=True,
    )
    cleanup_only: bool = _RUN("cleanup-only", "", kinds.BOOLEAN, False, "take away all that is ours, add nothing")
    force_apply: bool = _RUN("force-apply", "", kinds.BOOLEAN, False, "write even where nothing differs")
    skip_rule_apply: bool = _RUN(
        "skip-rule-apply", "", kinds.BOOLEAN, False, "write nothing (with --run-validation: only probe)"
    )
    run_validation: bool = _RUN(
        "run-validation", "", kinds.BOOLEAN, False, "then send probes and see where they arrive"
    )
    probe_port: int = _RUN("iptables-probe-port", "", kinds.PORT, 15002, "port of the probes")
    probe_timeout: float = _RUN("probe-timeout", "", kinds.DURATION, 5.0, "how long a probe may take")
    backend: str = _KERNEL(
        "backend",
        "",
        kinds.choice("auto", "iptables", "nftables", "python-iptables"),
        "auto",
        "auto is iptables",
        own=True,
    )
    native_nftables: bool = _KERNEL("native-nftables", "", kinds.BOOLEAN, False, "the same as --backend=nftables")
    force_iptables_binary: str = _KERNEL(
        "force-iptables-binary",
        "",
        kinds.choice("legacy", "nft", empty=""),
        "",
        "use this variant, whatever works here",
    )
    network_namespace: str = _KERNEL("network-namespace", "", kinds.FILE, "", "file of the namespace to enter first")
    cni_mode: bool = _KERNEL(
        "cni-mode",
        "",
        kinds.BOOLEAN,
        False,
        "run from the node for a pod's namespace: no xtables lock shared with the node",
    )
    allow_host_network: bool = _KERNEL(
        "allow-host-network", "", kinds.BOOLEAN, False, "run even in the node's own network namespace", own=True
    )
    comments: str = _KERNEL(
        "comments", "", kinds.choice("on", "off"), "on", "write into each rule's comment which flag made it", own=True
    )
    format: str = _SHOW(
        "format",
        "",
        kinds.choice("restore", "nft", "json", "table", empty=""),
        "",
        "of --dry-run; empty: what the backend's own program reads",
        own=True,
    )
    diff: bool = _SHOW(
        "diff", "", kinds.BOOLEAN, False, "print the difference to what is there; with --dry-run do no more", own=True
    )
    output: str = _SHOW(
        "output",
        "",
        kinds.choice("text", "json"),
        "text",
        "json: at the end print what was found and done, whatever the exit code",
        own=True,
    )
    log_format: str = _SHOW("log-format", "", kinds.choice("text", "json"), "text", "of the log on stderr", own=True)
    log_level: str = _SHOW(
        "log-level",
        "",
        kinds.choice("debug", "info", "warn", "error", "none"),
        "info",
        "least level that is logged",
        own=True,
    )
    completion: str = _SHOW(
        "completion",
        "",
        kinds.choice("bash", "zsh", "fish"),
        "",
        "print a completion script for this shell",
        variables=(),
    )
    version: bool = _SHOW("version", "", kinds.BOOLEAN, False, "print the version", variables=())
    help: bool = _SHOW("help", "h", kinds.BOOLEAN, False, "print this help", variables=())

    def contradictions(self) -> "Iterator[str]":
        """What is wrong with settings that are each right."""
        if self.owner_groups != ALL and len(self.owner_groups) > MAX_OWNER_GROUPS:
            yield (
                f"--istio-outbound-owner-groups (ISTIO_OUTBOUND_OWNER_GROUPS): {len(self.owner_groups)} groups; "
                f"allowed are {MAX_OWNER_GROUPS}, or * with ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"
            )
        if self.check and self.dry_run:
            yield "--check and --dry-run contradict each other; --dry-run --diff shows the difference and exits with 0"
        if self.check and self.run_validation:
            yield "--check and --run-validation: probes make a link for a moment, and --check changes nothing"
        if self.diff and self.skip_rule_apply:
            yield "--diff and --skip-rule-apply: there is nothing to compare"
        if self.native_nftables and self.backend not in ("auto", "nftables"):
            yield f"--native-nftables and --backend={self.backend} contradict each other"
        if self.force_iptables_binary and self.effective_backend == "nftables":
            yield f"--force-iptables-binary={self.force_iptables_binary} means nothing to native nftables"
        if self.force_iptables_binary == "nft" and self.backend == "python-iptables":
            yield "--force-iptables-binary=nft: python-iptables writes legacy tables alone; give one of them"

    @property
    def effective_backend(self) -> str:
        """iptables, nftables or python-iptables."""
        if self.native_nftables:
            return "nftables"
        return "iptables" if self.backend == "auto" else self.backend

    @property
    def as_document(self) -> bool:
        """Whether standard output is for a program."""
        if self.only_answers:
            return False
        return self.output == "json" or (self.dry_run and self.format == "json")

    @property
    def only_answers(self) -> bool:
        """Whether this is a question about pyinit itself."""
        return self.help or self.version or bool(self.completion)

    @property
    def writes(self) -> bool:
        """Whether rules are written at all."""
        return not (self.dry_run or self.check or self.skip_rule_apply)

    @property
    def reads(self) -> bool:
        """Whether rules that are there are read."""
        return self.writes or self.check or (self.dry_run and self.diff)

    @property
    def replaces(self) -> bool:
        """Whether rules of another configuration are replaced; else they are refused."""
        return self.reconcile or self.force_apply

    @property
    def keeps_old(self) -> bool:
        """Whether rules and chains stay that only the other configuration had, as they do with istio-iptables.

        Native nftables knows no such thing: its tables are replaced whole.
        """
        return self.replaces and not (self.prune or self.cleanup_only or self.effective_backend == "nftables")

    def to_argv(self) -> "list[str]":
        """The shortest command line that parses to this configuration (in an empty environment)."""
        argv: list[str] = []
        for name, spec in SETTINGS.items():
            value = getattr(self, name)
            if value == spec.default:
                continue
            if spec.kind.boolean:
                argv.append(f"--{spec.flag}")
            elif spec.short:
                argv += [f"-{spec.short}", spec.kind.show(value)]
            else:
                argv.append(f"--{spec.flag}={spec.kind.show(value)}")
        return argv


SETTINGS: "dict[str, Setting]" = {name: Config.__dict__[name] for name in Config._fields}
