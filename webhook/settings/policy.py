"""What decides for pods that do not say themselves whether they are injected."""

from __future__ import annotations

from dataclasses import dataclass

from common.selectors import Selector


@dataclass(frozen=True, slots=True)
class Policy:
    """The selectors, and `enabled` for pods that none of them matches."""

    enabled: bool = True
    never: tuple[Selector, ...] = ()
    always: tuple[Selector, ...] = ()
