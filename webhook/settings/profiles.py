"""A profile: which templates there are, and the values that they start from.

`istio` is chosen by Istio's own values, which are complete as Istio's chart renders them. Every other profile names
itself in the values (`profile: standalone`) and has defaults, so that what a user gives is only what differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from common.errors import SettingsError
from common.yamlio import load_yaml
from webhook.merging import as_values

DEFAULT = "standalone"
MESH = "mesh"
ISTIO = "istio"

# The files of webhook/templates that make up each profile, by the name that pods ask for.
TEMPLATES: dict[str, dict[str, str]] = {
    ISTIO: {
        "sidecar": "sidecar.yaml",
        "gateway": "gateway.yaml",
        "grpc-agent": "grpc-agent.yaml",
        "grpc-simple": "grpc-simple.yaml",
    },
    DEFAULT: {"sidecar": "standalone.yaml"},
    MESH: {"sidecar": "standalone.yaml", "gateway": "mesh-gateway.yaml"},
}
# The files of the values that each profile starts from, each laid over the one before.
VALUES: dict[str, tuple[str, ...]] = {
    DEFAULT: ("standalone-values.yaml",),
    MESH: ("standalone-values.yaml", "mesh-values.yaml"),
}


def profile_of(values: Mapping[str, Any], *, defaults: bool) -> tuple[str, dict[str, Any]]:
    """The profile that values ask for, and the values in full; with `defaults` none were given at all."""
    name = DEFAULT if defaults else values.get("profile", ISTIO)
    if name not in TEMPLATES:
        raise SettingsError(f"values: profile: {name!r} is not one of {', '.join(TEMPLATES)}")
    if name == ISTIO:
        return name, dict(values)
    merged: dict[str, Any] = {}
    for file in VALUES[name]:
        merged = as_values(merged, load_yaml(read(file), f"profile {name}"))
    return name, as_values(merged, values)


def read(file: str) -> str:
    """The text of a file of webhook/templates."""
    return (resources.files("webhook") / "templates" / file).read_text(encoding="utf-8")
