"""The Gateway API project's own conformance suite against the project in a cluster: `make conformance`.

    python -m tests.cluster.conformance                   all that our GatewayClass claims: mesh, then gateways
    python -m tests.cluster.conformance mesh              one of the two
    python -m tests.cluster.conformance --report FILE …   and the suite's reports, one after the other, into a file
    python -m tests.cluster.conformance --profiles …      one run with these arguments of `conformance run`

The suite lies in $GATEWAY_CONFORMANCE, or in ../shared/gateway-conformance beside the repository. It runs with its own
limits, as for a published report; only in the mesh it asks ten times in a row, for where two pods answer in turns three
right answers come by chance.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from init import __version__
from tests.cluster.harness import CLUSTER, MANIFEST, NAMESPACE, ROOT, Cluster, eventually, running_cluster

CLASS = "pymesh"
# The suite tries whatever is claimed: of the two halves each without what all tests of the other need.
NEEDED_ELSEWHERE = {"mesh": "Gateway", "gateway": "Mesh"}
PROFILES = {
    "mesh": ("--profiles", "MESH-HTTP,MESH-GRPC", "--namespace-labels", "istio-injection=enabled"),
    "gateway": ("--profiles", "GATEWAY-HTTP,GATEWAY-GRPC,GATEWAY-TLS,GATEWAY-TCP"),
}
REPORTED = {
    "organization": "pysidecar",
    "project": "pymesh",
    "url": "https://github.com/pysidecar/pysidecar",
    "version": __version__,
    "contact": "https://github.com/pysidecar/pysidecar/issues",
}
# What fails for a reason that is not ours, each with it.
KNOWN: dict[str, str] = {}


def main(arguments: list[str]) -> int:
    """Runs the suite; 0 where nothing failed, 2 where there is none."""
    folder = Path(os.environ.get("GATEWAY_CONFORMANCE") or ROOT.parent / "shared" / "gateway-conformance")
    suite = folder / "conformance"
    if not suite.exists():
        print(f"{suite} is not there: set GATEWAY_CONFORMANCE=DIR", file=sys.stderr)
        return 2
    report = None
    if arguments[:1] == ["--report"] and len(arguments) > 1:
        report, arguments = Path(arguments[1]).resolve(), arguments[2:]
    environment = os.environ | {"CLUSTER": str(CLUSTER), "PYTHON": sys.executable}
    with running_cluster() as cluster:
        subprocess.run([suite, "load"], env=environment, check=True)
        # nobody gives Services of type LoadBalancer an address here, and the suite's gateways, some fifty at once, are
        # to find room on a node of two processors
        manifest = MANIFEST.with_name("pysidecar-mesh.yaml").read_text()
        manifest = manifest.replace("type: LoadBalancer", "type: ClusterIP").replace("cpu: 50m", "cpu: 1m")
        cluster.install(manifest)
        try:
            for name in ("pyinject", "pymesh"):
                cluster.wait("condition=Available", f"deployment/{name}", NAMESPACE, timeout=120)
            if not PROFILES.keys() >= set(arguments):
                return subprocess.run([suite, "run", *arguments], env=environment, check=False).returncode
            failed = set()
            with TemporaryDirectory() as made:
                parts = [Path(made, name) for name in arguments or PROFILES]
                for part in parts:
                    command = [suite, "run", *PROFILES[part.name], *_claimed(cluster, part.name)]
                    flags = ("--report", part, "--", "-mesh-in-a-row=10", *_flags(cluster))
                    failed |= _failed_twice(command, flags, environment)
                if report is not None:
                    report.write_text("".join(f"---\n{part.read_text()}" for part in parts))
        finally:
            subprocess.run([suite, "clean"], env=environment, check=False)
            cluster.uninstall(manifest)
    for name in sorted(failed & KNOWN.keys()):
        print(f"known: {name}: {KNOWN[name]}")
    for name in sorted(failed - KNOWN.keys()):
        print(f"failed: {name}")
    return 1 if failed - KNOWN.keys() else 0


def _claimed(cluster: Cluster, half: str) -> list[str]:
    """What is to be tried: what the GatewayClass says is supported. The suite itself would leave out the mesh's."""

    def told() -> list[str]:
        found = cluster.get("gatewayclass", CLASS, namespace="default").get("status") or {}
        assert found.get("supportedFeatures"), f"GatewayClass {CLASS} does not say what is supported"
        return [one["name"] for one in found["supportedFeatures"] if one["name"] != NEEDED_ELSEWHERE[half]]

    return ["--gateway-class", CLASS, "--supported-features", ",".join(eventually(told, 60)), "--official"]


def _flags(cluster: Cluster) -> list[str]:
    """Of the suite itself: who reports, an address that a Service may have, and one that none has (TEST-NET-1)."""
    network = cluster.get("service", "kubernetes", namespace="default")["spec"]["clusterIP"].rsplit(".", 2)[0]
    addresses = [f"--usable-address={network}.77.77", "--unusable-address=192.0.2.1"]
    return [*(f"--{name}={value}" for name, value in REPORTED.items()), *addresses]


def _failed_twice(command: Sequence[Any], flags: Sequence[Any], environment: dict[str, str]) -> set[str]:
    """What fails in the whole run, which is the one that is reported, and alone."""
    failed = _failed([*command, *flags], environment)
    if not (again := failed - KNOWN.keys()):
        return failed
    print(f"once more: {', '.join(sorted(again))}", flush=True)
    return (failed & KNOWN.keys()) | _failed([*command, "--only", ",".join(sorted(again)), *flags[2:]], environment)


def _failed(command: Sequence[Any], environment: dict[str, str]) -> set[str]:
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
