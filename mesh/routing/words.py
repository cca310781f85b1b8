"""What a route takes and does, in the words that people read: for `pymesh describe` and the dashboard."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.routing.route import (
    Action,
    ConnectionRoute,
    Forward,
    HeaderChanges,
    Headers,
    Match,
    Redirect,
    Route,
    Target,
    Text,
)

_MARKS = {"prefix": "{}*", "segments": "{}*", "suffix": "*{}", "contains": "*{}*", "regex": "~{}", "present": "*"}


def met(match: Match) -> str:
    """The whole match in a line."""
    return " ".join(conditions(match))


def conditions(match: Match) -> Iterator[str]:
    """What must hold, one by one: the method, the path, then all else."""
    if match.method is not None:
        yield _text("", match.method)
    yield _text("", match.path)
    if match.authority is not None:
        yield _text("authority ", match.authority)
    for name, text in match.headers:
        yield _text(f"{name}: ", text)
    for name, text in match.without_headers:
        yield f"without {_text(f'{name}: ', text)}"
    for name, text in match.query:
        yield _text(f"?{name}=", text)


def connections(route: ConnectionRoute) -> Iterator[str]:
    """What a connection must be, one by one."""
    yield from (f"SNI {one}" for one in route.sni_hosts)
    yield from (f"to {one}" for one in route.subnets)


def _text(before: str, text: Text) -> str:
    return before + _MARKS.get(text.how, "{}").format(text.value)


def done(action: Action) -> str:
    """Where requests go, or what they are answered with, in a line."""
    if isinstance(action, Forward):
        total = sum(backend.weight for backend in action.backends)
        return (
            ", ".join(
                target(backend.target) + (f" {100 * backend.weight / total:.3g}%" if len(action.backends) > 1 else "")
                for backend in action.backends
            )
            or f"answered with {action.missing_status}"
        )
    return f"redirected with {action.status}" if isinstance(action, Redirect) else f"answered with {action.status}"


def target(one: Target) -> str:
    """HOST:PORT and the subset."""
    if not one.host:
        return "nowhere"
    return f"{one.host}:{one.port}" + (f" ({one.subset})" if one.subset else "")


def besides(route: Route) -> Iterator[str]:
    """What else is done to a request, one by one."""
    action = route.action
    if route.fault is not None:
        fault = route.fault
        if fault.delay is not None and fault.delay_percent:
            yield f"delays {fault.delay_percent:g}% by {seconds(fault.delay)}"
        if fault.abort_percent:
            yield f"aborts {fault.abort_percent:g}% with {fault.abort_grpc or fault.abort_status}"
    if isinstance(action, Forward):
        if action.timeout is not None:
            yield f"timeout {seconds(action.timeout)}"
        if (retry := action.retry) is not None:
            yield (f"{retry.attempts} retries" if retry.attempts != 1 else "1 retry") + (
                f" on {retry.on}" if retry.on else ""
            )
        if (rewrite := action.rewrite) is not None:
            to = rewrite.path or rewrite.prefix or rewrite.replacement
            yield "rewrites " + " and ".join(
                [*([f"path to {to}"] if to else ()), *([f"host to {rewrite.authority}"] if rewrite.authority else ())]
            )
        for mirror in action.mirrors:
            yield f"mirrors {mirror.percent:g}% to {target(mirror.target)}"
    elif isinstance(action, Redirect):
        to = "".join(
            (f"{action.scheme}://" if action.scheme else "", action.authority, action.path or action.prefix or "")
        )
        if to:
            yield f"to {to}"
    yield from _headers(route.headers)
    if route.cors is not None:
        yield "answers CORS preflights"


def _headers(headers: Headers) -> Iterator[str]:
    if headers.authority:
        yield f"host becomes {headers.authority}"
    yield from _changes("request", headers.request)
    yield from _changes("response", headers.response)


def _changes(of: str, changes: HeaderChanges) -> Iterator[str]:
    yield from (f"sets {of} header {name}: {value}" for name, value in changes.set)
    yield from (f"adds {of} header {name}: {value}" for name, value in changes.add)
    yield from (f"removes {of} header {name}" for name in changes.remove)


def seconds(value: float) -> str:
    """A duration as people write it: 250ms, 2s."""
    return f"{value * 1000:g}ms" if 0 < value < 1 else f"{value:g}s"
