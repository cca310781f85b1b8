"""The templates that pods can ask for: a profile's own and the user's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from common.errors import SettingsError, shortened
from webhook.errors import InjectionError
from webhook.settings.profiles import TEMPLATES, read
from webhook.template import Template

# What a render context has (webhook.pod.context).
NAMES = frozenset(
    [
        "annotations",
        "labels",
        "metadata",
        "spec",
        "containers",
        "ports",
        "workload",
        "native",
        "proxy",
        "proxy_json",
        "image",
        "uid",
        "gid",
        "probers",
    ]
)


class Templates:
    """Compiled templates by name. A profile's own are compiled when first asked for: most injectors use one or two."""

    def __init__(self, profile: str, own: Mapping[str, Any], constants: Mapping[str, Any]) -> None:
        self._files = TEMPLATES[profile]
        self._constants = constants
        self._compiled: dict[str, Template] = {}
        self._foreign: set[str] = set()
        for name, source in own.items():
            self._add(name, source)

    def __getitem__(self, name: str) -> Template:
        """The template of that name. Raises InjectionError where there is none that can be used."""
        if (template := self._compiled.get(name)) is not None:
            return template
        if name in self._files:
            return self._compile(name, read(self._files[name]))
        if name in self._foreign:
            raise InjectionError(
                f"template {name} is written in Go's template language; see docs/templates.md for pyinject's"
            )
        raise InjectionError(f"template {shortened(name)} is not there; there are {', '.join(sorted(self.names))}")

    def require(self, names: Iterable[str]) -> None:
        """Compile these now: what is wrong with a default template is told when settings load, and no pod waits for it.

        Raises SettingsError.
        """
        for name in names:
            try:
                self[name]
            except InjectionError as error:
                raise SettingsError(f"injection configuration: defaultTemplates: {error}") from error

    @property
    def names(self) -> frozenset[str]:
        """The names of all templates that can be asked for."""
        return frozenset({*self._files, *self._compiled})

    def _add(self, name: str, source: object) -> None:
        """Take a user's template. Istio's ConfigMap also holds Istio's own, in Go's language: ours stand for those."""
        if not isinstance(source, str):
            raise SettingsError(
                f"injection configuration: templates: {name} is not a text; write `{name}: |` before it"
            )
        if "{{" in source:
            self._foreign.add(name)
        else:
            self._compile(name, source)

    def _compile(self, name: str, source: str) -> Template:
        self._compiled[name] = Template.compile(name, source, self._constants, NAMES, read("fragments.yaml"))
        return self._compiled[name]
