"""What TPROXY and IPv6 need beside netfilter: a policy rule and a route; the source address ::6. All by netlink.

A packet that is marked in ISTIO_DIVERT or by TPROXY must be delivered on this machine though its destination may be
another: the policy rule sends marked packets to a routing table whose one route delivers all to lo.
"""

from errno import EACCES, EPERM

from init import netlink
from init.backends import Step
from init.errors import RefusedError
from init.host import why_not_permitted
from init.network import PASSTHROUGH
from init.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from init.backends import Routes
    from init.rules import Routing, Rule


class Item(Value):
    """Something that the kernel has or has not. text: as ip(8) takes it, with {} for add or del."""

    text: str
    there: "Callable[[], bool]"
    add: "Callable[[], None]"
    delete: "Callable[[], None]"

    def step(self, *, add: bool) -> Step:
        """The step that adds or deletes it."""
        what = self.text.format("add" if add else "del")
        do, undo = (self.add, self.delete) if add else (self.delete, self.add)

        def back() -> None:
            if self.there() == add:
                undo()

        return Step(what, f"# {what}\n", _refusing(what, do), _refusing(what, back), direct=True)


def diverting_marks(rules: "Iterable[Rule]") -> "set[int]":
    """The marks that rules set on packets to be delivered here."""
    return {
        rule.target.value
        for rule in rules
        if rule.chain == "ISTIO_DIVERT" and rule.target.kind == "MARK" and isinstance(rule.target.value, int)
    }


class Former(Value):
    """What routing of an earlier run's may be there.

    marks: those that the rules of ours that are there set. prune: what is idle goes even where no rule of ours tells of
    it any more, that is the address ::6, and the policy rule and route of the mark and table that the settings name.
    """

    marks: "set[int]"
    mark: int
    table: int
    prune: bool


def steps(wanted: "Sequence[Routing]", former: Former, routes: "Routes") -> "tuple[list[Step], list[Step]]":
    """Steps to take before the rules change (what they rely on) and after (what they no longer need)."""
    try:
        missing, idle = _source(any(r.source for r in wanted), former.prune, routes)
        for family in (4, 6):
            want = {(r.mark, r.table) for r in wanted if r.family == family and r.mark}
            if want or former.marks or former.prune:
                more_missing, more_idle = _marked(family, want, former, routes)
                missing += more_missing
                idle += more_idle
    except OSError as e:
        raise RefusedError(f"cannot read routing: {e.strerror}") from e
    return [item.step(add=True) for item in missing], [item.step(add=False) for item in idle]


def _source(wanted: bool, prune: bool, routes: "Routes") -> "tuple[list[Item], list[Item]]":
    """The address ::6, if it is missing; and if it is there for nothing."""
    item, there = _source_item(), PASSTHROUGH[6] in routes.addresses()
    if wanted:
        return ([] if there else [item]), []
    return [], ([item] if prune and there else [])


def _marked(
    family: int, want: "set[tuple[int, int]]", former: Former, routes: "Routes"
) -> "tuple[list[Item], list[Item]]":
    """Routes and policy rules that are missing; and those that are there for nothing."""
    local = routes.local_tables(family)
    named = {(former.mark, former.table)} if former.prune else set()
    # A policy rule is ours when it is wanted or named; or when its mark is, and its table is of the kind that we make.
    there = [
        rule
        for rule in routes.mark_rules(family)
        if rule[:2] in want | named or (rule[0] in former.marks and rule[1] in local)
    ]
    wanted_tables = {table for _, table in want}
    missing = [_route_item(family, table) for table in sorted(wanted_tables - local)]
    new = sorted(want - {rule[:2] for rule in there})
    missing += [_rule_item(family, *pair, routes.next_priority(family)) for pair in new]
    idle = [_rule_item(family, *rule) for rule in there if rule[:2] not in want]
    tables = {table for _, table, _ in there} | {table for _, table in named}
    idle += [_route_item(family, table) for table in sorted(tables & local - wanted_tables)]
    return missing, idle


def _source_item() -> Item:
    address = PASSTHROUGH[6]
    return Item(
        f"ip -6 addr {{}} {address} dev lo",
        lambda: address in netlink.addresses(),
        lambda: netlink.add_source(address),
        lambda: netlink.delete_source(address),
    )


def _route_item(family: int, table: int) -> Item:
    return Item(
        f"ip -{family} route {{}} local default dev lo table {table}",
        lambda: table in netlink.local_tables(family),
        lambda: netlink.add_local_route(family, table),
        lambda: netlink.delete_local_route(family, table),
    )


def _rule_item(family: int, mark: int, table: int, priority: int) -> Item:
    return Item(
        f"ip -{family} rule {{}} fwmark {mark:#x} lookup {table}",
        lambda: (mark, table, priority) in netlink.mark_rules(family),
        lambda: netlink.add_mark_rule(family, mark, table, priority),
        lambda: netlink.delete_mark_rule(family, mark, table, priority),
    )


def _refusing(what: str, change: "Callable[[], None]") -> "Callable[[], None]":
    def call() -> None:
        try:
            change()
        except OSError as e:
            if e.errno == EPERM:
                raise RefusedError(f"{what}: not permitted. {why_not_permitted()}") from e
            if e.errno == EACCES and " -6 addr " in what:
                raise RefusedError(
                    f"{what}: IPv6 is switched off on lo, and IPv6 rules are asked for; allow it with the sysctl "
                    "net.ipv6.conf.lo.disable_ipv6=0, or give the pod no IPv6 address"
                ) from e
            raise RefusedError(f"{what}: {e.strerror}") from e

    return call
