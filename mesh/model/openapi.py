"""CustomResourceDefinitions of Istio's kinds, from the same declarations that read them.

For clusters without Istio's own; names, versions and fields are Istio's, so that the one can take the other's place.
What the API server refuses by them is what `Kind.parse` would find wrong in a field by itself; the rest is told by the
admission webhook.
"""

from __future__ import annotations

from typing import Any

import yaml

from mesh.model.kinds import BY_KEY, Kind
from mesh.model.shape import shape_of

SHORT = {"VirtualService": "vs", "DestinationRule": "dr", "ServiceEntry": "se", "Gateway": "gw", "WorkloadEntry": "we"}
DEFINED = (*SHORT, "Sidecar", "Telemetry")

_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
_COLUMNS = {
    "VirtualService": ("Gateways", "gateways"),
    "DestinationRule": ("Host", "host"),
    "ServiceEntry": ("Resolution", "resolution"),
    "WorkloadEntry": ("Address", "address"),
}


def definition(key: str) -> dict[str, Any]:
    """The CustomResourceDefinition (apiextensions.k8s.io/v1) of a kind of Istio's."""
    kind = BY_KEY[key]
    singular = kind.name.lower()
    names = {"kind": kind.name, "listKind": f"{kind.name}List", "plural": kind.plural, "singular": singular}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{kind.group}",
            "labels": {"app.kubernetes.io/part-of": "pysidecar"},
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": kind.group,
            "names": names
            | {"categories": ["istio-io", kind.group.replace(".", "-")]}
            | ({"shortNames": [SHORT[key]]} if key in SHORT else {}),
            "scope": "Namespaced",
            "versions": [_version(kind, version) for version in kind.versions],
        },
    }


def _version(kind: Kind, version: str) -> dict[str, Any]:
    columns = [_AGE]
    if kind.key in _COLUMNS:
        name, field = _COLUMNS[kind.key]
        columns.insert(0, {"name": name, "type": "string", "jsonPath": f".spec.{field}"})
    return {
        "name": version,
        "served": True,
        "storage": version == kind.versions[0],
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "properties": {
                    "spec": shape_of(kind.value).schema(),
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            }
        },
    }


HEAD = """\
# Istio's CustomResourceDefinitions (networking.istio.io, telemetry.istio.io), made by scripts/crds from mesh/model.
# For clusters without Istio's own:  kubectl create -f networking.istio.io.yaml
# (create leaves alone what is there already; apply would take Istio's own over).
"""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, _data: Any) -> bool:
        return True


def manifest() -> str:
    """All of them, as YAML."""
    return HEAD + yaml.dump_all(
        [definition(key) for key in sorted(DEFINED)], Dumper=_Dumper, sort_keys=False, width=120, explicit_start=True
    )
