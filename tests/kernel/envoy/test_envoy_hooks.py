"""The hooks that kubelet runs in the sidecar, as the injector writes them, beside a real Envoy."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from demo import sample
from demo.network import Network
from demo.pod import Pod
from webhook.pod.inject import Request, inject
from webhook.settings import Settings

from .conftest import ENTER

PROXY = "istio-proxy"
HOLD = Settings.load(mesh={"defaultConfig": {"holdApplicationUntilProxyStarts": True}})


def test_post_start_ends_when_envoy_answers(tmp_path: Path) -> None:
    injected = inject(HOLD, Request(sample.POD, "shop")).pod
    with Network("hold") as network, Pod(injected, network, tmp_path) as pod:
        command = pod.container(PROXY)["lifecycle"]["postStart"]["exec"]["command"]
        with subprocess.Popen([*ENTER, pod.netns, str(pod.uid(PROXY)), "/usr/bin/env", *command]) as hook:
            time.sleep(0.5)
            assert hook.poll() is None
            pod.start(PROXY)
            assert hook.wait(10) == 0
        assert pod.probe(pod.container(PROXY)["readinessProbe"]["httpGet"]).status == 200
