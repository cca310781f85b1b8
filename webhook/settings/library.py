"""The templates that pods can ask for: a profile's own and the user's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from common.errors import SettingsError, shortened
from webhook.errors import InjectionError
from webhook.settings import foreign
from webhook.settings.profiles import ISTIO, TEMPLATES, read
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
        "app_metrics",
    ]
)


# Also in Istio's ConfigMap, but no pod asks for them: istiod deploys gateways and waypoints from them.
_OF_ISTIOD = frozenset({"kube-gateway", "waypoint", "agentgateway", "agentgateway-waypoint"})


class Templates:
    """Compiled templates by name. A profile's own are compiled when first asked for: most injectors use one or two."""

    def __init__(self, profile: str, own: Mapping[str, Any], constants: Mapping[str, Any]) -> None:
        self._files = TEMPLATES[profile]
        self._constants = constants
        self._compiled: dict[str, Template] = {}
        self._foreign: dict[str, str] = {}
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

    def stood_in_for(self, given_as_values: Collection[str]) -> Iterator[tuple[str, str]]:
        """The templates in Go's language for which this project's stand: the name, and how it shows that they are not
        Istio's own; empty where it does not. `given_as_values` are the names of those that the values have too.
        """
        for name, source in self._foreign.items():
            if name in self._files:
                translated = TEMPLATES[ISTIO].get(name)
                own = read(translated) + read("fragments.yaml") if translated else ""
                added = foreign.additions(source, own)
                shown = ", ".join(added[:5]) + (f" and {len(added) - 5} more" if len(added) > 5 else "")
                given = "the values have it: sidecarInjectorWebhook.templates" if name in given_as_values else ""
                yield name, "; ".join(filter(None, [given, shown and f"it has {shown}"]))

    @property
    def unusable(self) -> list[str]:
        """The names of templates in Go's language for which none of this project's stands."""
        return [name for name in self._foreign if name not in {*self._files, *TEMPLATES[ISTIO], *_OF_ISTIOD}]

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
        if foreign.is_go(source):
            self._foreign[name] = source
        else:
            self._compile(name, source)

    def _compile(self, name: str, source: str) -> Template:
        self._compiled[name] = Template.compile(name, source, self._constants, NAMES, read("fragments.yaml"))
        return self._compiled[name]
