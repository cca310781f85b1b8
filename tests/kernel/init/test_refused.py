"""What fails leaves no trace, and says what is missing and the way out."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from init.config import MAX_OWNER_GROUPS
from init.host import in_host_network
from tests.kernel.init.namespace import EVERYTHING, PLAIN, PYINIT, ROOT, Namespace, confined_to, namespace


def in_place_of(directory: Path, name: str, script: str) -> dict[str, str]:
    """An environment in which a shell script stands before a program, which it can call as "$real"."""
    directory.mkdir(exist_ok=True)
    file = directory / name
    file.write_text(f"#!/bin/sh\nreal=/usr/sbin/{name}\n{script}\n")
    file.chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}"}


@pytest.mark.parametrize("program", ["iptables-nft-restore", "ip6tables-nft-restore"])
@pytest.mark.parametrize("script", ["exit 4", '"$real" "$@"; exit 4', "kill -9 $$"], ids=["before", "after", "killed"])
def test_a_restore_that_fails_is_taken_back(dual: Namespace, tmp_path: Path, program: str, script: str) -> None:
    before = dual.state()
    failed = dual.pyinit(*EVERYTHING, env=in_place_of(tmp_path, program, script))
    assert failed.returncode == 2
    assert program in failed.stderr
    assert dual.state() == before


def test_the_kernel_refuses_the_second_table(dual: Namespace) -> None:
    # A base chain where a chain of ours would be: nothing can jump to it.
    dual.run("nft", "add table ip nat; add chain ip nat ISTIO_OUTPUT { type filter hook output priority 0; }")
    before = dual.run("nft", "list", "ruleset").stdout
    failed = dual.pyinit(*EVERYTHING, "--force-iptables-binary=nft")
    assert failed.returncode == 2
    assert dual.run("nft", "list", "ruleset").stdout == before
    assert "fwmark" not in dual.run("ip", "rule").stdout


@pytest.mark.parametrize("ip", ["-4", "-6"])
def test_the_kernel_refuses_the_route(dual: Namespace, ip: str) -> None:
    dual.run("ip", ip, "route", "add", "blackhole", "default", "table", "133")
    before = dual.state()
    failed = dual.pyinit(*EVERYTHING)
    assert failed.returncode == 2
    assert f"ip {ip} route add local default dev lo table 133: File exists" in failed.stderr
    assert dual.state() == before


@pytest.mark.parametrize(("has", "lacks"), [("13", "NET_ADMIN"), ("12", "NET_RAW"), ("", "NET_ADMIN and NET_RAW")])
def test_the_capability_that_is_missing_is_named(pod: Namespace, backend: str, has: str, lacks: str) -> None:
    done = pod.run(*confined_to(has), *PLAIN, backend, check=False)
    if lacks == "NET_RAW" and "nft" in backend:
        assert done.returncode == 0, done.stderr  # nf_tables asks for NET_ADMIN alone
        return
    assert done.returncode == 2
    assert f"it lacks {lacks}." in done.stderr


_BECOME = "import sys; from init.cli import run; import os; sys.exit(run(sys.argv[1:], os.environ))"


def test_programs_that_are_not_installed_are_named(pod: Namespace) -> None:
    code = "import sys; from init import process; process.find = lambda name: None; " + _BECOME
    failed = pod.run("python3", "-c", code, *PLAIN, check=False)
    assert failed.returncode == 2
    assert "iptables-nft-save is not installed" in failed.stderr
    assert "iptables-legacy-save is not installed" in failed.stderr


def test_bad_input_touches_nothing(pod: Namespace) -> None:
    before = pod.run("nft", "list", "ruleset").stdout
    failed = pod.pyinit(*PLAIN, "-p", "0", "-x", "nope", "-u", "no-such-user")
    assert failed.returncode == 1
    assert "'0'" in failed.stderr
    assert "'nope'" in failed.stderr
    assert "'no-such-user' does not exist" in failed.stderr
    assert pod.run("nft", "list", "ruleset").stdout == before == ""


def test_unknown_users_and_groups_are_named(pod: Namespace) -> None:
    failed = pod.pyinit(*PLAIN, "-u", "no-such-user", env={"ISTIO_OUTBOUND_OWNER_GROUPS": "no-such-group"})
    assert failed.returncode == 1
    assert "'no-such-user' does not exist" in failed.stderr
    assert "'no-such-group' does not exist" in failed.stderr


def test_where_nft_does_not_work_legacy_is_tried(pod: Namespace, tmp_path: Path) -> None:
    says = 'echo "iptables-nft-restore: Failed to initialize nft: Protocol not supported" >&2; exit 3'
    done = pod.pyinit(*PLAIN, env=in_place_of(tmp_path, "iptables-nft-restore", says))
    assert done.returncode == 0, done.stderr
    assert "backend=iptables-legacy" in done.stderr
    assert pod.state()["iptables-nft-save"] == []


def test_the_machines_own_namespace_is_refused() -> None:
    if not in_host_network():
        pytest.skip("these tests run in a network namespace of their own; run them on a machine, not in a container")
    failed = subprocess.run([*PYINIT, *PLAIN], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "--allow-host-network" in failed.stderr


@pytest.mark.parametrize("flags", [[], ["--skip-rule-apply"], ["--cleanup-only"]], ids=" ".join)
def test_nothing_is_sent_in_the_machines_own_namespace(flags: list[str]) -> None:
    if not in_host_network():
        pytest.skip("these tests run in a network namespace of their own; run them on a machine, not in a container")
    failed = subprocess.run(
        [*PYINIT, *PLAIN, *flags, "--run-validation"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert failed.returncode == 2
    assert "--allow-host-network" in failed.stderr


def test_without_an_address_it_is_too_early() -> None:
    with namespace() as there:
        there.run("ip", "addr", "add", "169.254.1.1/16", "dev", "eth0")
        before = there.state()
        for flags in ([], ["--dual-stack"], ["--native-nftables"], ["--skip-rule-apply", "--run-validation"]):
            refused = there.pyinit(*PLAIN, *flags)
            assert refused.returncode == 2
            assert "there is no address here yet" in refused.stderr
        assert "there is no address here yet" in there.must(*PLAIN, "--dry-run")
        assert "nothing of ours is there" in there.must("--cleanup-only")
        assert there.state() == before
        there.run("ip", "addr", "add", "2001:db8:1::5/64", "dev", "eth0", "nodad")
        there.must(*PLAIN)
        assert "ISTIO_OUTPUT" in there.run("ip6tables-nft-save").stdout


def test_without_descriptors_or_memory_it_is_no_fault_of_pyinits(dual: Namespace) -> None:
    before = dual.state()
    codes = []
    for limit in range(4, 16):
        refused = dual.run("sh", "-c", f'ulimit -n {limit}; "$@"', "sh", *PYINIT, *EVERYTHING, check=False)
        codes.append(refused.returncode)
        if refused.returncode and 'File "' not in refused.stderr.partition("pyinit ")[0]:
            assert refused.returncode == 2, refused.stderr
            assert "fault of pyinit" not in refused.stderr
            assert dual.state() == before, refused.stderr
    assert codes[-1] == 0


def test_as_many_groups_as_are_allowed(pod: Namespace, backend: str) -> None:
    ids = ",".join(str(4294960000 + n) for n in range(MAX_OWNER_GROUPS))
    asked = [*PLAIN, backend, f"--istio-outbound-owner-groups={ids}"]
    pod.must(*asked)
    assert "all is there already" in pod.must(*asked)
    refused = pod.pyinit(*PLAIN, backend, f"--istio-outbound-owner-groups={ids},7")
    assert refused.returncode == 1
    assert f"{MAX_OWNER_GROUPS + 1} groups; allowed are {MAX_OWNER_GROUPS}" in refused.stderr


def test_rules_that_are_equal_but_for_their_place(pod: Namespace, backend: str) -> None:
    asked = ["-i", "*", "-k", "lo", "-c", "lo", backend]
    before = pod.state()
    shown = pod.run(*PYINIT, *asked, "--dry-run").stdout
    pod.must(*asked)
    listing = "".join(pod.run(p).stdout for p in ("iptables-nft-save", "iptables-legacy-save"))
    listing += pod.run("nft", "list", "tables").stdout and pod.run("nft", "list", "ruleset").stdout
    rule = 'iifname "lo" return' if "nftables" in backend else "-A PREROUTING -i lo "
    assert shown.count(rule) == 2 + ("nftables" not in backend)
    assert "all is there already" in pod.must(*asked)
    pod.must("--cleanup-only", backend)
    assert pod.state() == before
    assert listing.count(rule) == shown.count(rule)


def test_a_namespace_can_be_named(pod: Namespace) -> None:
    argv = [*PYINIT, *PLAIN, f"--network-namespace=/run/netns/{pod.name}", "--cni-mode"]
    subprocess.run(argv, check=True, capture_output=True)
    assert "ISTIO_OUTPUT" in pod.run("iptables-nft-save").stdout


def test_the_cause_goes_to_the_termination_log(pod: Namespace, tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    log.write_text("")
    code = f"import init.log; init.log.TERMINATION_LOG = {str(log)!r}; " + _BECOME
    pod.run("python3", "-c", code, "-p", "http", check=False)
    message = json.loads(log.read_text())
    assert (message["error"], message["exit_code"]) == ("ConfigError", 1)
    assert "-p, --envoy-port: 'http'" in message["message"]
