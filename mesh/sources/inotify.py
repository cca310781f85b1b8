"""inotify(7), as far as a folder's watcher needs it: which files were closed after writing, moved, or removed."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED, _CREATE, _DELETE, _SELF = 0x40 | 0x80, 0x100, 0x200, 0x400 | 0x800
_ONLYDIR, _OVERFLOW = 0x01000000, 0x4000
_MASK = _MODIFY | _CLOSE_WRITE | _ATTRIB | _MOVED | _CREATE | _DELETE | _SELF | _ONLYDIR
_HEADER = struct.Struct("iIII")


class Inotify:
    """Watches folders, not what is below them. Raises OSError where the kernel has no more watches to give."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._folders: dict[int, Path] = {}

    def watch(self, folder: Path) -> None:
        """Adds a folder; again is no harm."""
        number = self._libc.inotify_add_watch(self.fd, os.fsencode(folder), _MASK)
        if number < 0:
            raise OSError(ctypes.get_errno(), f"inotify_add_watch {folder}")
        self._folders[number] = folder

    def events(self) -> Iterator[tuple[Path, bool]]:
        """What happened since: the path, and whether what is there now is whole (closed or moved there)."""
        while True:
            try:
                data = os.read(self.fd, 65536)
            except BlockingIOError:
                return
            offset = 0
            while offset < len(data):
                number, mask, _, length = _HEADER.unpack_from(data, offset)
                name = data[offset + _HEADER.size : offset + _HEADER.size + length].rstrip(b"\0")
                offset += _HEADER.size + length
                folder = self._folders.get(number)
                if mask & _OVERFLOW or folder is None:
                    yield Path(), False
                else:
                    yield folder / os.fsdecode(name), bool(mask & (_CLOSE_WRITE | _MOVED))

    def close(self) -> None:
        """Gives the watches back."""
        os.close(self.fd)
