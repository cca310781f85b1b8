"""--help, --version and --completion; loaded only when they are asked for."""

from init import __version__
from init.config import SETTINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from init.config import Config, Setting

_INTRODUCTION = """\
pyinit programs a pod's netfilter so that its TCP traffic passes Envoy. It takes istio-iptables' flags.

Usage: pyinit [FLAG...]

Examples:
  All traffic in and out, but for the sidecar's own ports (what an injected pod runs):
    pyinit -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -x '' -b '*' -d 15090,15021,15020
  See the rules first, each with the flag that made it; nothing is written, and no privilege is needed:
    pyinit -i '*' -b '*' --dry-run --format=table
  Whether all is as asked for, and if not, what differs; nothing is written:
    pyinit -i '*' -b '*' --check
  Where a packet of the application's goes, and which flag says so:
    pyinit -i '*' -b '*' -o 443 --explain 'tcp out 10.0.0.1:443'
  Another configuration over an old one, without a gap, in the namespace of a running pod:
    pyinit -i 10.0.0.0/8 -b 8080 --reconcile --network-namespace=/proc/4711/ns/net
"""

_CLOSING = """\
Lists are separated by commas; blanks around commas do not count. A flag wins over a variable; a variable counts also
when it is empty. Exit codes: 0 done, 1 bad input, 2 the kernel or a program refused, 3 other rules are there (with
--check: not all is as asked for), 126 validation failed.
"""


def answer(config: "Config") -> str:
    """What was asked for."""
    if config.version:
        return f"pyinit {__version__}\n"
    if config.completion:
        from init.completion import script

        return script(config.completion)
    return "".join(_help())


def _help() -> "Iterator[str]":
    yield _INTRODUCTION
    group = ""
    for spec in SETTINGS.values():
        if spec.group != group:
            group = spec.group
            yield f"\n{group}:\n"
        yield from _entry(spec)
    yield f"\n{_CLOSING}"


def _entry(spec: "Setting") -> "Iterator[str]":
    short = f"-{spec.short}, " if spec.short else "    "
    if spec.kind.boolean:
        yield f"  {short}--{spec.flag}\n"
    else:
        yield f"  {short}--{spec.flag}={spec.kind.show(spec.default) or '…'}\n"
    yield f"        {spec.help}\n"
    notes = [" or ".join(f"${v}" for v in spec.variables), "" if spec.kind.boolean else spec.kind.allowed]
    if any(notes):
        yield f"        {'; '.join(filter(None, notes))}\n"
