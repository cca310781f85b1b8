"""Files that change under the server: what is taken, what is refused, and that the server hears of both."""

from __future__ import annotations

import asyncio
import shutil
import socket
from base64 import b64decode
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from common import tls
from common.errors import CertificateError, KubernetesError, SettingsError, UsageError
from webhook.serving import lastgood, sources
from webhook.serving.handover import PAIR, PROXY_CONFIGS, VALUES, WorkerConfig
from webhook.serving.lastgood import LastGood
from webhook.serving.sources import Refusal, Source, Update
from webhook.serving.worker import Worker

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
    assert orjson.loads(update.files["nodes.json"])["native_sidecars"] is native


def test_nodes_that_come_and_go_are_told_only_when_it_matters() -> None:
    nodes = FakeNodes(("v1.33.0",), ("v1.33.0", "v1.34.1"), ("v1.33.0", "v1.30.0"))
    assert [orjson.loads(update.files["nodes.json"]) for update in sources.nodes(nodes)] == [  # type: ignore[arg-type, union-attr]
        {"native_sidecars": True, "other_nodes": []},
        {"native_sidecars": False, "other_nodes": ["n0"]},
    ]


class FakeCluster:
    """Stands for an API server that forgets a Secret, or does not answer, at the moment the test wants."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {
            "ConfigMap": {},
            "MutatingWebhookConfiguration": {"webhooks": [{"name": "a", "clientConfig": {}}]},
        }
        self.entries: dict[str, bytes] = {}
        self.away = False

    def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:  # noqa: ARG002
        if self.away:
            raise KubernetesError("away")
        return self.objects[kind]

    def apply(
        self,
        kind: str,
        name: str,  # noqa: ARG002
        fields: dict[str, Any],
        owner: str,  # noqa: ARG002
        namespace: str | None = None,  # noqa: ARG002
    ) -> None:
        if self.away:
            raise KubernetesError("away")
        self.objects[kind] |= fields

    def secret(self, namespace: str, name: str) -> tuple[str, dict[str, bytes]]:  # noqa: ARG002
        return "1", dict(self.entries)

    def update_secret(self, namespace: str, name: str, version: str, data: dict[str, bytes]) -> bool:  # noqa: ARG002
        self.entries = dict(data)
        return True

    def trusts(self) -> bytes:
        encoded = self.objects["MutatingWebhookConfiguration"]["webhooks"][0]["clientConfig"]["caBundle"]
        return b64decode(encoded)


def test_a_start_with_wrong_settings_takes_the_last_good_ones(tmp_path: Path) -> None:
    values, cluster = tmp_path / "values.yaml", FakeCluster()
    kept = LastGood(cluster, "mesh", "kept")  # type: ignore[arg-type]
    values.write_text("{profile: standalone}")
    source = sources.settings_files({VALUES: values}, "", kept)
    taken(source)
    values.write_text("{profile: wrong}")
    refused(source, SettingsError, "wrong")
    assert cluster.objects["ConfigMap"]["data"] == {VALUES: "{profile: standalone}"}

    again = sources.settings_files({VALUES: values}, "", kept)
    assert taken(again).files == {VALUES: b"{profile: standalone}"}
    refused(again, SettingsError, "wrong")
    assert cluster.objects["ConfigMap"]["data"] == {VALUES: "{profile: standalone}"}
    values.write_text("{profile: standalone, global: {hub: example.test}}")
    assert b"example.test" in taken(again).files[VALUES]


def test_without_last_good_settings_that_can_be_used_the_start_fails_for_the_files(tmp_path: Path) -> None:
    values, cluster = tmp_path / "values.yaml", FakeCluster()
    values.write_text("{profile: wrong}")
    kept = LastGood(cluster, "mesh", "kept")  # type: ignore[arg-type]
    for data in ({}, {VALUES: "{profile: older}"}):
        cluster.objects["ConfigMap"] = {"data": data}
        with pytest.raises(SettingsError, match="wrong"):
            next(sources.settings_files({VALUES: values}, "", kept))
    cluster.away = True
    with pytest.raises(SettingsError, match="wrong"):
        next(sources.settings_files({VALUES: values}, "", kept))


def test_settings_are_kept_when_the_api_server_answers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lastgood, "AGAIN_SECONDS", 0.0)
    cluster = FakeCluster()
    cluster.away = True
    kept = LastGood(cluster, "mesh", "kept")  # type: ignore[arg-type]
    kept.keep({VALUES: b"{}"})
    cluster.away = False
    kept.try_again()
    assert cluster.objects["ConfigMap"]["data"] == {VALUES: "{}"}


def test_an_authority_whose_secret_is_emptied_stays_trusted_while_others_serve_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sources, "AUTHORITY_SECONDS", 0.0)
    cluster = FakeCluster()
    replica, other = (sources.own_certificate(cluster, "mesh", "ca", "conf", NAMES) for _ in range(2))  # type: ignore[arg-type]
    taken(replica), taken(other)
    first = cluster.entries["ca.crt"]
    for number in range(1, 5):
        cluster.entries = {}
        taken(replica)  # has seen it, made another, and serves with that; `other` has not
        trusted = cluster.trusts()
        assert cluster.entries["ca.crt"] in trusted
        assert (first in trusted) == (number < tls.MOST_AUTHORITIES)
    taken(other)
    assert trusted.count(b"BEGIN") == tls.MOST_AUTHORITIES


def test_proxy_configs_are_handed_over_when_they_change_and_bad_ones_are_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def item(name: str, spec: dict[str, Any], version: str = "1") -> dict[str, Any]:
        return {"metadata": {"name": name, "namespace": "shop", "resourceVersion": version}, "spec": spec}

    bad = item("bad", {"concurrency": -1})

    class Following:
        def follow(self, kind: str, *, optional: bool) -> Iterator[dict[str, dict[str, Any]]]:
            assert (kind, optional) == ("ProxyConfig", True)
            yield {}
            yield {"shop/bad": bad, "shop/a": item("a", {"concurrency": 2})}
            yield {"shop/bad": bad, "shop/a": item("a", {"concurrency": 2}, "2")}
            yield {"shop/a": item("a", {"concurrency": 3})}

    updates = list(sources.proxy_configs(Following()))  # type: ignore[arg-type]
    handed = [orjson.loads(update.files[PROXY_CONFIGS]) for update in updates if isinstance(update, Update)]
    assert [[it["spec"] for it in items] for items in handed] == [[], [{"concurrency": 2}], [{"concurrency": 3}]]
    assert [record.message for record in caplog.records] == [
        "ProxyConfig shop/bad: spec.concurrency: -1 is not a whole number: left out"
    ]


def test_a_worker_takes_over_the_proxy_configs_that_it_is_handed(tmp_path: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    write_pair = tls.issue(tls.new_authority("test CA", tls.now()), NAMES, tls.now())
    (tmp_path / PAIR).write_bytes(write_pair.pem)
    config = WorkerConfig(str(tmp_path), listening.detach(), "", None, "text", "info")

    async def handed() -> tuple[int, int]:
        worker = Worker(config)
        before = len(worker._reviewer.cluster.proxy_configs.resources)
        item = {"metadata": {"name": "a", "namespace": "shop"}, "spec": {"concurrency": 2}}
        (tmp_path / PROXY_CONFIGS).write_bytes(orjson.dumps([item]))
        worker._reload()
        return before, len(worker._reviewer.cluster.proxy_configs.resources)

    assert asyncio.run(handed()) == (0, 1)
