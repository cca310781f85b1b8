"""A Gateway of Gateway API in a cluster: what pymesh runs for it, what it tells of it, and what requests find there.

What a request's path is after a rewrite, and where a redirect leads, the conformance suite does not look at.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.harness import Cluster, eventually
from tests.cluster.objects import Object, code, deployment, pod_spec, service
from tests.cluster.test_mesh import mesh

__all__ = ["mesh"]  # the fixture

GROUP = "gateway.networking.k8s.io"
KINDS = {"GatewayClass": ("gatewayclasses", "Cluster")} | {
    kind: (f"{kind.lower()}s", "Namespaced") for kind in ("Gateway", "HTTPRoute", "ListenerSet", "ReferenceGrant")
}


def definition(kind: str) -> Object:
    """A CustomResourceDefinition that takes any field."""
    plural, scope = KINDS[kind]
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{GROUP}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [version],
        },
    }


def api(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def definitions(bare_cluster: Cluster) -> Iterator[None]:
    """Gateway API's kinds."""
    bare_cluster.apply(*map(definition, KINDS))
    names = [f"crd/{plural}.{GROUP}" for plural, _ in KINDS.values()]
    try:
        bare_cluster.kubectl("wait", "--for=condition=Established", *names, "--timeout=30s")
        yield
    finally:
        bare_cluster.kubectl("delete", *names)


@pytest.fixture(scope="module")
def shop(definitions: None, mesh: Cluster) -> Iterator[str]:  # noqa: ARG001 (it has to be first)
    """A namespace with a server."""
    with mesh.namespace() as name:
        mesh.apply(code(), deployment("server", pod_spec(mesh)), service("server"), namespace=name)
        yield name


def conditions(mesh: Cluster, kind: str, name: str, shop: str) -> dict[str, str]:
    """Status and reason of an object's conditions, of a route's at its first parent; all are of now."""
    found = mesh.get(f"{kind}.{GROUP}", name, namespace=shop)
    status = found.get("status") or {}
    if kind == "httproutes":
        assert status.get("parents"), "no parent tells anything yet"
        status = status["parents"][0]
    told = status.get("conditions") or []
    assert {one["observedGeneration"] for one in told} == {found["metadata"]["generation"]}
    return {one["type"]: f"{one['status']} {one['reason']}" for one in told}


class Unfollowed(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def ask(url: str, host: str = "") -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.build_opener(Unfollowed).open(request, timeout=3) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), b""
    except OSError as error:
        raise AssertionError(str(error)) from error


def test_a_gateway_gets_pods_an_address_and_true_conditions(mesh: Cluster, shop: str) -> None:
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    backend = {"backendRefs": [{"name": "server", "port": 80}]}

    def path(value: str) -> Object:
        return {"matches": [{"path": {"type": "PathPrefix", "value": value}}]}

    rewrite = {
        "type": "URLRewrite",
        "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}},
    }
    redirect = {"type": "RequestRedirect", "requestRedirect": {"hostname": "shop.example", "statusCode": 301}}
    rules = [path("/old") | backend | {"filters": [rewrite]}, path("/away") | {"filters": [redirect]}]
    mesh.apply(
        api("Gateway", "gw", {"gatewayClassName": "pymesh", "listeners": [listener]}),
        api("HTTPRoute", "to-server", {"parentRefs": [{"name": "gw"}], "rules": rules}),
        namespace=shop,
    )

    def programmed() -> str:
        assert conditions(mesh, "gateways", "gw", shop) == {
            "Accepted": "True Accepted",
            "Programmed": "True Programmed",
        }
        [address] = mesh.get(f"gateways.{GROUP}", "gw", namespace=shop)["status"]["addresses"]
        return str(address["value"])

    address = eventually(programmed, 60)
    assert address == mesh.get("service", "gw-pymesh", namespace=shop)["spec"]["clusterIP"]
    assert conditions(mesh, "httproutes", "to-server", shop) == {
        "Accepted": "True Accepted",
        "ResolvedRefs": "True ResolvedRefs",
    }
    mesh.ready_pod("server", shop)

    def rewritten() -> None:
        status, _, body = ask(f"http://{address}/old/path")
        assert status == 200
        assert json.loads(body)["path"] == "/new/path"

    eventually(rewritten)
    status, headers, _ = ask(f"http://{address}/away/x?y=1")
    assert (status, headers["location"]) == (301, "http://shop.example/away/x?y=1")


def test_a_grant_that_is_taken_back_and_listeners_of_another_namespace(mesh: Cluster, shop: str) -> None:
    allowed = {"allowedListeners": {"namespaces": {"from": "All"}}}
    own = {"name": "own", "port": 80, "protocol": "HTTP", "hostname": "own.example"}
    more = own | {"name": "more", "hostname": "more.example"}
    mesh.apply(api("Gateway", "open", {"gatewayClassName": "pymesh", "listeners": [own]} | allowed), namespace=shop)
    with mesh.namespace() as guest:
        grant = {
            "from": [{"group": GROUP, "kind": "HTTPRoute", "namespace": guest}],
            "to": [{"group": "", "kind": "Service"}],
        }
        parent = {"kind": "ListenerSet", "name": "more"}
        rule = {"backendRefs": [{"name": "server", "namespace": shop, "port": 80}]}
        mesh.apply(api("ReferenceGrant", "guest", grant), namespace=shop)
        mesh.apply(
            api("ListenerSet", "more", {"parentRef": {"name": "open", "namespace": shop}, "listeners": [more]}),
            api("HTTPRoute", "over", {"parentRefs": [parent], "rules": [rule]}),
            namespace=guest,
        )

        def answers(status: int) -> None:
            address = mesh.get("service", "open-pymesh", namespace=shop)["spec"]["clusterIP"]
            assert ask(f"http://{address}/", host="more.example")[0] == status

        eventually(lambda: answers(200), 60)
        accepted = {"Accepted": "True Accepted"}
        assert conditions(mesh, "listenersets", "more", guest) == accepted | {"Programmed": "True Programmed"}
        assert conditions(mesh, "httproutes", "over", guest) == accepted | {"ResolvedRefs": "True ResolvedRefs"}
        assert mesh.get(f"gateways.{GROUP}", "open", namespace=shop)["status"]["attachedListenerSets"] == 1
        mesh.kubectl("-n", shop, "delete", f"referencegrants.{GROUP}", "guest")
        eventually(lambda: answers(500))

        def told() -> None:
            assert conditions(mesh, "httproutes", "over", guest)["ResolvedRefs"] == "False RefNotPermitted"

        eventually(told)
    mesh.kubectl("-n", shop, "delete", f"gateways.{GROUP}", "open")


@pytest.mark.usefixtures("definitions")
def test_a_service_that_cannot_be_made_is_told_in_the_api_servers_words(mesh: Cluster) -> None:
    with mesh.namespace() as name:
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
        mesh.apply(quota | {"spec": {"hard": {"services": "0"}}}, namespace=name)
        listener = {"name": "http", "port": 80, "protocol": "HTTP"}
        mesh.apply(api("Gateway", "gw", {"gatewayClassName": "pymesh", "listeners": [listener]}), namespace=name)

        def told() -> None:
            found = conditions(mesh, "gateways", "gw", name)
            assert found == {"Accepted": "True Accepted", "Programmed": "False NoResources"}

        eventually(told)
        [_, programmed] = mesh.get(f"gateways.{GROUP}", "gw", namespace=name)["status"]["conditions"]
        assert "exceeded quota" in programmed["message"]
        assert "role" not in programmed["message"]


def test_what_is_wrong_is_told_and_what_goes_takes_all_with_it(mesh: Cluster, shop: str) -> None:
    wrong = {"parentRefs": [{"name": "gw"}], "rules": [{"backendRefs": [{"name": "nobody", "port": 80}]}]}
    mesh.apply(api("HTTPRoute", "to-nobody", wrong), namespace=shop)

    def told() -> None:
        assert conditions(mesh, "httproutes", "to-nobody", shop)["ResolvedRefs"] == "False BackendNotFound"

    eventually(told)
    mesh.kubectl("-n", shop, "delete", f"gateways.{GROUP}", "gw")

    def gone() -> None:
        assert (
            mesh.kubectl("-n", shop, "get", "deployment,service,serviceaccount", "-o", "name").count("gw-pymesh") == 0
        )
        left = mesh.get(f"httproutes.{GROUP}", "to-server", namespace=shop)["status"]["parents"]
        assert left == []

    eventually(gone, 30)
