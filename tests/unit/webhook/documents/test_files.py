"""Files: how they split into documents, how they come back, and what is refused with which line."""

from pathlib import Path

import pytest

from common.errors import InputError, UsageError
from webhook.documents import files

STREAM = """\
# a header
---
kind: A
text: |
  --- not a marker
---
# nothing but a comment
--- # with a comment
kind: B
...
%YAML 1.1
---
kind: C"""


def test_a_stream_splits_at_markers_and_joins_to_itself() -> None:
    file = files.parse(STREAM.encode(), "a.yaml")
    assert [document.value and document.value["kind"] for document in file.documents if document.value] == [
        "A",
        "B",
        "C",
    ]
    assert file.encoded(document.text for document in file.documents) == STREAM.encode()
    assert [document.where for document in file.documents if document.value] == ["a.yaml:3", "a.yaml:9", "a.yaml:11"]


@pytest.mark.parametrize(
    "data",
    [
        b"a: 1\r\nb: |\r\n  x\r\n",
        b"\xef\xbb\xbfa: 1\r\n",
        b"",
        b"\n\n---\n---\n",
        b'{"a": [1.0, 10000000000000000000000]}\n{"b": null}',
    ],
)
def test_bytes_come_back(data: bytes) -> None:
    file = files.parse(data, "x")
    assert file.encoded(document.text for document in file.documents) == data


def test_utf_16_of_powershell_becomes_utf_8() -> None:
    file = files.parse("\ufeffkind: Pod\r\n".encode("utf-16-le"), "x")
    assert file.documents[0].value == {"kind": "Pod"}
    assert file.encoded(document.text for document in file.documents) == b"kind: Pod\r\n"


def test_json_keeps_its_indentation() -> None:
    document = files.parse(b'{\n    "a": 1\n}\n', "x").documents[0]
    assert document.rewritten({"a": ["ü"]}) == ('{\n    "a": [\n        "ü"\n    ]\n}\n', "")
    compact = files.parse(b'{"a":1}', "x").documents[0]
    assert compact.rewritten({"a": [2]}) == ('{"a":[2]}', "")


def test_flow_style_that_is_no_json_is_yaml() -> None:
    assert files.parse(b"{a: 1}\n", "x").documents[0].value == {"a": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: 1\n---\nb: 1\nc: [\n", "x:5: no YAML"),
        (b"a: 1\n\nb: 2\na: 3\n", "x:4: duplicate key 'a'"),
        (b'{"a": 1,\n "b": 2,\n "b": 3}', "x:3: duplicate key 'b'"),
        (b"a: \xff\n", "x:1: no UTF-8: byte 0xff"),
        (b"a: *nothing\n", "x:1: no YAML"),
        (b"a: &a [*a]\n", "x:1: an alias inside of its own anchor"),
        (b"a: !vault x\n", "x:1: the tag !vault"),
        (b"? [a]\n: 1\n", "x:1: a key is a mapping or a list"),
        (b"a: {{ .Values.x }}\n", "x:1: "),
        (b"a: \x00\n", "x:1: no YAML"),
        (b"[" * 5000, "x:1: "),
        (b"- " * 300 + b"a\n", "x:1: no YAML: nested deeper than 200"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "x:1: "),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "x:1: nested too deeply"),
        (b'{"a": "\\ud800"}', "x:1: half of a surrogate pair"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(data: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        files.parse(data, "x")
    assert str(caught.value).startswith(message)


def test_aliases_of_aliases_are_counted_before_they_are_written_out() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(InputError, match="more than 1000000 values"):
        files.parse("\n".join(lines).encode(), "x")


def test_scalars_are_read_as_kubectl_reads_them() -> None:
    text = b"a: 2020-01-01\nb: 22:22\nc: 1e3\nd: 0644\ne: 0o644\nf: on\ng: y\nh: 1_000\ni: ~\n1: x\n"
    text += b"true: x\nj: .5\nk: 089\n"
    assert files.parse(text, "x").documents[0].value == {
        "a": "2020-01-01", "b": "22:22", "c": 1000.0, "d": 420, "e": 420, "f": True, "g": True, "h": 1000, "i": None,
        "1": "x", "true": "x", "j": 0.5, "k": 89.0,
    }  # fmt: skip


def test_a_directory_stands_for_its_files(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.json", "notes.txt", "deep/c.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert [Path(name).name for name in files.paths([str(tmp_path)])] == ["a.json", "b.yaml"]
    assert [Path(name).name for name in files.paths([str(tmp_path)], recursive=True)] == ["a.json", "b.yaml", "c.yml"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no file that ends in"):
        list(files.paths([str(tmp_path / "empty")]))
    with pytest.raises(UsageError, match="No such file"):
        files.read(str(tmp_path / "missing.yaml"))


def test_several_files_join_as_documents() -> None:
    assert files.joined([b"a: 1", b"---\nb: 1\n", b'\xef\xbb\xbf{"c": 1}']) == b'a: 1\n---\nb: 1\n---\n{"c": 1}\n'


def test_one_line_end_of_windows_does_not_turn_the_others() -> None:
    data = b"a: 1  # one\r\nb: 2\nc: 3\n---\nd: 4\r\n"
    file = files.parse(data, "a.yaml")
    assert file.encoded(document.text for document in file.documents) == data
    first, second = file.documents
    changed, _ = first.rewritten({"a": 1, "b": 2, "c": 3, "z": 26})
    assert file.encoded([changed, second.text]) == data.replace(b"c: 3\n", b"c: 3\nz: 26\n")


def test_a_file_of_windows_stays_one() -> None:
    file = files.parse(b"a: 1\r\nb: 2\r\n", "a.yaml")
    changed, _ = file.documents[0].rewritten({"a": 1, "b": 2, "z": 26})
    assert file.encoded([changed]) == b"a: 1\r\nb: 2\r\nz: 26\r\n"


def test_a_number_out_of_range_is_refused_in_json_and_a_string_in_yaml() -> None:
    """As the API server refuses the one, and kubectl's parser reads the other."""
    with pytest.raises(InputError, match=r"a\.json:2: 1e400 is beyond the range of numbers"):
        files.parse(b'{"a":\n1e400}', "a.json")
    (document,) = files.parse(b"a: 1e400\nb: -.inf\n", "a.yaml").documents
    assert document.value == {"a": "1e400", "b": float("-inf")}
    assert document.rewritten({"a": "1e400", "b": 1})[0] == "a: 1e400\nb: 1\n"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_python_takes_for_a_number_is_none(number: str) -> None:
    (document,) = files.parse(f'{{"a": {number}}}'.encode(), "a.json").documents
    assert document.value == {"a": number}
