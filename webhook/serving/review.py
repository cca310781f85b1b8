"""AdmissionReview v1: bytes to values, and values to bytes (https://kubernetes.io/docs/reference/config-api/apiserver-admission.v1/).

Of the pod nothing is modelled: it stays the dict that orjson made, and what this project does not know passes through.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from webhook.errors import InjectionError, ReviewError

API_VERSION: Final = "admission.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Review:
    """One admission request: what the answer needs (`uid`), and the pod with the namespace it will live in."""

    uid: str
    pod: dict[str, Any]
    namespace: str


def decode(body: bytes) -> Review:
    """The request in `body`.

    Raises ReviewError for what is no AdmissionReview v1 of a pod. Where the request's uid could be read, the error has
    it and can be answered as an AdmissionReview; else only HTTP 400 is left.
    """
    try:
        review = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ReviewError(f"the body is not JSON: {error}") from error
    if not isinstance(review, dict):
        raise ReviewError("the body is not an object; an AdmissionReview is expected")
    kind, version = review.get("kind"), review.get("apiVersion")
    if kind != "AdmissionReview" or version != API_VERSION:
        raise ReviewError(
            f"{version} {kind} is not served; {API_VERSION} AdmissionReview is (admissionReviewVersions: [v1])"
        )
    request = review.get("request")
    if not isinstance(request, dict):
        raise ReviewError("the AdmissionReview has no request")
    uid = request.get("uid")
    if not isinstance(uid, str) or not uid:
        raise ReviewError("request.uid is missing; an answer needs it")

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
    return Review(uid, pod, namespace)


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
    return _encode(response)


def encode_refused(uid: str, code: int, message: str) -> bytes:
    """Keep the pod out; who creates it reads `message`. `code` is the HTTP status that the API server answers with."""
    return _encode({"uid": uid, "allowed": False, "status": {"code": code, "message": message}})


def _encode(response: dict[str, Any]) -> bytes:
    return orjson.dumps({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
