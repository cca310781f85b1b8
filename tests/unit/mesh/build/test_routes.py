"""Routes as Envoy is told them: what is asked for is there, and Envoy's own rules take it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.build.routes import default_route, render
from mesh.encode import check, decode, encode
from mesh.model.meta import ObjectRef
from mesh.routing.attach import http_routes
from mesh.routing.route import NOWHERE, Backend, Forward, Match, Origin, Redirect, Retry, Rewrite, Route, Target, Text
from mesh.world.proxy import Scope
from tests.unit.mesh.objects import world_of

KIND = "envoy.config.route.v3.Route"
REF = ObjectRef("VirtualService", "default", "reviews")
CLIENT = Scope("sidecar", "default")


def checked(made: dict[str, Any]) -> dict[str, Any]:
    """The route, after Envoy's rules and the round trip said yes."""
    assert check(KIND, made) == ()
    decode(KIND, encode(KIND, made))
    return made


def rendered(rule: dict[str, Any], port: int = 9080) -> list[dict[str, Any]]:
    """The routes of a VirtualService with this one http rule."""
    world = world_of(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "reviews", "namespace": "default"},
            "spec": {"hosts": ["reviews"], "http": [rule]},
        }
    )
    return [checked(render(one, port)) for one in http_routes(world, CLIENT, REF, "mesh", port)]


def at(made: Any, path: str) -> Any:
    """What stands at a path such as `route/weighted_clusters/clusters/0/name`; None if nothing does."""
    for step in path.split("/"):
        made = made[int(step)] if step.isdigit() else made.get(step)
        if made is None:
            return None
    return made


CASES = yaml.safe_load((Path(__file__).parent / "cases" / "virtualservice-routes.yaml").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['at']} {case['rule']}")
def test_a_virtual_services_rule(case: dict[str, Any]) -> None:
    assert at(rendered(case["rule"])[0], case["at"]) == case["is"]


ANY = Text("prefix", "/")


def route(action: Any, path: Text = ANY) -> Route:
    return Route(Match(path=path), action, (Origin(ObjectRef("HTTPRoute", "default", "r"), "spec.rules[0]"),))


BACKEND = (Backend(Target("a.default.svc.cluster.local", 80)),)


@pytest.mark.parametrize(
    ("path", "prefix", "shown"),
    [
        ("/p", "/new", {"prefix_rewrite": "/new"}),
        ("/p", "/new/", {"prefix_rewrite": "/new"}),
        ("/", "/new", {"prefix_rewrite": "/new/"}),
        ("/", "/", {"prefix_rewrite": "/"}),
        ("/p.x", "/", {"regex_rewrite": {"pattern": {"regex": "^/p\\.x(/?)(.*)"}, "substitution": "/\\2"}}),
    ],
)
def test_a_prefix_is_replaced_by_segments(path: str, prefix: str, shown: dict[str, Any]) -> None:
    """As the table of Gateway API's HTTPPathModifier has it, for rewrites and redirects."""
    text = Text("segments", path)
    forward = Forward(BACKEND, rewrite=Rewrite(prefix=prefix, by_segment=True), missing_status=500)
    assert shown.items() <= checked(render(route(forward, text), 80))["route"].items()
    assert shown.items() <= checked(render(route(Redirect(prefix=prefix), text), 80))["redirect"].items()


def test_a_backend_that_there_is_not_answers_500_where_gateway_api_wants_it() -> None:
    made = checked(render(route(Forward((Backend(NOWHERE),), missing_status=500)), 80))
    assert made["route"]["cluster_not_found_response_code"] == "INTERNAL_SERVER_ERROR"
    assert checked(render(route(Forward((), missing_status=500)), 80))["direct_response"] == {"status": 500}


def test_a_limit_for_each_try_holds_where_nothing_is_tried_again() -> None:
    made = checked(render(route(Forward(BACKEND, retry=Retry(attempts=0, per_try_timeout=0.4))), 80))
    assert made["route"]["retry_policy"]["num_retries"] == 0
    assert made["route"]["retry_policy"]["per_try_timeout"] == "0.4s"


def test_a_hash_keeps_its_pod_when_tried_again() -> None:
    policy = {"header": {"header_name": "x-user"}}
    made = checked(render(route(Forward(BACKEND)), 80, hash_policy=lambda _: policy))
    assert made["route"]["hash_policy"] == [policy]
    assert "retry_host_predicate" not in made["route"]["retry_policy"]
    shared = checked(render(route(Forward(BACKEND * 2)), 80, hash_policy=lambda _: policy))
    assert "retry_host_predicate" in shared["route"]["retry_policy"]


def test_the_default_route() -> None:
    made = checked(default_route(BACKEND[0].target))
    assert made["name"] == "default"
    assert made["route"]["cluster"] == "outbound|80||a.default.svc.cluster.local"
    assert made["route"]["retry_policy"]["num_retries"] == 2


def test_another_kinds_origin() -> None:
    made = render(route(Forward(BACKEND)), 80)
    assert made["metadata"]["filter_metadata"]["istio"]["config"] == (
        "/apis/gateway.networking.k8s.io/v1/namespaces/default/http-route/r"
    )
