"""The names by which templates, the patches of users and the pipeline know the containers that injection adds."""

from __future__ import annotations

PROXY = "istio-proxy"
INIT = "istio-init"
VALIDATION = "istio-validation"
CORE_DUMP = "enable-core-dump"
# The fields of a pod's spec that hold containers.
LISTS = ("containers", "initContainers")
# All that are injected.
OURS = frozenset({PROXY, INIT, VALIDATION, CORE_DUMP})
