"""Users' YAML: composed by libyaml, its scalars read as `common.yamlio` says, and written line by line.

Duplicate keys, of which JSON readers keep one by chance, are refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

from common import yamlio
from common.yamlio import MAX_DEPTH, check

# More than any API server takes (3 MiB) and less than what aliases of aliases make of a short text.
MAX_VALUES: Final = 1_000_000


class DocumentError(Exception):
    """What cannot be read, and the line (from 0) where that was noticed."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def compose(text: str) -> yaml.Node | None:
    """The nodes of the one document in `text`, None where it is empty. Raises DocumentError."""
    try:
        check(text)
        loader = yamlio.Loader(text)
        try:
            node: yaml.Node | None = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        context = f"{error.context}: " if error.context else ""
        raise DocumentError(mark.line if mark else 0, f"no YAML: {context}{error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise DocumentError(0, f"no YAML: {error}".replace("\n", " ")) from error
    return node


def construct(node: yaml.Node) -> Any:
    """The value of a node: dicts with string keys, lists, strings, numbers, booleans and None. Raises DocumentError."""
    return _Constructor().value(node, 0)


def key_text(node: yaml.Node) -> str:
    """A mapping's key as JSON has it. Raises DocumentError for a key that is a mapping or a list."""
    if not isinstance(node, yaml.ScalarNode):
        raise DocumentError(node.start_mark.line, "a key is a mapping or a list; Kubernetes takes strings alone")
    value = _scalar(node)
    return value if isinstance(value, str) else json.dumps(value)


def is_merge(node: yaml.Node) -> bool:
    """Whether a key is ``<<``, which takes over the keys of other mappings."""
    return bool(node.tag == f"{yamlio.TAG}merge")


class _Constructor:
    """Builds values; an alias gives the same object as its anchor. What all aliases written out come to is bounded."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, int]] = {}
        self._open: set[int] = set()
        self._count = 0

    def value(self, node: yaml.Node, depth: int) -> Any:
        if isinstance(node, yaml.ScalarNode):
            self._add(node, 1)
            return _scalar(node)
        if id(node) in self._done:
            value, size = self._done[id(node)]
            self._add(node, size)
            return value
        if id(node) in self._open or depth > MAX_DEPTH:
            trouble = (
                "an alias inside of its own anchor" if id(node) in self._open else f"nested deeper than {MAX_DEPTH}"
            )
            raise DocumentError(node.start_mark.line, trouble)
        self._open.add(id(node))
        before = self._count
        self._add(node, 1)
        value = self._mapping(node, depth) if isinstance(node, yaml.MappingNode) else self._sequence(node, depth)
        self._open.discard(id(node))
        self._done[id(node)] = value, self._count - before
        return value

    def _add(self, node: yaml.Node, size: int) -> None:
        self._count += size
        if self._count > MAX_VALUES:
            raise DocumentError(
                node.start_mark.line, f"more than {MAX_VALUES} values, once all aliases are written out"
            )

    def _sequence(self, node: yaml.Node, depth: int) -> list[Any]:
        return [self.value(item, depth + 1) for item in node.value]

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if is_merge(key_node):
                sources = self.value(value_node, depth + 1)
                for source in sources if isinstance(sources, list) else [sources]:
                    if not isinstance(source, dict):
                        raise DocumentError(key_node.start_mark.line, "<< takes a mapping or a list of mappings")
                    merged = source | merged
                continue
            key = key_text(key_node)
            if key in own:
                first = key_node.start_mark.line - lines[key]
                raise DocumentError(
                    key_node.start_mark.line,
                    f"duplicate key {key!r}; the other is {first} lines above"
                    if first
                    else f"duplicate key {key!r} in one line",
                )
            lines[key] = key_node.start_mark.line
            own[key] = self.value(value_node, depth + 1)
        return merged | own if merged else own


def _scalar(node: yaml.ScalarNode) -> Any:
    try:
        return yamlio.scalar(node.tag, node.value)
    except ValueError as error:
        raise DocumentError(node.start_mark.line, str(error)) from error


# What is safe without quotes: quantities, and what begins with no sign of YAML's, holds no ": " nor " #", is no number.
_PLAIN: Final = re.compile(
    r"[1-9][0-9]*(?:m|s|[KMGT]i|[kMGT])|(?:--?(?=[A-Za-z]))?[A-Za-z/$_(][A-Za-z0-9_./:=,@$()+%~-]*(?<!:)", re.ASCII
)
_RESERVED: Final = frozenset({*yamlio.BOOLEANS, "null"})


def scalar(value: object) -> str:
    """A scalar, or an empty collection, on one line."""
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
            return value
        if value.isprintable() and ('"' in value or "\\" in value):
            return "'" + value.replace("'", "''") + "'"
        return '"' + "".join(map(_escaped, value)) + '"'
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    return json.dumps(value)


def _escaped(character: str) -> str:
    if character.isprintable():
        return f"\\{character}" if character in '"\\' else character
    short = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character)
    code = ord(character)
    return short or (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def block(value: Any, column: int, offset: int) -> Iterator[str]:
    """The lines of a collection that is not empty, from `column` on; list items stand `offset` right of their key."""
    pad = " " * column
    if isinstance(value, dict):
        for key, item in value.items():
            yield from entry(key, item, column, offset)
        return
    for item in value:
        if item and isinstance(item, (dict, list)):
            first, *others = block(item, column + 2, offset)
            yield f"{pad}- {first[column + 2 :]}"
            yield from others
        else:
            yield from _scalar_lines(f"{pad}-", item, column + 2)


def flow(value: Any) -> str:
    """A value in flow style, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_in_flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return _in_flow(value)


def _in_flow(value: object) -> str:
    """A scalar in a flow collection, where a comma needs quotes too."""
    text = scalar(value)
    return f'"{text}"' if text == value and "," in text else text


def entry(key: str, value: Any, column: int, offset: int) -> Iterator[str]:
    """The lines of one key and its value."""
    yield from after(f"{' ' * column}{scalar(key)}:", value, column, offset)


def after(head: str, value: Any, column: int, offset: int) -> Iterator[str]:
    """The lines of a value of the key in `head`, which stands at `column`."""
    if value and isinstance(value, (dict, list)):
        yield head
        yield from block(value, column + (2 if isinstance(value, dict) else offset), offset)
    else:
        yield from _scalar_lines(head, value, column + 2)


def _scalar_lines(head: str, value: Any, column: int) -> Iterator[str]:
    if isinstance(value, str) and "\n" in value[:-1] and not value.endswith("\n\n"):
        lines = value.removesuffix("\n").split("\n")
        if (
            not lines[0].startswith(" ")
            and all(line.isprintable() and not line.endswith(" ") for line in lines)
            and lines[0]
        ):
            yield f"{head} |" if value.endswith("\n") else f"{head} |-"
            for line in lines:
                yield f"{' ' * column}{line}" if line else ""
            return
    yield f"{head} {scalar(value)}"
