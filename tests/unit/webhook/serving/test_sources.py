"""Files that change under the server: what is taken, what is refused, and that the server hears of both."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from common import tls
from common.errors import CertificateError, SettingsError, UsageError
from webhook.serving import sources
from webhook.serving.handover import PAIR, VALUES
from webhook.serving.sources import Refusal, Source, Update

CERTIFICATE, KEY = "tls.crt", "tls.key"
NAMES = tls.service_names("pyinject", "mesh")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "POLL_SECONDS", 0.01)


@pytest.fixture
def pair() -> tls.KeyPair:
    return tls.issue(tls.new_authority("test CA", tls.now()), NAMES, tls.now())


def write(directory: Path, pair: tls.KeyPair) -> tuple[Path, Path]:
    directory.mkdir(exist_ok=True)
    (directory / CERTIFICATE).write_bytes(pair.certificate)
    (directory / KEY).write_bytes(pair.key)
    return directory / CERTIFICATE, directory / KEY


def refused(source: Source, kind: type[Exception], message: str) -> None:
    found = next(source)
    assert isinstance(found, Refusal)
    assert isinstance(found.error, kind)
    assert message in str(found.error)


def taken(source: Source) -> Update:
    found = next(source)
    assert isinstance(found, Update), found
    return found


def test_settings_that_change_are_taken_and_wrong_ones_are_not(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("{profile: standalone}")
    source = sources.settings_files({VALUES: values}, "")
    assert taken(source) == Update("settings", {VALUES: b"{profile: standalone}"})
    values.write_text("{profile: nothing-of-ours}")
    refused(source, SettingsError, "nothing-of-ours")
    values.write_text("{profile: standalone, global: {hub: example.test}}")
    assert taken(source).files[VALUES].endswith(b"{hub: example.test}}")
    values.unlink()
    refused(source, UsageError, f"{values} cannot be read")


def test_wrong_settings_at_the_start_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"values\.yaml cannot be read"):
        next(sources.settings_files({VALUES: tmp_path / "values.yaml"}, ""))


def test_without_files_there_are_the_project_s_own_settings() -> None:
    assert taken(sources.settings_files({}, "")) == Update("settings", {})


def test_a_volume_of_kubernetes_changes_by_a_link(tmp_path: Path, pair: tls.KeyPair) -> None:
    """A kubelet writes a new folder and turns the link ..data to it; the files are links through that one."""
    write(tmp_path / "first", pair)
    link = tmp_path / "..data"
    link.symlink_to("first")
    for name in (CERTIFICATE, KEY):
        (tmp_path / name).symlink_to(f"..data/{name}")
    source = sources.certificate_files(tmp_path / CERTIFICATE, tmp_path / KEY, NAMES[0])
    assert taken(source).files == {PAIR: pair.pem}

    renewed = tls.issue(tls.new_authority("test CA", tls.now()), NAMES, tls.now())
    write(tmp_path / "second", renewed)
    (tmp_path / "..new").symlink_to("second")
    (tmp_path / "..new").replace(link)
    shutil.rmtree(tmp_path / "first")
    update = taken(source)
    assert update.files == {PAIR: renewed.pem}
    assert update.expires == renewed.leaf.not_valid_after_utc


def test_a_certificate_without_its_key_yet_is_not_taken(tmp_path: Path, pair: tls.KeyPair) -> None:
    certificate, key = write(tmp_path, pair)
    source = sources.certificate_files(certificate, key, NAMES[0])
    taken(source)
    renewed = tls.issue(tls.new_authority("test CA", tls.now()), NAMES, tls.now())
    certificate.write_bytes(renewed.certificate)
    refused(source, CertificateError, "belongs to another certificate")
    key.write_bytes(renewed.key)
    assert taken(source).files[PAIR] == renewed.pem


def test_a_certificate_that_has_expired_is_an_error_at_the_start(tmp_path: Path) -> None:
    then = tls.now() - timedelta(days=400)
    certificate, key = write(tmp_path, tls.issue(tls.new_authority("test CA", then), NAMES, then))
    with pytest.raises(CertificateError, match="valid from"):
        next(sources.certificate_files(certificate, key, None))


class FakeNodes:
    """Stands for an API server whose nodes are of versions that no test can run."""

    def __init__(self, *versions: tuple[str, ...]) -> None:
        self._versions = versions

    def follow(self, kind: str) -> Iterator[dict[str, dict[str, object]]]:
        assert kind == "Node"
        for versions in self._versions:
            yield {f"n{i}": {"status": {"nodeInfo": {"kubeletVersion": v}}} for i, v in enumerate(versions)}


@pytest.mark.parametrize(
    ("versions", "native"),
    [
        (("v1.33.0",), True),
        (("v1.36.3", "v1.33.4-gke.1172000"), True),
        (("v1.33.0", "v1.32.9"), False),
        (("v2.0.0",), True),
        (("v1.34+",), True),
        (("unknown",), False),
        ((), False),
    ],
)
def test_native_sidecars_need_every_node_to_run_them(versions: tuple[str, ...], native: bool) -> None:
    update = taken(sources.nodes(FakeNodes(versions)))  # type: ignore[arg-type]
    assert update.files == {"nodes.json": b'{"native_sidecars":true}' if native else b'{"native_sidecars":false}'}


def test_nodes_that_come_and_go_are_told_only_when_it_matters() -> None:
    nodes = FakeNodes(("v1.33.0",), ("v1.33.0", "v1.34.1"), ("v1.33.0", "v1.30.0"))
    assert [update.files["nodes.json"] for update in sources.nodes(nodes)] == [  # type: ignore[arg-type, union-attr]
        b'{"native_sidecars":true}',
        b'{"native_sidecars":false}',
    ]
