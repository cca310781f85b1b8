"""A message of the API, declared once: its fields with their readers give parser and OpenAPI schema.

    @dataclass(frozen=True, slots=True)
    class Destination:
        \"\"\"Where a request goes (networking.istio.io Destination).\"\"\"

        host: str = text(needed=True)
        subset: str = text()
        port: PortSelector | None = sub(PortSelector)

        def check(self, r: Reading) -> None: ...      # what no single field can tell

A field's name in YAML is its attribute's in camelCase, or `name`. Every field has a default, so that a value can be
made with what matters alone. `ONE_OF` lists fields of which one at most may be there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from mesh.model import fields as f
from mesh.model.reading import ABSENT, Reading
from mesh.model.table import EMPTY as EMPTY

_KEY = "read"


class Field(NamedTuple):
    """A declared field: its attribute, its reader, whether it must be there, and what it is for."""

    attribute: str
    reader: f.Reader
    needed: bool
    doc: str


class Sub:
    """A message within a message. The class may be given late, as messages nest in themselves."""

    def __init__(self, cls: Any) -> None:
        self.cls = cls
        self.shape: Shape | None = None

    def __call__(self, value: Any, r: Reading, /) -> Any:
        shape = self.shape
        if shape is None:
            shape = self.shape = shape_of(self.cls)
        return shape.read(value, r)

    def schema(self) -> f.Schema:
        """Its own schema."""
        return shape_of(self.cls).schema()


class Shape:
    """The fields of one dataclass."""

    def __init__(self, cls: Any) -> None:
        self.cls = cls
        self.fields: dict[str, Field] = {}
        for one in dataclasses.fields(cls):
            if _KEY in one.metadata:
                reader, name, needed, doc = one.metadata[_KEY]
                self.fields[name or camel(one.name)] = Field(one.name, reader, needed, doc)
        self.needed = [name for name, one in self.fields.items() if one.needed]
        self.also: frozenset[str] = frozenset(getattr(cls, "ALSO", ()))
        self.lenient = "*" in self.also
        self.one_of: tuple[tuple[str, ...], ...] = getattr(cls, "ONE_OF", ())
        self.check = getattr(cls, "check", None)

    def read(self, value: Any, r: Reading, **more: Any) -> Any:
        """The value, or ABSENT; `more` are attributes that no field gives, as `meta`."""
        if not isinstance(value, Mapping):
            return r.wrong_type("an object", value)
        errors, path, known = r.errors, r.path, self.fields
        for key, one in value.items():
            field = known.get(key) if isinstance(key, str) else None
            if field is None:
                if not self.lenient and key not in self.also:
                    r.unknown(key, known)
            elif one is not None:
                path.append(key)
                made = field.reader(one, r)
                path.pop()
                if made is not ABSENT:
                    more[field.attribute] = made
        for key in self.needed:
            if value.get(key) is None:
                r.error("missing", f"{key} is needed", key)
        for group in self.one_of:
            present = [key for key in group if value.get(key) is not None]
            if len(present) > 1:
                r.error("conflict", f"only one of {' and '.join(present)} may be there", present[1])
        if r.errors != errors:
            return ABSENT
        made = self.cls(**more)
        if self.check is not None:
            self.check(made, r)
            if r.errors != errors:
                return ABSENT
        return made

    def schema(self) -> f.Schema:
        """OpenAPI v3, structural, as a CRD wants it."""
        return {
            "type": "object",
            "description": " ".join((self.cls.__doc__ or "").split("\n\n")[0].split()),
            "properties": {
                name: {**({"description": one.doc} if one.doc else {}), **one.reader.schema()}
                for name, one in self.fields.items()
            },
            **({"required": self.needed} if self.needed else {}),
            **({"x-kubernetes-preserve-unknown-fields": True} if self.lenient else {}),
        }


@cache
def shape_of(cls: Any) -> Shape:
    """The shape of a dataclass; a function is called for it, which lets a message hold itself."""
    return Shape(cls if isinstance(cls, type) else cls())


def camel(name: str) -> str:
    """snake_case to camelCase."""
    head, *rest = name.rstrip("_").split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


def read(reader: f.Reader, default: Any = None, *, name: str = "", needed: bool = False, doc: str = "") -> Any:
    """A field read by this reader."""
    return dataclasses.field(default=default, metadata={_KEY: (reader, name, needed, doc)})


def text(
    check: f.Check | None = None,
    *,
    pattern: str = "",
    longest: int = 0,
    empty: bool = True,
    default: str | None = "",
    **more: Any,
) -> Any:
    """A string."""
    return read(f.Text(check, pattern, longest, empty), default, **more)


def flag(default: bool | None = False, **more: Any) -> Any:
    """A boolean; default None where absent and false differ."""
    return read(f.Flag(), default, **more)


def whole(low: int = 0, high: int = 2**32 - 1, default: int | None = None, **more: Any) -> Any:
    """An integer."""
    return read(f.Whole(low, high), default, **more)


def port(default: int | None = None, low: int = 1, **more: Any) -> Any:
    """A port's number."""
    return read(f.Whole(low, 65535), default, **more)


def number(low: float = 0.0, high: float = float("inf"), default: float | None = None, **more: Any) -> Any:
    """A number."""
    return read(f.Number(low, high), default, **more)


def duration(least: float = 0.001, gep: bool = False, default: float | None = None, **more: Any) -> Any:
    """A duration in seconds."""
    return read(f.Duration(least, gep), default, **more)


def one_of(*words: str, default: str | None = "", **more: Any) -> Any:
    """One of these words; the first is the default unless another is given, or None for unset."""
    return read(f.OneOf(*words), words[0] if default == "" else default, **more)


def sub(cls: Any, **more: Any) -> Any:
    """A message, or None."""
    return read(Sub(cls), None, **more)


def subs(cls: Any, least: int = 0, most: int = 0, **more: Any) -> Any:
    """A list of messages."""
    return read(f.Many(Sub(cls), least, most), (), **more)


def texts(check: f.Check | None = None, *, least: int = 0, most: int = 0, empty: bool = True, **more: Any) -> Any:
    """A list of strings; where they are checked, none is empty."""
    return read(f.Many(f.Text(check, empty=empty and check is None), least, most), (), **more)


def text_map(key: f.Check | None = None, check: f.Check | None = None, **more: Any) -> Any:
    """A map of strings, as labels are."""
    return read(f.MapOf(f.Text(check), key), EMPTY, **more)


def map_of(item: f.Reader, key: f.Check | None = None, **more: Any) -> Any:
    """A map of what `item` reads."""
    return read(f.MapOf(item, key), EMPTY, **more)
