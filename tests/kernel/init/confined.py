"""`python -m tests.kernel.init.confined UID CAPABILITIES FLAG…`: pyinit with few rights, wherever its sources lie.

They are loaded first and the rights given up then, so that it does not matter who may read the folder of the checkout.
CAPABILITIES: numbers of linux/capability.h separated by commas; what pyinit starts has no others either.
"""

import ctypes
import importlib
import json
import os
import pkgutil
import struct
import sys
import traceback

import init
from init.cli import run

NET_ADMIN, NET_RAW = 12, 13
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38  # linux/prctl.h
_VERSION_3 = 0x20080522  # linux/capability.h

LATER = (json, traceback)  # what pyinit imports when it is needed


def confine(uid: int, capabilities: list[int]) -> None:
    """Give up all rights but these."""
    libc = ctypes.CDLL(None, use_errno=True)
    for bit in range(64):
        if bit not in capabilities:
            libc.prctl(_PR_CAPBSET_DROP, bit, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if uid:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    kept = sum(1 << bit for bit in capabilities)
    if libc.capset(struct.pack("=Ii", _VERSION_3, 0), struct.pack("=6I", kept, kept, 0, 0, 0, 0)):
        raise OSError(ctypes.get_errno(), "capset")


if __name__ == "__main__":
    for module in pkgutil.walk_packages(init.__path__, "init."):
        if module.name != "init.__main__":
            importlib.import_module(module.name)
    confine(int(sys.argv[1]), [int(bit) for bit in sys.argv[2].split(",") if bit])
    os._exit(run(sys.argv[3:], os.environ))
