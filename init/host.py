"""What is there: the facts about this machine that decide which rules a configuration needs."""

from init.network import Network
from init.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from init.config import Config


class Host(Value):
    """Facts about the pod.

    addresses: its addresses in the kernel's order, without loopback and link-local ones.
    nameservers: those of /etc/resolv.conf, as networks of full length.
    proxy_uids, proxy_gids, owner_groups, owner_groups_exclude: the ids of the
    configuration's users and groups, looked up.
    """

    addresses: "tuple[Network, ...]" = ()
    nameservers: "tuple[Network, ...]" = ()
    proxy_uids: "tuple[int, ...]" = (1337,)
    proxy_gids: "tuple[int, ...]" = (1337,)
    owner_groups: "tuple[int, ...]" = ()
    owner_groups_exclude: "tuple[int, ...]" = ()

    def families(self, config: "Config") -> "tuple[int, ...]":
        """Families that get rules: IPv4 always; IPv6 when the first address is one, or any is with --dual-stack."""
        considered = self.addresses if config.dual_stack else self.addresses[:1]
        return (4, 6) if any(a.family == 6 for a in considered) else (4,)
