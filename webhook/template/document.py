"""A template's text as nodes that know their lines (yaml.org, 1.1, as Kubernetes reads it)."""

from __future__ import annotations

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from common.yamlio import check
from webhook.errors import TemplateError

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT = "tag:yaml.org,2002:str"


def parse(name: str, source: str) -> MappingNode:
    """The mapping that a template is. Raises TemplateError."""
    try:
        check(source)
        root = yaml.compose(source, _Loader)
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark.line + 1 if error.problem_mark else 1
        raise TemplateError(name, where, f"not YAML: {error.problem or error.context}") from error
    if not isinstance(root, MappingNode):
        raise TemplateError(name, 1, "not a mapping with metadata and spec")
    return root


def line(node: Node) -> int:
    """The line that a node begins in, from 1."""
    return int(node.start_mark.line) + 1


def scalar(node: ScalarNode) -> str | int | float | bool | None:
    """A scalar's value; what YAML alone has (dates, binary) stays the text that it is written as."""
    if node.tag == _TEXT:
        return str(node.value)
    value = SafeConstructor().construct_object(node)
    return value if isinstance(value, (int, float, bool, type(None))) else str(node.value)


def entries(name: str, node: MappingNode) -> list[tuple[str, Node]]:
    """A mapping's keys and values, merge keys (<<) resolved. Raises TemplateError for a key that is no text."""
    SafeConstructor().flatten_mapping(node)
    found: dict[str, Node] = {}
    for key, value in node.value:
        if not isinstance(key, ScalarNode):
            raise TemplateError(name, line(key), "a key must be a text")
        if key.value in found:
            raise TemplateError(name, line(key), f"{key.value} is there twice")
        found[str(key.value)] = value
    return list(found.items())


def items(node: Node) -> list[Node]:
    """The items of a sequence; none of anything else."""
    return list(node.value) if isinstance(node, SequenceNode) else []
