"""Whatever an object holds: reading it never raises, and each problem says where."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.model.kinds import BY_KEY, Kind, kind_of
from mesh.model.meshconfig import MeshConfig, mesh_config
from mesh.model.problem import CODES, Problem
from mesh.model.shape import Shape, Sub, shape_of
from tests.unit.mesh.model.paths import PathsOf

SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 70000) | st.floats(allow_nan=True) | st.text(max_size=8)
    | st.sampled_from(["*", "*.a.b", "a/b", "1s", "10.0.0.1", "10.0.0.0/8", "(", "%", "HTTP", ":authority", "0.5ms"])
)  # fmt: skip
GARBAGE = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


def like(shape: Shape, depth: int = 3) -> st.SearchStrategy[Any]:
    """Something like the message: its own fields' names, with garbage, or more of the same, as values."""
    if depth == 0:
        return GARBAGE
    fields = {}
    for name, field in shape.fields.items():
        reader: Any = field.reader
        inner = getattr(reader, "item", reader)
        one = like(shape_of(inner.cls), depth - 1) if isinstance(inner, Sub) else GARBAGE
        fields[name] = (st.lists(one, max_size=2) if inner is not reader else one) | GARBAGE
    return st.fixed_dictionaries({}, optional=fields) | GARBAGE


def objects(kind: Kind) -> st.SearchStrategy[dict[str, Any]]:
    spec = like(shape_of(kind.value)) if kind.group in _SPECS else GARBAGE
    metadata = st.just({"name": "a", "namespace": "b"}) | GARBAGE
    top = {"metadata": metadata, "spec": spec}
    extra = {"status": GARBAGE, "data": GARBAGE, "endpoints": GARBAGE, "ports": GARBAGE, "addressType": GARBAGE}
    return st.fixed_dictionaries(top, optional=extra)


_SPECS = ("networking.istio.io", "gateway.networking.k8s.io", "networking.k8s.io")


def check_problem(problem: Problem, thing: Any) -> None:
    """Its path is there, or is there but for its last step, which is missing."""
    assert problem.code in CODES
    assert problem.message
    if problem.path:
        assert problem.path in PathsOf(thing), f"{problem} is nowhere in {thing}"


@pytest.mark.parametrize("kind", BY_KEY.values(), ids=lambda kind: kind.key)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_object(kind: Kind, data: st.DataObject) -> None:
    thing = data.draw(objects(kind))
    parsed = kind.parse(thing)
    hash(parsed.value)
    assert (parsed.value is None) == any(problem.severity == "error" for problem in parsed.problems)
    if kind.key != "MeshConfig":
        for problem in parsed.problems:
            check_problem(problem, thing)
    assert kind.parse(thing) == parsed


@settings(max_examples=30, deadline=None)
@given(like(shape_of(MeshConfig)))
def test_any_mesh_configuration(data: Any) -> None:
    config, problems = mesh_config(data)
    assert (config is None) == any(problem.severity == "error" for problem in problems)


@given(GARBAGE)
def test_any_kind(thing: Any) -> None:
    assert kind_of(thing) is None
