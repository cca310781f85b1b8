"""The functions that expressions can call, all pure; those OF_THE_POD get the pod's context as first argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from common import jsonio
from common.envoy.settings import envoy_bootstrap, seconds
from init.config import SETTINGS


class Pod(Protocol):
    """What functions of the pod read of a render context."""

    @property
    def annotations(self) -> Mapping[str, str]: ...  # noqa: D102 - the pod's own
    @property
    def labels(self) -> Mapping[str, str]: ...  # noqa: D102 - the pod's own


def text(value: object) -> str:
    """A value as it stands in YAML: true and false for truth values, nothing for None."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json(value) if isinstance(value, (Mapping, list, tuple)) else str(value)


def annotation(pod: Pod, name: str, default: object = "") -> str:
    """The pod's annotation, also an empty one; without it the default as text."""
    value = pod.annotations.get(name)
    return text(default) if value is None else value


def label(pod: Pod, name: str, default: object = "") -> str:
    """The pod's label, also an empty one; without it the default as text."""
    value = pod.labels.get(name)
    return text(default) if value is None else value


def json(value: object) -> str:
    """Compact JSON, keys in the order they are in."""
    return jsonio.dumps(value)


def parse_json(source: str) -> Any:
    """The data in a JSON text."""
    return jsonio.loads(source)


def entries(source: str) -> list[tuple[str, Any]]:
    """The entries of a JSON object with their names, in the order of names; of a JSON list with their numbers."""
    value = jsonio.loads(source or "{}")
    if isinstance(value, list):
        return [(str(index), entry) for index, entry in enumerate(value)]
    return sorted(value.items(), key=lambda pair: pair[0])


def dirname(path: str) -> str:
    """A path up to and with its last slash."""
    return path[: path.rfind("/") + 1]


def with_port(ports: str, port: object) -> str:
    """A list of ports with one more, where it is not in it; 0 and nothing add none
    (traffic.sidecar.istio.io/exclude…).
    """
    added = text(port).strip()
    listed = ports.split(",")
    if added in ("", "0") or added in listed:
        return ports
    return ",".join([*(entry.strip() for entry in listed if entry.strip()), added])


def with_network(networks: str, name: str) -> str:
    """A k8s.v1.cni.cncf.io/networks annotation (a JSON list, or names with commas) with one more network in it."""
    if not networks:
        return name
    end = networks.rfind("]")
    if end < 0:
        return networks if name in (entry.strip() for entry in networks.split(",")) else f"{networks}, {name}"
    try:
        listed = jsonio.loads(networks)
    except ValueError:
        return networks
    if not isinstance(listed, list) or any(
        isinstance(entry, Mapping) and entry.get("name") == name for entry in listed
    ):
        return networks
    return f"{networks[:end]}, {json({'name': name})}{networks[end:]}"


def init_args(**settings: object) -> list[str]:
    """The command line of an init container, from settings by their names in `init.config.Config`, in the order given.

    A setting that is None is left out, a flag without a value is there for True. Values are the text that was asked
    for: the init container parses them, and refuses what it does not understand.
    """
    args: list[str] = []
    for name, value in settings.items():
        if name not in SETTINGS:
            raise ValueError(f"init_args has no setting {name}; there are {', '.join(SETTINGS)}")
        setting = SETTINGS[name]
        if value is None or (setting.kind.boolean and not value):
            continue
        if setting.kind.boolean:
            args.append(f"--{setting.flag}")
        elif setting.short:
            args += [f"-{setting.short}", text(value)]
        else:
            args.append(f"--{setting.flag}={text(value)}")
    return args


FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        annotation,
        label,
        text,
        json,
        parse_json,
        entries,
        dirname,
        with_port,
        with_network,
        init_args,
        envoy_bootstrap,
        seconds,
    )
} | {
    "len": len,
    "int": int,
    "str": text,
    "bool": bool,
    "sorted": sorted,
    "min": min,
    "max": max,
    "any": any,
    "all": all,
}
OF_THE_POD = frozenset({"annotation", "label"})
