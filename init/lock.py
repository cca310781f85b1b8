"""One run at a time in a network namespace: what is read stays true until it is written.

The lock is the name of an abstract unix socket (unix(7)). The kernel keeps such names by network namespace, wherever a
run comes from and whatever its file system; and it frees the name when the last process that holds the socket is gone,
killed or not. A run's guardian and the programs it starts hold it as well: it is free when nobody writes any more.
"""

import os
from _socket import AF_UNIX, SO_PEERCRED, SOCK_STREAM, SOL_SOCKET, socket
from _struct import unpack
from errno import EADDRINUSE
from time import monotonic, sleep

from init.errors import RefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from init.log import Log

NAME = "@pyinit"  # as ss(8) and /proc/net/unix show it
WAIT = 60.0  # seconds; longer than a run waits for the xtables lock
_AGAIN = 0.02


class Lock:
    """Held inside `with`. Raises RefusedError when it does not become free in time."""

    def __init__(self, log: "Log") -> None:
        self._log = log

    def __enter__(self) -> "Self":
        self._socket = socket(AF_UNIX, SOCK_STREAM)
        try:
            self._take()
            self._socket.listen(1)  # who waits can ask who holds it
            os.set_inheritable(self._socket.fileno(), True)
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _take(self) -> None:
        end, told = monotonic() + WAIT, False
        while not self._bound():
            if not told:
                self._log.info(f"another run is at work in this network namespace; waiting for {_holder()}")
                told = True
            if monotonic() > end:
                raise RefusedError(
                    f"the lock of this network namespace, the unix socket {NAME}, has been held for {WAIT:.0f} s by "
                    f"{_holder()}; end that process if it hangs or is no run of pyinit, and run again"
                )
            sleep(_AGAIN)

    def _bound(self) -> bool:
        try:
            self._socket.bind(NAME.replace("@", "\0"))
        except OSError as e:
            if e.errno == EADDRINUSE:
                return False
            raise RefusedError(f"cannot lock this network namespace, by the unix socket {NAME}: {e.strerror}") from e
        return True


def _holder() -> str:
    """Who holds the lock, as far as the kernel tells (SO_PEERCRED)."""
    client = socket(AF_UNIX, SOCK_STREAM)
    try:
        client.setblocking(False)
        client.connect(NAME.replace("@", "\0"))
        pid, uid, _ = unpack("=iII", client.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
    except OSError:
        return "a process unknown"
    finally:
        client.close()
    return f"process {pid} of uid {uid}" if pid else f"a process of uid {uid} in another PID namespace"
