"""Write a changed value into the text of a YAML document: lines that do not change stay as they are.

    text ──compose──▶ nodes with their places in the text
    before, after ──▶ Edit(start, end, text) for each key or list item that differs ──▶ new text

Only block style is edited in place. What is written in flow style (``{app: web}``), as an alias (``*labels``) or in a
shape that is not worth a rule of its own is replaced as a whole, up to the nearest key or item around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import yaml

from webhook.documents import dialect

# A collection in flow style that has become longer is written in block style.
_FLOW_LENGTH = 60
_ALIAS = re.compile(r":?\s*\*[^\s,\[\]{}]+")


class Edit(NamedTuple):
    """Replace text[start:end]; an insertion where both are the same."""

    start: int
    end: int
    text: str


class _WholeError(Exception):
    """A node that cannot be edited in place, and why: whoever holds it replaces it."""


def rewrite(text: str, before: Any, after: Any) -> tuple[str, str]:
    """The text of a document, whose value is `before`, changed to read as `after`; and why its other lines are not as
    they were, but written anew, without comments. That is empty where they are: nearly always.
    """
    end = "" if text.endswith("\n") else "\n"  # what the last line lacks, and is to lack again
    text += end
    node = dialect.compose(text)
    why = "it was empty"
    if node is not None:
        try:
            edited = apply(text, 0, len(text), _Editor(text, node).edits(node, before, after)).removesuffix(end)
            if _reads_as(edited, after):
                return edited, ""
            aliases = "an anchor (&) is edited whose alias (*) is to stay as it was"
            why = aliases if _has_aliases(node) else "edited in place it would read otherwise"
        except _WholeError as error:
            why = str(error)
    marker = "---\n" if text.startswith("---") else ""
    lines = dialect.block(after, 0, 0) if after and isinstance(after, (dict, list)) else [dialect.scalar(after)]
    return marker + "".join(f"{line}\n" for line in lines), why


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal as JSON: True is not 1, and 1 is not 1.0."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def apply(text: str, start: int, end: int, edits: Iterable[Edit]) -> str:
    """text[start:end] with these edits, which lie in it and do not overlap."""
    parts, position = [], start
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        parts += [text[position : edit.start], edit.text]
        position = edit.end
    return "".join([*parts, text[position:end]])


def _reads_as(text: str, value: Any) -> bool:
    try:
        node = dialect.compose(text)
        return node is not None and same(dialect.construct(node), value)
    except dialect.DocumentError:
        return False


def _has_aliases(root: yaml.Node) -> bool:
    """Whether one node stands in two places."""
    pending, seen = [root], set()
    while pending:
        node = pending.pop()
        if id(node) in seen:
            return True
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += node.value
        elif isinstance(node, yaml.MappingNode):
            pending += [part for pair in node.value for part in pair]
    return False


class _Editor:
    """Finds the edits of one document; all places are indices into its text."""

    def __init__(self, text: str, root: yaml.Node) -> None:
        self._text = text
        self._offset = _list_offset(root) or 0

    def edits(self, node: yaml.Node, before: Any, after: Any) -> list[Edit]:
        """What to change in `node`, which reads as `before`. Raises _WholeError where it must be replaced."""
        if same(before, after):
            return []
        if after and isinstance(node, yaml.MappingNode) and isinstance(after, dict) and not node.flow_style:
            return self._mapping(node, before, after)
        if after and isinstance(node, yaml.SequenceNode) and isinstance(after, list) and not node.flow_style:
            return self._sequence(node, before, after)
        if isinstance(node, yaml.CollectionNode) and node.flow_style:
            raise _WholeError(f"line {node.start_mark.line + 1} is in flow style ({{…}} or […])")
        raise _WholeError("nothing of it stays")

    def _mapping(self, node: yaml.MappingNode, before: dict[str, Any], after: dict[str, Any]) -> list[Edit]:
        entries = [(dialect.key_text(key), key, value) for key, value in node.value if not dialect.is_merge(key)]
        written = {key for key, _, _ in entries}
        if not entries or not written & after.keys():
            raise _WholeError("none of its keys stays where it is written (<< takes keys from elsewhere)")
        column = entries[0][1].start_mark.column
        edits = []
        for name, key, value in entries:
            if name not in after:
                start = self._line_start(key.start_mark.index, column)
                edits.append(Edit(start, self._line_end(self._end(value, key.end_mark.index)), ""))
            elif not same(before[name], after[name]):
                edits += self._entry(key, value, before[name], after[name], column)
        new = [
            name
            for name in after
            if name not in written and (name not in before or not same(before[name], after[name]))
        ]
        if new:
            lines = [line for name in new for line in dialect.entry(name, after[name], column, self._offset)]
            edits.append(self._insertion(self._past_comments(self._node_end(node), column), lines))
        return edits

    def _entry(self, key: yaml.Node, value: yaml.Node, before: Any, after: Any, column: int) -> list[Edit]:
        """The edits of one key's value: in it, or in its place."""
        start = key.end_mark.index
        if value.start_mark.index >= start:
            try:
                return self.edits(value, before, after)
            except _WholeError:
                pass
        end = self._end(value, start)
        flow = self._flow(value, start, before, after)
        text = f": {flow}" if flow else "\n".join(dialect.after(":", after, column, self._offset))
        return [Edit(start, end, text + "\n" * self._text.endswith("\n", start, end))]

    def _sequence(self, node: yaml.SequenceNode, before: list[Any], after: list[Any]) -> list[Edit]:
        """One edit, made of the items' own text where they stay, in the order of `after`."""
        column = node.start_mark.column
        dashes = self._dashes(node)
        ends = []
        for item, dash in zip(node.value, dashes, strict=True):
            ends.append(self._past_comments(self._end(item, dash + 1), column + 1))
        starts = [self._line_start(dashes[0], column), *ends[:-1]]
        parts = []
        for old, item in zip(matches(before, after), after, strict=True):
            if old is None:
                part = self._lines(dialect.block([item], column, self._offset))
            else:
                part = self._item(node.value[old], dashes[old], starts[old], ends[old], before[old], item, column)
            parts.append(part if part.endswith("\n") else f"{part}\n")
        return [Edit(starts[0], ends[-1], "".join(parts))]

    def _item(self, node: yaml.Node, dash: int, start: int, end: int, before: Any, after: Any, column: int) -> str:
        """The text of one list item, with the comments above it."""
        if same(before, after):
            return self._text[start:end]
        if node.start_mark.index > dash:
            try:
                return apply(self._text, start, end, self.edits(node, before, after))
            except _WholeError:
                pass
        above = self._text[start : self._line_start(dash, column)]
        if flow := self._flow(node, dash, before, after):
            return f"{above}{' ' * column}- {flow}\n"
        return above + self._lines(dialect.block([after], column, self._offset))

    def _flow(self, node: yaml.Node, begin: int, before: Any, after: Any) -> str:
        """What was on one line in flow style, and small, written so again, its keys in their order; else nothing."""
        if not isinstance(node, yaml.CollectionNode) or not node.flow_style or node.start_mark.index < begin:
            return ""
        if isinstance(before, dict) and isinstance(after, dict):
            after = {key: after[key] for key in (*before, *after) if key in after}
        text = dialect.flow(after) if after and isinstance(after, (dict, list)) else ""
        return text if len(text) <= _FLOW_LENGTH and "\n" not in self._text[begin : node.end_mark.index] else ""

    def _lines(self, lines: Iterable[str]) -> str:
        return "".join(f"{line}\n" for line in lines)

    def _insertion(self, index: int, lines: list[str]) -> Edit:
        begun = index == len(self._text) and not self._text.endswith("\n")
        return Edit(index, index, "\n" * begun + self._lines(lines))

    def _end(self, node: yaml.Node, begin: int) -> int:
        """Where the text of a value ends that follows its key or dash, which ends at `begin`."""
        if node.start_mark.index < begin:  # an alias, whose node is its anchor's
            found = _ALIAS.match(self._text, begin)
            if found is None:
                raise _WholeError(f"an alias (*) in line {self._text.count(chr(10), 0, begin) + 1} is not found again")
            return found.end()
        return self._node_end(node)

    def _node_end(self, node: yaml.Node) -> int:
        """Where the text of a node ends: libyaml's mark for a block collection is where the next token begins."""
        if isinstance(node, yaml.MappingNode) and not node.flow_style:
            key, value = node.value[-1]
            return self._end(value, key.end_mark.index)
        if isinstance(node, yaml.SequenceNode) and not node.flow_style:
            return self._end(node.value[-1], self._dashes(node)[-1] + 1)
        return int(node.end_mark.index)

    def _dashes(self, node: yaml.SequenceNode) -> list[int]:
        """Where the items of a block list begin: the first dash is where the list does, all others stand below it."""
        column, text = node.start_mark.column, self._text
        found = [node.start_mark.index]
        dash = re.compile(rf"^ {{{column}}}-(?=\s|\Z)", re.MULTILINE)
        position = node.start_mark.index + 1
        for _ in node.value[1:]:
            match = dash.search(text, position, node.end_mark.index)
            if match is None:
                raise _WholeError(f"the list of line {node.start_mark.line + 1} has items that begin in one line")
            found.append(match.end() - 1)
            position = match.end()
        if dash.search(text, position, node.end_mark.index):
            raise _WholeError(f"the list of line {node.start_mark.line + 1} has text that looks like an item")
        return found

    def _line_start(self, index: int, column: int) -> int:
        """The start of the line, in which nothing else may stand before `index`."""
        start = index - column
        if start < 0 or self._text[start:index].strip(" ") or (start and self._text[start - 1] != "\n"):
            line = self._text.count("\n", 0, index) + 1
            raise _WholeError(f"in line {line} something stands before the key (--- or ?)")
        return start

    def _line_end(self, index: int) -> int:
        """The start of the next line; a block scalar ends there already."""
        if index and self._text[index - 1] == "\n":
            return index
        end = self._text.find("\n", index)
        return end + 1 if end >= 0 else len(self._text)

    def _past_comments(self, index: int, column: int) -> int:
        """The end of the line, and of the comments below it that are indented as what they follow."""
        end = position = self._line_end(index)
        while position < len(self._text):
            following = self._line_end(position + 1) if self._text[position] != "\n" else position + 1
            line = self._text[position:following]
            position = following
            if line.lstrip(" ").startswith("#") and len(line) - len(line.lstrip(" ")) >= column > 0:
                end = position
            elif line.strip():
                break
        return end


def matches(before: list[Any], after: list[Any]) -> list[int | None]:
    """For each item of `after` the one of `before` that it was: the same, or else the one of that name."""
    free = dict(enumerate(before))
    found: list[int | None] = [None] * len(after)
    for alike in (same, _same_name):
        for place, item in enumerate(after):
            if found[place] is None:
                index = next((index for index, old in free.items() if alike(old, item)), None)
                if index is not None:
                    del free[index]
                    found[place] = index
    return found


def _same_name(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return "name" in one and one["name"] == other.get("name")
    return False


def _list_offset(node: yaml.Node) -> int | None:
    """How far list items stand right of their key in this document; None where there is no list in block style."""
    pending = [node]
    seen = set()
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += reversed(node.value)
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                below = value.start_mark.line > key.start_mark.line
                if isinstance(value, yaml.SequenceNode) and not value.flow_style and below:
                    return int(value.start_mark.column - key.start_mark.column)
            pending += reversed([value for _, value in node.value])
    return None
