"""In which order a proxy is told, so that no request meets a reference to what is not there yet, or no longer.

A step is taken when nothing is left of what it waits for: nothing to be sent, nothing without an answer. What is in no
step waits for nothing.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from mesh.xds.types import CDS, EDS, LDS, RDS

# How long new listeners and routes wait for answers before they are sent nevertheless: a proxy that never answers for
# its clusters, or never asks for their endpoints, would keep its old routes for ever.
PATIENCE_SECONDS = 10.0


class What(Enum):
    """What is sent, or waited for, of a type."""

    PUT = "new and changed"
    REMOVE = "removed"
    OWED = "endpoints of clusters that are new or changed"
    OLD = "kept as they were, for what is new was refused"


class Step(NamedTuple):
    """A row of the table."""

    url: str
    what: What
    after: tuple[tuple[str, What], ...]
    why: str


_CLUSTERS = ((CDS, What.PUT), (EDS, What.OWED))

STEPS = (
    Step(CDS, What.PUT, (), "what routes and listeners name comes first"),
    Step(EDS, What.PUT, (), "a cluster without its endpoints stays warming; a change of addresses never waits"),
    Step(LDS, What.PUT, _CLUSTERS, "a filter that names a cluster that is not there, or warming, answers 503"),
    Step(RDS, What.PUT, _CLUSTERS, "so does a route"),
    Step(LDS, What.REMOVE, ((LDS, What.PUT), (RDS, What.PUT)), "what takes a listener's place has to be there"),
    Step(
        CDS,
        What.REMOVE,
        ((LDS, What.PUT), (RDS, What.PUT), (LDS, What.REMOVE), (LDS, What.OLD), (RDS, What.OLD)),
        "a cluster goes when nothing names it any more, what was refused included",
    ),
    Step(
        EDS,
        What.REMOVE,
        ((CDS, What.PUT), (CDS, What.REMOVE)),
        "endpoints end with their cluster; Envoy has then ceased to ask for them",
    ),
)

# Types in the order in which they are looked at; others come between endpoints and listeners.
URLS = (CDS, EDS)
LAST_URLS = (LDS, RDS)
