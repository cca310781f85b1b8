"""AdmissionReview v1: bytes to values, and values to bytes (https://kubernetes.io/docs/reference/config-api/apiserver-admission.v1/).

Of the pod nothing is modelled: it stays the dict that orjson made, and what this project does not know passes through.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from common.admission import encode, request_of
from common.errors import ReviewError
from webhook.errors import InjectionError


@dataclass(frozen=True, slots=True)
class Review:
    """One admission request: what the answer needs (`uid`), and the pod with the namespace it will live in."""

    uid: str
    pod: dict[str, Any]
    namespace: str
    dry_run: bool = False


def decode(body: bytes) -> Review:
    """The request in `body`.

    Raises ReviewError for what is no AdmissionReview v1 of a pod. Where the request's uid could be read, the error has
    it and can be answered as an AdmissionReview; else only HTTP 400 is left.
    """
    uid, request = request_of(body)
    pod = request.get("object")
    if not isinstance(pod, dict) or pod.get("kind", "Pod") != "Pod":
        found = f"a {pod.get('kind')}" if isinstance(pod, dict) else "none"
        raise ReviewError(
            f"request.object is to be a Pod, there is {found}: limit the webhook's rules to pods and CREATE", uid
        )
    if not isinstance(pod.get("metadata", {}), dict) or not isinstance(pod.get("spec"), dict):
        raise ReviewError("request.object has no spec, or a metadata that is no object", uid)
    # a pod made by a controller names no namespace of its own, but the request always does
    namespace = request.get("namespace") or pod.get("metadata", {}).get("namespace") or "default"
    if not isinstance(namespace, str):
        raise ReviewError("request.namespace is not a string", uid)
    return Review(uid, pod, namespace, request.get("dryRun") is True)


def encode_allowed(
    uid: str, reason: str, message: str, patch: Sequence[dict[str, Any]] = (), warnings: Sequence[str] = ()
) -> bytes:
    """Let the pod in, changed by `patch` (RFC 6902) where there is one; kubectl shows each of `warnings` to its user.

    `reason` goes to the API server's audit log, as annotation ``<webhook name>/reason``. Raises InjectionError for a
    patch that is nested too deeply.
    """
    response: dict[str, Any] = {
        "uid": uid,
        "allowed": True,
        "status": {"message": message},
        "auditAnnotations": {"reason": reason},
    }
    if patch:
        response["patchType"] = "JSONPatch"
        try:
            written = orjson.dumps(patch)
        except TypeError as error:  # orjson reads what is nested 1,024 deep and writes 254
            raise InjectionError(f"the pod's patch cannot be written as JSON: {error}; nest its fields less") from error
        response["patch"] = binascii.b2a_base64(written, newline=False).decode("ascii")
    if warnings:
        response["warnings"] = warnings
    return encode(response)
