"""YAML in, as Kubernetes reads it, whatever it is: users' files, settings, templates, annotations (JSON is YAML).

The one dialect is that of kubectl's and istioctl's parser (sigs.k8s.io/yaml), which turns YAML into JSON: `y`, `yes`,
`on` are true; a date stays the text that it is written as, 22:22 is no number in base 60, 1e3 is one and 1e400 a text;
a key that is no text becomes one. libyaml reads it, where PyYAML has it.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, cast

import yaml

from common.errors import SettingsError

TAG: Final = "tag:yaml.org,2002:"
BOOLEANS: Final = {
    **dict.fromkeys(("y", "yes", "true", "on"), True),
    **dict.fromkeys(("n", "no", "false", "off"), False),
}
# (tag, expression, first characters), as Resolver.add_implicit_resolver takes them
_RESOLVERS: Final = (
    ("bool", r"y|Y|n|N|[yY]es|YES|[nN]o|NO|[tT]rue|TRUE|[fF]alse|FALSE|[oO]n|ON|[oO]ff|OFF", "yYnNtTfFoO"),
    ("int", r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
)


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's loader of this dialect."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        """A mapping, its keys texts."""
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if all(isinstance(key, str) for key in found):
            return found
        return {key if isinstance(key, str) else json.dumps(key): value for key, value in found.items()}


def scalar(tag: str, text: str) -> str | int | float | bool | None:
    """The value of a scalar. Raises ValueError for what its tag, written out, does not fit, and for unknown tags."""
    kind = tag.removeprefix(TAG)
    try:
        match kind:
            case "str" | "binary" | "timestamp" | "merge" | "value":
                return text
            case "null":
                return None
            case "bool":
                return BOOLEANS[text.lower()]
            case "int":
                digits = text.replace("_", "")
                unsigned = digits.lstrip("+-")
                base = 8 if len(unsigned) > 1 and unsigned[0] == "0" and unsigned[1].isdigit() else 0
                return int(digits, base)
            case "float":
                number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
                # beyond the range of numbers
                return text if math.isinf(number) and not text.lower().endswith("inf") else number
    except (ValueError, KeyError) as error:
        raise ValueError(f"{text!r} is no {kind}") from error
    raise ValueError(f"the tag {tag} is unknown to Kubernetes")


def _construct(_: Loader, node: yaml.ScalarNode) -> str | int | float | bool | None:
    try:
        return scalar(node.tag, node.value)
    except ValueError as error:
        mark = cast("yaml.Mark", node.start_mark)
        raise yaml.constructor.ConstructorError(problem=str(error), problem_mark=mark) from error


Loader.yaml_implicit_resolvers = {}
for _kind, _expression, _first in _RESOLVERS:
    Loader.add_implicit_resolver(TAG + _kind, re.compile(f"^(?:{_expression})$"), list(_first))
for _kind in ("bool", "int", "float", "null", "binary", "timestamp"):
    Loader.add_constructor(TAG + _kind, _construct)


# Far more than anything in Kubernetes needs.
MAX_DEPTH: Final = 200


def load_yaml(source: str | bytes, what: str, *, aliases: bool = True) -> Any:
    """The data of one document; without `aliases` it may have none. Raises SettingsError with `what` and the line."""
    try:
        check(source, aliases=aliases)
        return yaml.load(source, Loader)
    except yaml.YAMLError as error:
        raise SettingsError(f"{what} is not YAML: {describe(error)}") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{what} is not YAML: {error}") from error


def check(source: str | bytes, *, aliases: bool = True) -> None:
    """Raise yaml.MarkedYAMLError for a stream that is no YAML, is nested too deeply, or has aliases that it may not.

    PyYAML makes libyaml's nodes by recursion in C, which for very deep ones ends the process; and a few aliases of
    aliases, followed, are gigabytes.
    """
    depth = 0
    for event in yaml.parse(source, Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _refused(f"nested deeper than {MAX_DEPTH}", event)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent) and not aliases:
            raise _refused("an alias (*) is not taken here", event)


def _refused(problem: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=cast("yaml.Mark", event.start_mark))


def describe(error: yaml.YAMLError) -> str:
    """A YAML error in one line."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "context", None) or str(error)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else str(problem)
