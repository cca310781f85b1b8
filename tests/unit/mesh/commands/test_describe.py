"""`pymesh describe`: the objects that bear on a pod or a Service, by the control plane's own queries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.cli import run

ISTIO = "networking.istio.io/v1"


def thing(api: str, kind: str, name: str, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", **more.pop("metadata", {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec, **more}


def pod(name: str, version: str, *containers: str) -> dict[str, Any]:
    return thing(
        "v1",
        "Pod",
        name,
        {"containers": [{"name": one, "ports": [{"containerPort": 9080}]} for one in containers]},
        metadata={"labels": {"app": "reviews", "version": version}},
        status={"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
    )


OBJECTS = [
    pod("reviews-1", "v1", "app", "istio-proxy"),
    thing("v1", "Pod", "alone", {"containers": []}, status={"podIP": "10.0.0.2"}),
    thing("v1", "Service", "reviews", {
        "selector": {"app": "reviews"}, "ports": [{"name": "http", "port": 80, "targetPort": 9080}],
    }),
    {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "addressType": "IPv4",
        "metadata": {"name": "reviews-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "reviews"}},
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": 9080}],
    },
    thing(ISTIO, "DestinationRule", "reviews", {
        "host": "reviews",
        "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}},
        "subsets": [{"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}}],
    }),
    thing(ISTIO, "VirtualService", "older", {
        "hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews", "subset": "v3"}}]}],
    }, metadata={"creationTimestamp": "2026-01-01T00:00:00Z"}),
    thing(ISTIO, "VirtualService", "younger", {
        "hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}],
    }, metadata={"creationTimestamp": "2026-02-01T00:00:00Z"}),
    thing(ISTIO, "VirtualService", "elsewhere", {
        "hosts": ["other"], "http": [{"route": [{"destination": {"host": "none"}}]}],
    }),
]  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> str:
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(OBJECTS))
    return str(tmp_path)


def test_a_pod(files: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["describe", "pod", "reviews-1.shop", "-f", files]) == 0
    out, _, problems = capsys.readouterr().out.rpartition("--------------------\n")
    assert out.splitlines() == [
        "Pod: reviews-1.shop",
        "   Pod Ports: 9080 (app), 9080 (istio-proxy)",
        "--------------------",
        "Service: reviews.shop",
        "   Port: http 80/HTTP targets pod port 9080 (1 endpoint)",
        'DestinationRule: reviews.shop for "reviews.shop.svc.cluster.local"',
        "   Matching subsets: v1",
        "   Other subsets: v2 (version=v2)",
        "   Traffic policy for the whole host",
        "VirtualService: older.shop",
        "VirtualService: younger.shop (not heard: the one above is for the same host)",
        "Requests to port 80:",
        "   /*  reviews.shop.svc.cluster.local:80 (v3)  VirtualService shop/older spec.http[0]",
    ]
    assert "VirtualService shop/older: spec.http[0].route[0].destination.subset: no DestinationRule has" in problems
    assert "elsewhere" not in problems


def test_each_rule_that_requests_meet_is_named_with_what_it_takes_and_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = [{"destination": {"host": "reviews"}}]
    split = [{"destination": {"host": "reviews", "subset": f"v{n}"}, "weight": w} for n, w in ((1, 90), (2, 10))]
    rules = [
        {
            "name": "gone",
            "match": [{"uri": {"exact": "/old"}, "method": {"exact": "GET"}}],
            "redirect": {"uri": "/new"},
        },
        {"match": [{"headers": {"end-user": {"exact": "luffy"}}, "queryParams": {"q": {"exact": "1"}}}], "route": to},
        {"match": [{"uri": {"regex": "/a.*"}, "withoutHeaders": {"x-a": {}}}], "directResponse": {"status": 418}},
        {"route": split},
    ]
    own = [one for one in OBJECTS if one["kind"] != "VirtualService"]
    route = thing("gateway.networking.k8s.io/v1", "HTTPRoute", "other", {
        "parentRefs": [{"kind": "Service", "group": "", "name": "other"}],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/x"}}],
                "backendRefs": [{"name": "reviews", "port": 80}],
            }
        ],
    })  # fmt: skip
    other = thing("v1", "Service", "other", {"ports": [{"name": "http", "port": 80}, {"name": "tcp", "port": 81}]})
    rule = thing(ISTIO, "VirtualService", "rules", {"hosts": ["reviews"], "http": rules})
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all([*own, route, other, rule]))
    run(["describe", "svc", "reviews.shop", "-f", str(tmp_path)])
    out = capsys.readouterr().out.partition("Requests to port 80:\n")[2].splitlines()
    host = "reviews.shop.svc.cluster.local:80"
    assert [re.split("  +", line.strip()) for line in out[:4]] == [
        ["GET /old", "redirected with 301", "VirtualService shop/rules spec.http[0] (gone)"],
        ["/* end-user: luffy ?q=1", host, "VirtualService shop/rules spec.http[1]"],
        ["~/a.* without x-a: *", "answered with 418", "VirtualService shop/rules spec.http[2]"],
        ["/*", f"{host} (v1) 90%, {host} (v2) 10%", "VirtualService shop/rules spec.http[3]"],
    ]
    run(["describe", "svc", "other.shop", "-f", str(tmp_path)])
    assert "Requests to port 80:\n   /x*  reviews.shop.svc.cluster.local:80  HTTPRoute shop/other spec.rules[0]" in (
        capsys.readouterr().out
    )


def test_a_service_knows_no_pod_s_subsets(files: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["describe", "svc", "reviews", "-n", "shop", "-f", files]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Service: reviews.shop\n   Port: http 80/HTTP (1 endpoint)\n")
    assert "   Subsets: v1 (version=v1), v2 (version=v2)\n" in out


def test_a_pod_that_nothing_leads_to(files: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["describe", "pod", "alone.shop", "-f", files]) == 0
    out = capsys.readouterr().out
    assert "WARNING: it has no sidecar (istio-proxy)" in out
    assert "WARNING: it is not ready" in out
    assert "No Service leads to it" in out


def test_an_object_that_is_left_out_is_told_and_ends_with_5(
    files: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(thing(ISTIO, "DestinationRule", "bad", {"host": 7})))
    assert run(["describe", "pod", "reviews-1.shop", "-f", files]) == 5
    assert "ERROR: DestinationRule shop/bad: spec.host: " in capsys.readouterr().out
    assert run(["describe", "svc", "reviews.shop", "-f", files]) == 5


@pytest.mark.parametrize("kind", ["pod", "service"])
def test_what_is_not_there_is_named(kind: str, files: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["describe", kind, "none.shop", "-f", files]) == 4
    assert f"{kind.title()} shop/none is not in {files}" in capsys.readouterr().err


def test_a_delegates_rule_another_name_and_who_is_heard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def rules(name: str, created: str, *http: dict[str, Any], hosts: tuple[str, ...] = ("web",)) -> dict[str, Any]:
        spec = {"http": list(http)} | ({"hosts": list(hosts)} if hosts else {})
        return thing(ISTIO, "VirtualService", name, spec, metadata={"creationTimestamp": created})

    to = {"route": [{"destination": {"host": "web"}}]}
    objects = [
        thing("v1", "Service", "web", {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80}]}),
        thing("v1", "Service", "old", {"type": "ExternalName", "externalName": "web.shop.svc.cluster.local"}),
        rules("older", "2026-01-01T00:00:00Z", {"match": [{"sourceLabels": {"app": "other"}}], **to}),
        rules("root", "2026-02-01T00:00:00Z", {"delegate": {"name": "leaf"}}),
        rules("leaf", "2026-03-01T00:00:00Z", to, hosts=()),
    ]
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(objects))
    assert run(["describe", "service", "web", "-n", "shop", "-f", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "   Also called old.shop.svc.cluster.local\n" in told
    assert "VirtualService: older.shop (not heard: another is for the same host)\nVirtualService: root.shop\n" in told
    assert "VirtualService shop/root spec.http[0] > VirtualService shop/leaf spec.http[0]\n" in told
    assert "this one is for those it says nothing to [shadowed]" in told
    assert run(["describe", "service", "old", "-n", "shop", "-f", str(tmp_path)]) == 0
    assert "   Another name for web.shop.svc.cluster.local\n" in capsys.readouterr().out
