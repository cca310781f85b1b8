"""Reading and writing: FILE, DIR or ``-``, one document or many, YAML or JSON, as Windows writes them too."""

from __future__ import annotations

import codecs
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Final

from common.errors import InputError, UsageError
from common.yamlio import MAX_DEPTH
from webhook.documents import dialect, edit

STDIN: Final = "-"
SUFFIXES: Final = (".yaml", ".yml", ".json")

# Little-endian UTF-16 is what PowerShell's > writes.
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# In YAML these begin a line as nothing else can, block scalars and quotes included (YAML 1.1, c-forbidden).
_MARKER: Final = re.compile(r"^(?:---|\.\.\.)(?=\s|\Z)", re.MULTILINE)
_DIRECTIVES: Final = re.compile(r"(?:\s*(?:#.*)?\n)*%")


@dataclass(frozen=True, slots=True)
class Document:
    """One document: `text` is its part of the file with the ``---`` that opens it, `line` where that begins (from 1).

    value  dicts with string keys, lists and scalars; None where the document is empty
    """

    file: str
    line: int
    text: str
    value: Any
    json: bool = False

    @property
    def where(self) -> str:
        """file:line of its first key."""
        leading = re.match(r"(?:---[^\n]*\n|\s*#[^\n]*\n|\s*\n)*", self.text)
        return f"{self.file}:{self.line + self.text.count(chr(10), 0, leading.end() if leading else 0)}"

    def rewritten(self, value: Any) -> tuple[str, str]:
        """The text with `value` in the place of this one, and why comments and layout did not stay, or nothing."""
        if not self.json:
            return edit.rewrite(self.text, self.value, value)
        indented = re.search(r"\n([ \t]+)\S", self.text)
        separators = None if indented else (",", ":")
        end = self.text[len(self.text.rstrip()) :]
        indent = indented[1] if indented else None
        return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators) + end, ""


@dataclass(frozen=True, slots=True)
class File:
    """The documents of one file, and what its bytes had beside them; no `line_ends` where all are "\\n"."""

    name: str
    documents: tuple[Document, ...]
    line_ends: tuple[str, ...] = ()
    byte_order_mark: bool = False

    def encoded(self, texts: Iterable[str]) -> bytes:
        """The file with these texts for its documents, in UTF-8. Lines that stay end as they did, "\\n" or "\\r\\n",
        and new ones as most.
        """
        text = "".join(texts)
        if "\r\n" in self.line_ends:
            text = self._with_line_ends(text)
        return codecs.BOM_UTF8 * self.byte_order_mark + text.encode()

    def _with_line_ends(self, text: str) -> str:
        usual = max(("\n", "\r\n"), key=self.line_ends.count)
        if "\n" not in self.line_ends:
            return text.replace("\n", usual)
        before, after = "".join(document.text for document in self.documents).split("\n"), text.split("\n")
        ends = [usual] * len(after)
        for old, new, size in SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks():
            known = self.line_ends[old : old + size]
            ends[new : new + len(known)] = known
        return "".join(line + end for line, end in zip(after[:-1], ends[:-1], strict=True)) + after[-1]


def paths(names: Sequence[str], *, recursive: bool = False) -> Iterator[str]:
    """The files that `names` stand for: a directory, for the YAML and JSON files in it by name. Raises UsageError."""
    for name in names:
        directory = Path(name)
        if name == STDIN or not directory.is_dir():
            yield name
            continue
        found = sorted(directory.rglob("*") if recursive else directory.iterdir())
        files = [str(path) for path in found if path.suffix in SUFFIXES and path.is_file()]
        if not files:
            raise UsageError(f"-f {name}: the directory has no file that ends in {', '.join(SUFFIXES)}")
        yield from files


def read(name: str) -> File:
    """The file `name`, or stdin for ``-``. Raises UsageError where it cannot be read, InputError for what is in it."""
    try:
        data = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"-f {name}: {error.strerror or error}") from error
    return parse(data, "stdin" if name == STDIN else name)


def parse(data: bytes, name: str) -> File:
    """The documents in `data`. Raises InputError with file and line for what is neither YAML nor JSON."""
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{name}:{line}: no UTF-8: byte {error.object[error.start]:#04x} ({error.reason})") from error
    line_ends = tuple(re.findall(r"\r?\n", text)) if "\r\n" in text else ()
    documents = _documents(text.replace("\r\n", "\n"), name)
    return File(name, tuple(documents), line_ends, byte_order_mark=encoding == "utf-8-sig")


def _documents(text: str, name: str) -> Iterator[Document]:
    if text.lstrip()[:1] in ("{", "["):
        documents = _json_documents(text, name)
        if documents is not None:
            yield from documents
            return
    line = 1
    for part in _split(text):
        try:
            node = dialect.compose(part)
            value = None if node is None else dialect.construct(node)
        except dialect.DocumentError as error:
            raise InputError(f"{name}:{line + error.line}: {error}") from error
        yield Document(name, line, part, value)
        line += part.count("\n")


def _split(text: str) -> Iterator[str]:
    """The parts of a YAML stream, each with the marker that begins it; directives (%YAML) belong to what follows."""
    start = 0
    for marker in _MARKER.finditer(text):
        if marker[0] == "...":
            end = text.find("\n", marker.end()) + 1 or len(text)
            yield text[start:end]
            start = end
        elif marker.start() > start and not _DIRECTIVES.match(text, start):
            yield text[start : marker.start()]
            start = marker.start()
    if start < len(text):
        yield text[start:]


class _DuplicateKeyError(ValueError):
    pass


class _RangeError(ValueError):
    pass


def _finite(text: str) -> float:
    """A JSON number: 1e400 is more than any program can hold that reads the file, and would become another."""
    number = float(text)
    if math.isinf(number):
        raise _RangeError(text)
    return number


def _no_number(text: str) -> float:
    """NaN, Infinity: Python's parser takes them, JSON has no such thing."""
    raise json.JSONDecodeError("no JSON", text, 0)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        raise _DuplicateKeyError(next(key for key in names if names.count(key) > 1))
    return found


def _json_documents(text: str, name: str) -> list[Document] | None:
    """The objects of a JSON stream; None where the text is not JSON and may be YAML, whose flow style begins alike."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_number)
    documents = []
    start = 0
    while start < len(text):
        begin = start + len(text[start:]) - len(text[start:].lstrip())
        line = text.count("\n", 0, start) + 1
        try:
            value, end = decoder.raw_decode(text, begin)
            _check_depth(value)
            json.dumps(value, ensure_ascii=False).encode()
        except json.JSONDecodeError:
            return None
        except _RangeError as error:
            found = text.count("\n", 0, text.find(str(error), begin)) + 1
            raise InputError(f"{name}:{found}: {error} is beyond the range of numbers (1.8e308)") from error
        except _DuplicateKeyError as error:
            found = text.count("\n", 0, text.rfind(f'"{error}"')) + 1
            raise InputError(f"{name}:{found}: duplicate key {str(error)!r}") from error
        except RecursionError as error:
            raise InputError(f"{name}:{line}: nested too deeply") from error
        except UnicodeEncodeError as error:
            raise InputError(f"{name}:{line}: half of a surrogate pair (\\ud800 … \\udfff) is no character") from error
        end += len(text[end:]) - len(text[end:].lstrip())
        documents.append(Document(name, line, text[start:end], value, json=True))
        start = end
    return documents


def _check_depth(value: Any, depth: int = 0) -> None:
    """Raise RecursionError where a value is nested deeper than YAML may be."""
    if depth > MAX_DEPTH:
        raise RecursionError
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(item, depth + 1)


def joined(files: Sequence[bytes]) -> bytes:
    """Several files as one stream: each that does not begin with a marker of its own gets one."""
    if len(files) == 1:
        return files[0]
    parts: list[bytes] = []
    for data in files:
        part = data.removeprefix(codecs.BOM_UTF8)
        if parts and not part.startswith(b"---"):
            parts.append(b"---\n")
        parts.append(part if part.endswith(b"\n") or not part else part + b"\n")
    return b"".join(parts)
