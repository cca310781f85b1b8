"""The Helm chart, rendered; no cluster is needed for that."""

from __future__ import annotations

import subprocess
from typing import Any

import yaml

from tests.cluster.harness import CLUSTER, NAMESPACE, ROOT

CHART = ROOT / "deploy" / "chart"


def helm(*arguments: str, check: bool = True) -> str:
    """Run Helm; returns stdout (and stderr, without `check`)."""
    done = subprocess.run([CLUSTER, "helm", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + ("" if check else done.stderr)


def rendered(*settings: str) -> dict[tuple[str, str], Any]:
    """The chart's objects by kind and name, with values set as `helm --set-json` takes them."""
    flags = [f"--set-json={setting}" for setting in settings]
    text = helm("template", "pysidecar", str(CHART), "--namespace", NAMESPACE, "--kube-version", "1.30", *flags)
    return {(found["kind"], found["metadata"]["name"]): found for found in yaml.safe_load_all(text) if found}


def refusal(*settings: str) -> str:
    """What Helm says to values that it refuses."""
    flags = [f"--set-json={setting}" for setting in settings]
    command = [CLUSTER, "helm", "template", "pysidecar", str(CHART), "--kube-version", "1.30", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0, f"{settings} was taken"
    return done.stderr
