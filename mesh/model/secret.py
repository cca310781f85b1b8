"""Secret and ConfigMap (core/v1), as far as certificates are in them. What is secret never shows in a repr."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.model.meta import Meta
from mesh.model.reading import Reading, shown

# tls.crt and tls.key are Kubernetes'; cert, key and cacert are those of Istio's generic secrets, which it takes too.
_CERTIFICATE, _KEY, _AUTHORITY = ("tls.crt", "cert"), ("tls.key", "key"), ("ca.crt", "cacert")
_REVOKED = ("ca.crl", "crl")


@dataclass(frozen=True, slots=True)
class Secret:
    """A certificate with its key, authorities, or both, as PEM; empty where it is not there."""

    meta: Meta
    type: str = "Opaque"
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    authorities: bytes = b""
    revoked: bytes = b""


@dataclass(frozen=True, slots=True)
class ConfigMap:
    """Authorities (key `ca.crt`) as PEM; empty where there are none."""

    meta: Meta
    authorities: bytes = b""


def secret(thing: Mapping[str, Any], meta: Meta, r: Reading) -> Secret:
    """A Secret from core/v1's: base64 under `data`, or plain under `stringData`, which the API server would turn."""
    values: dict[str, bytes] = {}
    for part in ("data", "stringData"):
        data = thing.get(part)
        if data is None:
            continue
        if not isinstance(data, Mapping):
            r.error("wrong-type", f"want a map, not {shown(data)}", part)
            continue
        for key in (*_CERTIFICATE, *_KEY, *_AUTHORITY, *_REVOKED):
            text = data.get(key)
            if text is None:
                continue
            if not isinstance(text, str):  # and is not shown: it may be a key
                r.error("wrong-type", "want a string", part, key)
            elif part == "stringData":
                values[key] = text.encode()
            else:
                try:
                    values[key] = b64decode("".join(text.split()), validate=True)
                except (Error, ValueError):
                    r.error("not-allowed", "it is not base64", part, key)
    type_ = thing.get("type")
    made = Secret(
        meta=meta,
        type=type_ if isinstance(type_, str) else "Opaque",
        certificate=_first(values, _CERTIFICATE),
        key=_first(values, _KEY),
        authorities=_first(values, _AUTHORITY),
        revoked=_first(values, _REVOKED),
    )
    if made.type == "kubernetes.io/tls" and not r.errors:
        for name, value in (("tls.crt", made.certificate), ("tls.key", made.key)):
            if not value:
                r.error("missing", f"a kubernetes.io/tls Secret needs {name}", "data", name)
    for name, value, begins in (
        ("tls.crt", made.certificate, b"-----BEGIN CERTIFICATE"),
        ("tls.key", made.key, b"-----BEGIN"),
        ("ca.crt", made.authorities, b"-----BEGIN CERTIFICATE"),
    ):
        if value and begins not in value:
            r.error("not-allowed", "it is not PEM", "data", name)
    return made


def _first(values: Mapping[str, bytes], keys: tuple[str, ...]) -> bytes:
    return next((values[key] for key in keys if key in values), b"")


def config_map(thing: Mapping[str, Any], meta: Meta, r: Reading) -> ConfigMap:
    """A ConfigMap from core/v1's."""
    data = thing.get("data")
    text = data.get("ca.crt") if isinstance(data, Mapping) else None
    if text is not None and not isinstance(text, str):
        r.error("wrong-type", f"want a string, not {shown(text)}", "data", "ca.crt")
        text = None
    return ConfigMap(meta, (text or "").encode())


def holds(value: Secret | ConfigMap) -> bool:
    """Whether there is anything in it that has to do with certificates."""
    return bool(value.authorities or (isinstance(value, Secret) and (value.certificate or value.key)))
