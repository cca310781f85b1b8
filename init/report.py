"""--output=json: what a run found and did, for programs."""

from init import __version__
from init.show import fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from init.backends import Step
    from init.explain import Explained
    from init.host import Host
    from init.run import Run
    from init.validate import Outcome

SCHEMA = 1  # goes up when a field goes or changes its meaning; new fields may come at any time


def document(run: "Run", exit_code: int, error: "Exception | None") -> "dict[str, object]":
    """The run as JSON takes it. docs/pyinit.md describes each field."""
    config, plan = run.config, run.plan
    failure = {"type": type(error).__name__, "message": str(error)} if error else None
    told: dict[str, object] = {
        "schema": SCHEMA,
        "pyinit": __version__,
        "action": _action(run),
        "exit_code": exit_code,
        "changed": run.changed,
        "error": failure,
        "warnings": run.log.warnings,
        "command_line": config.to_argv() if config else None,
        "host": _host(run.host) if run.host else None,
    }
    if plan:
        known = {*plan.there.rules}
        told |= {
            "backend": plan.backend,
            "rules": [fields(r) for r in plan.wanted.rules],
            "added": [fields(r) for r in plan.wanted.rules if r not in known],
            "removed": [fields(r) for r in plan.removed],
            "stays": [fields(r) for r in plan.stays],
            "routing": _texts(plan.routing),
            "steps": _texts(plan.steps),
        }
    if run.outcomes is not None:
        told["probes"] = [_probe(outcome) for outcome in run.outcomes]
    if run.explained:
        told["landing"] = _landing(run.explained)
    return told


def _action(run: "Run") -> "str | None":
    config = run.config
    if config is None:
        return None
    if config.explain:
        return "explain"
    if config.check or config.dry_run:
        return "check" if config.check else "dry-run"
    if config.skip_rule_apply:
        return "validate" if config.run_validation else "none"
    return "cleanup" if config.cleanup_only else "apply"


def _host(host: "Host") -> "dict[str, object]":
    return {
        "addresses": [a.host for a in host.addresses],
        "nameservers": [n.host for n in host.nameservers],
        "proxy_uids": host.proxy_uids,
        "proxy_gids": host.proxy_gids,
    }


def _landing(explained: "Explained") -> "dict[str, object]":
    return {
        "port": explained.landing.port,
        "dropped": explained.landing.dropped,
        "because_of": explained.landing.why,
        "path": [fields(rule) for rule in explained.landing.path],
    }


def _texts(steps: "tuple[Step, ...]") -> "list[str]":
    return [step.what for step in steps]


def _probe(outcome: "Outcome") -> "dict[str, object]":
    probe, packet = outcome.probe, outcome.probe.packet
    return {
        "outcome": outcome.state.lower(),
        "from": probe.sender,
        "probe": probe.what,
        "protocol": packet.protocol,
        "address": packet.destination.host,
        "port": packet.port,
        "must_arrive_at": probe.arrives,
        "because_of": probe.why,
        "note": outcome.note,
    }
