"""From what is asked to what the kernel holds: compare, decide, change all or nothing.

Each family's table is equal to what is asked, or absent, or inert (chains of ours that nothing jumps to), or in force
and different. Where some are equal and the others absent or inert, an earlier run was killed together with its
guardian; the rest is completed. What is in force and different is drift: refused, or with --reconcile replaced.
"""

from init import routing
from init.backends import Current
from init.errors import DriftError, UnsupportedError
from init.iptables_text import spec
from init.rules import Ruleset
from init.transaction import execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from init.backends import Backend
    from init.config import Config
    from init.log import Log
    from init.rules import Rule

    Chain = tuple[int, str, str]


_WAY_OUT = "--reconcile replaces them, --cleanup-only takes them away"


def backends(config: "Config") -> "Sequence[Backend]":
    """The backends to try in turn; imported only when they are the ones."""
    if config.effective_backend == "nftables":
        from init.backends.nft import Nftables

        return [Nftables(config)]
    if config.effective_backend == "python-iptables":
        from init.backends.iptc import PythonIptables

        return [PythonIptables(config)]
    from init.backends.iptables import variants

    return variants(config)


def elsewhere(config: "Config", backend: "Backend") -> "list[Backend]":
    """Backends of the other stores in the kernel that hold rules of ours, ready to take them away."""
    from init.backends.iptables import Iptables
    from init.backends.nft import Nftables

    config = config.replace(cleanup_only=True)
    others = (Iptables("nft", config), Iptables("legacy", config), Nftables(config))
    return [other for other in others if other.store != backend.store and other.holds_ours()]


def apply(config: "Config", wanted: Ruleset, log: "Log") -> None:
    """Make the kernel hold these rules (with --cleanup-only: none of ours). Raises RefusedError, DriftError."""
    reasons: list[str] = []
    for backend in backends(config):
        try:
            _apply(config, wanted, backend, log)
        except UnsupportedError as e:
            log.info(f"{backend.name} does not work here: {e}")
            reasons.append(str(e))
        else:
            return
    raise UnsupportedError("no way to write rules works here:\n" + "\n".join(reasons))


def _apply(config: "Config", wanted: Ruleset, backend: "Backend", log: "Log") -> None:
    current = backend.read(wanted.rules)
    others = elsewhere(config, backend)
    there = [*current.rules, *(rule for other in others for rule in other.read(()).rules)]
    prune = config.cleanup_only or config.prune
    former = routing.Former(routing.diverting_marks(there), config.tproxy_mark, config.tproxy_table, prune)
    if config.cleanup_only:
        wanted = Ruleset()
    elif not config.replaces:
        for other in others:
            raise DriftError(f"rules of ours are in force by {other.name}; {_WAY_OUT}", ())
        refuse_drift(current, wanted.rules, backend.name)
    before, after = routing.steps(wanted.routing, former)
    rules = backend.write(wanted.rules) if config.force_apply or _differs(current, wanted.rules) else ()
    if config.keeps_old:
        _tell_what_stays(current, wanted.rules, log)
    moved = [step for other in others for step in other.write(())]
    steps = (*before, *rules, *moved, *after)
    if not steps:
        log.info("nothing of ours is there" if config.cleanup_only else "all is there already", backend=backend.name)
        return
    execute(steps, log.info)
    log.info("cleaned up" if config.cleanup_only else "done", backend=backend.name, rules=len(wanted.rules))


def _differs(current: Current, wanted: "Sequence[Rule]") -> bool:
    return _by_chain(current.rules, current.chains) != _by_chain(wanted, _chains(wanted))


def _tell_what_stays(current: Current, wanted: "Sequence[Rule]", log: "Log") -> None:
    for rule in current.rules:
        if rule.built_in and rule not in wanted:
            log.warn(
                f"a rule of another configuration stays, --prune takes it away: {rule.table} {rule.chain} {spec(rule)}"
            )


def refuse_drift(current: Current, wanted: "Sequence[Rule]", where: str) -> None:
    """Raise DriftError when something of ours is in force in a table and is not what is wanted."""
    there = _by_chain(current.rules, current.chains)
    want = _by_chain(wanted, _chains(wanted))
    in_force = {(r.family, r.table) for r in current.rules if r.built_in}
    drifted = [
        chain
        for chain in sorted(there.keys() | want.keys())
        if chain[:2] in in_force and there.get(chain) != want.get(chain)
    ]
    if drifted:
        raise DriftError(
            f"{where}: rules of another configuration are in force (- is there, + is asked for); {_WAY_OUT}",
            tuple(line for chain in drifted for line in difference(chain, there.get(chain, ()), want.get(chain, ()))),
        )


def difference(chain: "Chain", there: "Sequence[Rule]", want: "Sequence[Rule]") -> "Iterator[str]":
    """Lines that tell what a chain holds from what it should hold."""
    from difflib import ndiff

    family, table, name = chain
    yield f"IPv{family} {table} {name}:"
    lines = ndiff([spec(r) for r in there], [spec(r) for r in want])
    yield from (f"  {line}" for line in lines if line[0] in "-+")


def _chains(rules: "Iterable[Rule]") -> "frozenset[Chain]":
    """The chains of ours that rules are in or jump to."""
    targets = {(r.family, r.table, str(r.target.value)) for r in rules if r.target.kind == "JUMP"}
    return frozenset(targets | {(r.family, r.table, r.chain) for r in rules if not r.built_in})


def _by_chain(rules: "Iterable[Rule]", chains: "Iterable[Chain]") -> "dict[Chain, list[Rule]]":
    found: dict[Chain, list[Rule]] = {chain: [] for chain in chains}
    for rule in rules:
        found.setdefault((rule.family, rule.table, rule.chain), []).append(rule)
    # In a chain of the kernel's, rules that go first stand first, whatever the order in which they were made.
    return {chain: sorted(there, key=lambda r: not r.first) for chain, there in found.items()}
