"""The log: one line an event on stderr, as text or as JSON."""

import os

LEVELS = ("debug", "info", "warn", "error", "none")
TERMINATION_LOG = "/dev/termination-log"  # what Kubernetes shows as a container's termination message
MAX_TERMINATION_MESSAGE = 4096  # bytes; of more the kubelet keeps the tail, which is no JSON


class Log:
    """Writes events of a least level to a file descriptor."""

    def __init__(self, level: str = "info", form: str = "text", fd: int = 2) -> None:
        self._least, self._form, self._fd = LEVELS.index(level), form, fd
        self.warnings: list[str] = []

    def debug(self, message: str, **fields: object) -> None:
        """What helps to find a fault of pyinit's."""
        self._write("debug", message, fields)

    def info(self, message: str, **fields: object) -> None:
        """What was found, decided and done."""
        self._write("info", message, fields)

    def warn(self, message: str, **fields: object) -> None:
        """What was asked for and will not have its effect."""
        self.warnings.append(message)
        self._write("warn", message, fields)

    def error(self, message: str, **fields: object) -> None:
        """Why pyinit fails."""
        self._write("error", message, fields)

    def _write(self, level: str, message: str, fields: "dict[str, object]") -> None:
        if LEVELS.index(level) < self._least:
            return
        if self._form == "json":
            from time import time

            line = as_json({"time": round(time(), 3), "level": level, "message": message, **fields})
        else:
            extra = "".join(f" {name}={value}" for name, value in fields.items())
            line = f"pyinit {level}: {message}{extra}"
        try:
            os.write(self._fd, f"{line}\n".encode(errors="backslashreplace"))
        except OSError:
            self._least = len(LEVELS)  # nobody listens; that is no reason to leave a pod half done


def as_json(fields: "dict[str, object]") -> str:
    """One line of JSON."""
    from json import dumps

    return dumps(fields, ensure_ascii=False, default=str)


def leave_termination_message(fields: "dict[str, object]") -> None:
    """Tell Kubernetes the cause, where it listens. Of a long message the beginning, for the log has all of it."""
    line = _encoded(fields)
    if len(line) > MAX_TERMINATION_MESSAGE:
        more = " … (the log has all of it)"
        message = str(fields["message"])
        too_long = len(_encoded({**fields, "message": message + more})) - MAX_TERMINATION_MESSAGE
        line = _encoded({**fields, "message": message[:-too_long] + more})  # a character is a byte or more
    try:
        fd = os.open(TERMINATION_LOG, os.O_WRONLY | os.O_TRUNC)
    except OSError:
        return  # not in a container of Kubernetes
    try:
        os.write(fd, line)
    except OSError:
        return  # it is full; the log has the message
    finally:
        os.close(fd)


def _encoded(fields: "dict[str, object]") -> bytes:
    return f"{as_json(fields)}\n".encode(errors="backslashreplace")
