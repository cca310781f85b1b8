"""Who asks: a proxy as its node tells, and as nobody may be."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.world.proxy import Locality, NodeError, Scope, proxy_of

NODE: dict[str, Any] = {
    "id": "sidecar~10.0.0.7~web-1.shop~shop.svc.example.org",
    "metadata": {"LABELS": {"app": "web"}, "INSTANCE_IPS": "10.0.0.7,fd00::7", "SERVICE_ACCOUNT": "web"},
    "locality": {"region": "r", "zone": "z"},
    "user_agent_build_version": {"version": {"major_number": 1, "minor_number": 40}},
}


def test_a_node_tells_who_it_is() -> None:
    proxy = proxy_of(NODE)
    assert (proxy.kind, proxy.name, proxy.domain) == ("sidecar", "web-1.shop", "example.org")
    assert proxy.addresses == ("10.0.0.7", "fd00::7")
    assert (proxy.labels, proxy.service_account) == ({"app": "web"}, "web")
    assert proxy.locality == Locality("r", "z", "")
    assert proxy.version == "1.40.0"


def test_a_name_may_have_dots() -> None:
    assert proxy_of({"id": "router~10.0.0.7~a.b.c.shop~shop.svc.cluster.local"}).pod == "a.b.c"


@pytest.mark.parametrize(
    "node_id",
    [
        "",
        "x",
        "sidecar~10.0.0.7~web.shop",
        "ztunnel~10.0.0.7~web.shop~x",
        "sidecar~no~web.shop~x",
        "sidecar~1.1.1.1~web~x",
    ],
)
def test_others_are_refused_with_what_is_wanted(node_id: str) -> None:
    with pytest.raises(NodeError, match="node id"):
        proxy_of({"id": node_id})


def test_a_scope_matches_what_its_labels_have() -> None:
    scope = Scope("sidecar", "shop", (("app", "web"), ("version", "v1")))
    assert scope.matches({})
    assert scope.matches({"app": "web"})
    assert not scope.matches({"app": "web", "version": "v2"})
