"""A case a feature: golden/*.yaml has settings and a pod, and under `show` the parts of the result that it is about.

`UPDATE_GOLDEN=1 pytest tests/unit/webhook/pod/test_golden.py` writes `show` anew. Every case goes through both callers:
the webhook (an AdmissionReview in bytes, its patch applied) and kube-inject (a file). Some say `only: webhook`:
kube-inject asks no policy, and has no URL to take variables from. Each is also held to what is true of any injection.
"""

from __future__ import annotations

import base64
import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonpatch
import orjson
import pytest
import yaml

from webhook.documents import edit, files
from webhook.documents.causes import Sources
from webhook.documents.offline import Injector, Outcome, inject_document, uninject_document
from webhook.errors import InjectionError
from webhook.merging import as_values
from webhook.pod.uninject import is_injected, uninject
from webhook.serving.server import Cluster, Reviewer

HERE = Path(__file__).parent
VALUES = yaml.safe_load((HERE.parent / "golden_values.yaml").read_text())

# What an injected pod does not tell of how it was; a file keeps it in its remark.
TOLD_IN_PART = {
    "before-proxy": "the order of the init containers",
    "gateway": "whether its sysctls were the template's",
    "mesh-gateway": "whether its sysctls were the template's",
    "openshift": "the user that OpenShift gave to istio-proxy",
    "probes": "the name of a probe's port",
}

Pod = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One file of golden/."""

    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text()

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(self.text)
        return found

    @property
    def request(self) -> Mapping[str, Any]:
        """What the caller knows beside the pod; `native_sidecars`, `namespace_metadata`, `proxy_env`."""
        return {"namespace": "default", **self.data.get("request", {})}

    @property
    def pod(self) -> Pod:
        """The pod as both callers get it, with a field that nobody knows."""
        pod = self.data["pod"]
        metadata = {"namespace": self.request["namespace"], **pod.get("metadata", {})}
        spec = {**pod["spec"], "unknownField": {"kept": [1, "x"]}}
        return {"apiVersion": "v1", "kind": "Pod", **pod, "metadata": metadata, "spec": spec}

    @property
    def sources(self) -> Sources:
        given = self.data.get("settings", {})
        return Sources(as_values(VALUES, given.get("values", {})), given.get("mesh"), given.get("config"))

    @property
    def namespaces(self) -> dict[str, Any]:
        about = self.request.get("namespace_metadata")
        return {} if about is None else {self.request["namespace"]: about}


def by_webhook(case: Case, pod: Pod) -> Pod | str:
    """The pod as the API server has it after the webhook's answer; or why it has it as it was, or not at all."""
    request = {"uid": "u-1", "namespace": case.request["namespace"], "object": pod}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    cluster = Cluster(case.request.get("native_sidecars", False), namespaces=case.namespaces)
    reviewer = Reviewer(case.sources.settings(), cluster)
    answer = orjson.loads(reviewer.answer(orjson.dumps(review), case.request.get("proxy_env", {})).body)["response"]
    message = answer["status"]["message"]
    if not answer["allowed"]:
        return f"refused: {message}"
    if message.startswith("not injected"):
        assert "patch" not in answer
        return f"{answer['auditAnnotations']['reason']}: {message}"
    patched: Pod = jsonpatch.apply_patch(pod, orjson.loads(base64.b64decode(answer.get("patch", "W10="))))
    return patched


def document(text: str) -> files.Document:
    (found,) = files.parse(text.encode(), "pod.yaml").documents
    return found


def by_file(case: Case, pod: Pod) -> Pod | str:
    """The pod as kube-inject writes it; or why it leaves or refuses it."""
    outcome = of_file(case, document(yaml.safe_dump(pod, sort_keys=False)))
    if isinstance(outcome, str):
        return outcome
    ((_, result),) = outcome.results
    written: Pod = yaml.safe_load(outcome.text)
    return written if result.decision.inject else f"{result.decision.reason}: {result.decision.message}"


def of_file(case: Case, before: files.Document) -> Outcome | str:
    settings = case.sources.settings().for_files()
    injector = Injector(case.sources, settings, case.request.get("native_sidecars", False), case.namespaces)
    try:
        return inject_document(before, injector)
    except InjectionError as error:
        return f"refused: {error.__cause__}"  # itself it begins with the file's name


Caller = Callable[[Case, Pod], Pod | str]
CASES = [Case(path) for path in sorted((HERE / "golden").glob("*.yaml"))]
BOTH = [
    pytest.param(case, caller, id=f"{case.path.stem}-{caller.__name__}")
    for case in CASES
    for caller in (by_webhook, by_file)
    if caller is by_webhook or case.data.get("only") != "webhook"
]


def named(entries: list[dict[str, Any]], name: str) -> Any:
    return next((entry for entry in entries if entry.get("name") == name), None)


def shown(pod: Pod, what: str) -> Any:
    """A part of the result: label:NAME, annotation:NAME, env:NAME of the proxy, or a path of fields and names."""
    kind, _, name = what.partition(":")
    if kind in ("label", "annotation"):
        return pod["metadata"].get(f"{kind}s", {}).get(name)
    if kind == "env":
        containers = pod["spec"]["containers"] + pod["spec"].get("initContainers", [])
        return (named(named(containers, "istio-proxy")["env"], name) or {}).get("value")
    value: Any = pod
    for step in what.split("/"):
        if value is None:
            return None
        if isinstance(value, list):
            value = [entry["name"] for entry in value] if step == "*" else named(value, step)
        else:
            value = value.get(step)
    return value


@pytest.mark.parametrize(("case", "caller"), BOTH)
def test_shows(case: Case, caller: Caller) -> None:
    result = caller(case, case.pod)
    wanted = case.data["show"]
    found = {"outcome": result} if isinstance(result, str) else {what: shown(result, what) for what in wanted}
    if os.environ.get("UPDATE_GOLDEN"):
        dumped = yaml.safe_dump({"show": found}, sort_keys=False, width=110, allow_unicode=True)
        case.path.write_text(case.text[: case.text.index("\nshow:") + 1] + dumped)
        return
    assert found == wanted


@pytest.mark.parametrize(("case", "caller"), BOTH)
def test_injecting_again_changes_nothing_and_unknown_fields_survive(case: Case, caller: Caller) -> None:
    pod = case.pod
    before = copy.deepcopy(pod)
    result = caller(case, pod)
    assert pod == before
    if isinstance(result, str):
        return
    assert result["spec"]["unknownField"] == pod["spec"]["unknownField"]
    assert caller(case, orjson.loads(orjson.dumps(result))) == result


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.path.stem)
def test_uninject_gives_the_pod_back(case: Case) -> None:
    pod = case.pod
    result = by_webhook(case, pod)
    if not isinstance(result, str) and not is_injected(pod):
        assert edit.same(uninject(result), pod) is (case.path.stem not in TOLD_IN_PART)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.path.stem)
def test_uninject_gives_the_file_back(case: Case) -> None:
    before = document(yaml.safe_dump(case.pod, sort_keys=False))
    outcome = of_file(case, before)
    if not isinstance(outcome, str) and not is_injected(case.pod):
        assert edit.same(uninject_document(document(outcome.text)).value, before.value)
