"""pyinject's command line."""

from __future__ import annotations

from common.cli import Program
from webhook import __version__

PROGRAM = Program(
    "pyinject",
    "Give pods a sidecar: as a webhook, or in files.",
    __version__,
    "webhook.commands",
    {
        "serve": "serve",
        "kube-inject": "kube_inject",
        "uninject": "uninject",
        "diff": "diff",
        "explain": "explain",
        "check": "check",
        "completion": "completion",
    },
)
run, parser = PROGRAM.run, PROGRAM.parser
