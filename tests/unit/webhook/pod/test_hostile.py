"""Hostile pods: a message or a result, never a traceback; and a way back (tests/fuzz has the properties)."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.harness import check_file, check_pod
from tests.fuzz.mutate import SEED, mutated

CORPUS = sorted((Path(__file__).parents[3] / "fuzz" / "corpus").iterdir())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["name", "image", "ports", "env", "args", "readinessProbe", "lifecycle", "securityContext", "restartPolicy"]
CONTAINER = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4) | JSON
SPEC = st.fixed_dictionaries(
    {"containers": st.lists(CONTAINER, max_size=3) | JSON},
    optional={
        "initContainers": st.lists(CONTAINER, max_size=2),
        "volumes": JSON,
        "imagePullSecrets": JSON,
        "securityContext": JSON,
        "hostNetwork": JSON,
        "dnsConfig": JSON,
    },
)
METADATA = st.fixed_dictionaries(
    {}, optional={"name": JSON, "labels": JSON, "annotations": JSON, "ownerReferences": JSON}
)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_fuzzing_found(path: Path) -> None:
    check_file(path.read_bytes())


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries({"kind": st.just("Pod"), "spec": SPEC | JSON}, optional={"metadata": METADATA | JSON}))
def test_pods_of_any_shape(pod: dict[str, Any]) -> None:
    check_pod(pod)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_a_sane_pod_made_hostile(seed: int) -> None:
    check_pod(mutated(SEED, Random(seed)))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes(data: bytes) -> None:
    check_file(data)


def test_the_sane_pod_is_injected() -> None:
    assert check_pod(SEED)


@pytest.mark.parametrize(
    "pod",
    [
        {
            "kind": "Pod",
            "spec": {"containers": [{"name": "a", "env": [{"name": f"V{n}", "value": "x"} for n in range(5000)]}]},
        },
        {"kind": "Pod", "metadata": {"annotations": {"x": "y" * 200_000}}, "spec": {"containers": [{"name": "a"}]}},
    ],
    ids=["many variables", "a huge annotation"],
)
def test_size_is_no_trouble(pod: dict[str, Any]) -> None:
    assert check_pod(pod)


@pytest.mark.parametrize("level", [b"[", b"{a: ", b"- ", b"? "])
def test_depth_does_not_end_the_process(level: bytes) -> None:
    check_file(b"kind: Pod\nspec:\n  " + level * 100_000)
