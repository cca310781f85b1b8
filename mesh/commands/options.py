"""What the commands have in common: how their parsers look, and what they say of exit codes."""

from __future__ import annotations

import argparse

from common.errors import UsageError

EXIT_CODES = """\
exit codes:
  0  done                                          5  objects are faulty
  2  a flag or file that cannot be used            7  the control plane or a proxy does not answer
  3  a mesh configuration that cannot be used      8  the API server refuses, or does not answer
  4  an object that cannot be read, or is missing
"""


def add_namespace(parser: argparse.ArgumentParser) -> None:
    """-n."""
    parser.add_argument("-n", "--namespace", default="default", metavar="NAME", help="its namespace (default: default)")


def add_cluster(parser: argparse._ActionsContainer) -> None:
    """Which cluster is asked."""
    parser.add_argument("--kubeconfig", metavar="FILE", help="default: $KUBECONFIG, ~/.kube/config")
    parser.add_argument("--context", metavar="NAME", help="default: the kubeconfig's current one")


def host_port(flag: str, text: str, example: str) -> tuple[str, int]:
    """HOST:PORT, an IPv6 address in brackets. Raises UsageError."""
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    good = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535
    if not bare or not good or (":" in bare) != (host != bare):
        raise UsageError(f"{flag} {text}: no HOST:PORT such as {example}, with a port of 0 to 65535")
    return bare, int(port)
