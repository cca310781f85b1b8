"""The Gateway API project's own conformance suite against the project in a cluster: `make conformance`.

    python -m tests.cluster.conformance                 what continuous integration runs: mesh, gateways' core
    python -m tests.cluster.conformance --profiles …    one run with these arguments of `conformance run`

The suite lies in $GATEWAY_CONFORMANCE, or in ../shared/gateway-conformance beside the repository.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.cluster.harness import CLUSTER, MANIFEST, NAMESPACE, ROOT, running_cluster

MESH = ("--profiles", "MESH-HTTP,MESH-GRPC", "--namespace-labels", "istio-injection=enabled")
GATEWAY = ("--profiles", "GATEWAY-HTTP", "--gateway-class", "pymesh", "--supported-features", "core")


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
            runs = [tuple(arguments)] if arguments else [MESH, GATEWAY]
            failed = [
                run for run in runs if subprocess.run([suite, "run", *run], env=environment, check=False).returncode
            ]
        finally:
            subprocess.run([suite, "clean"], env=environment, check=False)
            cluster.uninstall(manifest)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
