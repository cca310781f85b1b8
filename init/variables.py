"""Which variables of an environment are settings."""

from init.config import SETTINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def looks_mistaken(environ: "Mapping[str, str]") -> bool:
    """Whether a variable may be meant as a setting and is not read: `init.hints.unread` tells."""
    known = {variable for spec in SETTINGS.values() for variable in spec.variables}
    return any(not is_set(n, environ) if n in known else may_be_meant(n) for n in environ)


def may_be_meant(variable: str) -> bool:
    """Whether a variable that is none of pyinit's is meant as one by its name.

    ISTIO_META_… is for Istio's agent; but for one, which counts here as well.
    """
    if variable.startswith("ISTIO_META_"):
        return variable.startswith("ISTIO_META_DNS_C")
    return variable.startswith(("ISTIO_", "PYINIT_"))


def is_set(variable: str, environ: "Mapping[str, str]") -> bool:
    """Whether a variable says something to pyinit.

    For each Service NAME, Kubernetes sets NAME_PORT=tcp://10.96.1.1:80 in every pod; that is none of pyinit's settings.
    """
    return variable in environ and not environ[variable].startswith(("tcp://", "udp://", "sctp://"))
