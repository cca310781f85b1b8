"""Why proxies trust the control plane: its certificate, and the authority's in every namespace.

    Secret (shared with pyinject) ──authority──┬─▶ serving certificate ──▶ files, which the ports read
                                               ├─▶ ConfigMap pymesh-ca-root-cert in each namespace ──▶ the pods' volumes
               └─▶ caBundle of the ValidatingWebhookConfiguration ──▶ API servers

Both are looked after by a thread of their own: the API server's client blocks. While an authority is replaced, pods get
the old one and the new one, and a certificate of the new one is served a while after they did.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from common import cabundle, tls
from common.authority import shared_authority
from common.envoy.discovery import CA, CA_CONFIG_MAP, root_secret
from common.errors import KubernetesError
from common.kube import Kubernetes
from common.tls import KeyPair

SDS_KEY, PEM_KEY = CA.rpartition("/")[2], "root-cert.pem"
FIELD_MANAGER: Final = "pymesh"
LOOK_SECONDS: Final = 60.0
# A kubelet brings a changed ConfigMap to its volume within about a minute and a half.
SETTLED_SECONDS: Final = 180.0
RETRY_SECONDS: Final = 2.0

log = logging.getLogger(__name__)

# common.kube.Kubernetes.apply
Apply = Callable[..., None]


class Roots:
    """The ConfigMap of every namespace: written once for each bundle; where that fails, again at the next look."""

    def __init__(self, apply: Apply) -> None:
        self._apply = apply
        self._written: dict[str, bytes] = {}

    def spread(self, bundle: bytes, namespaces: Mapping[str, Mapping[str, Any]]) -> bool:
        """Writes what is missing; True where that was all that was missing."""
        complete = True
        data = {PEM_KEY: bundle.decode(), SDS_KEY: json.dumps(root_secret(bundle.decode()))}
        for name in [name for name in self._written if name not in namespaces]:
            del self._written[name]
        for name, namespace in namespaces.items():
            ends = (namespace.get("status") or {}).get("phase") == "Terminating"
            if ends or self._written.get(name) == bundle:
                continue
            fields = {"data": data}
            try:
                self._apply("ConfigMap", CA_CONFIG_MAP, fields, FIELD_MANAGER, namespace=name)
            except KubernetesError as error:
                complete = False
                log.warning("ConfigMap %s/%s: %s", name, CA_CONFIG_MAP, error)
            else:
                self._written[name] = bundle
        return complete


class Certificate:
    """The serving certificate in files, `certificate` and `key`, which are replaced as one: a link is moved."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        self._folder, self._names = folder, names
        self._serving: KeyPair | None = None
        self._authority: bytes = b""
        self._seen = 0.0
        self.certificate, self.key = folder / "current" / "tls.crt", folder / "current" / "tls.key"

    def look(self, authority: KeyPair, clock: Callable[[], float] = time.monotonic) -> None:
        """Issues one where there is none, it grows old, or a new authority is trusted by now."""
        if authority.certificate != self._authority:
            self._authority, self._seen = authority.certificate, clock()
        serving = self._serving
        if serving is not None:
            signed = serving.leaf.issuer == authority.leaf.subject
            if tls.now() < serving.renew_at() and (signed or clock() - self._seen < SETTLED_SECONDS):
                return
        self._write(tls.issue(authority, self._names, tls.now()))

    def _write(self, pair: KeyPair) -> None:
        version = self._folder / f"{pair.leaf.serial_number:x}"
        version.mkdir(mode=0o700)
        (version / "tls.crt").write_bytes(pair.certificate)
        (version / "tls.key").write_bytes(pair.key)
        link = self._folder / "new"
        link.symlink_to(version.name)
        link.rename(self._folder / "current")
        self._serving = pair
        log.info("serving certificate until %s", pair.leaf.not_valid_after_utc)


def keep(
    kubernetes: Kubernetes, namespace: str, secret: str, service: str, folder: Path, webhook_configuration: str = ""
) -> tuple[Path, Path]:
    """Returns the files of certificate and key when they are there, and looks after all of it from then on.

    `secret` holds the authority, in `namespace`; the certificate is for the Service's names. Waits for the API server.
    Where there is no such webhook configuration that is told, and proxies are served all the same.
    """
    names = tls.service_names(service, namespace)
    serving = Certificate(folder, names)
    roots, found = Roots(kubernetes.apply), threading.Event()
    namespaces: Mapping[str, Mapping[str, Any]] = {}
    changed = threading.Event()

    def follow() -> None:
        nonlocal namespaces
        for known in kubernetes.follow("Namespace"):
            namespaces = dict(known)
            changed.set()

    def look() -> None:
        while True:
            changed.clear()
            wait = LOOK_SECONDS
            try:
                authority, previous = shared_authority(kubernetes, namespace, secret)
                serving.look(authority)
                found.set()
                trusted = tls.bundle(authority, previous, tls.now())
                if not roots.spread(trusted, namespaces):
                    wait = RETRY_SECONDS
                if webhook_configuration and cabundle.apply(
                    kubernetes, cabundle.VALIDATING, webhook_configuration, trusted, names[0], FIELD_MANAGER
                ):
                    log.info("caBundle of %s %s written", cabundle.VALIDATING, webhook_configuration)
            except KubernetesError as error:
                log.error("%s", error)
                wait = RETRY_SECONDS
            changed.wait(wait)

    for target in (follow, look):
        threading.Thread(target=target, name=f"trust-{target.__name__}", daemon=True).start()
    found.wait()
    return serving.certificate, serving.key
