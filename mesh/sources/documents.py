"""Files ──▶ objects: several documents a file, Lists unfolded; a broken document does not take the others with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
import yaml

from common.yamlio import MAX_DEPTH, Loader, check, describe
from mesh.model.meta import ObjectRef
from mesh.model.problem import Problem
from mesh.model.reading import shown

SUFFIXES = (".yaml", ".yml", ".json")

# What a document may unfold to through its anchors: far more than any file that people write.
_MOST_VALUES = 1_000_000

_SEPARATOR = re.compile(r"^---(?=\s|$)", re.MULTILINE)


@dataclass(slots=True)
class Documents:
    """What a file holds; `broken` says that some of it could not be read, so that what is missing is unknown."""

    objects: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    broken: bool = False


def read_documents(data: bytes, name: str) -> Documents:
    """The objects of a file, with the problems of what is none. Never raises."""
    found = Documents()
    ref = ObjectRef("File", "", name)

    def told(code: str, message: str) -> None:
        found.broken |= code != "not-an-object"
        found.problems.append(Problem(code, ref, "", message))

    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        told("unreadable", f"it is not UTF-8: {error.reason} at byte {error.start}")
        return found
    for line, part in _parts(text, name):
        try:
            value = _load(part, name)
        except orjson.JSONDecodeError as error:
            told("not-yaml", f"it is not JSON: {error}")
        except yaml.YAMLError as error:
            told("not-yaml", _described(error, line))
        except (ValueError, RecursionError, OverflowError) as error:
            told("not-yaml", f"document at line {line + 1}: {error}")
        else:
            if value is not None:
                _unfold(value, line, found, told)
    return found


def _described(error: yaml.YAMLError, line: int) -> str:
    """A YAML error with the line in the whole file."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"document at line {line + 1}: {describe(error)}"
    return f"line {line + mark.line + 1}: {describe(error).partition(': ')[2]}"


def _parts(text: str, name: str) -> Iterator[tuple[int, str]]:
    """The documents of a stream, each with the line it begins at (from 0)."""
    if name.endswith(".json"):
        yield 0, text
        return
    start = 0
    for match in [*_SEPARATOR.finditer(text), None]:
        end = match.start() if match else len(text)
        part = text[start:end]
        if part.strip():
            yield text.count("\n", 0, start), part
        start = match.end() if match else end


def _load(text: str, name: str) -> Any:
    found, value = _json(text, name)
    if not found:
        check(text)
        value = yaml.load(text, Loader)
    if not found or text.count("{") + text.count("[") > MAX_DEPTH:
        _count(value)
    return value


def _json(text: str, name: str) -> tuple[bool, Any]:
    """Whether it is JSON, and what it says. Files of YAML may hold some: kubectl, too, reads it as such, and it takes a
    fraction of the time. Raises JSONDecodeError where it has to be.
    """
    if name.endswith(".json"):
        return True, orjson.loads(text) if text.strip() else None
    if text.lstrip().startswith("{"):
        with suppress(orjson.JSONDecodeError):
            return True, orjson.loads(text)
    return False, None


def _count(value: Any) -> None:
    """Raises ValueError for what is nested too deeply, and where anchors of anchors unfold without end."""
    left = _MOST_VALUES
    walk = [iter((value,))]
    while walk:
        for one in walk[-1]:
            left -= 1
            if isinstance(one, dict):
                walk.append(iter(one.values()))
            elif isinstance(one, list):
                walk.append(iter(one))
            else:
                continue
            break
        else:
            walk.pop()
        if left < 0:
            raise ValueError(f"it holds, with its anchors unfolded, more than {_MOST_VALUES} values")
        if len(walk) > MAX_DEPTH + 1:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH}, or contains itself")


def _unfold(value: Any, line: int, found: Documents, told: Any) -> None:
    items = [value]
    if isinstance(value, dict) and isinstance(value.get("kind"), str) and value["kind"].endswith("List"):
        listed = value.get("items")
        if isinstance(listed, list):
            # as the API server lists them, without their own apiVersion and kind
            kind, version = value["kind"].removesuffix("List"), value.get("apiVersion")
            items = [{"apiVersion": version, "kind": kind, **one} if isinstance(one, dict) else one for one in listed]
    for one in items:
        if isinstance(one, dict) and isinstance(one.get("kind"), str) and isinstance(one.get("apiVersion"), str):
            found.objects.append(one)
        else:
            told(
                "not-an-object",
                f"document at line {line + 1}: want an object with apiVersion and kind, not {shown(one)}",
            )
