"""Taking sidecars out again: exactly from files, and from the pod alone in all that it tells."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from webhook.documents import edit, files, remark
from webhook.documents.causes import Sources
from webhook.documents.offline import Injector, inject_document, uninject_document
from webhook.errors import AnnotationError, InjectionError, PodError
from webhook.pod.uninject import is_injected, uninject

HERE = Path(__file__).parents[1]
INPUTS = sorted((HERE / "inputs").glob("*.yaml"))
VALUES = yaml.safe_load((HERE / "golden_values.yaml").read_text())
SOURCES = Sources()
SETTINGS = SOURCES.settings().for_files()


def document(text: str) -> files.Document:
    (found,) = files.parse(text.encode(), "a.yaml").documents
    return found


@pytest.mark.parametrize("native", [True, False], ids=["native", "plain"])
@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_a_file_comes_back_byte_for_byte(path: Path, native: bool) -> None:
    injector = Injector(SOURCES, SETTINGS, native)
    before = document(path.read_text())
    once = inject_document(before, injector)
    assert once.text != before.text
    assert once.anew == ""
    twice = inject_document(document(once.text), injector)
    assert twice.text == once.text
    back = uninject_document(document(twice.text))
    assert edit.same(back.value, before.value)
    assert back.text == before.text


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_a_file_injected_otherwise_the_second_time_comes_back(path: Path) -> None:
    before = document(path.read_text())
    once = inject_document(before, Injector(SOURCES, SETTINGS, native_sidecars=False))
    twice = inject_document(document(once.text), Injector(SOURCES, SETTINGS, native_sidecars=True))
    assert edit.same(uninject_document(document(twice.text)).value, before.value)


def test_under_standalone_nothing_changes_beside_the_pod() -> None:
    text = "kind: StatefulSet\nspec:\n  template:\n    spec:\n      containers:\n      - name: app\n"
    outcome = inject_document(document(text), Injector(SOURCES, SETTINGS))
    assert outcome.value.keys() == {"kind", "spec"}


@pytest.mark.parametrize(("profile", "holder"), [("istio", "jobTemplate"), ("standalone", "template")])
def test_a_cron_job_is_marked_where_its_pods_are_but_for_istioctl(profile: str, holder: str) -> None:
    sources = Sources(values=VALUES) if profile == "istio" else SOURCES
    before = document((HERE / "inputs" / "cronjob.yaml").read_text())
    outcome = inject_document(before, Injector(sources, sources.settings().for_files()))
    job = outcome.value["spec"]["jobTemplate"]
    marked = {"jobTemplate": job, "template": job["spec"]["template"]}
    assert [name for name, value in marked.items() if is_injected(value)] == [holder]
    assert uninject_document(document(outcome.text)).text == before.text


def test_what_is_not_injected_stays_as_it_is() -> None:
    before = document("kind: Pod\nspec: {containers: [{name: app}]}\n")
    outcome = uninject_document(before)
    assert outcome.text == before.text
    assert outcome.value is before.value


def test_a_remark_holds_the_differences_from_what_is_told_to_what_was() -> None:
    text = "kind: Pod\nmetadata:\n  labels: {security.istio.io/tlsMode: istio}\nspec:\n  containers:\n  - name: app\n"
    outcome = inject_document(document(text), Injector(SOURCES, SETTINGS))
    assert outcome.text.count("\n# pyinject uninject: ") == outcome.text.count("# pyinject")
    without = "".join(line for line in outcome.text.splitlines(keepends=True) if not line.startswith("# pyinject"))
    told = uninject_document(document(without)).value
    assert {**told, "metadata": None} == {**outcome.document.value, "metadata": None}


PROBED = """\
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers:
      - name: app
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {port: http}}
        livenessProbe: {tcpSocket: {port: http}}
"""


def test_a_container_put_in_front_meanwhile_gets_nothing_of_another() -> None:
    """What the file keeps goes by names: a JSON Patch would have put the app's port into the new container's probe."""
    injected = inject_document(document(PROBED), Injector(SOURCES, SETTINGS))
    first = "      - name: first\n        readinessProbe: {httpGet: {port: 9999}}\n"
    edited = injected.text.replace("      containers:\n", f"      containers:\n{first}", 1)
    back = uninject_document(document(edited))
    assert back.text.startswith(PROBED.replace("      containers:\n", f"      containers:\n{first}"))
    assert back.misfits == ()


def test_one_edited_place_does_not_cost_the_others() -> None:
    injected = inject_document(document(PROBED), Injector(SOURCES, SETTINGS))
    probe = "livenessProbe: {httpGet: {path: /app-health/app/livez, port: 15020}}\n"
    assert probe in injected.text
    edited = injected.text.replace(probe, "livenessProbe: {tcpSocket: {port: 7}}\n")
    back = uninject_document(document(edited))
    (app,) = back.value["spec"]["template"]["spec"]["containers"]
    assert app["readinessProbe"] == {"httpGet": {"port": "http"}}
    assert app["livenessProbe"] == {"tcpSocket": {"port": 7}}
    assert back.misfits == ("spec.template.spec.containers[app].livenessProbe.tcpSocket.port",)


@pytest.mark.parametrize("native", [True, False], ids=["native", "plain"])
def test_a_last_line_without_an_end_stays_one(native: bool) -> None:
    before = document(PROBED.removesuffix("\n"))
    injected = inject_document(before, Injector(SOURCES, SETTINGS, native))
    assert not injected.text.endswith("\n")
    assert uninject_document(document(injected.text)).text == before.text


def test_json_comes_back_as_told() -> None:
    text = '{"kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [{"name": "app", "image": "x"}]}}'
    outcome = inject_document(document(text), Injector(SOURCES, SETTINGS))
    assert outcome.document.json
    assert outcome.exact
    assert uninject_document(document(outcome.text)).value == outcome.document.value


REMARK = '# pyinject uninject: [{"at":["a"]}]'


@pytest.mark.parametrize("text", ["a: 1\n", "a: 1", "a: 1\n...\n", "---\na: |\n  x\n"])
def test_a_remark_is_put_and_taken(text: str) -> None:
    differences = [{"at": ["a"]}]
    marked = remark.put(text, differences)
    assert REMARK in marked
    assert remark.put(marked, differences) == marked
    assert remark.take(marked) == (text, differences)
    assert marked.endswith("\n") == text.endswith("\n")
    assert document(marked).value == document(text).value


@pytest.mark.parametrize("broken", ["# pyinject uninject: [", "# pyinject uninject: {}", "# pyinject uninject: [1]"])
def test_a_broken_remark_is_passed_over(broken: str) -> None:
    outcome = inject_document(document("kind: Pod\nspec:\n  containers:\n  - name: app\n"), Injector(SOURCES, SETTINGS))
    told = uninject_document(document(outcome.text)).value
    assert uninject_document(document(f"{remark.take(outcome.text)[0]}{broken}\n")).value == told


def pod(annotations: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"annotations": annotations}, "spec": {"containers": [], **spec}}


STATUS = "sidecar.istio.io/status"


@pytest.mark.parametrize("status", ["{", "[]", "1", '{"containers": "istio-proxy"}', '{"volumes": [1]}'])
def test_a_status_that_no_injector_wrote_is_refused(status: str) -> None:
    with pytest.raises(AnnotationError, match=STATUS):
        uninject(pod({STATUS: status}))


def test_a_pod_that_is_none_is_refused_with_the_field() -> None:
    with pytest.raises(PodError, match=r"pod\.spec\.containers"):
        uninject(pod({STATUS: '{"revision":"default"}'}, containers=3))
    text = f"kind: Pod\nmetadata: {{name: web, annotations: {{{STATUS}: '{{'}}}}\nspec: {{containers: []}}\n"
    with pytest.raises(InjectionError, match=r"^a\.yaml:1: "):
        uninject_document(document(text))


def test_what_istioctl_injected_comes_back_as_told() -> None:
    probe = {"httpGet": {"path": "/app-health/app/readyz", "port": 15020}, "periodSeconds": 5}
    probers = '{"/app-health/app/readyz":{"httpGet":{"path":"/ready","port":8080,"scheme":"HTTP"},"timeoutSeconds":1}}'
    app = {"name": "app", "image": "app", "readinessProbe": probe}
    sidecar = {
        "name": "istio-proxy",
        "env": [
            {"name": "ISTIO_KUBE_APP_PROBERS", "value": probers},
            {"name": "ISTIO_PROMETHEUS_ANNOTATIONS", "value": '{"scrape":"true","path":"","port":"9090"}'},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
    }
    injected = pod(
        {
            STATUS: '{"initContainers":["istio-init","istio-proxy"],"volumes":["istio-envoy"],"revision":"default"}',
            "istio.io/rev": "default",
            "kubectl.kubernetes.io/default-container": "app",
            "prometheus.io/path": "/stats/prometheus",
            "prometheus.io/port": "15020",
            "prometheus.io/scrape": "true",
            "k8s.v1.cni.cncf.io/networks": "mine, default/istio-cni",
            "mine": "stays",
        },
        containers=[app],
        initContainers=[{"name": "istio-init"}, sidecar, {"name": "migrate"}],
        volumes=[{"name": "istio-envoy"}, {"name": "data"}],
    )
    injected["metadata"]["labels"] = {
        "app": "web",
        "security.istio.io/tlsMode": "istio",
        "service.istio.io/canonical-name": "web",
        "service.istio.io/canonical-revision": "v7",
    }
    assert uninject(injected) == {
        "kind": "Pod",
        "metadata": {
            "labels": {"app": "web", "service.istio.io/canonical-revision": "v7"},
            "annotations": {
                "prometheus.io/port": "9090",
                "prometheus.io/scrape": "true",
                "k8s.v1.cni.cncf.io/networks": "mine",
                "mine": "stays",
            },
        },
        "spec": {
            "containers": [
                {**app, "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5}}
            ],
            "initContainers": [{"name": "migrate"}],
            "volumes": [{"name": "data"}],
        },
    }


def test_a_container_of_the_users_own_comes_back() -> None:
    overrides = '{"initContainers":[{"name":"istio-proxy","args":["mine"]}]}'
    injected = pod({STATUS: '{"initContainers":["istio-proxy"]}', "proxy.istio.io/overrides": overrides})
    injected["spec"]["initContainers"] = [{"name": "istio-proxy", "image": "x", "args": ["mine"]}]
    own = {"name": "istio-proxy", "image": "auto", "args": ["mine"]}
    assert uninject(injected)["spec"] == {"containers": [own]}
