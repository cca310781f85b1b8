"""Where what the workers need comes from: files that change, the API server, a certificate authority of our own.

A source is a generator of `Update`s that the supervisor runs in a thread. Its first update is what the server starts
with, and an error before that ends the program. Later, an update that does not pass the checks is told as `Refusal`:
nothing of it is put in force, and what was in force stays.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from common import cabundle, tls
from common.authority import shared_authority
from common.errors import KubernetesError, PysidecarError, UsageError
from common.tls import KeyPair
from webhook.serving.handover import CONFIG, MESH, NAMESPACES, NODES, PAIR, PROXY_CONFIGS, VALUES
from webhook.serving.lastgood import LastGood
from webhook.settings import Settings
from webhook.settings.proxyconfigs import KIND, ProxyConfigs

if TYPE_CHECKING:
    from common.kube import Kubernetes

# A kubelet brings a changed ConfigMap or Secret to its volume within about a minute; a look costs a stat.
POLL_SECONDS: Final = 1.0
AUTHORITY_SECONDS: Final = 60.0
# The owner of the caBundle among the configuration's field managers.
OWNER: Final = "pyinject"

# A kubelet runs containers with restartPolicy Always among the init containers as sidecars, by default, from this minor
# version on (feature SidecarContainers); Istio's own threshold is the version where that became stable.
NATIVE_SIDECARS_SINCE: Final = (1, 33)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Update:
    """Files for the workers (name in their directory → content), what they are about, and when they expire."""

    what: str
    files: Mapping[str, bytes]
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An update that was not taken, and why."""

    what: str
    error: PysidecarError


Source = Iterator[Update | Refusal]
Taken = Callable[[Mapping[str, bytes]], tuple[Mapping[str, bytes], datetime | None]]


def files(what: str, paths: Mapping[str, Path], taken: Taken, last_good: LastGood | None = None) -> Source:
    """Updates from files (name → path), read again whenever one of them has changed.

    `taken` gives what workers get of the contents, and when it expires; it raises PysidecarError for contents that
    cannot be used. Several files are seldom replaced in one moment: they are refused when they have stayed as they are.
    Where the first contents are refused, what `last_good` has kept is taken in their place.
    """
    seen = refused = None
    started = False
    while True:
        # a ConfigMap's volume changes by a symbolic link that points to another folder: the inode tells
        stats = [_stat(path) for path in paths.values()]
        if stats != seen:
            try:
                contents, expires = taken({name: _read(path) for name, path in paths.items()})
            except PysidecarError as error:
                if stats == refused or len(paths) == 1:
                    seen = stats
                    if not started:
                        yield Update(what, *_instead(error, taken, last_good))
                        started = True
                    yield Refusal(what, error)
                refused = stats
            else:
                seen, started = stats, True
                yield Update(what, contents, expires)
                if last_good:
                    last_good.keep(contents)
        if last_good:
            last_good.try_again()
        time.sleep(POLL_SECONDS)


def _instead(
    error: PysidecarError, taken: Taken, last_good: LastGood | None
) -> tuple[Mapping[str, bytes], datetime | None]:
    """What to start with, where `error` is all that can be said of the files. Raises it where there is nothing else."""
    kept = last_good.load() if last_good else {}
    if not kept:
        raise error
    try:
        found = taken(kept)
    except PysidecarError as other:
        log.error("nor can what was kept in %s be used: %s", last_good, other)
        raise error from other
    log.error("starting with the last good settings, of %s, since: %s", last_good, error)
    return found


def settings_files(paths: Mapping[str, Path], revision: str, last_good: LastGood | None = None) -> Source:
    """The settings from files: any of VALUES, MESH and CONFIG; without any, the project's own, which never change."""

    def taken(contents: Mapping[str, bytes]) -> tuple[Mapping[str, bytes], None]:
        loaded = Settings.load(contents.get(VALUES), contents.get(MESH), contents.get(CONFIG), revision=revision)
        for note in loaded.notes:
            log.info("%s", note)
        for warning in loaded.warnings:
            log.warning("%s", warning)
        return contents, None

    return files("settings", paths, taken, last_good)


def certificate_files(certificate: Path, key: Path, server_name: str | None) -> Source:
    """The serving certificate from files, as cert-manager and others renew them."""

    def taken(contents: Mapping[str, bytes]) -> tuple[Mapping[str, bytes], datetime]:
        pair = KeyPair(contents["certificate"], contents["key"])
        tls.check(pair, server_name, tls.now(), f"{certificate}, {key}")
        return {PAIR: pair.pem}, pair.leaf.not_valid_after_utc

    return files("certificate", {"certificate": certificate, "key": key}, taken)


def own_certificate(
    kubernetes: Kubernetes, namespace: str, secret: str, webhook_configuration: str, names: Sequence[str]
) -> Source:
    """The serving certificate from the authority in a Secret that all replicas share; both are renewed before they end.

    API servers trust an authority before a certificate of it is served: the caBundle is written first, and where
    another certificate is in force already, the next round brings the new one.
    """
    serving: KeyPair | None = None
    while True:
        try:
            authority, previous = shared_authority(kubernetes, namespace, secret)
            # another replica may still serve with an authority that the Secret no longer has
            former = cabundle.read(kubernetes, cabundle.MUTATING, webhook_configuration)
            trusted = tls.bundle(authority, previous, tls.now(), former)
            changed = cabundle.apply(kubernetes, cabundle.MUTATING, webhook_configuration, trusted, names[0], OWNER)
            if changed:
                log.info("caBundle of MutatingWebhookConfiguration %s written", webhook_configuration)
            signed = serving is not None and serving.signed_by(authority)
            if serving is None or (not changed and (not signed or tls.now() >= serving.renew_at())):
                serving = tls.issue(authority, names, tls.now())
                yield Update("certificate", {PAIR: serving.pem}, serving.leaf.not_valid_after_utc)
        except KubernetesError as error:
            # at the start the configuration may come a moment after us, and later what is in force goes on serving
            log.error("%s", error)
            time.sleep(POLL_SECONDS)
            if serving is None:
                continue
        time.sleep(AUTHORITY_SECONDS)


def namespaces(kubernetes: Kubernetes) -> Source:
    """Labels and annotations of all namespaces, as workers look them up: name → metadata."""
    for found in kubernetes.follow("Namespace"):
        metadata = {
            name: {key: item["metadata"][key] for key in ("name", "labels", "annotations") if key in item["metadata"]}
            for name, item in found.items()
        }
        yield Update("namespaces", {NAMESPACES: orjson.dumps(metadata)})


def nodes(kubernetes: Kubernetes) -> Source:
    """Whether every node runs native sidecars, and where not, which do; whenever that changes."""
    told = None
    for found in kubernetes.follow("Node"):
        versions = {name: item["status"]["nodeInfo"]["kubeletVersion"] for name, item in found.items()}
        native = run_native_sidecars(list(versions.values()))
        others = sorted(name for name, version in versions.items() if run_native_sidecars([version]) != native)
        if (native, others) != told:
            told = native, others
            yield Update("nodes", {NODES: orjson.dumps({"native_sidecars": native, "other_nodes": others})})


def proxy_configs(kubernetes: Kubernetes) -> Source:
    """The ProxyConfig resources that can be used, whenever they change; none, where the cluster has no such kind."""
    handed, told = None, frozenset[str]()
    for found in kubernetes.follow(KIND, optional=True):
        resources, problems = ProxyConfigs.read(found.values())
        for problem in problems:
            if problem not in told:
                log.warning("%s", problem)
        told = frozenset(problems)
        usable = {(resource.namespace, resource.name) for resource in resources.resources}
        kept = [_essence(item) for item in found.values() if _named(item) in usable]
        content = orjson.dumps(sorted(kept, key=_named))
        if content != handed:
            handed = content
            yield Update("proxyconfigs", {PROXY_CONFIGS: content})


def _essence(item: Mapping[str, Any]) -> dict[str, Any]:
    fields = ("name", "namespace", "creationTimestamp")
    return {"metadata": {key: item["metadata"].get(key) for key in fields}, "spec": item.get("spec")}


def _named(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["metadata"].get("namespace") or "", item["metadata"]["name"]


def run_native_sidecars(kubelet_versions: Sequence[str]) -> bool:
    """Whether nodes with these kubelets all run native sidecars; no, where there are none."""
    return bool(kubelet_versions) and all(_minor(version) >= NATIVE_SIDECARS_SINCE for version in kubelet_versions)


def _minor(version: str) -> tuple[int, int]:
    """(1, 33) of a kubelet's version, ``v1.33.4-gke.1``; (0, 0) where it is written otherwise."""
    major, _, rest = version.removeprefix("v").partition(".")
    minor = rest.partition(".")[0].rstrip("+")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
