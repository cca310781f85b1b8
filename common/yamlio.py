"""YAML in (libyaml where PyYAML has it; JSON is YAML)."""

from __future__ import annotations

from typing import Any, Final, cast

import yaml

from common.errors import SettingsError


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as the Kubernetes API's machinery reads it: a date is the text that it is written as."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


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
