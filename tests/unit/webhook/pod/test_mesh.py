"""The profile mesh: who the proxy says it is, whom it asks, and by what files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.envoy.discovery import AUDIENCE, CA, CA_CONFIG_MAP, FOLDER, TOKEN
from common.errors import SettingsError
from webhook.pod.inject import Request, inject
from webhook.settings import Settings

VALUES = {"profile": "mesh"}


def injected(settings: Settings, **metadata: Any) -> dict[str, Any]:
    """The spec of a pod, injected."""
    gateway = "gateway" in str(metadata)
    container = {"name": "istio-proxy", "image": "auto"} if gateway else {"name": "web", "image": "web"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "shop", **metadata},
        "spec": {"serviceAccountName": "clerk", "containers": [container]},
    }
    result = inject(settings, Request(pod, "shop"))
    assert inject(settings, Request(result.pod, "shop")).pod == result.pod
    spec: dict[str, Any] = result.pod["spec"]
    return spec


def bootstrap(spec: dict[str, Any]) -> dict[str, Any]:
    """What Envoy is started with."""
    [proxy] = [one for one in spec["containers"] if one["name"] == "istio-proxy"]
    text = proxy["args"][proxy["args"].index("--config-yaml") + 1]
    message: dict[str, Any] = json.loads(text)
    return message


def asked(spec: dict[str, Any]) -> dict[str, Any]:
    """The address of the control plane."""
    [xds] = [one for one in bootstrap(spec)["static_resources"]["clusters"] if one["name"] == "xds-grpc"]
    [endpoints] = xds["load_assignment"]["endpoints"]
    found: dict[str, Any] = endpoints["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    return found


def test_the_node_says_what_the_control_plane_asks_of_it() -> None:
    node = bootstrap(injected(Settings.load(VALUES), labels={"app": "web", "x": "$(POD_NAME)"}))["node"]
    assert node["id"] == "sidecar~$(INSTANCE_IP)~$(POD_NAME).$(POD_NAMESPACE)~$(POD_NAMESPACE).svc.cluster.local"
    assert node["cluster"] == "web.$(POD_NAMESPACE)"
    assert node["metadata"] == {
        "NAME": "$(POD_NAME)",
        "NAMESPACE": "$(POD_NAMESPACE)",
        "WORKLOAD_NAME": "web-1",
        "APP_CONTAINERS": "web",
        "INTERCEPTION_MODE": "REDIRECT",
        "SERVICE_ACCOUNT": "clerk",
        "LABELS": {"app": "web", "x": "$$(POD_NAME)"},
        "CLUSTER_ID": "Kubernetes",
        "INSTANCE_IPS": "$(INSTANCE_IPS)",
        "NODE_NAME": "$(NODE_NAME)",
    }


def test_a_gateway_is_a_router() -> None:
    spec = injected(Settings.load(VALUES), annotations={"inject.istio.io/templates": "gateway"})
    assert bootstrap(spec)["node"]["id"].startswith("router~")
    assert [one["name"] for one in bootstrap(spec)["static_resources"]["listeners"]] == ["status", "metrics"]
    assert "initContainers" not in spec


def test_the_files_are_those_that_the_bootstrap_names() -> None:
    spec = injected(Settings.load(VALUES))
    [volume] = spec["volumes"]
    [token, authority] = volume["projected"]["sources"]
    [mount] = next(one for one in spec["containers"] if one["name"] == "istio-proxy")["volumeMounts"]
    assert mount == {"name": volume["name"], "mountPath": FOLDER, "readOnly": True}
    assert token["serviceAccountToken"]["audience"] == AUDIENCE
    assert f"{FOLDER}/{token['serviceAccountToken']['path']}" == TOKEN
    assert authority["configMap"]["name"] == CA_CONFIG_MAP
    assert f"{FOLDER}/{authority['configMap']['items'][0]['path']}" == CA
    assert CA in str(bootstrap(spec))
    assert TOKEN in str(bootstrap(spec))


@pytest.mark.parametrize(
    ("settings", "annotations", "address"),
    [
        (Settings.load(VALUES), {}, ("pymesh.pysidecar-system.svc", 15012)),
        (
            Settings.load({**VALUES, "global": {"proxy": {"discoveryAddress": "mesh.a.svc:15012"}}}),
            {},
            ("mesh.a.svc", 15012),
        ),
        (
            Settings.load(VALUES, {"defaultConfig": {"discoveryAddress": "mesh.b.svc:1"}}),
            {},
            ("mesh.b.svc", 1),
        ),
        (
            Settings.load(VALUES),
            {"proxy.istio.io/config": "discoveryAddress: '[fd00::1]:15012'"},
            ("fd00::1", 15012),
        ),
    ],
)
def test_the_control_plane_is_where_the_settings_say(
    settings: Settings, annotations: dict[str, str], address: tuple[str, int]
) -> None:
    found = asked(injected(settings, annotations=annotations))
    assert (found["address"], found["port_value"]) == address


def test_envoy_comes_back_soon_and_takes_expressions_as_istio_does() -> None:
    told = bootstrap(injected(Settings.load(VALUES)))
    [asked_by] = told["dynamic_resources"]["ads_config"]["grpc_services"]
    back_off = {"base_interval": "0.5s", "max_interval": "5s"}
    assert asked_by["envoy_grpc"]["retry_policy"] == {"retry_back_off": back_off}
    limits, admin = told["layered_runtime"]["layers"]
    assert limits["static_layer"] == {"re2.max_program_size.error_level": 32768}
    assert admin["admin_layer"] == {}


def test_standalone_asks_nobody() -> None:
    spec = injected(Settings.load({"profile": "standalone"}))
    assert "volumes" not in spec
    assert "dynamic_resources" not in bootstrap(spec)


def test_an_unknown_profile_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError, match="'mash' is not one of istio, standalone, mesh"):
        Settings.load({"profile": "mash"})
