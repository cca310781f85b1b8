"""The API server as a source: each kind listed in pages and watched from there, by a thread of its own.

    list ──▶ watch ──(it ends: nothing special)──▶ watch … ──(410 Gone)──▶ list ──▶ …

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
A connection that breaks tells nothing: what is known is served on, and the watch goes on from where it was. Only a list
that came to its end says what is gone; and one in which most is gone must be confirmed by a second.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol

import orjson

from common.errors import KubernetesError
from mesh.model.kinds import BY_KEY, Kind, kind_of
from mesh.model.reading import DOMAIN
from mesh.sources import Deliver
from mesh.sources.intake import Intake, Relist, changed_at, name_of, version_of
from mesh.sources.pauses import ABSENT, CONFIRM, RETRY, Contact, Pause
from mesh.world.events import Event, Listed

log = logging.getLogger(__name__)

PAGE = 500
WATCH_SECONDS = 300
# An API server sends a bookmark about once a minute: a connection that is silent for longer than this has died.
SILENT_SECONDS = 150.0
LIST_SECONDS = 60.0
WOKEN_SECONDS = 10.0  # from one time that a reader is woken by another to the next

# What of a kind is not asked for at all.
SELECTORS = {
    "secrets": "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,"
    "type!=kubernetes.io/dockerconfigjson,type!=bootstrap.kubernetes.io/token",
    "configmaps": "metadata.name!=kube-root-ca.crt",
}


class Api(Protocol):
    """What is needed of the API server's client (common.kube.Kubernetes)."""

    def reading(self, path: str, query: Mapping[str, str], timeout: float) -> AbstractContextManager[Any]:
        """The answer to a GET, unread. Raises KubernetesError."""


class Kubernetes:
    """Objects of all kinds (or of `kinds`, by their keys) in an API server."""

    def __init__(
        self, api: Api, domain: str = DOMAIN, kinds: Sequence[str] = tuple(BY_KEY), pause: Pause = RETRY
    ) -> None:
        by_path: dict[tuple[str, str], list[Kind]] = {}
        for key in kinds:
            by_path.setdefault((BY_KEY[key].group, BY_KEY[key].plural), []).append(BY_KEY[key])
        self._api, self._domain, self._pause = api, domain, pause
        self._groups = list(by_path.values())
        self._waiting = {kind.key: "not listed yet" for group in self._groups for kind in group}
        self._readers: list[_Reader] = []

    @property
    def waiting(self) -> Mapping[str, str]:
        """The kinds that are not listed yet, each with the reason."""
        return self._waiting

    async def run(self, deliver: Deliver) -> None:
        """Reads until it is cancelled."""
        loop = asyncio.get_running_loop()

        def take(events: Sequence[Event]) -> None:
            for event in events:
                if isinstance(event, Listed):
                    self._waiting.pop(event.kind, None)
            deliver(events)

        def post(events: Sequence[Event]) -> None:
            if events:
                loop.call_soon_threadsafe(take, events)

        contact = Contact()
        self._readers = [
            _Reader(self._api, group, Intake(self._domain), post, self._waiting, self._pause, contact)
            for group in self._groups
        ]
        threads = [threading.Thread(target=one.run, name=f"watch-{one.plural}", daemon=True) for one in self._readers]
        for thread in threads:
            thread.start()
        try:
            await asyncio.Event().wait()
        finally:
            for reader in self._readers:
                reader.stop()


class _Reader:
    """One resource of the API server, read by one thread."""

    def __init__(
        self,
        api: Api,
        kinds: Sequence[Kind],
        intake: Intake,
        post: Any,
        waiting: dict[str, str],
        pause: Pause,
        contact: Contact,
    ) -> None:
        self._api, self._kinds, self._intake, self._post = api, kinds, intake, post
        self._waiting, self._pause = waiting, pause
        self.plural = kinds[0].plural
        self._version = kinds[0].versions[0]
        self._contact, self._has_failed, self._woken_at = contact, False, -WOKEN_SECONDS
        self._stopped, self._woken = threading.Event(), threading.Event()
        self._answer: Any = None
        self._at = ""  # the resourceVersion that was reached

    def stop(self) -> None:
        """Ends the thread soon, also where it waits for the server."""
        self._stopped.set()
        self._woken.set()
        connection = getattr(self._answer, "connection", None)
        sock = getattr(connection, "sock", None)
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(2)

    def run(self) -> None:
        """Lists and watches until it is stopped."""
        failures = 0
        while not self._stopped.is_set():
            try:
                if not self._at:
                    self._at = self._list()
                    if not self._at:
                        self._sleep(self._pause.of(ABSENT))
                        continue
                self._watch()
                failures = 0
            except KubernetesError as error:
                if self._stopped.is_set():
                    return
                if error.status == 410 and self._at:
                    log.info("%s: listed again", error)
                    self._at = ""
                    continue
                if error.status == 404:  # a definition was taken away
                    self._at = ""
                self._has_failed = True
                # one that starts, or has much to do, says itself when to come again
                asked = error.retry_after
                seconds = self._pause.after(failures) if asked is None else self._pause.asked(asked)
                failures += asked is None
                for kind in self._kinds:
                    if kind.key in self._waiting:
                        self._waiting[kind.key] = str(error)
                log.warning("%s; next try in %.1f s", error, seconds)
                if self._is_woken_within(seconds):
                    failures = 0
            except Exception:
                if self._stopped.is_set():  # the loop has ended, and nobody listens
                    return
                log.exception("%s: this should not happen; all of them are listed again", self.plural)
                self._at = ""
                self._sleep(self._pause.after(failures))
                failures += 1

    def _sleep(self, seconds: float) -> None:
        self._stopped.wait(seconds)

    def _is_woken_within(self, seconds: float) -> bool:
        """Waits so long, or until another reader is answered again; tells whether one was.

        Now and then only: a server that answers and then breaks off would have readers wake each other without end.
        """
        if time.monotonic() < self._woken_at + WOKEN_SECONDS:
            self._sleep(seconds)
            return False
        if woken := self._contact.wait(self._woken, seconds):
            self._woken_at = time.monotonic()
        return woken

    def _is_answered(self) -> None:
        """What was read is whole."""
        if self._has_failed:
            self._has_failed = False
            self._contact.made()

    def _list(self) -> str:
        """Tells all there are; returns the version to watch from, or empty where the server has no such resource."""
        relist, version = self._pages()
        if relist.gone > 1 and relist.gone * 2 > relist.before:
            log.error(
                "%d of %d %s are gone at once; they count as there until a second list says the same",
                relist.gone, relist.before, self.plural,
            )  # fmt: skip
            self._sleep(self._pause.of(CONFIRM))
            relist, version = self._pages()
            if relist.gone:
                log.error("the second list says so too: %d %s are gone", relist.gone, self.plural)
        self._post(relist.finish())
        return version

    def _pages(self) -> tuple[Relist, str]:
        """One list from its begin to its end; what is gone is not told yet."""
        for version in self._kinds[0].versions:
            relist = Relist(self._intake, self._kinds)
            try:
                found = self._pages_of(version, relist)
            except KubernetesError as error:
                if error.status != 404:
                    raise
                continue
            self._version = version
            return relist, found
        return Relist(self._intake, self._kinds), ""

    def _pages_of(self, version: str, relist: Relist) -> str:
        kind, token = self._kinds[0], ""
        while True:
            query = self._query(limit=str(PAGE), **({"continue": token} if token else {}))
            with self._reading(kind.path(version), query, LIST_SECONDS) as answer:
                page = _json(answer.read(), kind.path(version))
            self._is_answered()
            items = page.get("items") or []
            head = {"apiVersion": page.get("apiVersion"), "kind": kind.name}
            self._post(relist.page({**head, **one} for one in items if isinstance(one, dict)))
            metadata = page.get("metadata") or {}
            token = metadata.get("continue") or ""
            if not token:
                return str(metadata.get("resourceVersion") or "0")

    def _watch(self) -> None:
        """Tells what happens after the version that was reached, until the server ends the watch."""
        seconds = int(WATCH_SECONDS * random.uniform(0.8, 1.2))
        query = self._query(
            watch="1", resourceVersion=self._at, allowWatchBookmarks="true", timeoutSeconds=str(seconds)
        )
        path = self._kinds[0].path(self._version)
        with self._reading(path, query, SILENT_SECONDS) as answer:
            for lines in _lines(answer):
                events: list[Event] = []
                try:
                    for line in lines:
                        self._take(_json(line, path), path, events)
                finally:  # what came before a line that is none has happened
                    self._post(events)
                self._is_answered()

    def _take(self, happened: Mapping[str, Any], path: str, events: list[Event]) -> None:
        type_, thing = happened.get("type"), happened.get("object")
        if not isinstance(thing, dict):
            return
        if type_ == "ERROR":
            code, said = thing.get("code"), thing.get("message")
            raise KubernetesError(f"GET {path}?watch: {code} {said}", code if isinstance(code, int) else 500)
        if type_ != "BOOKMARK":
            events += self._happened(type_, thing)
        self._at = version_of(thing) or self._at

    @contextmanager
    def _reading(self, path: str, query: Mapping[str, str], timeout: float) -> Iterator[Any]:
        with self._api.reading(path, query, timeout) as answer:
            self._answer = answer
            try:
                yield answer
            finally:
                self._answer = None

    def _happened(self, type_: Any, thing: dict[str, Any]) -> list[Event]:
        kind = kind_of(thing)
        if kind is None or kind not in self._kinds:
            return []
        if type_ != "DELETED":
            return self._intake.upsert(kind, thing, changed=changed_at(thing))
        # of all kinds here: the ConfigMap that was the mesh configuration may have lost that before it went
        key = name_of(kind, thing)[1]
        return [event for one in self._kinds for event in self._intake.remove((one.key, key))]

    def _query(self, **query: str) -> dict[str, str]:
        selector = SELECTORS.get(self.plural)
        return query | ({"fieldSelector": selector} if selector else {})


def _json(data: bytes, path: str) -> dict[str, Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise KubernetesError(f"GET {path}: the answer is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise KubernetesError(f"GET {path}: the answer is not an object")
    return found


def _lines(answer: Any) -> Iterator[list[bytes]]:
    """The lines of a stream, as many at once as have come."""
    rest = b""
    for chunk in answer.stream(65536, decode_content=True):
        *whole, rest = (rest + chunk).split(b"\n")
        if lines := [line for line in whole if line.strip()]:
            yield lines
