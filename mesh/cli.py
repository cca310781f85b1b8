"""pymesh's command line: a command a module."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mesh import __version__


def run(argv: Sequence[str]) -> int:
    """Runs one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="pymesh", description="The control plane of sidecars and gateways (xDS).")
    parser.add_argument("--version", action="version", version=f"pymesh {__version__}")
    parser.parse_args(argv)
    parser.print_help()
    return 0
