"""What the injector works with, read once: values, mesh configuration, injection configuration, compiled templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from webhook.decide import Policy

Source = str | bytes | Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of an injector; immutable, shared by all requests."""

    values: Mapping[str, Any]
    mesh: Mapping[str, Any]
    policy: Policy
    revision: str

    @classmethod
    def load(cls, values: Source = None, mesh: Source = None, config: Source = None, *, revision: str = "") -> Self:
        """Settings from Istio's values, mesh configuration and injection configuration; each YAML or JSON text, or data.

        None stands for this project's defaults. Raises SettingsError, naming the setting, its value and what is allowed.
        """
        raise NotImplementedError
