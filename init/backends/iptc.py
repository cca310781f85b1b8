"""python-iptables: the legacy tables by way of libiptc, without the iptables programs.

The library stands in for iptables-legacy-save and -restore: what it reads is told in iptables-save's words, and it does
what an iptables-restore script says, each table in one commit. libxtables serves one family a process (of an extension
loaded for one, it does not find the part for the other), hence a child process for each call.
"""

import os

from init import iptables_text
from init.backends.iptables import Iptables, legacy_tables
from init.errors import RefusedError, UnsupportedError
from init.host import why_not_permitted
from init.network import Network
from init.tables import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

    from init.config import Config
    from init.tables import Tables


class PythonIptables(Iptables):
    """Reads and writes with the module iptc. Raises UnsupportedError where it is not installed."""

    def __init__(self, config: "Config") -> None:
        super().__init__("legacy", config)
        self.name = "python-iptables"
        try:
            import iptc
        except (ImportError, OSError) as e:  # OSError: the library is there, but not libxtables
            raise UnsupportedError(
                f"--backend=python-iptables: the module iptc cannot be loaded ({e}); install the package "
                "python-iptables, or leave the flag out to use the iptables programs"
            ) from e
        self._iptc = iptc

    def _require(self, family: int) -> None:
        """The library is loaded already."""

    def _save(self, family: int) -> "Tables":
        return read(_in_child(lambda: "\n".join(self._listing(family))))

    def _restore(self, family: int, script: str) -> None:
        _in_child(lambda: self._run_script(family, script))

    def _table(self, family: int, name: str) -> "Any":
        return (self._iptc.Table if family == 4 else self._iptc.Table6)(name, autocommit=False)

    def _listing(self, family: int) -> "Iterator[str]":
        for name in legacy_tables(family).split():
            yield f"*{name}"
            for chain in self._table(family, name).chains:
                yield f":{chain.name} - [0:0]"
                for rule in chain.rules:
                    yield f"-A {chain.name} {' '.join(_words(rule))}"

    def _run_script(self, family: int, script: str) -> str:
        table: Any = None
        for line in script.splitlines():
            if line[:1] == "*":
                table = self._table(family, line[1:])
            elif line == "COMMIT":
                table.commit()
            elif line[:1] == ":":
                chain = line[1:].split()[0]
                if table.is_chain(chain):
                    table.flush_entries(chain)
                else:
                    table.create_chain(chain)
            else:
                self._edit(family, table, *line.split(" ", 2))
        return ""

    def _edit(self, family: int, table: "Any", option: str, chain: str, text: str = "") -> None:
        if option == "-F":
            table.flush_entries(chain)
        elif option == "-X":
            table.delete_chain(chain)
        else:
            position = "1"
            if option == "-I":
                position, _, text = text.partition(" ")
            rule = (self._iptc.Rule if family == 4 else self._iptc.Rule6)()
            _build(rule, iptables_text.words(text))
            rule.final_check()
            if option == "-D":
                table.delete_entry(chain, rule.rule, rule.mask)
            elif option == "-I":
                table.insert_entry(chain, rule.rule, int(position) - 1)
            else:
                table.append_entry(chain, rule.rule)


def _words(rule: "Any") -> "Iterator[str]":
    """A rule in iptables-save's words."""
    for option, value in (("-s", rule.src), ("-d", rule.dst), ("-i", rule.in_interface), ("-o", rule.out_interface)):
        plain = (value or "").removeprefix("!")
        if plain and not plain.endswith(("/0", "/0.0.0.0")):
            yield f"! {option}" if plain != value else option
            yield _prefixed(plain) if option in ("-s", "-d") else plain
    if rule.protocol not in ("ip", "all"):
        yield f"! -p {rule.protocol[1:]}" if rule.protocol[0] == "!" else f"-p {rule.protocol}"
    for match in rule.matches:
        yield f"-m {match.name}"
        yield from _parameters(match)
    yield f"{'-g' if rule.target.goto else '-j'} {rule.target.name}"
    yield from _parameters(rule.target)


def _prefixed(address: str) -> str:
    """python-iptables writes an IPv4 mask in full."""
    host, _, mask = address.partition("/")
    return f"{host}/{bin(Network.parse(mask).address).count('1')}" if "." in mask else address


def _parameters(extension: "Any") -> "Iterator[str]":
    for name, values in extension.get_all_parameters().items():
        negated = values[:1] == ["!"]
        yield f"! --{name}" if negated else f"--{name}"
        yield from (f'"{v}"' if " " in v else v for v in values[negated:])


def _build(rule: "Any", words: "list[str]") -> None:
    """Give a new rule what the words of a line of iptables-save say."""
    attributes = {"-s": "src", "-d": "dst", "-i": "in_interface", "-o": "out_interface", "-p": "protocol"}
    queue = words[::-1]
    extension: Any = None
    while queue:
        negated = queue[-1] == "!" and bool(queue.pop())
        option = queue.pop()
        if option in attributes:
            setattr(rule, attributes[option], f"{'!' if negated else ''}{queue.pop()}")
        elif option == "-m":
            extension = rule.create_match(queue.pop())
        elif option in ("-j", "-g"):
            extension = rule.create_target(queue.pop(), goto=option == "-g")
        else:
            values = ["!"] if negated else []
            while queue and queue[-1] != "!" and queue[-1][:2] not in ("-m", "-j", "-g", "--"):
                values.append(queue.pop())
            extension.set_parameter(option[2:], values)
    for field in ("iniface_mask", "outiface_mask") if hasattr(rule.entry, "ipv6") else ():
        # The library compares one bit of each character of an interface's name: eth1 would be eth3 as well.
        setattr(rule.entry.ipv6, field, b"\xff" * len(getattr(rule.entry.ipv6, field)))


def _in_child(work: "Callable[[], str]") -> str:
    """What `work` returns, run in a child process. Raises RefusedError with what it raised or wrote to stderr."""
    output, errors = os.memfd_create("output"), os.memfd_create("errors")
    try:
        child = os.fork()
        if not child:
            _be_child(work, output, errors)
        status = os.waitpid(child, 0)[1]
        text, said = (os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="replace") for fd in (output, errors))
    finally:
        os.close(output)
        os.close(errors)
    if status:
        way_out = f" {why_not_permitted()}" if "Permission denied" in said else ""
        raise RefusedError(f"python-iptables: {said.strip() or f'ended with status {status}'}{way_out}")
    return text


def _be_child(work: "Callable[[], str]", output: int, errors: int) -> "NoReturn":
    os.dup2(errors, 2)
    try:
        data = work().encode()
        while data:
            data = data[os.write(output, data) :]
        os._exit(0)
    except BaseException as e:
        os.write(2, f"{type(e).__name__}: {e}".encode())
        os._exit(1)
