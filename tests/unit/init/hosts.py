"""Hosts and configurations that the tests of rules share."""

from init.argv import parse
from init.config import Config
from init.host import Host
from init.network import Network

V4, V6 = Network.parse("10.244.0.5"), Network.parse("2001:db8:1::5")
DNS4, DNS6 = Network.parse("10.96.0.10"), Network.parse("fd00:10:96::a")


def config(line: str) -> Config:
    """The configuration of a command line without quotes; `''` is an empty word."""
    return parse(["" if word == "''" else word for word in line.split()], {})


def host(*addresses: Network, nameservers: tuple[Network, ...] = (DNS4, DNS6), **ids: tuple[int, ...]) -> Host:
    """A host with these addresses (by default one of IPv4)."""
    return Host(addresses or (V4,), nameservers, **ids)
