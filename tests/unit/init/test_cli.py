"""What the program answers without touching the kernel, and what it finds out about its host."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from init.capture import capture
from init.cli import run
from init.config import SETTINGS, Config
from init.errors import ConfigError, RefusedError
from init.explain import explain, show
from init.host import Host
from init.log import Log, leave_termination_message
from tests.unit.init.hosts import V4, V6, config, host


def said(capfd: pytest.CaptureFixture[str], *argv: str) -> str:
    assert run(argv, {}) == 0
    return capfd.readouterr().out


def test_help_teaches_every_setting(capfd: pytest.CaptureFixture[str]) -> None:
    text = said(capfd, "--help")
    for spec in SETTINGS.values():
        assert f"--{spec.flag}" in text
        assert all(f"${variable}" in text for variable in spec.variables)
    assert text.count("    pyinit ") == 5


def test_help_is_given_beside_bad_input(capfd: pytest.CaptureFixture[str]) -> None:
    assert "Usage: pyinit" in said(capfd, "-p", "0", "-h")


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert said(capfd, "--version").startswith("pyinit 0.")


def test_an_answer_is_not_mixed_with_a_document(capfd: pytest.CaptureFixture[str]) -> None:
    assert said(capfd, "--version", "--output=json").count("\n") == 1


def test_completion_names_every_flag(capfd: pytest.CaptureFixture[str]) -> None:
    text = said(capfd, "--completion=bash")
    assert all(f"--{spec.flag}" in text for spec in SETTINGS.values())


def test_dry_run_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    shown = json.loads(said(capfd, "-i", "*", "-b", "80", "-m", "TPROXY", "--dry-run", "--format=json"))
    assert {"-p tcp -j REDIRECT --to-ports 15001", "-j ISTIO_OUTPUT"} <= {rule["rule"] for rule in shown["rules"]}
    assert "ip -4 rule add fwmark 0x539 lookup 133" in shown["routing"]


DUAL = ["-i", "*", "-b", "*", "-m", "TPROXY"]


def test_dry_run_shows_what_the_backend_would_read(capfd: pytest.CaptureFixture[str]) -> None:
    restore = said(capfd, *DUAL, "--dry-run")
    assert restore.startswith(
        "# ip -4 route add local default dev lo table 133\n# ip -4 rule add fwmark 0x539 lookup 133"
    )
    assert "# iptables-restore --noflush\n*mangle\n" in restore
    assert '-A OUTPUT -m comment --comment "pyinit --istio-service-cidr" -j ISTIO_OUTPUT\nCOMMIT\n' in restore
    native = said(capfd, *DUAL, "--dry-run", "--native-nftables")
    assert "# nft -f -\n" in native
    assert "table ip istio-proxy-nat {" in native
    assert "iptables" not in native
    assert said(capfd, *DUAL, "--dry-run", "--format=nft") == native
    assert said(capfd, *DUAL, "--dry-run", "--native-nftables", "--format=restore") == restore
    assert "# iptables-legacy-restore --noflush" in said(capfd, "--dry-run", "--force-iptables-binary=legacy")


def test_dry_run_of_a_clean_up_shows_what_would_go(capfd: pytest.CaptureFixture[str]) -> None:
    restore = said(capfd, *DUAL, "--dry-run", "--cleanup-only")
    assert '-D OUTPUT -m comment --comment "pyinit --istio-service-cidr" -j ISTIO_OUTPUT\n' in restore
    assert "-X ISTIO_OUTPUT\n" in restore
    assert "-A " not in restore
    assert restore.endswith(
        "# ip -4 rule del fwmark 0x539 lookup 133\n# ip -4 route del local default dev lo table 133\n"
    )
    native = said(capfd, *DUAL, "--dry-run", "--cleanup-only", "--native-nftables")
    assert "delete table ip istio-proxy-nat\n" in native
    assert "chain" not in native
    gone = json.loads(said(capfd, *DUAL, "--dry-run", "--cleanup-only", "--format=json"))
    assert gone["rules"] == []
    assert "-j ISTIO_OUTPUT" in [rule["rule"] for rule in gone["removed"]]
    table = said(capfd, *DUAL, "--dry-run", "--cleanup-only", "--format=table").splitlines()
    assert table[0].startswith("CHANGE  FAMILY")
    assert all(line.startswith(("-  ", "# ip ")) for line in table[1:])


def document(capfd: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> dict[str, Any]:
    assert run([*argv, "--output=json", "--log-level=none"], {"ISTIO_INBOUND_PORT": "80"}) == code
    told: dict[str, Any] = json.loads(capfd.readouterr().out)
    assert (told["schema"], told["exit_code"], told["changed"]) == (1, code, False)
    return told


def test_a_document_of_a_dry_run(capfd: pytest.CaptureFixture[str]) -> None:
    told = document(capfd, "-i", "*", "-n")
    assert told["action"] == "dry-run"
    assert told["command_line"] == ["-i", "*", "--dry-run", "--output=json", "--log-level=none"]
    assert told["error"] is None
    assert told["rules"] == told["added"] != []
    assert told["backend"] == "dry-run"
    assert "did you mean ISTIO_INBOUND_PORTS?" in told["warnings"][0]


def test_a_document_of_bad_input(capfd: pytest.CaptureFixture[str]) -> None:
    told = document(capfd, "-p", "0", code=1)
    assert told["error"]["type"] == "ConfigError"
    assert "'0' is not allowed" in told["error"]["message"]
    assert "rules" not in told


def test_a_document_of_a_packet(capfd: pytest.CaptureFixture[str]) -> None:
    told = document(capfd, "-i", "*", "--explain", "tcp out 10.0.0.1:80 uid 7")
    assert told["action"] == "explain"
    assert (told["landing"]["port"], told["landing"]["because_of"]) == (15001, "--istio-service-cidr")
    assert [rule["chain"] for rule in told["landing"]["path"]] == ["OUTPUT", "ISTIO_OUTPUT", "ISTIO_REDIRECT"]


@pytest.mark.parametrize(
    ("packet", "end"),
    [
        ("tcp out 10.0.0.1:80", "arrives at port 15001, because of --istio-service-cidr"),
        ("tcp out 10.0.0.1:80 uid 1337", "goes on its way, because of --proxy-uid"),
        ("tcp out 10.0.0.1:80 by eth9", "goes on its way, because of --istio-exclude-interfaces"),
        ("udp out 10.0.0.1:80", "goes on its way: no rule captures it"),
        ("tcp out 127.0.0.1:80", "goes on its way, because of --proxy-uid"),
        ("tcp out 127.0.0.1:80 from 127.0.0.6", "goes on its way, because of --inbound-capture-port"),
        ("tcp in 10.0.0.1:80", "arrives at port 15006, because of --istio-inbound-ports"),
        ("tcp in 10.0.0.1:90", "goes on its way, because of --istio-local-exclude-ports"),
        ("tcp in [64:ff9b::1]:80", "goes on its way: there are no rules for IPv6"),
    ],
)
def test_a_packet_is_explained(packet: str, end: str) -> None:
    line = config("-i * -b * -d 90 -c eth9").replace(explain=packet)
    there = host(V4)
    assert show(explain(line, there, capture(line, there))).splitlines()[-1] == end


@pytest.mark.parametrize(
    "packet",
    [
        "tcp",
        "sctp out 10.0.0.1:80",
        "tcp up 10.0.0.1:80",
        "tcp out 10.0.0.1",
        "tcp out 10.0.0.0/8:80",
        "tcp out 10.0.0.1:65536",
        "tcp out 10.0.0.1:80 uid",
        "tcp out 10.0.0.1:80 uid x",
        "tcp out 10.0.0.1:80 uid 1 uid 2",
        "tcp out 10.0.0.1:80 as 1",
        "tcp in 10.0.0.1:80 uid 1",
    ],
)
def test_what_is_no_packet_is_refused(packet: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--explain", packet, "--log-level=error"], {}) == 1
    said = capfd.readouterr().err
    assert said.startswith(f"pyinit error: --explain: {packet!r} is not allowed")
    assert said.count("\n") == 1


def test_bad_input_ends_with_1_and_one_line_a_fault(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["-p", "0", "--nope"], {}) == 1
    assert len(capfd.readouterr().err.splitlines()) == 2


def test_bad_input_is_told_in_the_format_that_was_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["-p", "x", "--log-format=json"], {}) == 1
    assert [json.loads(line)["level"] for line in capfd.readouterr().err.splitlines()] == ["error"]


def test_an_unknown_variable_is_warned_of(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["-n"], {"ISTIO_INBOUND_PORT": "80"}) == 0
    assert "pyinit warn: variable ISTIO_INBOUND_PORT is none that pyinit reads" in capfd.readouterr().err


def test_who_reads_no_further_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "init", "--help"], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("stdout", "reason"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
)
def test_output_that_cannot_be_written_is_told_as_such(stdout: str, reason: str) -> None:
    line = ["sh", "-c", f'"$0" -m init --help {stdout}', sys.executable]
    done = subprocess.run(line, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert done.stderr.decode() == f"pyinit error: cannot write to standard output: {reason}\n"


@pytest.mark.parametrize("message", ["x" * 9000, 'é"\\' * 3000, "\udcff" * 3000, "\n" * 4089])
def test_a_termination_message_is_one_that_kubernetes_keeps_whole(
    message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    monkeypatch.setattr("init.log.TERMINATION_LOG", str(log))
    leave_termination_message({"error": "DriftError", "exit_code": 3, "message": message})
    data = log.read_bytes()
    left = json.loads(data)
    assert len(data) <= 4096
    assert left["exit_code"] == 3
    assert message.startswith(left["message"].removesuffix(" … (the log has all of it)"))


def test_the_log_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    run(["--log-format=json", "--dry-run"], {})
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert lines
    assert all({"time", "level", "message"} <= line.keys() for line in lines)


@pytest.mark.parametrize(
    ("line", "there", "families"),
    [
        ("", host(V4, V6), (4,)),
        ("", host(V6, V4), (4, 6)),
        ("--dual-stack", host(V4, V6), (4, 6)),
        ("--dual-stack", host(V4), (4,)),
        ("--dual-stack", Host(), (4,)),
    ],
)
def test_families(line: str, there: Host, families: tuple[int, ...]) -> None:
    assert there.families(config(line)) == families


def resolv_conf(directory: Path, text: str) -> str:
    (directory / "resolv.conf").write_text(text)
    return str(directory / "resolv.conf")


def test_nameservers(tmp_path: Path) -> None:
    file = resolv_conf(
        tmp_path, "search a.b\nnameserver 10.96.0.10\nnameserver fe80::1%eth0\nnameserver x\n#nameserver 1.1.1.1\n"
    )
    found = Host.probe(config("--redirect-dns"), file).nameservers
    assert [str(n) for n in found] == ["10.96.0.10/32", "fe80::1/128"]
    assert Host.probe(Config(), file).nameservers == ()


def test_a_resolv_conf_of_any_encoding(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_bytes(b"# caf\xe9\nsearch \xff\xfe\nnameserver \xe9\nnameserver 10.96.0.10\n")
    assert [str(n) for n in Host.probe(config("--redirect-dns"), str(file)).nameservers] == ["10.96.0.10/32"]


def test_dns_capture_needs_resolv_conf_or_none(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="--capture-all-dns"):
        Host.probe(config("--redirect-dns"), str(tmp_path / "none"))
    assert Host.probe(config("--redirect-dns --capture-all-dns"), str(tmp_path / "none")).nameservers == ()


def test_users_and_groups_by_name() -> None:
    found = Host.probe(config("-u root,7 --istio-outbound-owner-groups=root"))
    assert (found.proxy_uids, found.proxy_gids, found.owner_groups) == ((0, 7), (0, 7), (0,))
    assert Host.probe(config("--envoy-user=nobody-of-this-name")).proxy_uids == (1337,)
    with pytest.raises(ConfigError, match=r"--proxy-uid: 'x-1'"):
        Host.probe(config("-u x-1"))
    unused = "--istio-outbound-owner-groups=0 --istio-outbound-owner-groups-exclude=nobody-of-this-name"
    assert Host.probe(config(unused)).owner_groups_exclude == ()


def test_pyinit_starts_without_slow_modules() -> None:
    slow = "argparse re dataclasses typing enum subprocess ipaddress json logging pathlib socket collections functools"
    code = f"import sys, init.cli, init.backends.iptables; print(*(set({slow.split()!r}) & sys.modules.keys()))"
    root = Path(__file__).parents[3]
    path = f"import sys; sys.path.insert(0, {str(root)!r}); {code}"
    loaded = subprocess.run([sys.executable, "-I", "-S", "-c", path], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""


def test_a_fault_of_its_own_is_told_as_such(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("init.cli.capture", lambda *_: 1 / 0)
    assert run(["--dry-run"], {}) == 2
    told = capfd.readouterr().err
    assert "a fault of pyinit's own" in told
    assert "Traceback" in told


def test_a_log_that_nobody_reads_stops_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    log = Log(fd=write)
    log.info("one")
    log.error("two")
    os.close(write)
