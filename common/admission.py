"""Admission requests, as far as all webhooks are alike: a bounded body in, an AdmissionReview v1 out.

https://kubernetes.io/docs/reference/config-api/apiserver-admission.v1/
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import orjson

from common.errors import ReviewError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

API_VERSION: Final = "admission.k8s.io/v1"

# An API server takes objects of 3 MiB at most; in JSON, with every quote escaped, that cannot become more than this.
MAX_BODY: Final = 8 * 1024 * 1024
# timeoutSeconds of a webhook is 30 at most: after that nobody waits for an answer.
BODY_SECONDS = 30.0


class HTTPError(Exception):
    """A request that gets no review at all: its HTTP status, a word for the metrics, and a line for who asked."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


def check_headers(scope: Scope) -> None:
    """Raises HTTPError for another content type than JSON, and for a length that is too large."""
    headers = dict(scope["headers"])
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if content_type != b"application/json":
        found = content_type.decode("latin-1") or "none"
        raise HTTPError(415, "content-type", f"content-type is {found}; application/json is expected")
    length = headers.get(b"content-length", b"0")
    if int(length) > MAX_BODY:  # the HTTP parser lets numbers through alone
        raise _too_large(f"{int(length)} bytes")


async def read_body(receive: Receive) -> bytes:
    """The request's body, whole. Raises HTTPError where it is too large, late, or breaks off."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            message = await receive()
            if not message.get("more_body", False):
                return bytes(message.get("body", b""))
            chunks, size = [message["body"]], len(message["body"])
            while message.get("more_body", False):
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise HTTPError(400, "disconnect", "the client went away before its body was complete")
                chunks.append(message["body"])
                size += len(message["body"])
                if size > MAX_BODY:
                    raise _too_large(f"more than {MAX_BODY} bytes")
            return b"".join(chunks)
    except TimeoutError:
        raise HTTPError(408, "timeout", f"the body did not arrive within {BODY_SECONDS:g} s") from None


def _too_large(found: str) -> HTTPError:
    return HTTPError(413, "too-large", f"the body has {found}; {MAX_BODY} are allowed")


def request_of(body: bytes) -> tuple[str, dict[str, Any]]:
    """Its uid, which the answer needs, and the request in `body`. Raises ReviewError for no AdmissionReview v1."""
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
    return uid, request


def encode_refused(uid: str, code: int, message: str, **status: Any) -> bytes:
    """Keep the object out; who writes it reads `message`. `code` is the HTTP status that the API server answers with,
    `status` what else a meta.v1.Status has.
    """
    return encode({"uid": uid, "allowed": False, "status": {"code": code, "message": message, **status}})


def encode(response: dict[str, Any]) -> bytes:
    """The AdmissionReview with this response."""
    return orjson.dumps({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
