"""Network namespaces by name, for the kernel tests."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def inside(netns: str) -> Iterator[None]:
    """Sockets made meanwhile belong to the namespace, for good (setns(2) moves the calling thread alone)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open("rb") as home, Path("/run/netns", netns).open("rb") as there:
        assert libc.setns(there.fileno(), 0) == 0
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), 0) == 0
