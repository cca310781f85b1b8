"""What fails leaves no trace, and says what is missing and the way out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from init.host import in_host_network
from tests.kernel.init.namespace import EVERYTHING, PLAIN, PYINIT, Namespace


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


@pytest.mark.parametrize(
    ("has", "lacks"), [("net_raw", "NET_ADMIN"), ("net_admin", "NET_RAW"), ("setuid", "NET_ADMIN and NET_RAW")]
)
def test_the_capability_that_is_missing_is_named(pod: Namespace, backend: str, has: str, lacks: str) -> None:
    drop = ["setpriv", f"--bounding-set=-all,+{has}", "--inh-caps=-all"]
    done = pod.run(*drop, sys.executable, "-c", _BECOME, *PLAIN, backend, check=False)
    if lacks == "NET_RAW" and "nft" in backend:
        assert done.returncode == 0, done.stderr  # nf_tables asks for NET_ADMIN alone
        return
    assert done.returncode == 2
    assert f"it lacks {lacks}." in done.stderr


# setpriv lowers what a program may have; the interpreter is a program of root's and so has all of the bounding set.
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
