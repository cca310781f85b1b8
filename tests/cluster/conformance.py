"""The Gateway API project's own conformance suite against the project in a cluster: `make conformance`.

    python -m tests.cluster.conformance                 mesh, and gateways' core
    python -m tests.cluster.conformance mesh            one of the two: what continuous integration runs
    python -m tests.cluster.conformance --profiles …    one run with these arguments of `conformance run`

The suite lies in $GATEWAY_CONFORMANCE, or in ../shared/gateway-conformance beside the repository.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cluster.harness import CLUSTER, MANIFEST, NAMESPACE, ROOT, running_cluster

MESH = ("--profiles", "MESH-HTTP,MESH-GRPC", "--namespace-labels", "istio-injection=enabled")
# a listener's Programmed waits for a pod, of which eight start at once: it gets the time of a Gateway's address
SLACK = ("--timeouts", "GatewayStatusMustHaveListeners:30")
GATEWAY = ("--profiles", "GATEWAY-HTTP", "--gateway-class", "pymesh", "--supported-features", "core", *SLACK)
RUNS = {"mesh": MESH, "gateway": GATEWAY}


_SORTED = "the program that answers tells a header's values sorted, not in the order in which they came"
# What fails for a reason that is not ours, or that was left out knowingly (docs/gateway-api.md).
KNOWN = {
    "MeshHTTPRouteRequestHeaderModifier": _SORTED,
    "MeshHTTPRouteBackendRequestHeaderModifier": _SORTED,
    "MeshFrontendHostname": "needs MeshClusterIPMatching: routes are chosen by the Host header, as with Istio",
}


def main(arguments: list[str]) -> int:
    """Runs the suite; 0 where nothing failed, 2 where there is none."""
    folder = Path(os.environ.get("GATEWAY_CONFORMANCE") or ROOT.parent / "shared" / "gateway-conformance")
    suite = folder / "conformance"
    if not suite.exists():
        print(f"{suite} is not there: set GATEWAY_CONFORMANCE=DIR", file=sys.stderr)
        return 2
    environment = os.environ | {"CLUSTER": str(CLUSTER), "PYTHON": sys.executable}
    with running_cluster() as cluster:
        subprocess.run([suite, "load"], env=environment, check=True)
        manifest = MANIFEST.with_name("pysidecar-mesh.yaml").read_text()
        cluster.install(manifest)
        try:
            for name in ("pyinject", "pymesh"):
                cluster.wait("condition=Available", f"deployment/{name}", NAMESPACE, timeout=120)
            if not RUNS.keys() >= set(arguments):
                return subprocess.run([suite, "run", *arguments], env=environment, check=False).returncode
            runs = [RUNS[name] for name in arguments or RUNS]
            failed = {name for run in runs for name in _failed_twice([suite, "run", *run], environment)}
        finally:
            subprocess.run([suite, "clean"], env=environment, check=False)
            cluster.uninstall(manifest)
    for name in sorted(failed & KNOWN.keys()):
        print(f"known: {name}: {KNOWN[name]}")
    for name in sorted(failed - KNOWN.keys()):
        print(f"failed: {name}")
    return 1 if failed - KNOWN.keys() else 0


def _failed_twice(command: list[Any], environment: dict[str, str]) -> set[str]:
    """What fails in the whole run and alone: pods of eight Gateways at once can outlast the suite's patience."""
    failed = _failed(command, environment)
    if not (again := failed - KNOWN.keys()):
        return failed
    print(f"once more: {', '.join(sorted(again))}", flush=True)
    return (failed & KNOWN.keys()) | _failed([*command, "--only", ",".join(sorted(again))], environment)


def _failed(command: list[Any], environment: dict[str, str]) -> set[str]:
    """Runs the suite; the names of the tests that failed. Raises RuntimeError where it did not come to its end."""
    found: set[str] = set()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        last = ""
        for line in run.stdout:
            print(line, end="", flush=True)
            last = line
            if line.startswith("FAIL "):
                found.add(line.split()[1])
    told = last.split()
    if told[1:2] != ["passed,"] or told[0] == "0" or int(told[2]) != len(found):
        raise RuntimeError(f"the suite did not come to its end: {last!r}")
    return found


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
