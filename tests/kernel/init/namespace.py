"""A network namespace to run pyinit in, and all of its state that pyinit could change, as a value to compare."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]
PYINIT = [sys.executable, "-m", "init"]
PLAIN = ["-p", "15001", "-z", "15006", "-u", "1337", "-i", "*", "-b", "*", "-d", "15090,15021,15020"]
# Every table, both families, routes and policy rules.
EVERYTHING = ["-i", "*", "-b", "*", "-m", "TPROXY", "--dual-stack", "--redirect-dns", "--capture-all-dns"]
EVERYTHING += ["--drop-invalid", "-c", "net1", "-k", "eth1"]


def confined_to(capabilities: str, uid: int = 0) -> list[str]:
    """The command line of pyinit with these rights alone, see `confined`."""
    return [sys.executable, "-m", "tests.kernel.init.confined", str(uid), capabilities]


_names = (f"pyinit-test-{os.getpid()}-{n}" for n in itertools.count())

State = dict[str, list[str]]


class Namespace:
    """A network namespace by its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(
        self, *argv: str, env: dict[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the namespace; its output is text."""
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *argv],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            check=check,
            timeout=60,
        )

    def pyinit(self, *argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run pyinit; look at its exit code yourself."""
        return self.run(*PYINIT, *argv, env=env, check=False)

    def must(self, *argv: str) -> str:
        """Run pyinit, which must succeed; what it logged."""
        done = self.pyinit(*argv)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def state(self) -> State:
        """Tables of both variants and families, policy rules, routes, addresses of lo; no counters, no empty tables."""
        told = self.run("sh", "-c", "; echo ----; ".join(LISTINGS)).stdout.split("----\n")
        state = dict(zip(LISTINGS, told, strict=True))
        return {
            name: _without_noise(text)
            if "tables" in name
            else [x for x in text.splitlines() if "proto kernel" not in x]
            for name, text in state.items()
        }


VARIANTS = ("nft", "legacy")
LISTINGS = [f"{program}-{variant}-save" for program in ("iptables", "ip6tables") for variant in VARIANTS]
LISTINGS += [f"ip {ip} rule; ip {ip} route show table all; ip {ip} -o addr show dev lo" for ip in ("-4", "-6")]


def _without_noise(listing: str) -> list[str]:
    """The lines of an iptables-save listing that say something: none of a table without rules and chains of its own."""
    kept: list[str] = []
    for table in re.findall(r"^\*.*?^COMMIT", listing, re.M | re.S):
        lines = [re.sub(r" \[\d+:\d+\]$", "", line) for line in table.splitlines()]
        if any(line.startswith("-A") or (line[0] == ":" and line.endswith(" -")) for line in lines):
            kept += lines
    return kept


@contextmanager
def namespace(*addresses: str) -> Iterator[Namespace]:
    """A fresh namespace with these addresses on its interface eth0."""
    name = next(_names)
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        commands = ["link set lo up", "link add eth0 type veth peer name peer0"]
        commands += [f"link set {device} up addrgenmode none" for device in ("eth0", "peer0")]
        commands += [f"addr add {address} dev eth0 {'nodad' if ':' in address else ''}" for address in addresses]
        subprocess.run(["ip", "-n", name, "-batch", "-"], input="\n".join(commands), text=True, check=True)
        yield Namespace(name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
