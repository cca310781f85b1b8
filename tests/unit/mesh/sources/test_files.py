"""What only a folder does: files half written, broken, replaced, twice; and a folder that goes away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import UsageError
from mesh.sources import files
from mesh.sources.files import LOOK_SECONDS, UNTOLD_SECONDS, Files
from mesh.sources.inotify import Inotify
from mesh.world.events import Event, Key, Listed, Remove, Upsert
from tests.unit.mesh.sources.rigs import Told

A = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"
B = A.replace("name: a", "name: b")


def names(events: list[Event], kind: type[Upsert] | type[Remove] = Upsert) -> list[str]:
    return [event.key.name for event in events if isinstance(event, kind) and event.kind == "Namespace"]


def told(events: list[Event]) -> list[str]:
    return [str(problem) for event in events if isinstance(event, Upsert) for problem in event.problems]


def read(source: Files, *names: str) -> list[Event]:
    """A look that knows these files to be whole."""
    return source.look(frozenset(str(source._folder / name) for name in names))


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is as it was at the look before rests."""
    monkeypatch.setattr(files, "REST_SECONDS", 0.0)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(A)
    with pytest.raises(UsageError, match=r"--files .*a\.yaml: it is not a folder"):
        Files(tmp_path / "a.yaml")


def test_all_below_the_folder_but_what_is_hidden(tmp_path: Path) -> None:
    for name, text in {"a.yaml": A, "sub/deep/b.yml": B, ".git/c.yaml": A, "d.txt": A, ".e.yaml": A}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    events = Files(tmp_path).look()
    assert sorted(names(events)) == ["a", "b"]
    assert isinstance(events[-1], Listed)


def test_what_cannot_be_read_keeps_what_it_held(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(A + "---\n" + B)
    source = Files(tmp_path)
    source.look()
    (tmp_path / "a.yaml").write_text(A + "---\n: : [\n")
    events = read(source, "a.yaml")
    assert not names(events, Remove)
    assert told(events) == ["File a.yaml: line 5: did not find expected key [not-yaml]"]
    (tmp_path / "a.yaml").write_text(A)
    events = read(source, "a.yaml")
    assert names(events, Remove) == ["b"]
    assert Remove("File", Key("", "a.yaml")) in events


@pytest.mark.usefixtures("soon")
def test_a_file_that_is_being_written_is_read_when_it_rests(tmp_path: Path) -> None:
    source = Files(tmp_path)
    source.look()
    (tmp_path / "a.yaml").write_text(A)
    assert source.look() == []
    (tmp_path / "a.yaml").write_text(A + "---\n" + B)
    assert source.look() == []
    assert sorted(names(source.look())) == ["a", "b"]


def test_an_object_in_two_files_is_the_first_ones(tmp_path: Path) -> None:
    (tmp_path / "1.yaml").write_text(A.replace("{name: a}", "{name: a, labels: {from: one}}"))
    (tmp_path / "2.yaml").write_text(A.replace("{name: a}", "{name: a, labels: {from: two}}"))
    source = Files(tmp_path)
    events = source.look()
    (event,) = [one for one in events if isinstance(one, Upsert)]
    assert event.value.meta.labels == {"from": "one"}
    assert told(events) == ["Namespace a: it is in 1.yaml, 2.yaml; 1.yaml's counts [duplicate]"]
    (tmp_path / "1.yaml").unlink()
    (event,) = [one for one in source.look() if isinstance(one, Upsert)]
    assert event.value.meta.labels == {"from": "two"}
    assert not event.problems


def test_a_kind_of_istios_that_is_not_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "apiVersion: networking.istio.io/v1\nkind: EnvoyFilter\nmetadata: {name: a}\n---\n"
        "apiVersion: networking.istio.io/v9\nkind: Gateway\nmetadata: {name: a}\n---\n"
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n"
    )
    assert [line.split("[")[1] for line in told(Files(tmp_path).look())] == ["unknown-kind]", "not-allowed]"]


def test_a_folder_that_goes_away_takes_nothing_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    folder.mkdir()
    (folder / "a.yaml").write_text(A)
    source = Files(folder)
    source.look()
    folder.rename(tmp_path / "elsewhere")
    assert source.look() == []
    (tmp_path / "elsewhere").rename(folder)
    assert source.look() == []


def _in_place(path: Path) -> None:
    with path.open("w") as file:
        file.write(B)


def _renamed(path: Path) -> None:
    beside = path.with_name(".new")
    beside.write_text(B)
    beside.rename(path)


def _through_a_link(path: Path) -> None:
    """As a kubelet updates a mounted ConfigMap."""
    data = path.parent / "..data1"
    data.mkdir()
    (data / "a.yaml").write_text(B)
    path.unlink()
    path.symlink_to(data / "a.yaml")


@pytest.mark.parametrize("change", [_in_place, _renamed, _through_a_link])
def test_a_change_is_seen_while_it_runs(tmp_path: Path, change: Callable[[Path], None]) -> None:
    (tmp_path / "a.yaml").write_text(A)

    async def main() -> None:
        heard = Told()
        task = asyncio.create_task(Files(tmp_path).run(heard))
        await heard.until(lambda t: bool(t.listed))
        change(tmp_path / "a.yaml")
        await heard.until(lambda t: t.names("Namespace") == {"b"})
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "c.yaml").write_text(A.replace("name: a", "name: c"))
        await heard.until(lambda t: t.names("Namespace") == {"b", "c"})
        task.cancel()

    asyncio.run(main())


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(A)
    (tmp_path / "up").symlink_to(tmp_path)
    assert names(Files(tmp_path).look()) == ["a"]


@pytest.mark.usefixtures("soon")
def test_a_link_to_itself_keeps_nobody_else_from_being_read(tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    (below / "b.yaml").write_text(B)
    source = Files(tmp_path)
    assert names(source.look()) == ["b"]
    (below / "b.yaml").unlink()
    below.rmdir()
    below.symlink_to(below)  # what is there cannot be told any more
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "a.yaml").write_text(A)
    events = [*source.look(), *source.look()]
    assert names(events) == ["a"]
    assert names(events, Remove) == []


def test_proxies_are_answered_while_much_is_read(tmp_path: Path) -> None:
    (tmp_path / "many.yaml").write_text(
        "---\n".join(A.replace("name: a", f"name: s{number}") for number in range(3000))
    )
    ticks = 0

    async def main() -> None:
        nonlocal ticks
        done = asyncio.Event()
        running = asyncio.create_task(Files(tmp_path).run(lambda _: done.set()))
        while not done.is_set():
            await asyncio.sleep(0.001)
            ticks += 1
        running.cancel()

    asyncio.run(asyncio.wait_for(main(), 60))
    assert ticks > 10


def test_a_file_that_alone_is_other_needs_no_walk(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml", ".b.yaml"):
        (tmp_path / name).write_text(A)
    (tmp_path / "sub.yaml").mkdir()
    source = Files(tmp_path)
    source.look()
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "b.yaml").write_text(B)
    few = source._few([tmp_path / "b.yaml", tmp_path / ".b.yaml"])
    assert few is not None
    assert list(few) == ["b.yaml"]
    # a.yaml is not looked at, and so is not gone
    events = source.look(frozenset({str(tmp_path / "b.yaml")}), None, few)
    assert names(events) == ["a", "b"]  # what b.yaml held is now a.yaml's alone
    assert not names(events, Remove)
    for path in ("gone.yaml", "sub.yaml", "..data", "sub.yaml/c"):
        assert source._few([tmp_path / "b.yaml", tmp_path / path]) is None, path


@pytest.mark.usefixtures("soon")
def test_what_inotify_tells_needs_no_look_a_second(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(A)
    source, notify = Files(tmp_path), Inotify()

    def pause(notify: Inotify | None = notify) -> float:
        source.look(frozenset(), notify)
        return source._pause

    assert pause(None) == LOOK_SECONDS
    assert pause() == UNTOLD_SECONDS
    # what is written to by another name may be in a folder that is not watched
    elsewhere = tmp_path.with_name("elsewhere")
    elsewhere.mkdir()
    link, sub = tmp_path / "b.yaml", tmp_path / "sub"
    for other, make, leads_to in (
        (link, link.symlink_to, tmp_path / "a.yaml"),
        (link, link.hardlink_to, tmp_path / "a.yaml"),
        (sub, sub.symlink_to, elsewhere),
    ):
        make(leads_to)
        assert source._few([other]) is None
        assert pause() == LOOK_SECONDS, other
        other.unlink()
        assert pause() == UNTOLD_SECONDS
    notify.close()
    # nor is told what is in a folder that is away, or that could not be watched
    assert pause() == LOOK_SECONDS
    tmp_path.rename(elsewhere / "away")
    assert pause(None) == LOOK_SECONDS


def test_a_file_rests_only_when_it_did_so_for_a_while(tmp_path: Path) -> None:
    """However often it is looked at meanwhile."""
    (tmp_path / "a.yaml").write_text(A)

    async def main() -> None:
        heard = Told()
        task = asyncio.create_task(Files(tmp_path).run(heard))
        await heard.until(lambda t: bool(t.listed))
        await asyncio.sleep(2 * LOOK_SECONDS)  # the last walk was long ago
        with (tmp_path / "b.yaml").open("w") as file:
            file.write(B)
            file.flush()
            began = time.monotonic()
            while time.monotonic() < began + files.REST_SECONDS - 0.1:
                (tmp_path / "b.yaml").chmod(0o644)
                await asyncio.sleep(0.05)
                assert "b" not in heard.names("Namespace")
            await heard.until(lambda t: "b" in t.names("Namespace"))
            # what is written into an open file is told
            file.write("---\n" + A.replace("name: a", "name: c"))
            file.flush()
            await heard.until(lambda t: "c" in t.names("Namespace"))
        task.cancel()

    asyncio.run(main())


def test_another_folder_under_the_same_name_is_seen_soon(tmp_path: Path) -> None:
    """As git-sync publishes: a link is made to lead elsewhere."""
    for name, text in (("one", A), ("two", B)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text(text)
    (tmp_path / "now").symlink_to("one")

    async def main() -> None:
        heard = Told()
        task = asyncio.create_task(Files(tmp_path / "now").run(heard))
        await heard.until(lambda t: bool(t.listed))
        await asyncio.sleep(2 * LOOK_SECONDS)
        (tmp_path / "next").symlink_to("two")
        began = time.monotonic()
        (tmp_path / "next").rename(tmp_path / "now")
        await heard.until(lambda t: t.names("Namespace") == {"b"})
        assert time.monotonic() - began < UNTOLD_SECONDS - 1
        task.cancel()

    asyncio.run(main())


def test_a_folder_without_a_file_is_not_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, text in {"a.yaml": A, "b.yaml": B}.items():
        (tmp_path / name).write_text(text)
    source = Files(tmp_path)
    source.look()
    (tmp_path / "a.yaml").unlink()
    assert names(source.look(), Remove) == ["a"]
    (tmp_path / "b.yaml").unlink()
    assert source.look() == source.look() == []
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot read {tmp_path}: not one file is left; what was in it counts on"
    ]
    (tmp_path / "a.yaml").write_text(A)
    events = read(source, "a.yaml")
    assert (names(events), names(events, Remove)) == (["a"], ["b"])
