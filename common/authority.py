"""The project's certificate authority, in a Secret that all replicas of all programs in a cluster share."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from common import tls
from common.tls import KeyPair

if TYPE_CHECKING:
    from common.kube import Kubernetes

log = logging.getLogger(__name__)


def shared_authority(kubernetes: Kubernetes, namespace: str, secret: str) -> tuple[KeyPair, bytes | None]:
    """The authority in force and the certificate of the one before; made here where there is none or it grows old.

    The Secret has to be there, empty at first: its entries are ca.crt, ca.key, previous.crt. Raises KubernetesError.
    """
    while True:
        version, data = kubernetes.secret(namespace, secret)
        current = KeyPair(data["ca.crt"], data["ca.key"]) if data.get("ca.crt") and data.get("ca.key") else None
        if current and tls.now() < current.renew_at():
            return current, data.get("previous.crt")
        made = tls.new_authority("pyinject CA", tls.now())
        previous = current.certificate if current else b""
        entries = {"ca.crt": made.certificate, "ca.key": made.key, "previous.crt": previous}
        if kubernetes.update_secret(namespace, secret, version, entries):
            log.info("certificate authority %s in Secret %s/%s", "renewed" if current else "made", namespace, secret)
            return made, previous
        # another replica was quicker: take what it made
