"""Who is answered. A browser on this machine runs scripts of any site, and each of them can send requests to loopback.

A site cannot read an answer from elsewhere, for no answer here allows it (CORS). It could have its own name resolved to
127.0.0.1 and read then (DNS rebinding); but its name is what the browser sends as Host.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from fastapi import HTTPException, Request

# Nothing from elsewhere, nothing inline, nobody's frame; and no text ever becomes markup (Trusted Types).
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def is_loopback(host: str) -> bool:
    """Whether it is an address of this machine alone."""
    with contextlib.suppress(ValueError):
        address = ip_address(host)
        mapped = getattr(address, "ipv4_mapped", None)
        return address.is_loopback or (mapped is not None and mapped.is_loopback)
    return False


def local(request: Request) -> None:
    """Lets this machine's own in: people come by `kubectl port-forward`, which asks the API server who may.

    Raises HTTPException for everybody else, and for a browser that another site has sent.
    """
    if not is_loopback(request.client.host if request.client else ""):
        raise HTTPException(403, "only from this machine: use kubectl port-forward, or pymesh proxy-status")
    host = request.headers.get("host", "")
    name = _name(f"//{host}")
    if not (name == "localhost" or name.endswith(".localhost") or is_loopback(name)):
        raise HTTPException(
            403, f"Host {host[:200]!r} is not this machine's: use localhost, 127.0.0.1 or [::1] in the address"
        )
    origin = request.headers.get("origin")
    if origin is not None and origin.lower() != f"{request.url.scheme}://{host}".lower():
        raise HTTPException(403, f"Origin {origin[:200]!r}: pages of other sites may not read this one")
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and not _is_link(request.headers):
        raise HTTPException(403, "a page of another site asks; open the address by itself")


def _name(address: str) -> str:
    with contextlib.suppress(ValueError):
        return urlsplit(address).hostname or ""
    return ""


def _is_link(headers: Mapping[str, str]) -> bool:
    """A person followed a link, and the page will stand in a tab of its own (Fetch metadata)."""
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
