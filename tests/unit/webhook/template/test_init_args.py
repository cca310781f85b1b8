"""The command line that a template writes into the init container is one that pyinit understands."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from init.argv import parse
from webhook.pod.inject import Request, inject
from webhook.settings import Settings
from webhook.template.functions import init_args

ANNOTATIONS = {
    "traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8",
    "traffic.sidecar.istio.io/excludeOutboundIPRanges": "10.9.0.0/16",
    "traffic.sidecar.istio.io/includeInboundPorts": "80,443",
    "traffic.sidecar.istio.io/includeOutboundPorts": "443",
    "traffic.sidecar.istio.io/excludeOutboundPorts": "5432",
    "traffic.sidecar.istio.io/excludeInterfaces": "eth1",
    "istio.io/reroute-virtual-interfaces": "net1",
}
ISTIO = yaml.safe_load((Path(__file__).parents[1] / "golden_values.yaml").read_text())


@pytest.mark.parametrize("settings", [Settings.load(ISTIO), Settings.load()], ids=["istio", "standalone"])
@pytest.mark.parametrize("annotations", [{}, ANNOTATIONS], ids=["plain", "annotated"])
def test_pyinit_parses_it(settings: Settings, annotations: dict[str, str]) -> None:
    pod = {"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "web"}]}}
    injected = inject(settings, Request(pod)).pod
    args = next(c["args"] for c in injected["spec"]["initContainers"] if c["name"] == "istio-init")
    config = parse([arg for arg in args if arg != "istio-iptables"], {})
    assert config.proxy_uids == (1337,)
    assert {15090, 15021, 15020} <= set(config.inbound_exclude_ports)
    if annotations:
        assert config.inbound_ports == (80, 443)
        assert config.outbound_ports == (443,)
        assert config.outbound_exclude_ports == (5432,)
        assert config.kube_virt_interfaces == ("net1",)
        assert config.exclude_interfaces == ("eth1",)


def test_settings_are_spelled_as_pyinit_declares_them() -> None:
    assert init_args(
        envoy_port=1, outbound_ports=None, native_nftables=True, force_apply=False, backend="nftables"
    ) == [
        "-p",
        "1",
        "--native-nftables",
        "--backend=nftables",
    ]
    with pytest.raises(ValueError, match="init_args has no setting port; there are envoy_port, "):
        init_args(port=1)
