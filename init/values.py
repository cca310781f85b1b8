"""Frozen values: what dataclasses would give, for a tenth of the import time.

`dataclasses` and `typing` each cost as much to import as the interpreter to start, and every pod waits for pyinit.
A subclass of `Value` declares its fields as annotations; type checkers treat it as a frozen dataclass (PEP 681).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_: object):
        """Do nothing: at run time the decorator has no effect."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Value:
    """Base of immutable values compared by their fields, which are the subclass's annotations, in order.

    A field's default may be given by an object with an attribute `default`, which says more about the field.
    """

    _fields: "tuple[str, ...]" = ()
    _defaults: "dict[str, Any]" = {}  # noqa: RUF012

    def __init_subclass__(cls) -> None:
        attributes = cls.__dict__
        own = tuple(name for name in attributes.get("__annotations__", {}) if name[0] != "_")
        cls._fields = cls._fields + own
        cls._defaults = dict(cls._defaults)
        for name in attributes.keys() & set(own):
            cls._defaults[name] = getattr(attributes[name], "default", attributes[name])

    def __init__(self, *args: "Any", **kwargs: "Any") -> None:
        values = {**self._defaults, **dict(zip(self._fields, args, strict=False)), **kwargs}
        if len(args) > len(self._fields) or values.keys() != set(self._fields):
            raise TypeError(f"{type(self).__name__} takes exactly the fields {', '.join(self._fields)}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={self.__dict__[name]!r}' for name in self._fields)})"

    def replace(self, **changes: "Any") -> "Self":
        """A copy with some fields changed."""
        return type(self)(**{**self.__dict__, **changes})
