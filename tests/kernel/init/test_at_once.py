"""A hundred pods start on one node: all share the xtables lock of the legacy variant."""

import subprocess
from contextlib import ExitStack

from tests.kernel.init.namespace import PLAIN, PYINIT, ROOT, namespace


def test_a_hundred_runs_at_once_all_succeed() -> None:
    with ExitStack() as stack:
        pods = [stack.enter_context(namespace("10.244.0.5/24")) for _ in range(100)]
        argv = ["nice", *PYINIT, *PLAIN, "--dual-stack", "--drop-invalid", "--force-iptables-binary=legacy"]
        runs = [
            subprocess.Popen(
                ["ip", "netns", "exec", pod.name, *argv], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
            )
            for pod in pods
        ]
        said = [run.communicate(timeout=120)[1].decode() for run in runs]
        assert [run.returncode for run in runs] == [0] * 100, said
        listings = {pod.run("iptables-legacy-save", "-t", "nat").stdout.count("ISTIO_OUTPUT ") for pod in pods}
        assert len(listings) == 1
        assert listings != {0}
