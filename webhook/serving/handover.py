"""What the supervisor hands a worker: its configuration, and the names of the files in the directory they share.

Each file is replaced as a whole, so certificate and key are one: a worker never meets one of each kind.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Final, Self

import orjson

from webhook.limits import Limits

PAIR = "tls.pem"  # the certificate, its chain, and the private key
VALUES, MESH, CONFIG = "values", "mesh", "config"
NAMESPACES, NODES, PROXY_CONFIGS = "namespaces.json", "nodes.json", "proxyconfigs.json"
METRICS_DIRECTORY: Final = "metrics"

# How long a worker that is told to end may take for the requests it has.
DRAIN_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What does not change while a worker runs. `native_sidecars` of None: as the nodes are."""

    directory: str
    socket_fd: int
    revision: str
    native_sidecars: bool | None
    log_format: str
    log_level: str
    events: bool = False
    limits: Limits = field(default_factory=Limits)

    def encode(self) -> str:
        """As the worker's one argument."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def decode(cls, argument: str) -> Self:
        """The other way."""
        found = orjson.loads(argument)
        return cls(**found | {"limits": Limits(**found["limits"])})
