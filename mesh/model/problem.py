"""What is wrong in an object, or works but hardly as meant. One value for all who tell it.

Admission, `analyze`, `describe`, conditions, metrics and the log show the same problems; the code is what they are
counted and looked up by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mesh.model.meta import ObjectRef

# Each code with what it means, for the documentation; `Problem.code` is one of these.
CODES = {
    "not-an-object": "it is no mapping with apiVersion, kind and metadata.name",
    "unknown-field": "the kind has no such field; a misspelling?",
    "wrong-type": "the field holds another type of value than its kind wants",
    "not-allowed": "the value is none of those that are allowed",
    "missing": "a field that is needed is not there",
    "conflict": "fields that exclude one another are both set",
    "not-supported": "the field is known but has no effect here",
    "no-effect": "it is taken, but changes nothing",
    "never-matches": "no request or connection can meet it",
    "shadowed": "never reached: what stands before it takes all of it",
    "weights": "the weights do not add up to what one would think",
    "deprecated": "the field has a successor",
    "short-host": "a host without a dot, which means something else than one would think",
    "no-addresses": "without addresses it takes more than is meant",
    "no-endpoints": "nobody is there to answer",
    "selects-all": "an empty selector picks everything",
    "not-yaml": "the text is not YAML",
    "unknown-kind": "pymesh does not read this kind",
    "duplicate": "the same object is in two files; one of them counts",
    "unreadable": "the file cannot be read; what it held before counts on",
    "no-host": "no Service and no ServiceEntry has the host",
    "no-port": "the host has no such port",
    "no-subset": "no DestinationRule has the subset",
    "no-gateway": "there is no such Gateway",
    "no-delegate": "there is no VirtualService that is delegated to",
    "no-secret": "there is no Secret of this name where the proxies run",
    "no-provider": "the mesh configuration has no extension provider of this name",
    "no-workload": "no pod has the labels",
    "two-sidecars": "two Sidecars are for the same pods, and one of them has no effect",
    "two-telemetries": "two Telemetry objects are for the same pods, and one of them has no effect",
    "two-certificates": "two servers have TLS for one name, and one of them is left out",
    "two-for-one-host": "two objects rule one host, and one of them has no effect",
    "hidden-protocol": "the port's name says a protocol that the rule is not for",
    "refused-by-envoy": "Envoy, or the rules of its API, does not take what this object asks for",
    "not-built": "what the proxy is to have cannot be built: a fault of pymesh's own; the proxy keeps what it has",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: `path` is the field's, as in `spec.http[0].route[1].weight`; `message` says what is allowed."""

    code: str
    ref: ObjectRef
    path: str
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        where = f"{self.ref}: {self.path}" if self.path else str(self.ref)
        return f"{where}: {self.message} [{self.code}]"
