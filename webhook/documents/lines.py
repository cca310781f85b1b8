"""Where in a text a value stands."""

from __future__ import annotations

import yaml

from webhook.documents import dialect
from webhook.documents.pods import Path


def line_of(root: yaml.Node, path: Path) -> int:
    """The line (from 0) of what is at `path`: of its key, or of the list item; as far as the path can be followed."""
    node, line = root, root.start_mark.line
    for step in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line
            continue
        entries = node.value if isinstance(node, yaml.MappingNode) else ()
        found = next(((key, value) for key, value in entries if dialect.key_text(key) == step), None)
        if found is None:
            break
        line, node = found[0].start_mark.line, found[1]
    return int(line)
