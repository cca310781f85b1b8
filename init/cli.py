"""The program: a command line and an environment in, an exit code out."""

import os

from init.apply import apply
from init.argv import parse
from init.capture import capture, redirects_dns
from init.errors import ConfigError, PyinitError, RefusedError
from init.host import Host, enter, in_host_network
from init.iptables_text import spec
from init.lock import Lock
from init.log import Log, leave_termination_message
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
    log = Log()
    try:
        config = parse(argv, environ)
        log = Log(config.log_level, config.log_format)
        return _run(config, environ, log)
    except PyinitError as e:
        if isinstance(e, ConfigError):
            log = Log(e.log_level, e.log_format)
        for line in str(e).splitlines():
            log.error(line)
        return _failed(e, str(e), e.exit_code)
    except (OSError, MemoryError) as e:  # of the surroundings: no memory, no descriptors, a full disk
        log.error(f"the system refused: {str(e) or type(e).__name__}")
        return _failed(e, str(e))
    except Exception as e:
        from traceback import format_exc

        log.error(f"this is a fault of pyinit's own, please report it: {e!r}\n{format_exc()}")
        return _failed(e, repr(e))


def _failed(error: Exception, message: str, exit_code: int = 2) -> int:
    leave_termination_message({"error": type(error).__name__, "exit_code": exit_code, "message": message})
    return exit_code


def _run(config: "Config", environ: "Mapping[str, str]", log: Log) -> int:
    if config.help or config.version or config.completion:
        from init import usage

        _print(usage.answer(config))
        return 0
    if config.network_namespace:
        enter(config.network_namespace)
    if looks_mistaken(environ):
        from init.hints import unread

        for warning in unread(environ):
            log.warn(warning)
    host = Host.probe(config)
    ruleset = capture(config, host)
    _tell(config, host, ruleset, log)
    if config.dry_run:
        if not host.addresses and not config.cleanup_only:
            log.warn(NO_ADDRESS)
        from init.show import show

        _print(show(config, apply(config, ruleset, log)))
        return 0
    writes, probes = not config.skip_rule_apply, config.run_validation and not config.cleanup_only
    if (writes or probes) and in_host_network() and not config.allow_host_network:
        raise RefusedError(
            "this is the network namespace of the machine itself, and its traffic would all go to a proxy; "
            "--network-namespace=FILE enters a pod's, --allow-host-network does it here nevertheless"
        )
    if (writes or probes) and not (host.addresses or config.cleanup_only):
        raise RefusedError(NO_ADDRESS)
    with Lock(log):
        if writes:
            apply(config, ruleset, log)
        if probes:
            from init.validate import validate

            validate(config, host, ruleset, log)
    return 0


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
