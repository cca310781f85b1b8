"""What the system around pyinit gives and refuses: addresses, processes, memory, places to write to."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from init import host, netlink, process
from init.argv import parse
from init.capture import capture
from init.cli import run
from init.errors import RefusedError
from init.host import Host
from init.network import Network
from init.rules import Rule
from tests.unit.init.hosts import config, shown
from tests.unit.init.hosts import host as pod

NO_ROOM = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def test_an_ipv4_mapped_address_is_an_ipv4_address(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["::1", "fe80::1", "::ffff:127.0.0.1", "::ffff:169.254.0.1", "::6", "::ffff:10.0.0.9", "2001:db8::9"]
    monkeypatch.setattr(netlink, "addresses", lambda: [Network.parse(text) for text in texts])
    found = Host.probe(config(""))
    assert [str(a) for a in found.addresses] == ["10.0.0.9/32", "2001:db8::9/128"]
    assert found.families(config("")) == (4,)


@pytest.mark.parametrize(
    ("networks", "captured"),
    [
        ("127.0.0.0/8", True),
        ("10.0.0.0/8,127.0.0.1/2", True),
        ("127.0.0.1/0", True),
        ("::1/64", True),
        ("::1", True),
        ("::ffff:127.0.0.1/100", True),
        ("0.0.0.0/0,::/0", False),
        ("::/64", False),
        ("126.0.0.0/7", False),
        ("*", False),
    ],
)
def test_loopback_is_captured_where_a_network_is_written_with_it(networks: str, captured: bool) -> None:
    asked = config(f"-i {networks}")
    rules = capture(asked, pod()).rules
    own_loopback = [r for r in rules if any(m.kind == "uid" and m.negated for m in r.matches)]
    assert (own_loopback == []) is captured
    assert parse(asked.to_argv(), {}) == asked
    destinations = [m.value for r in rules for m in r.matches if m.kind == "destination"]
    assert all(isinstance(d, Network) and d == d.masked for d in destinations)


def compared(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often rules are compared and hashed to show what a command line would do."""
    done = 0

    def counted(real: "object") -> "object":
        def call(*given: object) -> object:
            nonlocal done
            done += 1
            return real(*given)  # type: ignore[operator]

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Rule, "__eq__", counted(Rule.__eq__))
        patch.setattr(Rule, "__hash__", counted(Rule.__hash__))
        asked = config(f"{line} --dry-run")
        assert shown(asked, pod())
    return done


@pytest.mark.parametrize("form", ["restore", "table", "json", "nft"])
def test_showing_rules_takes_time_by_their_number(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    counts = [
        compared(
            f"-k eth1,eth2 --format={form} -i {','.join(f'10.0.{n // 256}.{n % 256}' for n in range(size))}",
            monkeypatch,
        )
        for size in (100, 400)
    ]
    assert counts[1] <= 5 * counts[0] + 1000


def test_no_room_for_a_process_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    real, tries = os.posix_spawn, iter([NO_ROOM, NO_ROOM])

    def spawn(*args: object, **kwargs: object) -> int:
        for refusal in tries:
            raise refusal
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(process, "_PAUSES", (0.0,) * 4)
    monkeypatch.setattr(os, "posix_spawn", spawn)
    assert process.run(["/bin/echo", "here"]).output == "here\n"


def test_no_room_for_a_process_is_no_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def spawn(*_: object, **__: object) -> int:
        raise NO_ROOM

    monkeypatch.setattr(process, "_PAUSES", (0.0,) * 4)
    monkeypatch.setattr(os, "posix_spawn", spawn)
    with pytest.raises(RefusedError, match="cannot run /bin/echo: Resource temporarily unavailable"):
        process.run(["/bin/echo"])


@pytest.mark.parametrize("refusal", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
def test_what_the_system_refuses_is_told_as_that(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    def refuse(*_: object) -> Host:
        raise refusal

    monkeypatch.setattr(host.Host, "probe", refuse)
    assert run([], {}) == 2
    told = capfd.readouterr().err
    assert "the system refused" in told
    assert "fault of pyinit" not in told


@pytest.mark.parametrize(("argv", "code"), [(["-p", "0"], 1), (["--network-namespace=/nowhere"], 2)])
def test_a_full_termination_log_changes_no_exit_code(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, argv: list[str], code: int
) -> None:
    monkeypatch.setattr("init.log.TERMINATION_LOG", "/dev/full")
    assert run(argv, {}) == code
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    ("argv", "code"), [(["-p", "\udcff"], 1), (["\udcff"], 1), (["--network-namespace=/\udcff"], 2)]
)
def test_bytes_that_are_not_utf_8(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    argv: list[str],
    code: int,
    form: str,
) -> None:
    left = tmp_path / "termination-log"
    left.touch()
    monkeypatch.setattr("init.log.TERMINATION_LOG", str(left))
    assert run([*argv, f"--log-format={form}"], {}) == code
    assert "\\udcff" in capfd.readouterr().err
    assert "\\udcff" in left.read_text()


def test_closed_streams_are_put_out_of_use() -> None:
    code = (
        "import os; from init.process import hold_standard_streams; "
        "[os.close(fd) for fd in (0, 1)]; hold_standard_streams(); opened = os.open('/', 0); "
        "os.write(2, str((opened, os.path.samestat(os.fstat(0), os.stat('/')))).encode()); os.write(1, b'lost')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False
    )
    assert done.stderr.startswith("(3, True)")
    assert "Bad file descriptor" in done.stderr
