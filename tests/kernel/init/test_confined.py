"""What a pod allows: two capabilities, a read-only root; and a node's view of a pod's namespace."""

import subprocess
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path
from threading import Timer

import pytest

from tests.kernel.init.namespace import EVERYTHING, PLAIN, PYINIT, ROOT, Namespace, confined_to

LOCK = Path("/run/xtables.lock")
CAPABILITIES = confined_to("12,13")  # NET_ADMIN, NET_RAW
READ_ONLY = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    # /tmp, where this checkout may be, is read-only in its place: it can be a file system of its own
    "mount -t tmpfs -o ro tmpfs /run && mount --bind /tmp /tmp && mount -o remount,bind,ro /tmp"
    ' && mount -o remount,bind,ro / && exec "$@"',
    "sh",
]


@pytest.mark.parametrize("asked", [PLAIN, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("confined", [CAPABILITIES, [*READ_ONLY, *CAPABILITIES]], ids=["capabilities", "read-only"])
def test_two_capabilities_and_a_read_only_root_are_enough(
    dual: Namespace, variant: str, asked: list[str], confined: list[str]
) -> None:
    before = dual.state()
    argv = [*confined, *asked, f"--force-iptables-binary={variant}"]
    for said in ("done", "all is there already"):
        done = dual.run(*argv, check=False)
        assert done.returncode == 0, done.stderr
        assert said in done.stderr
    assert dual.run(*argv, "--cleanup-only", check=False).returncode == 0
    assert dual.state() == before


def test_from_the_node_with_a_lock_of_its_own(dual: Namespace, variant: str) -> None:
    dual.must(*EVERYTHING, f"--force-iptables-binary={variant}")
    inside = dual.state()
    dual.must("--cleanup-only")
    argv = [*PYINIT, *EVERYTHING, f"--network-namespace=/run/netns/{dual.name}", "--cni-mode"]
    # The node's own programs hold the lock, and somebody the one file that all namespaces share; a pod's tables need
    # none of it.
    with LOCK.open("w") as node, Path("/dev/null").open("w") as shared:
        flock(node, LOCK_EX)
        flock(shared, LOCK_EX)
        done = subprocess.run([*argv, f"--force-iptables-binary={variant}"], cwd=ROOT, timeout=25, check=False)
    assert done.returncode == 0
    assert dual.state() == inside


def test_it_waits_for_the_xtables_lock(pod: Namespace) -> None:
    with LOCK.open("w") as other:
        flock(other, LOCK_EX)
        Timer(1, flock, (other, LOCK_UN)).start()
        pod.must(*PLAIN, "--force-iptables-binary=legacy")


def test_no_such_namespace_is_told(pod: Namespace) -> None:
    failed = pod.pyinit(*PLAIN, "--network-namespace=/run/netns/no-such-pod")
    assert failed.returncode == 2
    assert "--network-namespace=/run/netns/no-such-pod: No such file or directory" in failed.stderr
    assert pod.pyinit(*PLAIN, "--network-namespace=/etc/passwd").returncode == 2
