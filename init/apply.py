"""From what is asked to what the kernel holds: compare, decide, change all or nothing.

Each family's table is equal to what is asked, or absent, or inert (chains of ours that nothing jumps to), or in force
and different. Where some are equal and the others absent or inert, an earlier run was killed together with its
guardian; the rest is completed. What is in force and different is drift: refused, or with --reconcile replaced.
"""

from init import routing
from init.backends import Current
from init.difference import chains_of, difference, difference_of_chain, in_chains
from init.errors import DriftError, UnsupportedError
from init.iptables_text import spec
from init.rules import Ruleset
from init.run import Plan
from init.transaction import execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from init.backends import Backend
    from init.config import Config
    from init.log import Log
    from init.rules import Rule


_WAY_OUT = "--reconcile replaces them, --cleanup-only takes them away"


def backends(config: "Config", wanted: Ruleset) -> "Sequence[Backend]":
    """The backends to try in turn; imported only when they are the ones."""
    if not config.reads:
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


def apply(config: "Config", wanted: Ruleset, log: "Log", planned: "Callable[[Plan], None]") -> None:
    """Make the kernel hold these rules (with --cleanup-only: none of ours); `planned` is told what that takes.

    With --dry-run and --check nothing is done. Raises RefusedError, DriftError.
    """
    if config.check:  # all that could differ
        config = config.replace(reconcile=True, prune=True, force_apply=False)
    reasons: list[str] = []
    for backend in backends(config, wanted):
        try:
            plan = prepare(config, wanted, backend)
            planned(plan)
            if config.check:
                _require_nothing_to_do(plan, log)
            elif config.writes:
                _carry_out(config, plan, log)
        except UnsupportedError as e:
            log.info(f"{backend.name} does not work here: {e}")
            reasons.append(str(e))
        else:
            return
    raise UnsupportedError("no way to write rules works here:\n" + "\n".join(reasons))


def prepare(config: "Config", wanted: Ruleset, backend: "Backend") -> Plan:
    """Read what is there, compare, and decide what is to be done; nothing is done yet. Raises RefusedError."""
    current = backend.read(wanted.rules)
    others = elsewhere(config, backend)
    elsewhere_there = tuple((other.name, other.read(())) for other in others)
    there = (*current.rules, *(rule for _, found in elsewhere_there for rule in found.rules))
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
        return Plan(
            backend.name, current, wanted, (), routing=(*before, *after), drift=drift, elsewhere=elsewhere_there
        )
    rules = backend.write(wanted.rules) if config.force_apply or _differs(current, wanted.rules) else ()
    moved = [step for other in others for step in other.write(())]
    return Plan(
        backend.name,
        current,
        wanted,
        (*before, *rules, *moved, *after),
        routing=(*before, *after),
        stays=_staying(current, wanted.rules) if config.keeps_old else (),
        elsewhere=elsewhere_there,
    )


def _staying(current: Current, wanted: "Sequence[Rule]") -> "tuple[Rule, ...]":
    named, asked = chains_of(wanted), set(wanted)
    return tuple(
        r for r in current.rules if r not in asked and (r.built_in or (r.family, r.table, r.chain) not in named)
    )


def _require_nothing_to_do(plan: Plan, log: "Log") -> None:
    if not plan.steps:
        log.info("all is as asked for", backend=plan.backend, rules=len(plan.wanted.rules))
        return
    raise DriftError(
        f"{plan.backend}: what is there is not what is asked for (- is there, + is asked for)", *difference(plan)
    )


def _carry_out(config: "Config", plan: Plan, log: "Log") -> None:
    if plan.drift:
        raise DriftError(*plan.drift)
    for rule in (r for r in plan.stays if r.built_in):
        log.warn(
            f"a rule of another configuration stays, --prune takes it away: {rule.table} {rule.chain} {spec(rule)}"
        )
    if not plan.steps:
        log.info("nothing of ours is there" if config.cleanup_only else "all is there already", backend=plan.backend)
        return
    execute(plan.steps, log.info)
    log.info("cleaned up" if config.cleanup_only else "done", backend=plan.backend, rules=len(plan.wanted.rules))


def _differs(current: Current, wanted: "Sequence[Rule]") -> bool:
    return in_chains(current.rules, current.chains) != in_chains(wanted, chains_of(wanted))


def find_drift(current: Current, wanted: "Sequence[Rule]", where: str) -> "tuple[str, ...]":
    """Lines that tell what is in force in a table and is not what is wanted; none where nothing is."""
    there = in_chains(current.rules, current.chains)
    want = in_chains(wanted, chains_of(wanted))
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
        *(line for chain in drifted for line in difference_of_chain(chain, there.get(chain, ()), want.get(chain, ()))),
    )
