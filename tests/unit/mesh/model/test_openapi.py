"""The CRDs that deploy/ holds are what the model declares, and are such as an API server takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.model.kinds import BY_KEY
from mesh.model.openapi import DEFINED, definition, manifest

ROOT = Path(__file__).resolve().parents[4]


def test_the_file_is_current() -> None:
    text = (ROOT / "deploy/crds/networking.istio.io.yaml").read_text()
    assert text == manifest(), "run scripts/crds"


def schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    for inner in schema.get("properties", {}).values():
        yield from schemas(inner)
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from schemas(schema[key])


@pytest.mark.parametrize("key", DEFINED)
def test_a_schema_is_structural(key: str) -> None:
    """https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/"""
    spec = definition(key)["spec"]
    assert [version["name"] for version in spec["versions"]] == list(BY_KEY[key].versions)
    assert [version["storage"] for version in spec["versions"]] == [True] + [False] * (len(spec["versions"]) - 1)
    for schema in schemas(spec["versions"][0]["schema"]["openAPIV3Schema"]):
        assert "type" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
        assert not ("properties" in schema and "additionalProperties" in schema)
        assert set(schema.get("required", ())) <= set(schema.get("properties", ()))


@pytest.mark.parametrize(
    ("key", "spec"), [("VirtualService", {"hosts": 3}), ("DestinationRule", {}), ("Sidecar", {"egress": [{}]})]
)
def test_what_the_schema_refuses_is_an_error_here_too(key: str, spec: dict[str, Any]) -> None:
    assert BY_KEY[key].parse({"metadata": {"name": "a"}, "spec": spec}).value is None
