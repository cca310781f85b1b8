"""What a proxy is to have against what it has, resource by resource."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import unified_diff
from typing import Any

import yaml

from mesh.commands.proxy_config.dump import Dump, assigned

# Type, its section of the dump, how it is called, and where a resource's name is.
TYPES = (
    ("CDS", "ClustersConfigDump", "Clusters", "name"),
    ("LDS", "ListenersConfigDump", "Listeners", "name"),
    ("RDS", "RoutesConfigDump", "Routes", "name"),
    ("EDS", "EndpointsConfigDump", "Endpoints", "cluster_name"),
)
_DURATION = re.compile(r"-?\d+(\.\d+)?s")
_NUMBER = re.compile(r"-?\d+")
MOST_LINES = 60


def difference(wanted: Mapping[str, Mapping[str, Any]], dump: Any) -> str:
    """A line for each type where all is as it is to be, else what is other, as a unified diff for each resource."""
    has = Dump(dump)
    return "\n".join(line for one in TYPES if one[0] in wanted for line in _of_type(wanted[one[0]], has, one))


def _of_type(wanted: Mapping[str, Any], dump: Dump, of: tuple[str, str, str, str]) -> Iterator[str]:
    kind, section, called, key = of
    has = {
        str(one.get(key)): {name: each for name, each in one.items() if name != "@type"} for one in dump.told(section)
    }
    plain: Callable[[Any], Any] = _plain
    if kind == "EDS":
        # the dump has the endpoints of all clusters, also of those that are not told any
        plain, has = _endpoints, {name: one for name, one in has.items() if name in wanted}
    lines = [
        *(f"+ {name}: sent, and not there" for name in sorted(wanted.keys() - has.keys())),
        *(f"- {name}: there, and not sent" for name in sorted(has.keys() - wanted.keys())),
    ]
    for name in sorted(wanted.keys() & has.keys()):
        to_be, is_ = plain(wanted[name]), plain(has[name])
        if to_be != is_:
            old, new = (yaml.safe_dump(one, width=10_000).splitlines() for one in (to_be, is_))
            changed = list(unified_diff(old, new, f"{name} (is to be)", f"{name} (is)", lineterm="", n=2))
            lines += changed[:MOST_LINES]
            if len(changed) > MOST_LINES:
                lines.append(f"… {len(changed) - MOST_LINES} more lines")
    if not lines:
        yield f"{called} match ({len(wanted)})"
        return
    yield f"{called} differ:"
    yield from (f"  {line}" for line in lines)


def _plain(value: Any) -> Any:
    """The same for all ways to write one message as JSON: 1s is 1.000s, "7" is 7; false, 0 and nothing are left out."""
    if isinstance(value, Mapping):
        found = {key: _plain(each) for key, each in value.items()}
        return {key: each for key, each in found.items() if each or isinstance(each, Mapping)}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, str):
        if _DURATION.fullmatch(value):
            return f"{float(value[:-1]):g}s"
        return int(value) if _NUMBER.fullmatch(value) else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _endpoints(assignment: Mapping[str, Any]) -> list[str]:
    """Who is in it: Envoy tells it by what it made of it, not as it was sent."""
    return sorted(
        f"{one.shown} {'HEALTHY' if one.status == 'UNKNOWN' else one.status} "
        f"weight {one.source.get('load_balancing_weight') or 1}"
        for one in assigned(assignment)
    )
