"""A map as a value."""

from __future__ import annotations

from typing import Any, Final


class Table(dict[str, Any]):
    """A map that can be hashed. It is not to be changed once it is made."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


EMPTY: Final = Table()
