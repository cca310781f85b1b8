"""What was perhaps meant, where a name is not known; loaded only when there is one."""

from init.config import SETTINGS
from init.variables import is_set, may_be_meant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_SEVERAL = 10


def closest(name: str, known: "Iterable[str]") -> str:
    """`, did you mean X?` where a known name is near; else an empty text."""
    from difflib import get_close_matches

    found = get_close_matches(name, list(known), 1, 0.8)
    return f", did you mean {found[0]}?" if found else ""


def unread(environ: "Mapping[str, str]") -> "Iterator[str]":
    """A warning for each variable that looks like a setting and is none; of very many for the first."""
    known = [variable for spec in SETTINGS.values() for variable in spec.variables]
    for name in known:
        if name in environ and not is_set(name, environ):
            yield f"variable {name}: {environ[name]!r} is of a Service with that name; it has no effect here"
    unknown = [n for n in environ if n not in known and may_be_meant(n) and not _is_of_a_service(n, environ)]
    for name in unknown[:_SEVERAL]:
        yield f"variable {name} is none that pyinit reads; it has no effect{closest(name, known)}"
    if unknown[_SEVERAL:]:
        yield f"{len(unknown) - _SEVERAL} more variables are none that pyinit reads"


def _is_of_a_service(name: str, environ: "Mapping[str, str]") -> bool:
    """Whether Kubernetes sets it: a Service NAME has NAME_SERVICE_HOST, NAME_SERVICE_PORT…, NAME_PORT…"""
    ends = (at for at in range(len(name)) if name.startswith(("_SERVICE_", "_PORT"), at))
    return any(f"{name[:at]}_SERVICE_HOST" in environ for at in ends)
