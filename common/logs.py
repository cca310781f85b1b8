"""Log lines, as JSON or as text, written by a thread of their own so that no pod waits for a log reader.

A record's `fields` (``log.info("…", extra={"fields": {…}})``) become keys of the JSON object, or ``key=value`` in text.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
import time
from collections import deque
from typing import TextIO

import orjson

FORMATS = ("auto", "json", "text")
LEVELS = ("debug", "info", "warning", "error")

_COLOURS = {logging.DEBUG: "2", logging.INFO: "32", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "31"}


@functools.lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _timestamp(record: logging.LogRecord) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    return f"{_second(int(record.created))}.{int(record.msecs):03d}Z"


def _quoted(value: object) -> str:
    """A field's value as text: in quotes where it would not be one word."""
    text = str(value)
    return text if text and not (set(text) & set(' "=\n')) else orjson.dumps(text).decode()


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``message``, then the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a line end."""
        entry = {"time": _timestamp(record), "level": record.levelname.lower(), "message": record.getMessage()}
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(entry, default=str).decode()


class TextFormatter(logging.Formatter):
    """``time LEVEL message key=value …``, coloured for a terminal."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a line end; a traceback follows on lines of its own."""
        level = f"{record.levelname:7}"
        if self._colour:
            level = f"\x1b[{_COLOURS[record.levelno]}m{level}\x1b[0m"
        fields = "".join(f" {key}={_quoted(value)}" for key, value in getattr(record, "fields", {}).items())
        line = f"{_timestamp(record)} {level} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class BatchHandler(logging.Handler):
    """Keeps lines in memory and writes what has come together up to ten times a second, from a thread.

    A write blocks when the reader of our stderr falls behind; no admission request waits for that. Lines are formatted
    at once, some microseconds each: formatted together they would keep the interpreter from requests for milliseconds.
    Where `capacity` lines wait already, new ones are dropped and their number is logged.
    """

    def __init__(self, stream: TextIO, capacity: int = 50_000, interval: float = 0.1) -> None:
        super().__init__()
        self._stream = stream
        self._waiting: deque[str] = deque()
        self._capacity = capacity
        self._interval = interval
        self._dropped = 0
        self._writing = threading.Lock()
        self._closing = threading.Event()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's line."""
        if len(self._waiting) < self._capacity:
            self._waiting.append(self.format(record))
        else:
            self._dropped += 1
        if not self._news.is_set():
            self._news.set()

    def flush(self) -> None:
        """Write what waits."""
        with self._writing:
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                notice = logging.LogRecord(__name__, logging.WARNING, "", 0, "%d log lines dropped", (dropped,), None)
                lines.append(self.format(notice))
            if lines:
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._closing.set()
        self._news.set()
        self._thread.join()
        self.flush()
        super().close()

    def _run(self) -> None:
        while self._news.wait() and not self._closing.wait(self._interval):
            self._news.clear()  # before what waits is written: a line that comes meanwhile is news again
            self.flush()


def configure(log_format: str, level: str, stream: TextIO = sys.stderr) -> None:
    """Send every logger's records to `stream`; format ``auto`` is text on a terminal and JSON elsewhere."""
    terminal = stream.isatty()
    handler = BatchHandler(stream)
    as_json = log_format == "json" or (log_format == "auto" and not terminal)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter(colour=terminal))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level.upper())
    for chatty in ("urllib3", "kubernetes", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
