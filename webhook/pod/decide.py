"""Inject a pod or not, and why: one value that log, metric, the review's message and `explain` all read.

The order is Istio's: what must never be injected first, then what the pod itself says (label over annotation), then the
selectors, then the policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from common.errors import shortened
from webhook.pod.annotations import INJECT
from webhook.settings.policy import Policy

IGNORED_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease", "local-path-storage"})

# These two alone, in this spelling, as Istio reads them.
_SAID: Final = {"true": True, "false": False}


class Reason(StrEnum):
    """What decided; the value is the metric's label."""

    HOST_NETWORK = "host-network"
    IGNORED_NAMESPACE = "ignored-namespace"
    LABEL = "label"
    ANNOTATION = "annotation"
    NEVER_SELECTOR = "never-inject-selector"
    ALWAYS_SELECTOR = "always-inject-selector"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a pod is injected, what decided it, and a sentence for a person.

    `warning` is for whoever creates the pod: what it says of injection and nobody understands; empty where it is clear.
    """

    inject: bool
    reason: Reason
    message: str
    warning: str = ""


_POLICY = {
    True: Decision(True, Reason.POLICY, "injected: the policy is enabled"),
    False: Decision(False, Reason.POLICY, f"not injected: the policy is disabled, and no label {INJECT} asks for it"),
}


def decide(
    policy: Policy, spec: Mapping[str, Any], namespace: str, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> Decision:
    """The decision for a pod of `namespace` with this spec, these labels and annotations."""
    if spec.get("hostNetwork"):
        message = "not injected: hostNetwork is true, and redirection would change the node's own network"
        return Decision(False, Reason.HOST_NETWORK, message)
    if namespace in IGNORED_NAMESPACES:
        return Decision(False, Reason.IGNORED_NAMESPACE, f"not injected: namespace {namespace} is the cluster's own")

    # The label is the newer API and the one that the API server can select by: it wins over the annotation.
    reason = Reason.LABEL if INJECT in labels else Reason.ANNOTATION
    asked = labels[INJECT] if INJECT in labels else annotations.get(INJECT, "")
    if asked in _SAID:
        inject = _SAID[asked]
        return Decision(inject, reason, f"{'injected' if inject else 'not injected'}: {reason} {INJECT} is {asked!r}")
    decision = _unasked(policy, labels)
    if not asked:
        return decision
    said = f'{reason} {INJECT}: {shortened(asked, 40)} is neither "true" nor "false" and counts for nothing'
    return replace(decision, warning=f"{said}; the pod is {decision.message}")


def _unasked(policy: Policy, labels: Mapping[str, str]) -> Decision:
    """The decision for a pod that does not say it itself."""
    for selector in policy.never:
        if selector.matches(labels):
            return Decision(False, Reason.NEVER_SELECTOR, f"not injected: neverInjectSelector {selector} matches")
    for selector in policy.always:
        if selector.matches(labels):
            return Decision(True, Reason.ALWAYS_SELECTOR, f"injected: alwaysInjectSelector {selector} matches")
    return _POLICY[policy.enabled]
