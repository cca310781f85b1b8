"""Admission requests, as far as all webhooks are alike: a bounded body in, an AdmissionReview v1 out.

https://kubernetes.io/docs/reference/config-api/apiserver-admission.v1/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from common.errors import ReviewError

if TYPE_CHECKING:
    import asyncio

    from starlette.types import Receive, Scope

API_VERSION: Final = "admission.k8s.io/v1"

# An API server takes objects of 3 MiB at most; in JSON, with every quote escaped, that cannot become more than this.
MAX_BODY: Final = 8 * 1024 * 1024
# timeoutSeconds of a webhook is 30 at most: after that nobody waits for an answer.
BODY_SECONDS: Final = 30.0
MAX_BODIES: Final = 3 * MAX_BODY


class HTTPError(Exception):
    """A request that gets no review at all: its HTTP status, a word for the metrics, and a line for who asked."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


def check_headers(scope: Scope, largest: int = MAX_BODY) -> None:
    """Raises HTTPError for another content type than JSON, and for a length that is too large."""
    headers = dict(scope["headers"])
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if content_type != b"application/json":
        found = content_type.decode("latin-1") or "none"
        raise HTTPError(415, "content-type", f"content-type is {found}; application/json is expected")
    length = headers.get(b"content-length", b"0")
    if int(length) > largest:  # the HTTP parser lets numbers through alone
        raise _too_large(f"{int(length)} bytes", largest)


class _Body:
    """A body that is not whole yet."""

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self.chunks: list[bytes] = []
        self.size = 0
        self.gone = False
        self._timeout = timeout

    def make_room(self) -> None:
        """Give up: who reads it hears of it as of a timeout."""
        self.gone = True
        self.chunks.clear()
        self._timeout.reschedule(0)


class Bodies:
    """All bodies that are arriving at a process: how large one may be, how much all may hold, how long one may take.

    Where all together hold too much, the oldest that is not whole yet makes room. A body in good order arrives in
    milliseconds, however large it is; one that is held back on purpose grows old.
    """

    def __init__(self, largest: int = MAX_BODY, together: int = MAX_BODIES, seconds: float = BODY_SECONDS) -> None:
        self._largest = largest
        self._together = together
        self._seconds = seconds
        self._arriving: dict[_Body, None] = {}
        self._held = 0

    async def read(self, receive: Receive) -> bytes:
        """A request's body, whole. Raises HTTPError."""
        import asyncio  # here: commands that only want the bounds start without it

        body: _Body | None = None
        try:
            async with asyncio.timeout(self._seconds) as timeout:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _gone()
                if not message.get("more_body", False):
                    whole = bytes(message.get("body", b""))
                    if len(whole) > self._largest:
                        raise _too_large(f"{len(whole)} bytes", self._largest)
                    return whole
                body = _Body(timeout)
                self._arriving[body] = None
                try:
                    while True:
                        self._take(body, message["body"])
                        if not message.get("more_body", False):
                            return b"".join(body.chunks)
                        message = await receive()
                        if message["type"] == "http.disconnect":
                            raise _gone()
                finally:
                    del self._arriving[body]
                    self._held -= body.size
        except TimeoutError:
            if body is not None and body.gone:
                raise self._no_room() from None
            raise HTTPError(408, "timeout", f"the body did not arrive within {self._seconds:g} s") from None

    def _take(self, body: _Body, chunk: bytes) -> None:
        if body.gone:
            raise self._no_room()
        body.size += len(chunk)
        self._held += len(chunk)
        if body.size > self._largest:
            raise _too_large(f"more than {self._largest} bytes", self._largest)
        body.chunks.append(chunk)
        for oldest in self._arriving:
            if self._held <= self._together:
                break
            if oldest is not body and not oldest.gone:
                oldest.make_room()
                self._held -= oldest.size
                oldest.size = 0

    def _no_room(self) -> HTTPError:
        held = f"bodies that are still arriving hold more than {self._together} bytes, and this is the oldest"
        return HTTPError(503, "no-room", f"{held}; send it again")


def _gone() -> HTTPError:
    return HTTPError(400, "disconnect", "the client went away before its body was complete")


def _too_large(found: str, allowed: int) -> HTTPError:
    return HTTPError(413, "too-large", f"the body has {found}; {allowed} are allowed")


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
