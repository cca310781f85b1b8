"""--check, --diff and --output=json: what they tell is what is there and what is done, and they write nothing."""

import json
from typing import Any

import pytest

from tests.kernel.init.namespace import EVERYTHING, PLAIN, PYINIT, Namespace
from tests.kernel.init.test_backends import everything


def diff(pod: Namespace, *line: str) -> str:
    """What --dry-run --diff prints, which must change nothing."""
    before = everything(pod)
    done = pod.pyinit(*line, "--dry-run", "--diff")
    assert done.returncode == 0, done.stderr
    assert everything(pod) == before
    return done.stdout


def check(pod: Namespace, *line: str) -> tuple[int, str]:
    """Exit code and log of --check, which must change nothing."""
    before = everything(pod)
    done = pod.pyinit(*line, "--check")
    assert everything(pod) == before
    return done.returncode, done.stderr


def document(pod: Namespace, *line: str, code: int = 0) -> dict[str, Any]:
    done = pod.pyinit(*line, "--output=json")
    assert done.returncode == code, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert (told["schema"], told["exit_code"]) == (1, code)
    assert (told["error"] is None) is (code == 0)
    return told


def test_check_knows_what_is_there(dual: Namespace, backend: str) -> None:
    line = [*EVERYTHING, backend]
    code, told = check(dual, *line)
    assert code == 3
    assert "+ -j ISTIO_OUTPUT" in told
    assert "+ ip -4 rule add fwmark 0x539 lookup 133" in told
    dual.must(*line)
    assert check(dual, *line)[0] == 0
    code, told = check(dual, *line, "-o", "81")
    assert code == 3
    assert [x for x in told.splitlines() if "  - " in x or "  + " in x] == [
        f"pyinit error:   + -p {p} -m {p} --dport 81 -j RETURN" for p in ("tcp", "udp", "tcp", "udp")
    ]
    assert check(dual, *line, "--cleanup-only")[0] == 3
    dual.must(*line, "--cleanup-only")
    assert check(dual, *line, "--cleanup-only")[0] == 0


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("iptables-nft -t nat -D ISTIO_REDIRECT 1", "+ -p tcp -j REDIRECT --to-ports 15001"),
        ("iptables-nft -t nat -A ISTIO_REDIRECT -p udp -j RETURN", "- -p udp -j RETURN"),
        ("ip6tables-nft -t nat -F OUTPUT", "+ -j ISTIO_OUTPUT"),
        ("iptables-nft -t mangle -N ISTIO_DROP", "IPv4 mangle ISTIO_DROP: (goes)"),
        ("ip rule del fwmark 1337", "+ ip -4 rule add fwmark 0x539 lookup 133"),
        ("ip -6 addr del ::6/128 dev lo", "+ ip -6 addr add ::6/128 dev lo"),
    ],
)
def test_check_sees_every_damage(dual: Namespace, damage: str, told: str) -> None:
    line = [*PLAIN, "-m", "TPROXY", "--dual-stack", "--force-iptables-binary=nft"]
    dual.must(*line)
    dual.run(*damage.split())
    code, log = check(dual, *line)
    assert code == 3
    assert f"pyinit error:   {told}" in log or f"pyinit error: {told}" in log


def test_check_sees_rules_in_another_store(pod: Namespace) -> None:
    pod.must(*PLAIN, "--native-nftables")
    code, told = check(pod, *PLAIN)
    assert code == 3
    assert "nftables, which is not used any more:" in told
    assert "- -j ISTIO_OUTPUT" in told


def test_a_difference_tells_what_a_run_will_do(dual: Namespace, backend: str) -> None:
    dual.must(*PLAIN, backend)
    assert diff(dual, *PLAIN, backend) == ""
    other = [*PLAIN[:-2], "-d", "15090,7", "-m", "TPROXY", backend, "--reconcile", "--prune"]
    told = diff(dual, *other)
    assert "IPv4 mangle ISTIO_DIVERT: (new)\n  + -j MARK --set-xmark 0x539/0xffffffff\n  + -j ACCEPT\n" in told
    assert "routing:\n  + ip -4 route add local default dev lo table 133\n" in told
    assert "  - -p tcp -m tcp --dport 15020 -j RETURN\n" in told
    dual.must(*other)
    assert diff(dual, *other) == ""


def test_what_stays_is_no_difference(pod: Namespace, variant: str) -> None:
    line = [f"--force-iptables-binary={variant}", "--reconcile"]
    pod.must(*PLAIN, "-c", "net1", "-m", "TPROXY", *line)
    told = diff(pod, *PLAIN, *line)
    assert "net1" not in told
    pod.must(*PLAIN, *line)
    assert diff(pod, *PLAIN, *line) == ""
    assert "- -i net1 -j RETURN" in diff(pod, *PLAIN, *line, "--prune")


def test_a_run_can_tell_the_difference_it_makes(pod: Namespace) -> None:
    done = pod.pyinit(*PLAIN, "--diff")
    assert "IPv4 nat ISTIO_REDIRECT: (new)\n  + -p tcp -j REDIRECT --to-ports 15001\n" in done.stdout


@pytest.mark.parametrize("report", ["--diff", "--output=json"])
def test_a_report_that_cannot_be_written_is_no_failure_of_the_run(pod: Namespace, report: str) -> None:
    done = pod.run("sh", "-c", '"$@" >/dev/full', "sh", *PYINIT, *PLAIN, report, check=False)
    assert done.returncode == 0
    assert "pyinit error: cannot write to standard output: No space left on device" in done.stderr
    assert check(pod, *PLAIN)[0] == 0


def test_a_document_tells_what_was_found_and_done(pod: Namespace, backend: str) -> None:
    made = document(pod, *PLAIN, backend)
    assert made["action"] == "apply"
    assert made["changed"] is True
    assert made["added"] == made["rules"] != []
    assert made["steps"]
    assert made["host"]["addresses"] == ["10.244.0.5"]
    again = document(pod, *PLAIN, backend)
    assert (again["changed"], again["added"], again["removed"], again["steps"]) == (False, [], [], [])
    assert again["rules"] == made["rules"]
    refused = document(pod, *PLAIN, backend, "-o", "81", code=3)
    assert refused["error"]["type"] == "DriftError"
    assert refused["changed"] is False
    assert [r["rule"] for r in refused["added"]] == [f"-p {p} -m {p} --dport 81 -j RETURN" for p in ("tcp", "udp")]
    checked = document(pod, *PLAIN, backend, "-o", "81", "--check", code=3)
    assert (checked["action"], checked["changed"], checked["added"]) == ("check", False, refused["added"])
    clean = document(pod, backend, "--cleanup-only")
    assert (clean["action"], clean["changed"], clean["rules"]) == ("cleanup", True, [])
    assert len(clean["removed"]) == len(made["rules"])


def test_a_document_of_validation(pod: Namespace) -> None:
    pod.run("ip", "route", "add", "default", "via", "10.244.0.1")
    probes = document(pod, *PLAIN, "--run-validation")["probes"]
    assert {p["outcome"] for p in probes} == {"passed"}
    pod.run("iptables", "-t", "nat", "-F", "ISTIO_REDIRECT")
    line = [*PLAIN, "--skip-rule-apply", "--run-validation", "--probe-timeout=300ms"]
    told = document(pod, *line, code=126)
    assert told["action"] == "validate"
    assert [p["probe"] for p in told["probes"] if p["outcome"] == "failed"] == ["outbound"]


def test_check_does_not_write_where_a_run_would(pod: Namespace) -> None:
    assert check(pod, *PLAIN, "--force-apply", "--reconcile")[0] == 3
    pod.must(*PLAIN)
    assert check(pod, *PLAIN, "--force-apply", "--reconcile")[0] == 0
