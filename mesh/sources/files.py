"""A folder of YAML and JSON files as a source: for laptops, VMs, tests and CI.

What a look at the folder finds counts; inotify only says when to look. Where it does not tell all, a look a second
does; else one now and then, for what it cannot know: what others write to a filesystem of the network.
A file that is being written is read when it is closed or when it rests. What of a file cannot be read keeps what it was
known to hold, and is told as a problem of `File NAME`, until it can be read again or is removed. A folder that is away,
or in which not one file is left, is not believed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from stat import S_ISREG
from typing import Any

from common.errors import UsageError
from mesh.model.kinds import BY_KEY, kind_of
from mesh.model.meta import ObjectRef
from mesh.model.problem import Problem
from mesh.model.reading import DOMAIN
from mesh.sources import Deliver
from mesh.sources.documents import SUFFIXES, read_documents
from mesh.sources.inotify import Inotify
from mesh.sources.intake import Intake, Name, name_of, unknown_kind
from mesh.world.events import Event, Key, Listed, Remove, Upsert

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
REST_SECONDS = 0.9  # as it is for so long, it is not just being written: by the next look
UNTOLD_SECONDS = 5.0
SMALL_BYTES = 1 << 18
GATHER_SECONDS = 0.005  # an editor's or kubectl's several steps are one change

Stamp = tuple[int, int, int]  # mtime in ns, size, inode


@dataclass(slots=True)
class _File:
    stamp: Stamp
    objects: dict[Name, Mapping[str, Any]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


class Files:
    """The objects in a folder and all below it; hidden files and folders are passed over.

    Raises UsageError where it is no folder.
    """

    def __init__(self, folder: Path, domain: str = DOMAIN) -> None:
        if not folder.is_dir():
            raise UsageError(f"--files {folder}: it is not a folder")
        self._folder = folder
        self._intake = Intake(domain)
        self._files: dict[str, _File] = {}
        self._holders: dict[Name, set[str]] = {}
        self._unsettled: dict[str, tuple[Stamp, float]] = {}  # not read yet, since when as it is
        self._listed = False
        self._away = False
        self._is_watched = False
        self._root: tuple[int, int] | None = None  # device and inode at the last walk
        self._told: set[str] = set()

    @property
    def waiting(self) -> Mapping[str, str]:
        """All kinds until the folder was read once."""
        return {} if self._listed else dict.fromkeys(BY_KEY, f"{self._folder} is not read yet")

    async def run(self, deliver: Deliver) -> None:
        """Reads the folder, then tells what changes, until it is cancelled."""
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        whole: set[str] = set()
        touched: set[Path] = set()
        notify, looked = _inotify(), -UNTOLD_SECONDS

        def on_events() -> None:
            assert notify is not None
            for path, closed in notify.events():
                touched.add(path)
                if closed:
                    whole.add(str(path))
            woken.set()

        if notify is not None:
            loop.add_reader(notify.fd, on_events)
        try:
            while True:
                closed, paths = frozenset(whole), touched | self._rested()
                whole.clear()
                touched.clear()
                few = None
                if time.monotonic() < looked + self._pause and self._root == _identity(self._folder):
                    few = self._few(paths)
                if few is None:
                    looked = time.monotonic()
                if few is not None and sum(size for _, size, _ in few.values()) <= SMALL_BYTES:
                    events = self.look(closed, notify, few)
                else:
                    # reading much takes seconds, in which proxies want their answers
                    events = await asyncio.to_thread(self.look, closed, notify, few)
                if events:
                    deliver(events)
                with suppress(TimeoutError):
                    # whether the folder is still the same is not told either, but soon seen
                    await asyncio.wait_for(woken.wait(), LOOK_SECONDS)
                    await asyncio.sleep(GATHER_SECONDS)
                woken.clear()
        finally:
            if notify is not None:
                loop.remove_reader(notify.fd)
                notify.close()

    @property
    def _pause(self) -> float:
        """From one look at the whole folder to the next."""
        return UNTOLD_SECONDS if self._is_watched and not self._away else LOOK_SECONDS

    def _rested(self) -> set[Path]:
        """Files that were not read yet, and may be by now."""
        now = time.monotonic()
        return {self._folder / name for name, (_, since) in self._unsettled.items() if now - since >= REST_SECONDS}

    def look(
        self,
        whole: frozenset[str] = frozenset(),
        notify: Inotify | None = None,
        only: Mapping[str, Stamp] | None = None,
    ) -> list[Event]:
        """What is other than at the last look. `whole` are files known to be written to their end.

        `only` are the files that are there and that may be other; None for those that a walk finds.
        """
        reason = ""
        try:
            found = dict(self._walk(notify)) if only is None else only
        except OSError as error:
            found, reason = {}, error.strerror or "unreadable"
        if not found and only is None and self._files and not reason:
            # a volume that is gone looks like this, and an empty world would stop all traffic
            reason = "not one file is left"
        if reason:
            if not self._away:
                log.error("cannot read %s: %s; what was in it counts on", self._folder, reason)
            self._away = True
            return []
        self._away = False
        changed = [name for name in found if self._is_new(name, found[name], whole)]
        gone = [name for name in self._files if name not in found] if only is None else []
        if only is None:
            self._unsettled = {name: seen for name, seen in self._unsettled.items() if name in found}
        events: list[Event] = []
        touched: dict[Name, None] = {}
        for name in gone:
            file = self._files.pop(name)
            for one in file.objects:
                touched[one] = None
                self._holders[one].discard(name)
            if file.problems:
                events.append(Remove("File", Key("", name)))
        for name in changed:
            events += self._read(name, found[name], touched)
        for one in touched:
            events += self._settle(one)
        if not self._listed:
            self._listed = True
            events += [Listed(key) for key in BY_KEY]
        return events

    def _few(self, paths: Iterable[Path]) -> Mapping[str, Stamp] | None:
        """The files of these paths, where no more than their content can be other; else None, and a walk tells.

        A walk of 1,000 files costs more than all the rest of an endpoint's change.
        """
        found = {}
        for path in paths:
            name = path.name
            if name.startswith(".") and not name.startswith(".."):
                continue  # an editor's own; but `..data` is what a ConfigMap's files are links to
            if not name.endswith(SUFFIXES):
                return None
            try:
                status = path.lstat()
            except OSError:
                return None
            if not _is_told(status):
                return None
            found[os.path.relpath(path, self._folder)] = (status.st_mtime_ns, status.st_size, status.st_ino)
        return found

    def _walk(self, notify: Inotify | None) -> Iterator[tuple[str, Stamp]]:
        pending, been = [(self._folder, "")], set()
        self._is_watched, self._root = notify is not None, _identity(self._folder)
        while pending:
            folder, prefix = pending.pop()
            real = os.path.realpath(folder)
            if real in been:  # a link to a folder above it
                continue
            been.add(real)
            if notify is not None:
                try:
                    notify.watch(folder)
                except OSError:  # none left, or gone already
                    self._is_watched = False
            try:
                entries = sorted(os.scandir(folder), key=attrgetter("name"))
            except OSError as error:
                if folder == self._folder:
                    raise
                yield from self._unreadable(folder, error)
                continue
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                try:
                    if entry.is_dir():
                        self._is_watched &= not entry.is_symlink()
                        pending.append((Path(entry.path), f"{prefix}{name}/"))
                    elif name.endswith(SUFFIXES) and entry.is_file():
                        self._is_watched &= _is_told(entry.stat(follow_symlinks=False))
                        status = entry.stat()
                        yield prefix + name, (status.st_mtime_ns, status.st_size, status.st_ino)
                except OSError as error:
                    yield from self._unreadable(Path(entry.path), error)

    def _unreadable(self, path: Path, error: OSError) -> Iterator[tuple[str, Stamp]]:
        """What is known at a path that cannot be looked at, and below it: it counts on, but where the path is gone."""
        if isinstance(error, FileNotFoundError):
            return
        name = os.path.relpath(path, self._folder)
        if name not in self._told:
            self._told.add(name)
            log.warning("cannot read %s: %s; what was known of it counts on", path, error.strerror)
        for known, file in self._files.items():
            if known == name or known.startswith(f"{name}/"):
                yield known, file.stamp

    def _is_new(self, name: str, stamp: Stamp, whole: frozenset[str]) -> bool:
        """Whether to read it now: it is other than before, and is not just being written."""
        old = self._files.get(name)
        if old is not None and old.stamp == stamp:
            self._unsettled.pop(name, None)
            return False
        if not self._listed or str(self._folder / name) in whole:
            self._unsettled.pop(name, None)
            return True
        before, since = self._unsettled.get(name, (None, 0.0))
        if before != stamp:
            self._unsettled[name] = stamp, time.monotonic()
            return False
        if time.monotonic() - since < REST_SECONDS:
            return False
        del self._unsettled[name]
        return True

    def _read(self, name: str, stamp: Stamp, touched: dict[Name, None]) -> Iterator[Event]:
        file = self._files.setdefault(name, _File(stamp))
        file.stamp = stamp
        ref = ObjectRef("File", "", name)
        try:
            found = read_documents((self._folder / name).read_bytes(), name)
        except OSError as error:
            problems = [Problem("unreadable", ref, "", f"{error.strerror}; what it held before counts on")]
        else:
            problems = found.problems
            objects: dict[Name, Mapping[str, Any]] = dict(file.objects) if found.broken else {}
            seen: set[Name] = set()
            for thing in found.objects:
                kind = kind_of(thing)
                if kind is not None:
                    one = name_of(kind, thing)
                    if one in seen:
                        problems.append(_twice(one, f"it is in {name} twice; the last counts"))
                    seen.add(one)
                    objects[one] = thing
                elif problem := unknown_kind(thing):
                    problems.append(problem)
            for other in {**file.objects, **objects}:
                if file.objects.get(other) != objects.get(other):
                    touched[other] = None
                holders = self._holders.setdefault(other, set())
                holders.add(name) if other in objects else holders.discard(name)
            file.objects = objects
        if problems or file.problems:
            for problem in problems:
                log.warning("%s", problem)
            file.problems = tuple(problems)
            if problems:
                yield Upsert("File", Key("", name), None, file.problems)
            else:
                yield Remove("File", Key("", name))

    def _settle(self, one: Name) -> list[Event]:
        """An object as the first file by name has it."""
        holders = sorted(self._holders.get(one, ()))
        if not holders:
            self._holders.pop(one, None)
            return self._intake.remove(one)
        kind = BY_KEY[one[0]]
        more: list[Problem] = []
        if len(holders) > 1:
            more.append(_twice(one, f"it is in {', '.join(holders)}; {holders[0]}'s counts"))
        return self._intake.upsert(kind, self._files[holders[0]].objects[one], more)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Which folder a path leads to; None where to none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_told(status: os.stat_result) -> bool:
    """Whether inotify tells what is written to a file: not by another name in a folder that is not watched."""
    return S_ISREG(status.st_mode) and status.st_nlink == 1


def _twice(one: Name, message: str) -> Problem:
    return Problem("duplicate", ObjectRef(one[0], *one[1]), "", message, "warning")


def _inotify() -> Inotify | None:
    try:
        return Inotify()
    except OSError as error:
        log.info("no inotify (%s): the folder is looked at every %g s", error, LOOK_SECONDS)
        return None
