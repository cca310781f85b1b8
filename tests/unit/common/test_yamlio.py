"""One dialect of YAML for all that is read: kubectl's."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import SettingsError
from common.yamlio import load_yaml
from webhook.documents import dialect
from webhook.template import document

DIALECT = [
    ("y", True),
    ("Yes", True),
    ("on", True),
    ("TRUE", True),
    ("n", False),
    ("off", False),
    ("22:22", "22:22"),
    ("2026-01-01", "2026-01-01"),
    ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
    ("1e3", 1000.0),
    ("1e400", "1e400"),
    (".5", 0.5),
    ("-.inf", float("-inf")),
    ("0x1f", 31),
    ("017", 15),
    ("0o17", 15),
    ("1_000", 1000),
    ("~", None),
    ("", None),
    ("Null", None),
    ("'y'", "y"),
    ("=", "="),
    ("!!str 1", "1"),
    ("!!binary aGk=", "aGk="),
    ("1.2.3", "1.2.3"),
    ("yEs", "yEs"),
]


@pytest.mark.parametrize(("text", "value"), DIALECT, ids=[text or "nothing" for text, _ in DIALECT])
def test_settings_files_and_templates_read_alike(text: str, value: Any) -> None:
    source = f"a: {text}\n"
    node = dialect.compose(source)
    assert node is not None
    read = [
        load_yaml(source, "values")["a"],
        dialect.construct(node)["a"],
        document.scalar(document.parse("t", source).value[0][1]),
    ]
    assert read == [value] * 3
    assert [type(found) for found in read] == [type(value)] * 3


@pytest.mark.parametrize(("key", "name"), [("y", "true"), ("1", "1"), ("~", "null"), ("1.5", "1.5"), ("'y'", "y")])
def test_keys_are_texts(key: str, name: str) -> None:
    source = f"{{{key}: 1}}"
    node = dialect.compose(source)
    assert node is not None
    assert load_yaml(source, "values") == dialect.construct(node) == {name: 1}


def test_merge_keys_and_anchors_are_followed() -> None:
    assert load_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}", "values") == {"a": {"x": 1}, "b": {"x": 1, "true": 2}}


@pytest.mark.parametrize("text", ["!!int x", "!!bool maybe", "!!python/name:os.system x", "!ours x"])
def test_a_tag_that_does_not_fit_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(SettingsError, match="values is not YAML: line 1, column 4: "):
        load_yaml(f"a: {text}", "values")
