"""Who a stream is from: a service account's token, reviewed by the API server, and the node that says who it is.

The token is a projected one, bound to its pod and made for our audience
(https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

from common.envoy.discovery import AUDIENCE
from common.errors import KubernetesError
from mesh.world.proxy import Proxy

MAX_TOKEN_BYTES = 16_384
MAX_CACHED = 20_000
REFUSED_SECONDS = 10.0  # a token that was refused is not reviewed again for so long
REVIEWS_AT_ONCE = 8

POD_NAME = "authentication.kubernetes.io/pod-name"
SERVICE_ACCOUNT = "system:serviceaccount:"

# A TokenReview's spec ──▶ the TokenReview (authentication.k8s.io/v1) as the API server answers it.
# Raises KubernetesError. https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/
Review = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class Creates(Protocol):
    """common.kube.Kubernetes, of which this much is needed; its role may create tokenreviews."""

    def create(self, kind: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Blocks. Raises KubernetesError."""


def reviewed_by(kubernetes: Creates) -> Review:
    """Reviews by this API server, each in a thread: its client blocks."""

    async def review(spec: Mapping[str, Any]) -> Mapping[str, Any]:
        return await asyncio.to_thread(kubernetes.create, "TokenReview", {"spec": spec})

    return review


class Identity(NamedTuple):
    """Whose a token is."""

    namespace: str
    service_account: str
    pod: str


class UnauthenticatedError(Exception):
    """No token, or none that is good."""


class DeniedError(Exception):
    """A good token, of another than the node says."""


class ReviewFailedError(Exception):
    """The API server did not answer: nobody knows whether the token is good."""


def is_loopback(address: str) -> bool:
    """Is HOST:PORT reached from this machine alone (`unix:` is, too)."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bearer(metadata: Mapping[str, str | bytes]) -> str:
    """The token of a call's metadata. Raises UnauthenticatedError."""
    header = metadata.get("authorization", "")
    scheme, _, token = header.partition(" ") if isinstance(header, str) else ("", "", "")
    if scheme.lower() != "bearer" or not token:
        raise UnauthenticatedError("a service account's token is needed, as metadata authorization: Bearer TOKEN")
    if len(token) > MAX_TOKEN_BYTES:
        raise UnauthenticatedError(f"a token of {len(token)} bytes; at most {MAX_TOKEN_BYTES} are allowed")
    return token.strip()


def matching(identity: Identity, proxy: Proxy) -> None:
    """Raises DeniedError unless the token's namespace, pod and service account are those of the node."""
    for what, told, proven in (
        ("namespace", proxy.namespace, identity.namespace),
        ("pod", proxy.pod, identity.pod),
        ("service account", proxy.service_account or identity.service_account, identity.service_account),
    ):
        if told != proven:
            raise DeniedError(f"the node says {what} {told!r}, its token is that of {what} {proven!r}")


class Tokens:
    """Tokens ──▶ identities. Each is reviewed once and known by its hash until it ends."""

    def __init__(self, review: Review, clock: Callable[[], float], audience: str = AUDIENCE) -> None:
        """`clock` is seconds since the epoch, as a token's `exp` is."""
        self._review, self._clock, self._audience = review, clock, audience
        self._known: dict[bytes, tuple[float, Identity | str]] = {}
        self._under_way: dict[bytes, asyncio.Task[Identity]] = {}
        self._gate = asyncio.Semaphore(REVIEWS_AT_ONCE)

    async def identify(self, token: str) -> Identity:
        """Whose the token is. Raises UnauthenticatedError, ReviewFailedError."""
        digest = sha256(token.encode()).digest()
        until, known = self._known.get(digest, (0.0, ""))
        if until > self._clock():
            if isinstance(known, str):
                raise UnauthenticatedError(known)
            return known
        task = self._under_way.get(digest)
        if task is None:
            task = self._under_way[digest] = asyncio.create_task(self._ask(token, digest))
            task.add_done_callback(lambda done: self._under_way.pop(digest, None) and done.exception())
        # one that goes away does not end the review for others who wait for it
        return await asyncio.shield(task)

    async def _ask(self, token: str, digest: bytes) -> Identity:
        async with self._gate:
            try:
                answer = await self._review({"token": token, "audiences": [self._audience]})
            except KubernetesError as error:
                raise ReviewFailedError(f"the token could not be reviewed: {error}") from None
        try:
            identity = identity_of(answer.get("status") or {}, self._audience)
        except UnauthenticatedError as error:
            self._remember(digest, self._clock() + REFUSED_SECONDS, str(error))
            raise
        self._remember(digest, expiry(token), identity)
        return identity

    def _remember(self, digest: bytes, until: float, known: Identity | str) -> None:
        if len(self._known) >= MAX_CACHED:
            now = self._clock()
            self._known = {key: entry for key, entry in self._known.items() if entry[0] > now}
            while len(self._known) >= MAX_CACHED:
                del self._known[next(iter(self._known))]
        self._known[digest] = until, known


def identity_of(status: Mapping[str, Any], audience: str) -> Identity:
    """The identity in a TokenReview's status. Raises UnauthenticatedError."""
    if not status.get("authenticated"):
        raise UnauthenticatedError(f"the API server does not take the token: {status.get('error') or 'not valid'}")
    # an API server that does not know of audiences leaves them out: then the token may be for anyone
    if audience not in (status.get("audiences") or ()):
        raise UnauthenticatedError(f"the token is not for audience {audience!r}")
    user = status.get("user") or {}
    username = str(user.get("username") or "")
    namespace, _, account = username.removeprefix(SERVICE_ACCOUNT).partition(":")
    if not username.startswith(SERVICE_ACCOUNT) or not account:
        raise UnauthenticatedError(f"the token is that of {username!r}, which is no service account")
    pods = list((user.get("extra") or {}).get(POD_NAME) or [])
    if len(pods) != 1:
        raise UnauthenticatedError(f"the token of {username} is bound to no pod: a projected one is needed")
    return Identity(namespace, account, str(pods[0]))


def expiry(token: str) -> float:
    """When a JWT ends (its `exp`, RFC 7519), in seconds since the epoch; 0 if it does not say, and is not kept.

    Its signature is not looked at: who reviewed it did.
    """
    payload = token.partition(".")[2].partition(".")[0]
    try:
        return float(json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    except (Base64Error, ValueError, KeyError, TypeError):
        return 0.0
