"""Each rule of Envoy's API finds its violation; what is allowed passes."""

import pytest

from mesh.encode import check
from mesh.encode.check import checker, holds
from mesh.encode.descriptors import descriptor, pool
from mesh.encode.plans import message
from tests.unit.mesh.encode.samples import ASSIGNMENT, CLUSTER, HOST, HTTP_OPTIONS, assignment, cluster, host

HEADER = "envoy.config.core.v3.HeaderValue"
MATCH = "envoy.config.route.v3.RouteMatch"

CASES = [
    # kind, body, path and rule of each violation
    (CLUSTER, {}, ["name min_len: 1"]),
    (CLUSTER, {"name": "a", "connect_timeout": "0s"}, ["connect_timeout gt: 0s"]),
    (CLUSTER, {"name": "a", "lb_policy": 99}, ["lb_policy defined_only"]),
    (CLUSTER, {"name": "a", "circuit_breakers": {"thresholds": [{"priority": 7}]}},
     ["circuit_breakers.thresholds[0].priority defined_only"]),
    (CLUSTER, {"name": "a", "outlier_detection": {"max_ejection_percent": 101}},
     ["outlier_detection.max_ejection_percent lte: 100"]),
    (CLUSTER, {"name": "a", "typed_extension_protocol_options": {"x": {"@type": HTTP_OPTIONS}}},
     ["typed_extension_protocol_options['x'].upstream_protocol_options "
      "required: one of auto_config, explicit_http_config, use_downstream_protocol_config"]),
    (ASSIGNMENT, {"cluster_name": "a", "policy": {"overprovisioning_factor": 0}},
     ["policy.overprovisioning_factor gt: 0"]),
    (ASSIGNMENT, {"cluster_name": "a", "endpoints": [{"priority": 129}]}, ["endpoints[0].priority lte: 128"]),
    (HOST, {"name": "a"}, ["domains min_items: 1"]),
    (HOST, {"name": "a", "domains": ["a\n"]}, ["domains[0] well_known_regex: HTTP_HEADER_VALUE"]),
    (HOST, {"name": "a", "domains": []}, ["domains min_items: 1"]),
    (HOST, {"name": "a", "domains": ["a"], "routes": [{"route": {"cluster": "x"}}]}, ["routes[0].match required"]),
    (HEADER, {"key": "", "value": "b"}, ["key min_len: 1"]),
    (HEADER, {"key": "a", "value": "x" * 16385}, ["value max_bytes: 16384"]),
    (HEADER, {"key": "a\r\n", "value": "b"}, ["key well_known_regex: HTTP_HEADER_NAME"]),
    (MATCH, {"prefix": "/", "runtime_fraction": {}}, ["runtime_fraction.default_value required"]),
    (MATCH, {"path_separated_prefix": "/a/"}, ["path_separated_prefix pattern: ^[^?#]+[^?#/]$"]),
    (MATCH, {}, ["path_specifier required: one of connect_matcher, path, path_match_policy, "
                 "path_separated_prefix, prefix, safe_regex"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body", "violations"), CASES)
def test_a_violation_is_told_by_path_and_rule(kind, body, violations):
    assert [f"{one.path} {one.rule}" for one in check(kind, body)] == violations
    assert not holds(kind, body)


@pytest.mark.parametrize(("kind", "body", "violations"), [case for case in CASES if "defined_only" not in case[2][0]])
def test_the_message_is_checked_as_its_dict_is(kind, body, violations):
    assert [f"{one.path} {one.rule}" for one in check(kind, message(kind, body))] == violations


@pytest.mark.parametrize(("kind", "body"), [(CLUSTER, cluster()), (ASSIGNMENT, assignment()), (HOST, host())])
def test_what_the_builders_make_breaks_nothing(kind, body):
    assert check(kind, body) == ()
    assert holds(kind, body)


def test_a_violation_reads_as_a_sentence():
    assert str(check(CLUSTER, {"name": ""})[0]) == "name: '' breaks min_len: 1"


def test_the_rules_of_every_message_compile():
    """A rule that a newer API brings and `rules` does not know fails here, and is not passed over."""

    def kinds(described):
        yield described.full_name
        for nested in described.nested_types:
            if not nested.GetOptions().map_entry:
                yield from kinds(nested)

    checked = 0
    seen = set()

    def files(file):
        if file.name not in seen:
            seen.add(file.name)
            yield file
            for needed in file.dependencies:
                yield from files(needed)

    for start in ("envoy.config.bootstrap.v3.Bootstrap", HTTP_OPTIONS, "envoy.service.discovery.v3.DiscoveryRequest"):
        for file in files(descriptor(start).file):
            for described in file.message_types_by_name.values():
                for kind in kinds(described):
                    checked += len(checker(kind).fields)
    assert checked > 500
    assert pool().FindExtensionByName("validate.rules")
