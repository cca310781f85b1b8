"""The counters of the pod's ISTIO_* chains, as iptables-save(8) -c prints them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from demo.enter import NETNS_DIR
from demo.errors import DemoError

# Whichever variant pyinit found to work; the other's tables are empty.
SAVE = ("iptables-nft-save", "iptables-legacy-save")
RULE = re.compile(r"\[(\d+):\d+\] -A (\S+) (.*)")
COMMENT = re.compile(r'-m comment --comment (?:"[^"]*"|\S+) ?')


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule without its comment, and how many packets matched it; in table nat that is how many connections."""

    chain: str
    text: str
    packets: int


@dataclass(frozen=True, slots=True)
class Counters:
    """All rules that belong to the sidecar."""

    rules: tuple[Rule, ...]

    def packets(self, chain: str) -> int:
        """How many packets a chain's rules matched, together."""
        return sum(rule.packets for rule in self.rules if rule.chain == chain)


def read(netns: str) -> Counters:
    """The counters in a namespace now."""
    for program in SAVE:
        command = ["nsenter", f"--net={NETNS_DIR / netns}", program, "-c", "-t", "nat"]
        saved = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        rules = [
            Rule(match[2], COMMENT.sub("", match[3]), int(match[1]))
            for match in RULE.finditer(saved)
            if "ISTIO_" in match[0]
        ]
        if rules:
            return Counters(tuple(rules))
    raise DemoError(f"{' and '.join(SAVE)} show no ISTIO_ chain in {netns}")
