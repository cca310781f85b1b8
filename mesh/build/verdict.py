"""What an object of Istio's is told of itself in its status, as Istio has it (istio.meta.v1alpha1 IstioStatus).

problems ──▶ condition PassedAnalysis: whether anything is wrong at all
         └─▶ condition Reconciled: whether it is heeded, as far as it can be
         └─▶ validationMessages, one a code
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mesh.build.statuses import conditions
from mesh.model.meta import Meta
from mesh.model.problem import Problem
from mesh.routing.standing import Condition

Status = dict[str, Any]

# What Istio's own analysis says of the same (istio.io/docs/reference/config/analysis): its message and its number.
ISTIO: Mapping[str, tuple[str, int]] = {
    "unknown-field": ("SchemaValidationError", 106),
    "wrong-type": ("SchemaValidationError", 106),
    "not-allowed": ("SchemaValidationError", 106),
    "missing": ("SchemaValidationError", 106),
    "conflict": ("SchemaValidationError", 106),
    "no-host": ("ReferencedResourceNotFound", 101),
    "no-port": ("ReferencedResourceNotFound", 101),
    "no-subset": ("ReferencedResourceNotFound", 101),
    "no-gateway": ("ReferencedResourceNotFound", 101),
    "no-delegate": ("ReferencedResourceNotFound", 101),
    "no-secret": ("ReferencedResourceNotFound", 101),
    "no-workload": ("ReferencedResourceNotFound", 101),
    "two-for-one-host": ("ConflictingMeshGatewayVirtualServiceHosts", 109),
    "two-sidecars": ("MultipleSidecarsWithoutWorkloadSelectors", 111),
    "two-certificates": ("ConflictingGateways", 145),
    "hidden-protocol": ("PortNameIsNotUnderNamingConvention", 118),
    "shadowed": ("VirtualServiceUnreachableRule", 130),
    "never-matches": ("VirtualServiceIneffectiveMatch", 131),
    "no-addresses": ("ServiceEntryAddressesRequired", 134),
    "not-verified": ("NoServerCertificateVerificationDestinationLevel", 128),
    "deprecated": ("SchemaWarning", 133),
}  # fmt: skip
DOCUMENTATION = "https://istio.io/latest/docs/reference/config/analysis"
# Why an object is not heeded: of several problems the first of these.
LOST = (
    ("refused-by-envoy", "RefusedByEnvoy"),
    ("two-for-one-host", "Superseded"),
    ("two-sidecars", "Superseded"),
    ("two-certificates", "Superseded"),
)
MOST, LONGEST = 16, 1000


def verdict(problems: Iterable[Problem], meta: Meta, now: str, before: Mapping[str, Any]) -> Status:
    """The status of an object with these problems; `before` is the one that it has, whose other conditions stay."""
    found = sorted(problems, key=lambda one: (one.severity, one.path, one.code, one.message))
    made = [_passed(found), _reconciled(found)]
    return {
        "observedGeneration": meta.generation,
        "conditions": conditions(made, meta, now, before.get("conditions")),
        "validationMessages": _messages(found),
    }


def _passed(problems: list[Problem]) -> Condition:
    if not problems:
        return Condition("PassedAnalysis", True, "NoProblems")
    return Condition("PassedAnalysis", False, "ProblemsFound", _told(problems))


def _reconciled(problems: list[Problem]) -> Condition:
    for code, reason in LOST:
        if mine := [one for one in problems if one.code == code]:
            return Condition("Reconciled", False, reason, _told(mine))
    if wrong := [one for one in problems if one.severity == "error"]:
        return Condition("Reconciled", False, "Invalid", f"it is left out: {_told(wrong)}"[:LONGEST])
    return Condition("Reconciled", True, "Reconciled")


def _told(problems: list[Problem]) -> str:
    texts = [f"{one.path}: {one.message}" if one.path else one.message for one in problems[:MOST]]
    more = f"; and {len(problems) - MOST} more" if len(problems) > MOST else ""
    text = "; ".join(texts) + more
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _messages(problems: list[Problem]) -> list[dict[str, Any]]:
    """The codes, worst first, each once: Istio's messages in a status have no text, which stands in the condition."""
    made: dict[str, dict[str, Any]] = {}
    for one in problems:
        name, number = ISTIO.get(one.code, ("", 0))
        message: dict[str, Any] = {"level": "ERROR" if one.severity == "error" else "WARNING"}
        if number:
            message["type"] = {"code": f"IST{number:04}", "name": name}
            message["documentationUrl"] = f"{DOCUMENTATION}/ist{number:04}/"
        else:
            message["type"] = {"code": "", "name": "".join(part.capitalize() for part in one.code.split("-"))}
        made.setdefault(message["type"]["name"], message)
    return list(made.values())[:MOST]
