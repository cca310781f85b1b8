"""What is there: the facts about this machine that decide which rules a configuration needs.

Read from netlink and files, without a subprocess.
"""

import os

from init import netlink
from init.errors import ConfigError, RefusedError
from init.kinds import ALL
from init.network import LINK_LOCAL, LOOPBACK, PASSTHROUGH, Network
from init.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from init.config import Config

DEFAULT_PROXY_UID = 1337


class Host(Value):
    """Facts about the pod.

    addresses: its addresses in the kernel's order, without loopback and link-local ones; an IPv4-mapped one is IPv4.
    nameservers: those of /etc/resolv.conf, as networks of full length.
    proxy_uids, proxy_gids, owner_groups, owner_groups_exclude: the ids of the
    configuration's users and groups, looked up.
    """

    addresses: "tuple[Network, ...]" = ()
    nameservers: "tuple[Network, ...]" = ()
    proxy_uids: "tuple[int, ...]" = (DEFAULT_PROXY_UID,)
    proxy_gids: "tuple[int, ...]" = (DEFAULT_PROXY_UID,)
    owner_groups: "tuple[int, ...]" = ()
    owner_groups_exclude: "tuple[int, ...]" = ()

    def families(self, config: "Config") -> "tuple[int, ...]":
        """Families that get rules: IPv4 always; IPv6 when the first address is one, or any is with --dual-stack."""
        considered = self.addresses if config.dual_stack else self.addresses[:1]
        return (4, 6) if any(a.family == 6 for a in considered) else (4,)

    @classmethod
    def probe(cls, config: "Config", resolv_conf: str = "/etc/resolv.conf") -> "Host":
        """Look at this network namespace. Raises ConfigError for users and groups that do not exist, RefusedError."""
        faults: list[str] = []
        owners = _owners(config, faults)
        if faults:
            raise ConfigError(tuple(faults), config)
        asks = config.redirect_dns and not config.capture_all_dns
        nameservers = _nameservers(resolv_conf) if asks else ()
        return cls(_addresses(), nameservers, *owners)


def unknown_owners(config: "Config") -> "list[str]":
    """What a ConfigError says of the configuration's users and groups that do not exist here."""
    faults: list[str] = []
    _owners(config, faults)
    return faults


def in_host_network() -> bool:
    """Whether this is the network namespace of the machine itself.

    Settings of the whole network stack, netdev_budget among them, are shown in the initial network namespace alone
    (net_core_table in the kernel's net/core/sysctl_net_core.c), whatever the other namespaces of this process. A node
    that is itself a container, as kind's are, is known by its PID 1: systemd, in the same network namespace. PID 1 of a
    pod, pause or a container's own first process, never is.
    """
    if os.path.exists("/proc/sys/net/core/netdev_budget"):
        return True
    try:
        with open("/proc/1/comm", "rb") as file:
            name = file.read().strip()
        return name == b"systemd" and os.readlink("/proc/1/ns/net") == os.readlink("/proc/self/ns/net")
    except OSError:
        return False


_CAPABILITIES = {12: "NET_ADMIN", 13: "NET_RAW"}  # linux/capability.h


def lacking() -> "list[str]":
    """The capabilities that pyinit needs and this process has not; none where that cannot be told."""
    try:
        with open("/proc/self/status") as file:
            effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        return []
    return [name for bit, name in _CAPABILITIES.items() if not effective >> bit & 1]


def why_not_permitted() -> str:
    """The way out, for a message that something is not permitted."""
    missing = lacking()
    if missing:
        return f"The container needs the capabilities NET_ADMIN and NET_RAW; it lacks {' and '.join(missing)}."
    return (
        "The container has NET_ADMIN and NET_RAW; seccomp, SELinux or a user namespace that does not own this network "
        "namespace may be why."
    )


def enter(namespace: str) -> None:
    """Enter the network namespace of a file such as /var/run/netns/NAME or /proc/PID/ns/net. Raises RefusedError."""
    try:
        with open(namespace, "rb") as file:
            if hasattr(os, "setns"):
                os.setns(file.fileno(), _CLONE_NEWNET)
            else:  # Python 3.11
                import ctypes

                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
                    error = ctypes.get_errno()
                    raise OSError(error, os.strerror(error))
    except OSError as e:
        raise RefusedError(f"--network-namespace={namespace}: {e.strerror}") from e


_CLONE_NEWNET = 0x40000000


def _addresses() -> "tuple[Network, ...]":
    try:
        found = [address.unmapped for address in netlink.addresses()]
    except OSError as e:
        raise RefusedError(f"cannot read the addresses of this network namespace: {e.strerror}") from e
    local = (*LOOPBACK.values(), *LINK_LOCAL.values())
    return tuple(a for a in found if a != PASSTHROUGH[6] and not any(network.contains(a) for network in local))


def _nameservers(path: str) -> "tuple[Network, ...]":
    """The nameservers of resolv.conf(5); an IPv6 zone (fe80::1%eth0) does not tell servers apart in a rule."""
    try:
        with open(path, "rb") as file:  # comments and search lists may be of any encoding
            words = [line.split() for line in file.read().splitlines()]
    except OSError as e:
        raise RefusedError(f"--redirect-dns needs {path}: {e.strerror}; or give --capture-all-dns") from e
    servers = []
    for found in words:
        if len(found) > 1 and found[0] == b"nameserver":
            try:
                servers.append(Network.parse(found[1].decode().partition("%")[0]))
            except ValueError:
                continue  # the resolver ignores it as well
    return tuple(servers)


def _owners(config: "Config", faults: "list[str]") -> "tuple[tuple[int, ...], ...]":
    """Ids of the proxy's users and groups, and of the groups captured and left out."""
    uids = _ids("--proxy-uid", config.proxy_uids, _uid, faults) or (_user(config.envoy_user),)
    gids = _ids("--proxy-gid", config.proxy_gids, _gid, faults) or uids
    if config.owner_groups == ALL:
        return uids, gids, (), _ids("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", config.owner_groups_exclude, _gid, faults)
    return uids, gids, _ids("ISTIO_OUTBOUND_OWNER_GROUPS", config.owner_groups, _gid, faults), ()


def _ids(
    setting: str, owners: "tuple[int | str, ...] | str", look_up: "Callable[[str], int]", faults: "list[str]"
) -> "tuple[int, ...]":
    ids = []
    for owner in owners:
        try:
            ids.append(owner if isinstance(owner, int) else look_up(owner))
        except KeyError:
            faults.append(f"{setting}: {owner!r} does not exist here; allowed are ids, and names that do")
    return tuple(ids)


def _uid(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_uid


def _gid(name: str) -> int:
    import grp

    return grp.getgrnam(name).gr_gid


def _user(name: str) -> int:
    try:
        return _uid(name)
    except KeyError:
        return DEFAULT_PROXY_UID
