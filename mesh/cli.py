"""pymesh's command line."""

from __future__ import annotations

from common.cli import Program
from mesh import __version__

PROGRAM = Program(
    "pymesh",
    "The control plane of sidecars and gateways (xDS).",
    __version__,
    "mesh.commands",
    {
        "bootstrap": "bootstrap",
        "proxy-config": "proxy_config.show",
        "pc": "proxy_config.show",
        "describe": "describe",
        "desc": "describe",
        "proxy-status": "proxy_status",
        "ps": "proxy_status",
        "dashboard": "dashboard",
        "dash": "dashboard",
        "completion": "completion",
        "serve": "serve",
        "analyze": "analyze",
    },
)
run, parser = PROGRAM.run, PROGRAM.parser
