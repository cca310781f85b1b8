"""Metrics of app and proxy on one port: the app's prometheus.io annotations move into the proxy's environment.

Prometheus reads any spelling that its label names make the same: prometheus.io/port, prometheus.io.port,
prometheus-io-port.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from common import jsonio
from webhook.pod import annotations as names
from webhook.pod import podtree
from webhook.pod.podtree import Pod
from webhook.settings.containers import PROXY

VARIABLE = "ISTIO_PROMETHEUS_ANNOTATIONS"
PATH = "/stats/prometheus"

_FIELDS = {"prometheus_io_scrape": "scrape", "prometheus_io_path": "path", "prometheus_io_port": "port"}


def merge_metrics(pod: Pod, status_port: int | None, earlier: str | None, *, default: bool) -> Pod:
    """The pod with its metrics on the proxy's status port, unless it asks for none, has them there already, or there is
    no such port.

    `earlier` is what an earlier injection told the proxy of the app's own, which the annotations then no longer say.
    """
    annotations = podtree.annotations_of(pod)
    if is_merged(annotations, status_port):
        return _told(pod, earlier) if earlier is not None else pod
    if not _is_wanted(annotations, status_port, default=default):
        return pod
    if app := _of_annotations(annotations):
        pod = _told(pod, jsonio.dumps(app))
    merged = without_prometheus(annotations) | {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(status_port),
        "prometheus.io/path": PATH,
    }
    return podtree.with_metadata(pod, "annotations", merged)


def app_metrics(
    annotations: Mapping[str, str], status_port: int | None, earlier: str | None, *, default: bool
) -> dict[str, str]:
    """Where the app's own metrics are that the proxy is to show with its own, as the annotations say it: `scrape`,
    `path`, `port`. Empty where nothing is said, and where they are not to be merged. `earlier` as above."""
    if earlier is not None:
        return _of_variable(earlier)
    if is_merged(annotations, status_port) or not _is_wanted(annotations, status_port, default=default):
        return {}
    return _of_annotations(annotations)


def _is_wanted(annotations: Mapping[str, str], status_port: int | None, *, default: bool) -> bool:
    asked = names.flag(annotations.get(names.PROMETHEUS_MERGE, ""))
    return status_port is not None and (default if asked is None else asked) and _scraped(annotations)


def _of_annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    app = {field: value for _, field, value in _ours(annotations)}
    return {field: app.get(field, "") for field in _FIELDS.values()} if any(app.values()) else {}


def _of_variable(text: str) -> dict[str, str]:
    """The same from the variable, which may have been written by anyone."""
    try:
        value = jsonio.loads(text)
    except ValueError:
        return {}
    if not isinstance(value, dict):
        return {}
    return {field: said if isinstance(said := value.get(field), str) else "" for field in _FIELDS.values()}


def _told(pod: Pod, app_metrics: str) -> Pod:
    """The pod whose proxy, if it has one, knows where the app's own metrics are."""
    proxy = podtree.find_in_pod(pod, PROXY)
    if proxy is None:
        return pod
    return podtree.with_container(pod, proxy, podtree.with_variables(proxy, {VARIABLE: app_metrics}))


def is_merged(annotations: Mapping[str, str], status_port: int | None) -> bool:
    """Whether the annotations say the proxy's port: an earlier injection wrote them, or the user controls them."""
    port = next((value for _, field, value in _ours(annotations) if field == "port"), None)
    return port == str(status_port)


def without_prometheus(annotations: Mapping[str, str]) -> dict[str, str]:
    """The annotations without those that Prometheus reads."""
    unwanted = {name for name, _, _ in _ours(annotations)}
    return {name: value for name, value in annotations.items() if name not in unwanted}


def _scraped(annotations: Mapping[str, str]) -> bool:
    """Whether the app is to be scraped; yes where nothing says no."""
    for _, field, value in _ours(annotations):
        if field == "scrape" and (scraped := names.flag(value)) is not None:
            return scraped
    return True


def _ours(annotations: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """The annotations that Prometheus reads: name, what it is for, value."""
    for name, value in annotations.items():
        if name.startswith("prometheus") and (field := _field(name)) is not None:
            yield name, field, value


@lru_cache(maxsize=1024)
def _field(annotation: str) -> str | None:
    """What Prometheus reads an annotation for; None where it does not."""
    label = "".join(character if character.isascii() and character.isalnum() else "_" for character in annotation)
    return _FIELDS.get(label)
