"""Run other programs: the one place where pyinit starts any. (`subprocess` is slow to import.)"""

import os
from time import sleep

from init.errors import RefusedError
from init.values import Value

# Where distributions and images keep what only root needs; a pod's PATH may lack them.
_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")


class Result(Value):
    """What a program returned and said. status: its exit status, or minus the signal that ended it."""

    status: int
    output: str
    errors: str


def find(name: str) -> "str | None":
    """The full path of a program, or None."""
    for directory in (*filter(None, os.environ.get("PATH", "").split(":")), *_DIRECTORIES):
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK):
            return path
    return None


def run(argv: "list[str]", given: str = "", environ: "dict[str, str] | None" = None) -> Result:
    """Run a program to its end. `given` is its standard input; `environ` is added to the environment.

    Input and output pass through memory files, not pipes: neither side ever waits for the other.
    """
    files: list[int] = []
    try:
        files += (os.memfd_create(name) for name in ("stdin", "stdout", "stderr"))
        _write_all(files[0], given.encode())
        os.lseek(files[0], 0, os.SEEK_SET)
        child = _spawn(argv, {**os.environ, "LC_ALL": "C", **(environ or {})}, files)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return Result(status, *(_read_all(fd) for fd in files[1:]))
    except OSError as e:
        raise RefusedError(f"cannot run {argv[0]}: {e.strerror}") from e
    finally:
        for fd in files:
            os.close(fd)


def hold_standard_streams() -> None:
    """Where stdin, stdout or stderr is closed, put something there that can be neither read nor written.

    Else whatever is opened next would take its number, and be what a program that is started reads or writes.
    """
    while (fd := os.open("/", os.O_RDONLY)) < _FIRST:
        pass
    os.close(fd)


_FIRST = 3  # descriptor behind the standard streams


def _spawn(argv: "list[str]", environ: "dict[str, str]", streams: "list[int]") -> int:
    """Start a program. Where there is no room for a process, there may be some a moment later."""
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)]
    for pause in _PAUSES:
        try:
            return os.posix_spawn(argv[0], argv, environ, file_actions=actions)
        except BlockingIOError:  # EAGAIN
            sleep(pause)
    return os.posix_spawn(argv[0], argv, environ, file_actions=actions)


_PAUSES = (0.01, 0.1, 0.5, 1.0)  # seconds


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _read_all(fd: int) -> str:
    size = os.lseek(fd, 0, os.SEEK_END)
    return os.pread(fd, size, 0).decode(errors="replace")
