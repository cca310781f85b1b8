"""CEL expressions as people give them to Telemetry: the part of the language that Envoy is sure to take.

Envoy refuses a whole listener for one expression that it cannot build, and with it all that the listener serves. So
what is not known here is refused, by its name, before Envoy sees it (https://github.com/google/cel-spec).
"""

from __future__ import annotations

import re

from mesh.model import fields as f

# Envoy's attributes, by their first word (Envoy's documentation, "Attributes")
ROOTS = frozenset({"request", "response", "source", "destination", "connection", "upstream", "metadata", "filter_state",
                   "xds", "node"})  # fmt: skip
FUNCTIONS = frozenset({"has", "size", "int", "double"})
METHODS = {"startsWith": 1, "endsWith": 1, "contains": 1, "matches": 1, "size": 0}
BINARY = (("||",), ("&&",), ("==", "!=", "<=", ">=", "<", ">", "in"), ("+", "-"), ("*", "/"))
DEEPEST = 20
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<string>'[^'\\\n%]*'|\"[^\"\\\n%]*\")|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>\|\||&&|[=!<>]=|[-+*/<>!?:.,()\[\]]))"
)


class _RefusedError(Exception):
    """What is not taken."""


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.attributes: set[str] = set()
        self.at = self.depth = 0
        place, text = 0, text.strip()
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise _RefusedError(f"{text[place : place + 10]!r} is not understood")
            self.tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
            place = match.end()
        self.tokens.append(("end", "its end"))

    def whole(self) -> None:
        self.expression()
        if self.tokens[self.at][0] != "end":
            raise _RefusedError(f"{self.tokens[self.at][1]} is not expected")

    def take(self, *signs: str) -> str:
        kind, text = self.tokens[self.at]
        if text in signs and kind in ("sign", "name"):
            self.at += 1
            return text
        return ""

    def need(self, sign: str) -> None:
        if not self.take(sign):
            raise _RefusedError(f"{sign} is expected before {self.tokens[self.at][1]}")

    def expression(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise _RefusedError("it is nested too deeply")
        self.binary(0)
        if self.take("?"):
            self.expression()
            self.need(":")
            self.expression()
        self.depth -= 1

    def binary(self, level: int) -> None:
        if level == len(BINARY):
            while self.take("!", "-"):
                pass
            return self.member()
        self.binary(level + 1)
        while self.take(*BINARY[level]):
            self.binary(level + 1)
        return None

    def member(self) -> None:
        kind, text = self.tokens[self.at]
        self.at += 1
        path = ""
        if text == "(" and kind == "sign":
            self.expression()
            self.need(")")
        elif kind == "name" and text in FUNCTIONS:
            self.need("(")
            inside = self.at
            self.expression()
            if text == "has" and (self.tokens[inside][1] not in ROOTS or self.tokens[self.at - 2][1] != "."):
                raise _RefusedError("has takes a field: has(request.host)")
            self.need(")")
        elif kind == "name" and text in ROOTS:
            path = text
        elif kind not in ("number", "string") and text not in ("true", "false", "null"):
            known = ", ".join(sorted({*ROOTS, *FUNCTIONS}))
            raise _RefusedError(f"{text} is none of {known}")
        self.steps(path)

    def steps(self, path: str) -> None:
        """What follows with a dot or in brackets; `path` is the attribute so far."""
        while True:
            if self.take("."):
                kind, name = self.tokens[self.at]
                self.at += 1
                if kind != "name":
                    raise _RefusedError(f"a name is expected, not {name}")
                if self.take("("):
                    self.method(name)
                    path = ""
                elif path:
                    path += "." + name
                    self.attributes.add(path)
            elif self.take("["):
                self.expression()
                self.need("]")
            else:
                return

    def method(self, name: str) -> None:
        if name not in METHODS:
            raise _RefusedError(f"{name}() is none of {', '.join(METHODS)}")
        kind, text = self.tokens[self.at]
        if METHODS[name]:
            if name == "matches" and (kind != "string" or f.regex(text[1:-1])):
                raise _RefusedError("matches() takes a regular expression of RE2, in quotes")
            self.expression()
        self.need(")")


def _parsed(text: str) -> _Parser:
    parser = _Parser(text)
    parser.whole()
    return parser


def expression(text: str) -> str:
    """What is wrong with it, or nothing."""
    try:
        _parsed(text)
    except _RefusedError as error:
        return f"a CEL expression; {error}"
    return ""


def attributes(text: str) -> frozenset[str]:
    """The attributes of Envoy that it reads, with each of their beginnings: request.headers of request.headers['a']."""
    try:
        return frozenset(_parsed(text).attributes)
    except _RefusedError:
        return frozenset()
