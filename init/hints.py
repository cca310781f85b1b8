"""What was perhaps meant, where a name is not known; loaded only when there is one."""

from init.config import SETTINGS
from init.variables import PREFIXES, is_set

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def closest(name: str, known: "Iterable[str]") -> str:
    """`, did you mean X?` where a known name is near; else an empty text."""
    from difflib import get_close_matches

    found = get_close_matches(name, list(known), 1, 0.8)
    return f", did you mean {found[0]}?" if found else ""


def unread(environ: "Mapping[str, str]") -> "Iterator[str]":
    """A warning for each variable that looks like a setting and is none."""
    known = [variable for spec in SETTINGS.values() for variable in spec.variables]
    of_services = tuple(
        f"{name.removesuffix('_SERVICE_HOST')}{part}"
        for name in environ
        if name.endswith("_SERVICE_HOST")
        for part in ("_SERVICE_", "_PORT")
    )
    for name in environ:
        if name in known:
            if not is_set(name, environ):
                yield f"variable {name}: {environ[name]!r} is of a Service with that name; it has no effect here"
        elif name.startswith(PREFIXES) and not name.startswith(of_services):
            # ISTIO_META_… is for Istio's agent, but for the one that counts here too
            hint = closest(name, known)
            if hint or not name.startswith("ISTIO_META_"):
                yield f"variable {name} is none that pyinit reads; it has no effect{hint}"
