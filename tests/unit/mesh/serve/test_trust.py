"""What proxies trust: one ConfigMap a namespace, and a certificate that changes only after they know its authority."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import tls
from common.errors import KubernetesError
from common.tls import KeyPair
from mesh.serve.trust import SETTLED_SECONDS, Certificate, Roots

NAMES = tls.service_names("pymesh", "pysidecar-system")


class Api:
    """Notes what is applied; refuses for the namespaces in `closed`."""

    def __init__(self) -> None:
        self.applied: list[str] = []
        self.data: dict[str, str] = {}
        self.closed: set[str] = set()

    def apply(self, kind: str, name: str, fields: Mapping[str, Any], owner: str, namespace: str | None = None) -> None:
        assert (kind, name, owner) == ("ConfigMap", "pymesh-ca-root-cert", "pymesh")
        assert namespace is not None
        if namespace in self.closed:
            raise KubernetesError("no", status=403)
        self.applied.append(namespace)
        self.data[namespace] = fields["data"]["root-cert.pem"]
        (secret,) = json.loads(fields["data"]["root-cert.json"])["resources"]
        assert secret["validation_context"]["trusted_ca"]["inline_string"] == self.data[namespace]


def test_each_namespace_is_written_once_for_each_bundle() -> None:
    api = Api()
    roots = Roots(api.apply)
    assert roots.spread(b"one", {"a": {}, "b": {}, "going": {"status": {"phase": "Terminating"}}})
    assert roots.spread(b"one", {"a": {}, "b": {}})
    assert api.applied == ["a", "b"]
    assert roots.spread(b"two", {"a": {}, "b": {}})
    assert api.data == {"a": "two", "b": "two"}


def test_one_that_came_back_is_written_again_and_one_that_fails_is_tried_again() -> None:
    api = Api()
    roots = Roots(api.apply)
    api.closed = {"a"}
    assert not roots.spread(b"one", {"a": {}, "b": {}})
    api.closed = set()
    assert roots.spread(b"one", {"a": {}, "b": {}})
    assert api.applied == ["b", "a"]
    roots.spread(b"one", {"b": {}})
    roots.spread(b"one", {"a": {}, "b": {}})
    assert api.applied == ["b", "a", "a"]


def test_a_new_authority_signs_only_when_pods_have_had_time_to_know_it(tmp_path: Path) -> None:
    serving = Certificate(tmp_path, NAMES)
    first, second = (tls.new_authority(f"test {n}", tls.now()) for n in (1, 2))
    now = 100.0

    def issuer() -> str:
        pair = KeyPair(serving.certificate.read_bytes(), serving.key.read_bytes())
        tls.check(pair, NAMES[0], tls.now(), "test")
        return pair.leaf.issuer.rfc4514_string()

    serving.look(first, lambda: now)
    before = serving.certificate.read_bytes()
    serving.look(first, lambda: now + 10 * SETTLED_SECONDS)
    assert serving.certificate.read_bytes() == before
    serving.look(second, lambda: now + 10)
    assert serving.certificate.read_bytes() == before
    serving.look(second, lambda: now + 9 + SETTLED_SECONDS)
    assert issuer() == first.leaf.subject.rfc4514_string()
    serving.look(second, lambda: now + 11 + SETTLED_SECONDS)
    assert issuer() == second.leaf.subject.rfc4514_string()
