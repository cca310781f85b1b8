"""Filters of Gateway API's routes: steps that a request passes on its way (HTTPRouteFilter)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mesh.model import fields as f
from mesh.model.gatewayapi import HEADER, SECTION, BackendObjectReference, LocalObjectReference
from mesh.model.reading import Reading
from mesh.model.shape import flag, one_of, port, read, sub, subs, text, texts, whole

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


@dataclass(frozen=True, slots=True)
class HTTPHeader:
    """A header with its value (HTTPHeader)."""

    name: str = text(pattern=HEADER, longest=256, needed=True, empty=False)
    value: str = text(longest=4096, needed=True)


@dataclass(frozen=True, slots=True)
class HeaderFilter:
    """Headers set, added, removed (HTTPHeaderFilter)."""

    set: tuple[HTTPHeader, ...] = subs(HTTPHeader, most=16)
    add: tuple[HTTPHeader, ...] = subs(HTTPHeader, most=16)
    remove: tuple[str, ...] = texts(most=16)

    def check(self, r: Reading) -> None:
        """Each name once in a list."""
        for key, names in (
            ("set", [one.name for one in self.set]),
            ("add", [one.name for one in self.add]),
            ("remove", list(self.remove)),
        ):
            lower = [name.lower() for name in names]
            for index, name in enumerate(lower):
                if name in lower[:index]:
                    r.error("conflict", f'"{names[index]}" is there twice', key, index)


@dataclass(frozen=True, slots=True)
class Fraction:
    """A share (Fraction)."""

    numerator: int = whole(0, 2**31 - 1, default=0, needed=True)
    denominator: int = whole(1, 2**31 - 1, default=100)


@dataclass(frozen=True, slots=True)
class RequestMirror:
    """A copy goes here too (HTTPRequestMirrorFilter); of all requests unless a share is given."""

    ONE_OF = (("percent", "fraction"),)

    backend_ref: BackendObjectReference | None = sub(BackendObjectReference, needed=True)
    percent: int | None = whole(0, 100)
    fraction: Fraction | None = sub(Fraction)

    @property
    def share(self) -> float:
        """Of the requests, in percent."""
        if self.fraction is not None:
            return 100 * self.fraction.numerator / self.fraction.denominator
        return 100.0 if self.percent is None else float(self.percent)


@dataclass(frozen=True, slots=True)
class PathModifier:
    """What becomes of the path (HTTPPathModifier)."""

    type: str = one_of("ReplaceFullPath", "ReplacePrefixMatch", needed=True)
    replace_full_path: str | None = text(longest=1024, default=None)
    replace_prefix_match: str | None = text(longest=1024, default=None)

    def check(self, r: Reading) -> None:
        """The one that the type says, and no other."""
        wanted, other = ("replaceFullPath", "replacePrefixMatch")
        mine, theirs = self.replace_full_path, self.replace_prefix_match
        if self.type == "ReplacePrefixMatch":
            wanted, other, mine, theirs = other, wanted, theirs, mine
        if mine is None:
            r.error("missing", f"type {self.type} needs {wanted}", wanted)
        if theirs is not None:
            r.error("conflict", f"type {self.type} has no {other}", other)


@dataclass(frozen=True, slots=True)
class RequestRedirect:
    """Answers with a redirect (HTTPRequestRedirectFilter)."""

    scheme: str | None = one_of("http", "https", default=None)
    hostname: str = text(pattern=SECTION, longest=253)
    path: PathModifier | None = sub(PathModifier)
    port: int | None = port()
    status_code: int = whole(300, 399, default=302)

    def check(self, r: Reading) -> None:
        """Codes that redirect."""
        if self.status_code not in (301, 302, 303, 307, 308):
            r.error("not-allowed", f"{self.status_code} is not allowed: 301, 302, 303, 307, 308", "statusCode")


@dataclass(frozen=True, slots=True)
class URLRewrite:
    """What of the request is changed before it goes on (HTTPURLRewriteFilter)."""

    hostname: str = text(pattern=SECTION, longest=253)
    path: PathModifier | None = sub(PathModifier)


_ORIGIN = r"\*|https?://(((\*\.)?([a-zA-Z0-9\-]+\.)*[a-zA-Z0-9-]+|\*)(:([0-9]{1,5}))?)"


@dataclass(frozen=True, slots=True)
class CORS:
    """Cross-origin requests (HTTPCORSFilter); `max_age` in seconds."""

    allow_origins: tuple[str, ...] = read(f.Many(f.Text(pattern=_ORIGIN, longest=253, empty=False), most=64), ())
    allow_credentials: bool = flag()
    allow_methods: tuple[str, ...] = read(f.Many(f.OneOf(*METHODS, "*"), most=9), ())
    allow_headers: tuple[str, ...] = texts(most=64, empty=False)
    expose_headers: tuple[str, ...] = texts(most=64, empty=False)
    max_age: int = whole(1, 2**31 - 1, default=5)


FILTERS = {
    "RequestHeaderModifier": "request_header_modifier",
    "ResponseHeaderModifier": "response_header_modifier",
    "RequestMirror": "request_mirror",
    "RequestRedirect": "request_redirect",
    "URLRewrite": "url_rewrite",
    "CORS": "cors",
    "ExternalAuth": "external_auth",
    "ExtensionRef": "extension_ref",
}


@dataclass(frozen=True, slots=True)
class RouteFilter:
    """A step that a request passes (HTTPRouteFilter, GRPCRouteFilter): the one that `type` names."""

    type: str = one_of(*FILTERS, needed=True)
    request_header_modifier: HeaderFilter | None = sub(HeaderFilter)
    response_header_modifier: HeaderFilter | None = sub(HeaderFilter)
    request_mirror: RequestMirror | None = sub(RequestMirror)
    request_redirect: RequestRedirect | None = sub(RequestRedirect)
    url_rewrite: URLRewrite | None = sub(URLRewrite)
    cors: CORS | None = sub(CORS)
    external_auth: Any = read(f.Raw())
    extension_ref: LocalObjectReference | None = sub(LocalObjectReference)

    def check(self, r: Reading) -> None:
        """What the type names is there, and nothing else."""
        for type_, attribute in FILTERS.items():
            there = getattr(self, attribute) is not None
            if type_ == self.type and not there:
                r.error("missing", f"type {type_} needs it", SPELLED[attribute])
            elif type_ != self.type and there:
                r.error("conflict", f"type {self.type} has no {SPELLED[attribute]}", SPELLED[attribute])


SPELLED = {attribute: type_[0].lower() + type_[1:] for type_, attribute in FILTERS.items()} | {
    "cors": "cors", "url_rewrite": "urlRewrite",
}  # fmt: skip


def check_filters(filters: Sequence[RouteFilter], r: Reading) -> None:
    """Some steps stand once; a redirect and a rewrite exclude one another."""
    types = [one.type for one in filters]
    for index, type_ in enumerate(types):
        if type_ not in ("RequestMirror", "ExtensionRef") and type_ in types[:index]:
            r.error("conflict", f"{type_} is there twice", "filters", index, "type")
    if "RequestRedirect" in types and "URLRewrite" in types:
        r.error("conflict", "only one of RequestRedirect and URLRewrite", "filters", types.index("URLRewrite"))
