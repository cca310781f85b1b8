"""How far a proxy is with each type: what `proxy-status` shows."""

from __future__ import annotations

from typing import Literal, NamedTuple

from mesh.model.meta import ObjectRef
from mesh.xds.ledger import Ledger
from mesh.xds.machine import Machine
from mesh.xds.position import Position
from mesh.xds.types import SHORT

Stage = Literal["SYNCED", "STALE", "NOT SENT", "ERROR"]


class Progress(NamedTuple):
    """One type of one proxy. `since` is of the clock that the machine was given; None if nothing has happened.

    `why` is Envoy's own words, or what is waited for; `origins` are the objects to blame, `refused` the names of what
    Envoy refused and is left as it was before. `sent` and `acked` are nonces.
    """

    stage: Stage
    since: float | None
    why: str
    resources: int
    sent: str
    acked: str
    refused: tuple[str, ...] = ()
    origins: tuple[ObjectRef, ...] = ()


def progress(machine: Machine) -> dict[str, Progress]:
    """By type as people call it (CDS …), of those that the proxy asked for; a type of another name by its URL."""
    here = machine.aside()
    return {SHORT.get(url, url): _progress(machine, here, ledger) for url, ledger in machine.ledgers.items()}


def _progress(machine: Machine, here: Position, ledger: Ledger) -> Progress:
    url = ledger.kind.url
    told = machine.told[url]
    numbers = ledger.size, told.nonce, told.acked_nonce
    if refusals := ledger.refusals:
        worst = max(refusals.values(), key=lambda refusal: refusal.at)
        origins = tuple(dict.fromkeys(origin for refusal in refusals.values() for origin in refusal.origins))
        return Progress("ERROR", worst.at, worst.words, *numbers, tuple(sorted(refusals)), origins)
    if not told.nonce:
        if machine.is_built:
            held = _held(here, url)
            if ledger.size and not held:  # it came with all of it, from another replica or from before a restart
                return Progress("SYNCED", None, "", *numbers)
            return Progress("NOT SENT", None, held or "nothing to send", *numbers)
        return Progress("NOT SENT", None, "not built yet", *numbers)
    if ledger.flight is not None:
        return Progress("STALE", told.sent_at, "no answer to what was sent", *numbers)
    if held := _held(here, url):
        return Progress("STALE", machine.held_since(url), held, *numbers)
    return Progress("SYNCED", told.acked_at, "", *numbers)


def _held(here: Position, url: str) -> str:
    if not here.has_pending(url) and not here.ledgers[url].unanswered:
        return ""
    waits = [f"{SHORT[waited]} ({what.value})" for waited, what in here.waits_for(url)]
    return f"held until these are accepted: {', '.join(waits)}" if waits else "about to be sent"
