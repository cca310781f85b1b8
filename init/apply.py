"""From what is asked to what the kernel holds: compare, decide, change all or nothing.

Each family's table is equal to what is asked, or absent, or inert (chains of ours that nothing jumps to), or in force
and different. Where some are equal and the others absent or inert, an earlier run was killed together with its
guardian; the rest is completed. What is in force and different is drift: refused, or with --reconcile replaced.
"""

from init import routing
from init.backends import Current
from init.errors import DriftError, UnsupportedError
from init.iptables_text import spec
from init.rules import FAMILY_NAMES, Ruleset
from init.transaction import execute
from init.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from init.backends import Backend, Step
    from init.config import Config
    from init.log import Log
    from init.rules import Rule

    Chain = tuple[int, str, str]


_WAY_OUT = "--reconcile replaces them, --cleanup-only takes them away"


class Plan(Value):
    """What a run would do.

    backend: its name. there: what is there of ours, in every store of the kernel. wanted: what shall be there.
    steps: all changes in order, none where all is right already. routing: those of them beside netfilter's rules.
    drift: why a run that may not replace refuses, as lines; empty where it does not. stays: rules of another
    configuration that are left where they are.
    """

    backend: str
    there: Current
    wanted: Ruleset
    steps: "tuple[Step, ...]"
    routing: "tuple[Step, ...]" = ()
    drift: "tuple[str, ...]" = ()
    stays: "tuple[Rule, ...]" = ()


def backends(config: "Config", wanted: Ruleset) -> "Sequence[Backend]":
    """The backends to try in turn; imported only when they are the ones."""
    if config.dry_run:
        from init.backends.dry import dry_run

        return [dry_run(config, wanted)]
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
    if not backend.store:
        return []
    from init.backends.iptables import Iptables
    from init.backends.nft import Nftables

    config = config.replace(cleanup_only=True)
    others = (Iptables("nft", config), Iptables("legacy", config), Nftables(config))
    return [other for other in others if other.store != backend.store and other.holds_ours()]


def apply(config: "Config", wanted: Ruleset, log: "Log") -> Plan:
    """Make the kernel hold these rules (with --cleanup-only: none of ours); what was done.

    With --dry-run nothing is done. Raises RefusedError, DriftError.
    """
    reasons: list[str] = []
    for backend in backends(config, wanted):
        try:
            plan = prepare(config, wanted, backend)
            if not config.dry_run:
                _carry_out(config, plan, log)
        except UnsupportedError as e:
            log.info(f"{backend.name} does not work here: {e}")
            reasons.append(str(e))
        else:
            return plan
    raise UnsupportedError("no way to write rules works here:\n" + "\n".join(reasons))


def prepare(config: "Config", wanted: Ruleset, backend: "Backend") -> Plan:
    """Read what is there, compare, and decide what is to be done; nothing is done yet. Raises RefusedError."""
    current = backend.read(wanted.rules)
    others = elsewhere(config, backend)
    there = (*current.rules, *(rule for other in others for rule in other.read(()).rules))
    prune = config.cleanup_only or config.prune
    former = routing.Former(routing.diverting_marks(there), config.tproxy_mark, config.tproxy_table, prune)
    drift: tuple[str, ...] = ()
    if config.cleanup_only:
        wanted = Ruleset()
    elif not config.replaces:
        drift = tuple(f"rules of ours are in force by {other.name}; {_WAY_OUT}" for other in others)
        drift = drift or find_drift(current, wanted.rules, backend.name)
    before, after = routing.steps(wanted.routing, former, backend.routes)
    if drift:
        return Plan(backend.name, Current(there, current.chains), wanted, (), drift=drift)
    rules = backend.write(wanted.rules) if config.force_apply or _differs(current, wanted.rules) else ()
    known = set(wanted.rules)
    moved = [step for other in others for step in other.write(())]
    return Plan(
        backend.name,
        Current(there, current.chains),
        wanted,
        (*before, *rules, *moved, *after),
        routing=(*before, *after),
        stays=tuple(r for r in current.rules if r.built_in and r not in known) if config.keeps_old else (),
    )


def _carry_out(config: "Config", plan: Plan, log: "Log") -> None:
    if plan.drift:
        raise DriftError(*plan.drift)
    for rule in plan.stays:
        log.warn(
            f"a rule of another configuration stays, --prune takes it away: {rule.table} {rule.chain} {spec(rule)}"
        )
    if not plan.steps:
        log.info("nothing of ours is there" if config.cleanup_only else "all is there already", backend=plan.backend)
        return
    execute(plan.steps, log.info)
    log.info("cleaned up" if config.cleanup_only else "done", backend=plan.backend, rules=len(plan.wanted.rules))


def _differs(current: Current, wanted: "Sequence[Rule]") -> bool:
    return _by_chain(current.rules, current.chains) != _by_chain(wanted, _chains(wanted))


def find_drift(current: Current, wanted: "Sequence[Rule]", where: str) -> "tuple[str, ...]":
    """Lines that tell what is in force in a table and is not what is wanted; none where nothing is."""
    there = _by_chain(current.rules, current.chains)
    want = _by_chain(wanted, _chains(wanted))
    in_force = {(r.family, r.table) for r in current.rules if r.built_in}
    drifted = [
        chain
        for chain in sorted(there.keys() | want.keys())
        if chain[:2] in in_force and there.get(chain) != want.get(chain)
    ]
    if not drifted:
        return ()
    return (
        f"{where}: rules of another configuration are in force (- is there, + is asked for); {_WAY_OUT}",
        *(line for chain in drifted for line in difference(chain, there.get(chain, ()), want.get(chain, ()))),
    )


def difference(chain: "Chain", there: "Sequence[Rule]", want: "Sequence[Rule]") -> "Iterator[str]":
    """Lines that tell what a chain holds from what it should hold."""
    from init.difference import changes

    family, table, name = chain
    yield f"{FAMILY_NAMES[family]} {table} {name}:"
    yield from (f"  {line}" for line in changes([spec(r) for r in there], [spec(r) for r in want]))


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
