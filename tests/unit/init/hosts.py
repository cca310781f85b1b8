"""Hosts and configurations that the tests of rules share."""

from init.apply import apply
from init.argv import parse
from init.capture import capture
from init.config import Config
from init.host import Host
from init.log import Log, as_json
from init.network import Network
from init.report import document
from init.run import Run
from init.show import show

V4, V6 = Network.parse("10.244.0.5"), Network.parse("2001:db8:1::5")
DNS4, DNS6 = Network.parse("10.96.0.10"), Network.parse("fd00:10:96::a")


def config(line: str) -> Config:
    """The configuration of a command line without quotes; `''` is an empty word."""
    return parse(["" if word == "''" else word for word in line.split()], {})


def host(*addresses: Network, nameservers: tuple[Network, ...] = (DNS4, DNS6), **ids: tuple[int, ...]) -> Host:
    """A host with these addresses (by default one of IPv4)."""
    return Host(addresses or (V4,), nameservers, **ids)


def shown(asked: Config, there: Host) -> str:
    """What a dry-run on this host prints."""
    run = Run(Log("none"))
    run.config = asked
    apply(asked, capture(asked, there), run.log, lambda plan: setattr(run, "plan", plan))
    assert run.plan
    return as_json(document(run, 0, None)) if asked.as_document else show(asked, run.plan)
