"""A template's text as nodes that know their lines; its scalars are read as `common.yamlio` says."""

from __future__ import annotations

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from common import yamlio
from common.yamlio import check
from webhook.errors import TemplateError


def parse(name: str, source: str) -> MappingNode:
    """The mapping that a template is. Raises TemplateError."""
    try:
        check(source)
        root = yaml.compose(source, yamlio.Loader)
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
    """A scalar's value; with a tag that does not fit, the text that it is written as."""
    try:
        return yamlio.scalar(node.tag, node.value)
    except ValueError:
        return str(node.value)


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
