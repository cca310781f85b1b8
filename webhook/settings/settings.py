"""What the injector works with, read and checked once: values, mesh and injection configuration, compiled templates.

values            Istio's `values` (ConfigMap istio-sidecar-injector, key values), or this project's own with
                  `profile: standalone`, which are merged over that profile's defaults
mesh              the mesh configuration (ConfigMap istio, key mesh)
injection config  policy, defaultTemplates, aliases, templates, patches, never- and alwaysInjectSelector,
                  injectedAnnotations; what it leaves out comes from values' `sidecarInjectorWebhook`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from common import selectors
from common.errors import SettingsError
from common.yamlio import load_yaml
from webhook.settings import proxyconfig
from webhook.settings.containerpatch import ContainerPatch, parse_patches
from webhook.settings.library import Templates
from webhook.settings.policy import Policy
from webhook.settings.profiles import ISTIO, profile_of
from webhook.settings.proxyconfig import ProxyConfig

Source = str | bytes | Mapping[str, Any] | None

MESH_DEFAULTS = {
    "trustDomain": "cluster.local",
    "proxyListenPort": 15001,
    "proxyInboundListenPort": 15006,
    "enablePrometheusMerge": True,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of an injector; immutable, shared by all requests.

    profile              of webhook.settings.profiles
    values, mesh         as read, with defaults; what templates see
    proxy                the proxy configuration of pods that have none of their own, defaults included
    policy               what decides for pods that do not say it themselves
    default_templates    for pods that name none; each a template or an alias of several
    injected_annotations annotations for every injected pod
    revision             of this injector; "" for the default one
    notes, warnings      what whoever gave these settings should know: each a sentence, told when they load
    """

    profile: str
    values: Mapping[str, Any]
    mesh: Mapping[str, Any]
    proxy: ProxyConfig
    policy: Policy
    default_templates: tuple[str, ...]
    aliases: Mapping[str, tuple[str, ...]]
    templates: Templates
    patches: tuple[ContainerPatch, ...]
    injected_annotations: Mapping[str, str]
    revision: str
    cluster: str
    network: str
    hold_application: bool
    rewrite_probes: bool
    prometheus_merge: bool
    proxy_json: str = field(repr=False)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(cls, values: Source = None, mesh: Source = None, config: Source = None, *, revision: str = "") -> Self:
        """Settings from values, mesh configuration and injection configuration, each YAML or JSON text, or data.

        None stands for this project's defaults. Raises SettingsError, naming the setting, its value and what is
        allowed.
        """
        given = _mapping(values, "values")
        profile, merged = profile_of(given, defaults=values is None)
        if not isinstance(hub := _path(merged, "global.hub"), str):
            raise SettingsError(f"values: global.hub: {hub!r} is not the registry of the images (docker.io/istio)")
        mesh_config = {**MESH_DEFAULTS, **_mapping(mesh, "mesh configuration")}
        injection = {**_injection_defaults(merged), **_mapping(config, "injection configuration")}
        default_proxy = proxyconfig.checked(mesh_config.get("defaultConfig"), "mesh configuration: defaultConfig")
        proxy = proxyconfig.overlay(_proxy_defaults(profile, merged), default_proxy)
        constants = {"values": merged, "mesh": mesh_config, "revision": revision}
        reader = _Reader(injection, "injection configuration")
        default_templates = tuple(reader.texts("defaultTemplates")) or ("sidecar",)
        aliases = {
            name: tuple(_Reader(reader.mapping("aliases"), "aliases").texts(name)) for name in reader.mapping("aliases")
        }
        templates = Templates(profile, reader.mapping("templates"), constants)
        templates.require(name for alias in default_templates for name in aliases.get(alias, (alias,)))
        notes, warnings = _told(templates, reader.mapping("templates"), merged)
        return cls(
            profile=profile,
            values=merged,
            mesh=mesh_config,
            proxy=proxy,
            policy=_policy(reader),
            default_templates=default_templates,
            aliases=aliases,
            templates=templates,
            patches=parse_patches(reader.entries("patches")),
            injected_annotations=reader.text_mapping("injectedAnnotations"),
            revision=revision,
            cluster=str(_path(merged, "global.multiCluster.clusterName") or ""),
            network=str(_path(merged, "global.network") or ""),
            hold_application=_flag(merged, "global.proxy.holdApplicationUntilProxyStarts"),
            rewrite_probes=_flag(merged, "sidecarInjectorWebhook.rewriteAppHTTPProbe"),
            prometheus_merge=_flag(mesh_config, "enablePrometheusMerge"),
            proxy_json=proxyconfig.to_json(proxy),
            notes=notes,
            warnings=warnings,
        )

    def for_files(self) -> Self:
        """The settings for files that someone asks to be injected: only pods decide, no policy and no selector."""
        return replace(self, policy=Policy())

    @property
    def root_namespace(self) -> str:
        """The namespace whose ProxyConfig resource counts for the whole mesh."""
        return str(self.mesh.get("rootNamespace") or "istio-system")

    @property
    def status_port(self) -> int:
        """The port on which the proxy answers the app's probes and merged metrics; 0 for none."""
        return int(self.proxy["statusPort"])


def _told(
    templates: Templates, given: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What to say of templates in Go's language: notes, and warnings of those that somebody has changed."""
    notes, warnings = [], []
    in_values = _path(values, "sidecarInjectorWebhook.templates") or {}
    for name, changed in templates.stood_in_for([name for name in in_values if name in given]):
        template = f"injection configuration: template {name} is in Go's template language"
        stands = f"pyinject's own {name} stands for it"
        if changed:
            out = "way out: patches, or a template of your own over it (docs/templates.md)"
            warnings.append(f"{template} and not as Istio has it ({changed}): {stands}, without your changes; {out}")
        else:
            notes.append(f"{template}: {stands}")
    for name in templates.unusable:
        out = "way out: write it in pyinject's (docs/templates.md)"
        template = f"injection configuration: template {name} is in Go's template language"
        warnings.append(f"{template}: pods that ask for it are refused; {out}")
    return tuple(notes), tuple(warnings)


class _Reader:
    """A mapping read with its types checked; messages begin with `where`."""

    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        self._data = data
        self._where = where

    def entries(self, name: str) -> list[Any]:
        value = self._data.get(name)
        if value is not None and not isinstance(value, list):
            raise SettingsError(f"{self._where}: {name}: {value!r} is not a list")
        return value or []

    def texts(self, name: str) -> list[str]:
        values = self.entries(name)
        if not all(isinstance(value, str) and value for value in values):
            raise SettingsError(f"{self._where}: {name}: {values!r} is not a list of names")
        return values

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self._data.get(name)
        if value is not None and (not isinstance(value, dict) or not all(isinstance(key, str) for key in value)):
            raise SettingsError(f"{self._where}: {name}: {value!r} is not a mapping")
        return value or {}

    def text_mapping(self, name: str) -> Mapping[str, str]:
        values = self.mapping(name)
        if not all(isinstance(value, str) for value in values.values()):
            raise SettingsError(f"{self._where}: {name}: {values!r} is not a mapping of strings")
        return values

    def choice(self, name: str, *allowed: str) -> str:
        value = self._data.get(name)
        if value not in allowed:
            raise SettingsError(f"{self._where}: {name}: {value!r} is not one of {', '.join(allowed)}")
        return str(value)


def _mapping(source: Source, what: str) -> Mapping[str, Any]:
    data = load_yaml(source, what) if isinstance(source, (str, bytes)) else source
    if data is None:
        return {}
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise SettingsError(f"{what}: {str(data)[:80]!r} is not a mapping")
    return data


def _proxy_defaults(profile: str, values: Mapping[str, Any]) -> ProxyConfig:
    """The proxy configuration where nothing is said. Istio's templates read their status port from the values."""
    asked = {name: _path(values, f"global.proxy.{name}") for name in ("statusPort", "discoveryAddress")}
    given = {name: value for name, value in asked.items() if value is not None}
    if profile == ISTIO or not given:
        return proxyconfig.DEFAULTS
    return proxyconfig.overlay(proxyconfig.DEFAULTS, proxyconfig.checked(given, "values: global.proxy"))


def _injection_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """The injection configuration that Istio's chart would make of these values."""
    webhook = _path(values, "sidecarInjectorWebhook") or {}
    if not isinstance(webhook, Mapping):
        raise SettingsError(f"values: sidecarInjectorWebhook: {webhook!r} is not a mapping")
    names = ("defaultTemplates", "templates", "patches", "aliases", "neverInjectSelector", "alwaysInjectSelector")
    config = {name: webhook.get(name) for name in (*names, "injectedAnnotations")}
    return {"policy": _path(values, "global.proxy.autoInject") or "enabled", **config}


def _policy(config: _Reader) -> Policy:
    def parsed(name: str) -> tuple[selectors.Selector, ...]:
        where = f"injection configuration: {name}"
        return tuple(selectors.parse(entry, f"{where}[{n}]") for n, entry in enumerate(config.entries(name)))

    enabled = config.choice("policy", "enabled", "disabled") == "enabled"
    return Policy(enabled, parsed("neverInjectSelector"), parsed("alwaysInjectSelector"))


def _path(data: Mapping[str, Any], path: str) -> Any:
    """The value at a path of fields; None where one of them is missing."""
    value: Any = data
    for name in path.split("."):
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise SettingsError(f"values: {path}: {value!r} on the way to {name} is not a mapping")
        value = value.get(name)
    return value


def _flag(data: Mapping[str, Any], path: str) -> bool:
    value = _path(data, path)
    if value is not None and not isinstance(value, bool):
        raise SettingsError(f"{path}: {value!r} is not true or false")
    return bool(value)
