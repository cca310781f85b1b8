"""Network namespaces on one wire, each a machine of its own: addresses, ports, netfilter rules."""

from __future__ import annotations

import os
import subprocess
from types import TracebackType

from demo.errors import DemoError

# A bridge in a namespace of its own is the wire, so that the machine's own network never sees any of this.
HOSTS = {"client": 2, "pod": 3, "server": 4}


def address(host: str) -> str:
    """The IPv4 address of a host on the wire."""
    return f"10.77.0.{HOSTS[host]}"


def address6(host: str) -> str:
    """The IPv6 address of a host on the wire."""
    return f"fd77::{HOSTS[host]}"


class Network:
    """The hosts' namespaces, there between `with` and its end."""

    def __init__(self, label: str = "demo", *, ipv4: bool = True, ipv6: bool = True) -> None:
        self._prefix = f"pysidecar-{label}-{os.getpid()}"
        self._ipv4, self._ipv6 = ipv4, ipv6

    def netns(self, host: str) -> str:
        """The name of a host's namespace, as `ip netns` has it."""
        return f"{self._prefix}-{host}"

    def __enter__(self) -> Network:
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._remove()

    def _build(self) -> None:
        wire = self.netns("wire")
        ip(f"netns add {wire}", f"-n {wire} link add br0 type bridge", f"-n {wire} link set br0 up")
        for host in HOSTS:
            self._add_host(wire, host)

    def _add_host(self, wire: str, host: str) -> None:
        netns = self.netns(host)
        ip(
            f"netns add {netns}",
            f"-n {wire} link add {host} type veth peer name eth0 netns {netns}",
            f"-n {wire} link set {host} master br0 up",
            f"-n {netns} link set lo up",
        )
        if self._ipv4:
            ip(f"-n {netns} addr add {address(host)}/24 dev eth0")
        if self._ipv6:
            ip(f"-n {netns} addr add {address6(host)}/64 dev eth0 nodad")
        ip(f"-n {netns} link set eth0 up")
        # A pod has a default route; nobody is behind it.
        if self._ipv4:
            ip(f"-n {netns} route add default via 10.77.0.1")

    def _remove(self) -> None:
        for host in ("wire", *HOSTS):
            subprocess.run(["ip", "netns", "delete", self.netns(host)], capture_output=True, check=False)


def ip(*commands: str) -> None:
    """Runs `ip` commands (ip-netns(8), ip-link(8)); DemoError with what ip says when one fails."""
    for command in commands:
        result = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
        if result.returncode:
            raise DemoError(f"ip {command}: {result.stderr.strip()}")
