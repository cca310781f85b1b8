"""What TPROXY and IPv6 need beside netfilter: a policy rule, a route, and the source address ::6; read and changed by netlink.

A packet that is marked in ISTIO_DIVERT or by TPROXY must be delivered on this machine though its destination may be
another: the policy rule sends marked packets to a routing table whose one route delivers all to lo.
"""

from init import netlink
from init.backends import Step
from init.capture import PASSTHROUGH
from init.errors import RefusedError
from init.rules import Routing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from init.rules import Rule


def diverting_marks(rules: "Iterable[Rule]") -> "set[int]":
    """The marks that rules set on packets to be delivered here."""
    return {
        rule.target.value
        for rule in rules
        if rule.chain == "ISTIO_DIVERT" and rule.target.kind == "MARK" and isinstance(rule.target.value, int)
    }


def steps(wanted: "Sequence[Routing]", marks: "set[int]", cleanup: bool) -> "tuple[list[Step], list[Step]]":
    """Steps to take before the rules change (what they rely on) and after (what they no longer need).

    marks: those in use by the rules that are there, or about to be taken away. cleanup: no address of ours is to stay.
    """
    before: list[Step] = []
    after: list[Step] = []
    source = next((r.source for r in wanted if r.source), None)
    try:
        if source or cleanup:
            there = any(address == PASSTHROUGH[6] for _, address in netlink.addresses())
            if source and not there:
                before.append(_source_step(add=True))
            if there and not source:
                after.append(_source_step(add=False))
        for family in (4, 6):
            want = {(r.mark, r.table) for r in wanted if r.family == family and r.mark}
            if want or marks:
                add, remove = _mark_steps(family, want, marks)
                before += add
                after += remove
    except OSError as e:
        raise RefusedError(f"cannot read policy routing: {e.strerror}") from e
    return before, after


def _mark_steps(family: int, want: "set[tuple[int, int]]", marks: "set[int]") -> "tuple[list[Step], list[Step]]":
    routes = netlink.local_tables(family)
    rules = netlink.mark_rules(family)
    # A policy rule is ours when its mark is and its table is of the kind that we make.
    there = {(mark, table) for mark, table in rules if (mark, table) in want or (mark in marks and table in routes)}
    ip = "ip" if family == 4 else "ip -6"
    add, remove = [], []
    for mark, table in sorted(want - there):
        what = f"{ip} rule add fwmark {mark:#x} lookup {table}"
        add.append(_step(what, family, mark, table, netlink.add_mark_rule, netlink.delete_mark_rule))
    for mark, table in sorted(there - want):
        what = f"{ip} rule del fwmark {mark:#x} lookup {table}"
        remove.append(_step(what, family, mark, table, netlink.delete_mark_rule, netlink.add_mark_rule))
    wanted_tables = {table for _, table in want}
    for table in sorted(wanted_tables - routes):
        add.insert(0, _route_step(family, table, add=True))
    for table in sorted({table for _, table in there} & routes - wanted_tables):
        remove.append(_route_step(family, table, add=False))
    return add, remove


def _step(
    what: str,
    family: int,
    mark: int,
    table: int,
    do: "Callable[[int, int, int], None]",
    undo: "Callable[[int, int, int], None]",
) -> Step:
    was_there = (mark, table) in netlink.mark_rules(family)

    def back() -> None:
        if ((mark, table) in netlink.mark_rules(family)) != was_there:
            undo(family, mark, table)

    return Step(what, _refusing(what, lambda: do(family, mark, table)), _refusing(what, back))


def _route_step(family: int, table: int, add: bool) -> Step:
    ip = "ip" if family == 4 else "ip -6"
    what = f"{ip} route {'add' if add else 'del'} local default dev lo table {table}"
    do, undo = netlink.add_local_route, netlink.delete_local_route
    if not add:
        do, undo = undo, do

    def back() -> None:
        if (table in netlink.local_tables(family)) == add:
            undo(family, table)

    return Step(what, _refusing(what, lambda: do(family, table)), _refusing(what, back))


def _source_step(add: bool) -> Step:
    address = PASSTHROUGH[6]
    what = f"ip -6 addr {'add' if add else 'del'} {address} dev lo"
    do, undo = netlink.add_source, netlink.delete_source
    if not add:
        do, undo = undo, do

    def back() -> None:
        if any(there == address for _, there in netlink.addresses()) == add:
            undo(address)

    return Step(what, _refusing(what, lambda: do(address)), _refusing(what, back))


def _refusing(what: str, change: "Callable[[], None]") -> "Callable[[], None]":
    def call() -> None:
        try:
            change()
        except PermissionError as e:
            raise RefusedError(f"{what}: not permitted; the container needs the capability NET_ADMIN") from e
        except OSError as e:
            raise RefusedError(f"{what}: {e.strerror}") from e

    return call
