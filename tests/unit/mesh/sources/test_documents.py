"""Files become objects; what is wrong in one document leaves the others alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.sources.documents import read_documents

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"


def names(text: str, name: str = "a.yaml") -> list[str]:
    return [one["metadata"]["name"] for one in read_documents(text.encode(), name).objects]


def test_documents_are_parted_by_lines() -> None:
    text = f"# a comment\n---\n{NAMESPACE}---\n{NAMESPACE.replace('a}', 'b}')}---\n\n--- # nothing\n"
    assert names(text) == ["a", "b"]


def test_three_dashes_in_a_block_are_text() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  mesh: |\n    ---\n    x: 1\n"
    assert read_documents(text.encode(), "a.yaml").objects[0]["data"] == {"mesh": "---\nx: 1\n"}


def test_a_list_is_unfolded() -> None:
    text = '{"apiVersion": "v1", "kind": "NamespaceList", "items": [{"metadata": {"name": "a"}}, 3]}'
    found = read_documents(text.encode(), "a.json")
    assert [(one["kind"], one["metadata"]["name"]) for one in found.objects] == [("Namespace", "a")]
    assert [problem.code for problem in found.problems] == ["not-an-object"]


def test_what_is_json_in_a_yaml_file_is_read_as_json_and_what_only_looks_so_as_yaml() -> None:
    text = '{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "labels": {"y": "\\u00e9"}}}'
    found = read_documents(f"{text}\n---\n{{{NAMESPACE.strip().replace(chr(10), ', ')}}}\n".encode(), "a.yaml")
    assert [one["metadata"]["name"] for one in found.objects] == ["a", "a"]
    assert found.objects[0]["metadata"]["labels"] == {"y": "é"}
    (problem,) = read_documents(f"{text[:-1]}\n".encode(), "a.yaml").problems
    assert problem.message.startswith("line 2: ")


def test_a_broken_document_leaves_the_others_and_names_its_line() -> None:
    found = read_documents(f"{NAMESPACE}---\na: b: c\n---\n{NAMESPACE}".encode(), "a.yaml")
    assert len(found.objects) == 2
    assert found.broken
    (problem,) = found.problems
    assert problem.message.startswith("line 5: ")
    assert str(problem.ref) == "File a.yaml"


def test_what_is_no_object_is_told_and_breaks_nothing() -> None:
    found = read_documents(b"replicas: 3\n", "values.yaml")
    assert not found.broken
    assert [problem.code for problem in found.problems] == ["not-an-object"]


def test_anchors_of_anchors_end() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    found = read_documents("\n".join(lines).encode(), "a.yaml")
    assert "unfold" in found.problems[0].message


@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
def test_what_is_nested_too_deeply_is_told(name: str) -> None:
    """Else a comparison of it with what was before would end the reader."""

    def nested(depth: int) -> str:
        return (
            '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": '
            + '{"a": ' * depth
            + "1"
            + "}" * depth
            + "}"
        )

    assert read_documents(nested(100).encode(), name).objects
    for depth in (250, 1000, 100_000):
        found = read_documents(nested(depth).encode(), name)
        assert not found.objects
        assert found.broken


def test_anchors_that_nest_are_as_deep_as_what_they_stand_for() -> None:
    lines = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{x: *a{n - 1}}}" for n in range(1, 300)]
    found = read_documents("\n".join(lines).encode(), "a.yaml")
    assert "nested deeper" in found.problems[0].message


def test_what_contains_itself_ends() -> None:
    assert read_documents(b"&a [*a]", "a.yaml").broken


@given(st.binary(max_size=200), st.sampled_from(["a.yaml", "a.json"]))
def test_any_bytes(data: bytes, name: str) -> None:
    found = read_documents(data, name)
    assert found.broken <= bool(found.problems)


@given(st.text(alphabet=":-[]{}&*!|>'\"# \nabc,?\t%", max_size=80))
def test_any_yaml(text: str) -> None:
    read_documents(text.encode(), "a.yaml")
