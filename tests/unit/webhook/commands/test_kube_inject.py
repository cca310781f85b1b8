"""`pyinject kube-inject` and `uninject` as users run them."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from webhook.commands.cli import run

APP = """\
# kept
apiVersion: v1
kind: Service
metadata: {name: web}   # also kept
---
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: app   # the app
    image: web:1
"""
INPUTS = Path(__file__).parent.parent / "inputs"
GOLDEN_VALUES = Path(__file__).parent.parent / "golden_values.yaml"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "app.yaml"
    path.write_text(APP)
    return path


def test_only_added_lines_differ(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kube-inject", "-f", str(app)]) == 0
    out, err = capsys.readouterr()
    lines = iter(out.splitlines())
    assert all(line in lines for line in APP.splitlines())
    pod = list(yaml.safe_load_all(out))[1]
    assert [container["name"] for container in pod["spec"]["containers"]] == ["app", "istio-proxy"]
    assert err == f"note: {app}:2: Service/web has no pod: passed through unchanged\n"


def test_uninject_gives_the_bytes_back(tmp_path: Path) -> None:
    for name, newline in (("unix.yaml", "\n"), ("windows.yaml", "\r\n")):
        original = ("\ufeff" if newline == "\r\n" else "").encode() + APP.replace("\n", newline).encode()
        (tmp_path / name).write_bytes(original)
        injected, back = tmp_path / f"injected-{name}", tmp_path / f"back-{name}"
        assert run(["kube-inject", "-f", str(tmp_path / name), "-o", str(injected)]) == 0
        assert injected.read_bytes() != original
        assert run(["uninject", "-f", str(injected), "-o", str(back)]) == 0
        assert back.read_bytes() == original


@pytest.mark.parametrize(
    ("profile", "own", "injected"),
    [("standalone", "", False), ("istio", "", True), ("istio", "namespace: kube-system", False)],
)
def test_a_deployment_of_kube_system_is_taken_as_istioctl_takes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], profile: str, own: str, injected: bool
) -> None:
    app, values = tmp_path / "app.yaml", tmp_path / "values.yaml"
    app.write_text(
        "kind: Deployment\nmetadata: {namespace: kube-system, name: web}\n"
        f"spec: {{template: {{metadata: {{{own}}}, spec: {{containers: [{{name: web}}]}}}}}}\n"
    )
    values.write_text((GOLDEN_VALUES.read_text() if profile == "istio" else "") + f"profile: {profile}\n")
    assert run(["kube-inject", "-f", str(app), "--valuesFile", str(values)]) == 0
    assert ("istio-proxy" in capsys.readouterr().out) is injected


def test_a_file_may_be_written_in_place(app: Path) -> None:
    assert run(["kube-inject", "-f", str(app), "-o", str(app)]) == 0
    once = app.read_bytes()
    assert run(["kube-inject", "-f", str(app), "-o", str(app)]) == 0
    assert app.read_bytes() == once


def test_json_stays_json_in_a_stream(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [{"name": "app"}]}}
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(pod, indent=4).encode())))
    assert run(["kube-inject", "-f", "-"]) == 0
    out = capsys.readouterr().out
    assert len(json.loads(out)["spec"]["containers"]) == 2
    assert '\n    "kind": "Pod"' in out


def test_a_directory_becomes_one_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(APP)
    (tmp_path / "b.json").write_text('{"kind": "ConfigMap", "metadata": {"name": "c"}}')
    assert run(["kube-inject", "-f", str(tmp_path)]) == 0
    assert [value["kind"] for value in yaml.safe_load_all(capsys.readouterr().out)] == ["Service", "Pod", "ConfigMap"]


def test_what_is_skipped_is_told_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("kind: Pod\nmetadata: {name: node}\nspec: {hostNetwork: true, containers: []}\n")
    assert run(["kube-inject", "-f", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out == path.read_text()
    assert f"note: {path}:1: Pod/node: not injected: hostNetwork" in err


def test_warnings_go_to_stderr_and_know_the_namespaces_of_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.yaml"
    labels = "{pod-security.kubernetes.io/enforce: baseline}"
    namespace = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, labels: {labels}}}\n---\n"
    path.write_text(namespace + APP.replace("name: web\nspec", "name: web\n  namespace: shop\nspec"))
    assert run(["kube-inject", "-f", str(path)]) == 0
    assert "warning: " in (err := capsys.readouterr().err)
    assert "namespace shop enforces Pod Security level baseline" in err


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("kind: [\n", 4, "app.yaml:2: no YAML"),
        ("a: 1\na: 2\n", 4, "app.yaml:2: duplicate key 'a'"),
        ("kind: Pod\nmetadata: {name: x}\nspec: {containers: 1}\n", 5, "app.yaml:1: Pod/x: pod.spec.containers"),
        (
            APP.replace("name: web\nspec", "name: web\n  annotations:\n    status.sidecar.istio.io/port: http\nspec"),
            5,
            "app.yaml:6: Pod/web: annotation status.sidecar.istio.io/port: 'http'",
        ),
        ("kind: Pod\nmetadata: {labels: {a: 1}}\nspec: {containers: []}\n", 5, "app.yaml:1: Pod/…: "),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_name(
    app: Path, capsys: pytest.CaptureFixture[str], text: str, code: int, message: str
) -> None:
    app.write_text(text)
    output = app.with_name("out.yaml")
    assert run(["kube-inject", "-f", str(app), "-o", str(output)]) == code
    assert message in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--valuesFile", "missing.json"], 2, "missing.json: No such file"),
        (["-o", "/missing/out.yaml"], 2, "-o /missing/out.yaml: No such file"),
        (["--kubeconfig", "/missing/config"], 8, "no cluster to talk to"),
    ],
)
def test_flags_that_cannot_be_used(
    app: Path, capsys: pytest.CaptureFixture[str], flags: list[str], code: int, message: str
) -> None:
    assert run(["kube-inject", "-f", str(app), *flags]) == code
    assert message in capsys.readouterr().err


def test_settings_that_cannot_be_used(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = app.with_name("values.yaml")
    values.write_text("- no\n- mapping\n")
    assert run(["kube-inject", "-f", str(app), "--valuesFile", str(values)]) == 3
    assert "values" in capsys.readouterr().err


def test_an_anchor_that_must_change_costs_the_comments(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app.write_text(
        "kind: Deployment\nspec:\n  template:\n    metadata:\n      labels: &l {app: a}\n"
        "    spec:\n      containers: [{name: a}]\n  selector: {matchLabels: *l}  # lost\n"
    )
    values = app.with_name("values.yaml")
    values.write_text("profile: standalone\nglobal: {network: east}\n")
    assert run(["kube-inject", "-f", str(app), "--valuesFile", str(values)]) == 0
    out, err = capsys.readouterr()
    spec = yaml.safe_load(out)["spec"]
    assert spec["selector"] == {"matchLabels": {"app": "a"}}
    assert spec["template"]["metadata"]["labels"] == {"app": "a", "topology.istio.io/network": "east"}
    assert "written anew without its comments" in err
    assert "# lost" not in out


def test_help_has_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("kube-inject", "uninject", "diff", "explain"):
        with pytest.raises(SystemExit) as stopped:
            run([command, "--help"])
        assert stopped.value.code == 0
        out = capsys.readouterr().out
        assert "examples:" in out
        assert "exit codes:" in out


def test_it_starts_without_what_only_servers_need() -> None:
    script = (
        "import sys; from webhook.commands.cli import run; code = run(sys.argv[1:]); "
        "print(*sorted({'fastapi', 'kubernetes', 'cryptography', 'rich', 'jsonpatch', 'asyncio'} & set(sys.modules)))"
    )
    path = str(INPUTS / "knative.yaml")
    done = subprocess.run(
        [sys.executable, "-c", script, "kube-inject", "-f", path, "-o", "/dev/null"], capture_output=True
    )
    assert done.stdout.strip() == b""
    assert done.returncode == 0


PROXY_CONFIG = """\
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: all}
spec: {environmentVariables: {MINE: "1"}}
"""


@pytest.mark.parametrize("beside", [True, False])
def test_proxy_configs_of_files_count(
    app: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, beside: bool
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(PROXY_CONFIG)
    if beside:
        app.write_text(f"{APP}---\n{PROXY_CONFIG}")
    assert run(["kube-inject", "-f", str(app), *([] if beside else ["--proxyConfigFile", str(other)])]) == 0
    pod = list(yaml.safe_load_all(capsys.readouterr().out))[1]
    assert {"name": "MINE", "value": "1"} in pod["spec"]["containers"][1]["env"]
    other.write_text(PROXY_CONFIG.replace('{MINE: "1"}', "1").replace("name: all", "name: all, namespace: shop"))
    assert run(["kube-inject", "-f", str(app), "--proxyConfigFile", str(other)]) == 0
    said = "warning: ProxyConfig shop/all: spec.environmentVariables: 1 is not a mapping of strings: left out\n"
    assert said in capsys.readouterr().err


def test_explain_names_the_proxy_config(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app.write_text(f"{APP}---\n{PROXY_CONFIG}".replace("name: web}", "name: web, namespace: shop}"))
    assert run(["explain", "-f", str(app), "-o", "json"]) == 0
    assert "ProxyConfig all" in capsys.readouterr().out
