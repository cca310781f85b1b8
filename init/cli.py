"""The program: a command line and an environment in, an exit code out."""

import os

from init.apply import apply
from init.argv import parse
from init.capture import capture, redirects_dns
from init.errors import ConfigError, PyinitError, RefusedError, RollbackError
from init.host import Host, enter, in_host_network
from init.iptables_text import spec
from init.lock import Lock
from init.log import Log, as_json, leave_termination_message
from init.run import Plan, Run
from init.variables import looks_mistaken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from init.config import Config
    from init.rules import Ruleset

NO_ADDRESS = (
    "there is no address here yet but loopback and link-local ones, so it cannot be told whether IPv6 needs rules; run "
    "pyinit when the pod's network is set up"
)


def run(argv: "Sequence[str]", environ: "Mapping[str, str]") -> int:
    """Do what the command line asks; errors go to the log and to Kubernetes. Returns the exit code."""
    this = Run(Log())
    error: Exception | None = None
    try:
        this.config = parse(argv, environ)
        this.log = Log(this.config.log_level, this.config.log_format)
        _run(this, this.config, environ)
    except Exception as e:
        error = e
        _log_failure(this, e)
    exit_code = error.exit_code if isinstance(error, PyinitError) else 2 if error else 0
    if this.config and this.config.as_document:
        from init.report import document

        _report(this.log, f"{as_json(document(this, exit_code, error))}\n")
    return exit_code


def _report(log: Log, text: str) -> None:
    """Print what was done. Where that fails, the exit code still is that of what was done."""
    try:
        _print(text)
    except RefusedError as e:
        log.error(str(e))


def _log_failure(this: Run, error: Exception) -> None:
    if isinstance(error, ConfigError):
        this.config = error.asked
        this.log = Log(error.asked.log_level, error.asked.log_format)
    if isinstance(error, PyinitError):
        message, lines = str(error), str(error).splitlines()
    elif isinstance(error, (OSError, MemoryError)):  # of the surroundings: no memory, no descriptors, a full disk
        message, lines = str(error), [f"the system refused: {str(error) or type(error).__name__}"]
    else:
        from traceback import format_exc

        message = repr(error)
        lines = [f"this is a fault of pyinit's own, please report it: {error!r}\n{format_exc()}"]
    for line in lines:
        this.log.error(line)
    exit_code = error.exit_code if isinstance(error, PyinitError) else 2
    leave_termination_message({"error": type(error).__name__, "exit_code": exit_code, "message": message})


def _run(this: Run, config: "Config", environ: "Mapping[str, str]") -> None:
    if config.only_answers:
        from init import usage

        _print(usage.answer(config))
        return
    if config.network_namespace:
        enter(config.network_namespace)
    log = this.log
    if looks_mistaken(environ):
        from init.hints import unread

        for warning in unread(environ):
            log.warn(warning)
    this.host = host = Host.probe(config)
    ruleset = capture(config, host)
    _tell(config, host, ruleset, log)
    unready = not (host.addresses or config.cleanup_only)
    if unready and (config.dry_run or config.explain):
        log.warn(NO_ADDRESS)
    if config.explain:
        from init import explain

        this.explained = explain.explain(config, host, ruleset)
        if not config.as_document:
            _print(explain.show(this.explained))
        return
    probes = config.run_validation and not (config.cleanup_only or config.dry_run)
    if (config.writes or probes) and in_host_network() and not config.allow_host_network:
        raise RefusedError(
            "this is the network namespace of the machine itself, and its traffic would all go to a proxy; "
            "--network-namespace=FILE enters a pod's, --allow-host-network does it here nevertheless"
        )
    if unready and not config.dry_run and (config.reads or probes):
        raise RefusedError(NO_ADDRESS)
    if not (config.reads or probes):
        if config.dry_run:
            apply(config, ruleset, log, lambda plan: _planned(this, config, plan))
        return
    with Lock(log):
        if config.reads:
            _apply(this, config, ruleset)
        if probes:
            from init.validate import require_passed, send_probes

            this.outcomes = send_probes(config, host, ruleset)
            require_passed(this.outcomes, log)


def _apply(this: Run, config: "Config", ruleset: "Ruleset") -> None:
    """Apply, and note whether that has changed the kernel."""
    try:
        apply(config, ruleset, this.log, lambda plan: _planned(this, config, plan))
    except RollbackError:
        this.changed = None
        raise
    this.changed = config.writes and this.plan is not None and bool(this.plan.steps)
    if this.plan and config.writes:
        _report(this.log, _shown(config, this.plan))


def _planned(this: Run, config: "Config", plan: Plan) -> None:
    """Keep what is to be done, and show it where nothing is done; of a run, what it has done is shown."""
    this.plan = plan
    if not config.writes:
        _print(_shown(config, plan))


def _shown(config: "Config", plan: Plan) -> str:
    """The plan as --diff or --dry-run asks for it."""
    if config.as_document:
        return ""
    if config.diff:
        from init.difference import difference

        return "".join(f"{line}\n" for line in difference(plan))
    if config.dry_run:
        from init.show import show

        return show(config, plan)
    return ""


def _tell(config: "Config", host: Host, ruleset: "Ruleset", log: Log) -> None:
    """Log what was found out and what follows from it."""
    families = " and ".join(f"IPv{f}" for f in host.families(config))
    log.info(
        f"{families} rules, because the addresses here are "
        f"{', '.join(a.host for a in host.addresses) or 'none'}{' (--dual-stack)' if config.dual_stack else ''}"
    )
    proxy = ",".join(map(str, host.proxy_uids)), ",".join(map(str, host.proxy_gids))
    log.info(f"traffic of uid {proxy[0]} and gid {proxy[1]} is the proxy's own")
    if config.redirect_dns and not redirects_dns(config, host):
        log.warn("--redirect-dns has no effect: /etc/resolv.conf has no nameserver, and --capture-all-dns is not given")
    inbound, outbound = _listed(config.inbound_ports), _listed(config.outbound_networks)
    log.info(f"inbound, ports {inbound}: to port {config.inbound_capture_port} ({config.mode})")
    log.info(f"outbound, destinations {outbound}: to port {config.envoy_port}")
    for rule in ruleset.rules:
        log.debug(f"IPv{rule.family} {rule.table} {rule.chain}: {spec(rule)} ({rule.why})")


def _listed(values: "Sequence[object]") -> str:
    return values if isinstance(values, str) else ",".join(map(str, values)) or "none"


def _print(text: str) -> None:
    data = text.encode(errors="backslashreplace")
    try:
        while data:
            data = data[os.write(1, data) :]
    except BrokenPipeError:
        return  # who reads has read enough
    except OSError as e:
        raise RefusedError(f"cannot write to standard output: {e.strerror}") from e
