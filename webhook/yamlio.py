"""YAML in (libyaml where PyYAML has it; JSON is YAML)."""

from __future__ import annotations

from typing import Any

import yaml

from webhook.errors import SettingsError


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as the Kubernetes API's machinery reads it: a date is the text that it is written as."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_yaml(source: str | bytes, what: str) -> Any:
    """The data of one document. Raises SettingsError, naming `what` and the line."""
    try:
        return yaml.load(source, Loader)
    except yaml.YAMLError as error:
        raise SettingsError(f"{what} is not YAML: {describe(error)}") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{what} is not YAML: {error}") from error


def describe(error: yaml.YAMLError) -> str:
    """A YAML error in one line."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "context", None) or str(error)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else str(problem)
