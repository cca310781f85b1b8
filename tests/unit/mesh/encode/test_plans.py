"""Dicts as Envoy's documentation spells them become its messages; what is none is told with the field's path."""

from functools import reduce

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from common.envoy.parts import Shared
from mesh.encode import NotEncodableError, decode, encode, route_configuration
from mesh.encode.check import check, holds
from mesh.encode.descriptors import message_class, pool
from mesh.encode.messages import from_json
from mesh.encode.plans import duration, message, struct
from tests.unit.mesh.encode.samples import ASSIGNMENT, CLUSTER, HOST, HTTP_OPTIONS, TABLE, assignment, cluster, host


@pytest.mark.parametrize(("kind", "body"), [(CLUSTER, cluster()), (ASSIGNMENT, assignment()), (HOST, host())])
def test_the_message_is_what_protobuf_itself_reads_from_json(kind, body):
    theirs = json_format.ParseDict(body, message_class(kind)(), descriptor_pool=pool())
    assert message(kind, body) == theirs
    assert encode(kind, body) == message(kind, body).SerializeToString(deterministic=True)


@pytest.mark.parametrize(("kind", "body"), [(CLUSTER, cluster()), (ASSIGNMENT, assignment()), (HOST, host())])
def test_what_was_decoded_encodes_to_the_same_bytes(kind, body):
    assert encode(kind, decode(kind, encode(kind, body))) == encode(kind, body)


def test_the_order_of_a_mapping_changes_no_byte():
    one = {"filter_metadata": {"a": {"x": 1, "y": 2}, "b": {}}}
    other = {"filter_metadata": {"b": {}, "a": {"y": 2, "x": 1}}}
    assert encode("envoy.config.core.v3.Metadata", one) == encode("envoy.config.core.v3.Metadata", other)


def test_none_is_a_field_that_is_not_set():
    assert encode(CLUSTER, {"name": "a", "connect_timeout": None}) == encode(CLUSTER, {"name": "a"})


@pytest.mark.parametrize(
    ("kind", "body", "same"),
    [
        ("envoy.config.core.v3.DataSource", {"inline_bytes": b"\xff\x00"}, {"inline_bytes": "/wA="}),
        (CLUSTER, {"connect_timeout": 1.5}, {"connect_timeout": "1.5s"}),
        (CLUSTER, {"connect_timeout": "0.000000001s"}, {"connect_timeout": 1e-9}),
        ("envoy.config.accesslog.v3.RuntimeFilter", {"percent_sampled": {}}, {"percent_sampled": {"numerator": 0}}),
        ("envoy.type.v3.Int64Range", {"start": "-9007199254740993"}, {"start": -9007199254740993}),
        ("envoy.type.v3.DoubleRange", {"start": "1"}, {"start": 1}),
        ("envoy.config.core.v3.TypedExtensionConfig", {"typed_config": {"@type": CLUSTER, "name": "a"}},
         {"typed_config": {"@type": "type.googleapis.com/" + CLUSTER, "name": "a"}}),
    ],
)  # fmt: skip
def test_two_spellings_of_one_value(kind, body, same):
    assert encode(kind, body) == encode(kind, same)


def test_an_any_of_a_well_known_type_has_its_value_under_value():
    kind = "envoy.config.core.v3.TypedExtensionConfig"
    body = {"name": "a", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {"a": [1]}}}
    assert decode(kind, encode(kind, body)) == body
    body = {"name": "a", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1s"}}
    assert decode(kind, encode(kind, body)) == body


def test_a_config_dump_is_read_and_written():
    dump = '{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "versionInfo": "1"}]}'
    assert from_json("envoy.admin.v3.ConfigDump", dump).configs[0].type_url.endswith("ClustersConfigDump")


WRONG = [
    ({"nam": "x"}, "envoy.config.cluster.v3.Cluster: nam: there is no such field; did you mean name?"),
    ({1: "x"}, "1: there is no such field"),
    ({"name": 1}, "name: wants string, not 1"),
    ({"name": "\ud800"}, "surrogates not allowed"),
    ({"name": b"\xff"}, "name: "),
    ({"lb_policy": "X"}, "lb_policy: 'X' is none of ROUND_ROBIN, LEAST_REQUEST"),
    ({"connect_timeout": "3"}, "connect_timeout: wants a duration as \"1.5s\", not '3'"),
    ({"connect_timeout": True}, "connect_timeout: wants a duration"),
    ({"connect_timeout": float("inf")}, "connect_timeout: "),
    ({"eds_cluster_config": 3}, "eds_cluster_config: wants a mapping of fields, not 3"),
    ({"circuit_breakers": {"thresholds": {}}}, "circuit_breakers.thresholds: wants a list, not {}"),
    ({"circuit_breakers": {"thresholds": [None]}}, "circuit_breakers.thresholds[0]: wants message, not None"),
    ({"circuit_breakers": {"thresholds": [{}, {"max_requests": "a"}]}}, "circuit_breakers.thresholds[1].max_requests:"),
    ({"circuit_breakers": {"thresholds": [{"max_requests": 2**33}]}}, "Value out of range: 8589934592"),
    ({"metadata": {"filter_metadata": {"a": {"b": {1, 2}}}}}, "metadata.filter_metadata['a']: wants what JSON has"),
    ({"metadata": {"filter_metadata": {"a": 1}}}, "metadata.filter_metadata['a']: "),
    ({"typed_extension_protocol_options": {"x": {}}}, "typed_extension_protocol_options['x']: wants a mapping with"),
    ({"typed_extension_protocol_options": {"x": {"@type": "a/b"}}}, "['x']: Envoy's API has no"),
    ({"typed_extension_protocol_options": {"x": {"@type": HTTP_OPTIONS, "odd": 1}}}, "['x'].odd: there is no such"),
    ({"type": "EDS", "cluster_type": {}}, "only one of these can be set: cluster_type, type"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "words"), WRONG)
def test_what_is_no_cluster_is_told_with_its_field(body, words):
    with pytest.raises(NotEncodableError) as caught:
        encode(CLUSTER, body)
    assert words in str(caught.value)


def test_a_message_that_envoy_does_not_have():
    with pytest.raises(NotEncodableError, match="Envoy's API has no such message"):
        encode("envoy.api.v2.Cluster", {})


@pytest.mark.parametrize(
    ("value", "pair"),
    [
        ("0s", (0, 0)),
        ("1.5s", (1, 500_000_000)),
        ("-0.5s", (0, -500_000_000)),
        (-1.25, (-1, -250_000_000)),
        (3, (3, 0)),
    ],
)
def test_durations(value, pair):
    assert duration(value) == pair


@pytest.mark.parametrize("value", ["", "1", "s", "1,5s", "1.s", "1.0000000001s", "1m", " 1s"])
def test_no_durations(value):
    with pytest.raises(ValueError, match="wants a duration"):
        duration(value)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_table_put_together_from_hosts_has_the_bytes_of_the_whole(count):
    hosts = [host(number) for number in range(count)]
    hosts and hosts[0].update(
        domains=[f"{number}.example" for number in range(3000)]
    )  # a long one: a length of 3 bytes
    table = {
        "name": "9080",
        "validate_clusters": False,
        "max_direct_response_body_size_bytes": 1048576,
        "ignore_port_in_host_matching": True,
        "internal_only_headers": ["x-a"],
    }
    whole = encode(TABLE, {**table, "virtual_hosts": hosts})
    assert route_configuration(table, [encode(HOST, one) for one in hosts]) == whole


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=200), JSON, max_size=4))
@settings(deadline=None)
def test_a_struct_written_by_hand_is_read_as_it_was(body):
    kind = message_class("google.protobuf.Struct")
    assert kind.FromString(struct(body)) == json_format.ParseDict(body, kind(), descriptor_pool=pool())


DEEP = {"a": reduce(lambda inner, _: {"a": inner}, range(60), {})}


@pytest.mark.parametrize(
    "value", [{1: "a"}, {"a": object()}, {"a": {"b": b"x"}}, {"a": "\ud800"}, {"a": 10**400}, DEEP]
)
def test_what_json_has_not_is_told_with_its_path(value):
    with pytest.raises(NotEncodableError, match=r"filter_metadata\['x'\]"):
        encode("envoy.config.core.v3.Metadata", {"filter_metadata": {"x": value}})


def test_a_shared_message_is_read_once_and_is_the_same():
    limits = {"thresholds": [{"max_connections": 3}]}
    shared, names = Shared(**limits), ("a", "b")
    for name in names:
        one = {"name": name, "circuit_breakers": shared}
        assert encode(CLUSTER, one) == encode(CLUSTER, {"name": name, "circuit_breakers": limits})
        assert holds(CLUSTER, one)
    assert len(shared.known) == 2  # what the plan keeps of it, and what the check does
    for change in (
        lambda: shared.__setitem__("thresholds", []),
        lambda: shared.update(thresholds=[]),
        lambda: shared.pop("thresholds"),
        shared.clear,
    ):
        with pytest.raises(TypeError, match="not to be changed"):
            change()


def test_a_shared_message_that_is_wrong_is_wrong_each_time():
    bad = Shared(ads={}, resource_api_version="V3", initial_fetch_timeout="x")
    one = {"name": "a", "eds_cluster_config": {"eds_config": bad}}
    for _ in range(2):
        with pytest.raises(NotEncodableError, match=r"eds_cluster_config\.eds_config\.initial_fetch_timeout"):
            encode(CLUSTER, one)
    wide = Shared(thresholds=[{"retry_budget": {"budget_percent": {"value": 101.0}}}])
    for _ in range(2):
        assert not holds(CLUSTER, {"name": "a", "circuit_breakers": wide})
        assert "budget_percent" in str(check(CLUSTER, {"name": "a", "circuit_breakers": wide})[0])
