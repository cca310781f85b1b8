"""Enters a network namespace and takes a uid, as a container's process does before its program starts.

Run as a program it then becomes another one: `python enter.py NETNS UID PROGRAM [ARG…]`. The program is opened before
the uid changes, so that it may lie where only root can look.
"""

import ctypes
import encodings.idna  # noqa: F401  (socket loads it when first used, too late for a Python that only root can read)
import os
import sys
from pathlib import Path

NETNS_DIR = Path("/run/netns")
CLONE_NEWNET = 0x40000000  # sched.h; os.setns is there from Python 3.12 on


def enter(netns: str, uid: int) -> None:
    """Moves this process into the namespace and gives up root for `uid`, its group the same; OSError on failure."""
    libc = ctypes.CDLL(None, use_errno=True)
    with (NETNS_DIR / netns).open("rb") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), namespace.name)
    if uid:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)


def main(netns: str, uid: str, program: str, *args: str) -> None:
    """Enters and becomes the program."""
    executable = os.open(program, os.O_RDONLY | os.O_CLOEXEC)
    enter(netns, int(uid))
    os.execve(executable, [program, *args], os.environ)


if __name__ == "__main__":
    main(*sys.argv[1:])
