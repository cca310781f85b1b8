"""Log lines, and that nobody waits for their reader."""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from collections.abc import Iterator

import pytest

from common import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Give the root logger its handlers back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    yield
    for handler in root.handlers[:]:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(log_format: str, stream: io.StringIO, fields: dict[str, object]) -> str:
    logs.configure(log_format, "info", stream)
    logging.getLogger("pyinject").info("inj%s", "ected", extra={"fields": fields})
    logging.getLogger("pyinject").debug("not at this level")
    logging.getLogger().handlers[0].close()
    return stream.getvalue()


def test_json_has_the_fields_beside_time_level_and_message() -> None:
    line = logged("json", io.StringIO(), {"pod": "shop/web", "ms": 0.2})
    entry = json.loads(line)
    assert entry.pop("time").endswith("Z")
    assert entry == {"level": "info", "message": "injected", "pod": "shop/web", "ms": 0.2}


def test_text_has_one_word_a_value_or_quotes() -> None:
    line = logged("text", io.StringIO(), {"pod": "shop/web", "cause": 'a "b"\nc', "none": ""})
    assert line.rstrip().endswith(r'INFO    injected pod=shop/web cause="a \"b\"\nc" none=""')


def test_auto_is_text_with_colours_on_a_terminal_and_json_elsewhere() -> None:
    assert "\x1b[32mINFO" in logged("auto", Terminal(), {})
    assert logged("auto", io.StringIO(), {}).startswith("{")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_an_exception_brings_its_traceback(log_format: str) -> None:
    stream = io.StringIO()
    logs.configure(log_format, "info", stream)
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("pyinject").exception("failed")
    logging.getLogger().handlers[0].close()
    assert "ValueError: why" in stream.getvalue()
    assert "test_logs.py" in stream.getvalue()


def test_a_reader_that_does_not_read_delays_nobody_and_loses_lines_that_are_counted() -> None:
    class Stuck(io.StringIO):
        released = False

        def write(self, text: str) -> int:
            while not self.released:
                time.sleep(0.01)
            return super().write(text)

    stream = Stuck()
    handler = logs.BatchHandler(stream, capacity=100, interval=0.01)
    handler.setFormatter(logs.TextFormatter(colour=False))
    log = logging.Logger("test")
    log.addHandler(handler)
    log.info("first")
    time.sleep(0.05)
    before = time.monotonic()
    for number in range(1000):
        log.info("%d", number)
    assert time.monotonic() - before < 1
    stream.released = True
    handler.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 102
    assert lines[-1].endswith("900 log lines dropped")


def test_a_line_is_written_soon_and_nothing_is_done_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    original = logs.BatchHandler.flush

    def counted(self: logs.BatchHandler) -> None:
        flushed.append(1)
        original(self)

    monkeypatch.setattr(logs.BatchHandler, "flush", counted)
    stream = io.StringIO()
    handler = logs.BatchHandler(stream, interval=0.001)
    log = logging.Logger("test")
    log.addHandler(handler)
    for line in ("first\n", "first\nsecond\n"):
        time.sleep(0.05)
        before = len(flushed)
        log.info(line.split()[-1])
        until = time.monotonic() + 30
        while stream.getvalue() != line:
            assert time.monotonic() < until
            time.sleep(0.001)
        time.sleep(0.05)
        assert len(flushed) == before + 1
    handler.close()


def test_the_default_is_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info", sys.stderr)
    logging.getLogger("pyinject").info("there")
    logging.getLogger().handlers[0].close()
    assert '"there"' in capsys.readouterr().err
