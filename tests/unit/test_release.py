"""scripts/release refuses what would make a wrong release. (What it builds, CI sees: .ci/run.)"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from init import __version__

ROOT = Path(__file__).parents[2]
FILES = [
    *("CHANGELOG.md", "README.md", "docs/webhook.md", "tests/cluster/README.md", "scripts/release", "deploy/proxy.sh"),
    *("pyproject.toml", "constraints.txt", "init/__init__.py", "deploy/chart/Chart.yaml"),
]

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `scripts/release --check` reads, in a repository of its own."""
    names = [*FILES, *(path.name for path in ROOT.glob("Dockerfile.*"))]
    (values,) = (path.relative_to(ROOT) for path in (ROOT / "webhook").rglob("standalone-values.yaml"))
    for name in [*names, str(values)]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for package in ("common", "init", "mesh", "webhook"):
        if (ROOT / package).is_dir():
            (tmp_path / package).mkdir(exist_ok=True)
            (tmp_path / package / "some.py").touch()
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def check(checkout: Path) -> str:
    """What the check complains of; empty where it passes."""
    subprocess.run(["git", "add", "-A"], cwd=checkout, check=True)
    done = subprocess.run([checkout / "scripts/release", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stderr if done.returncode else ""


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_this_checkout_is_in_order(checkout: Path) -> None:
    assert check(checkout) == ""


@pytest.mark.parametrize(
    "place", ["README.md", "docs/webhook.md", "deploy/chart/Chart.yaml", "tests/cluster/README.md", "init/__init__.py"]
)
def test_a_version_that_differs_in_one_place(checkout: Path, place: str) -> None:
    edit(checkout / place, __version__, "9.9.9")
    assert ("9.9.9" if place == "init/__init__.py" else place) in check(checkout)


def test_the_chart_s_version_without_its_app_s(checkout: Path) -> None:
    edit(checkout / "deploy/chart/Chart.yaml", f"appVersion: {__version__}", "appVersion: 9.9.9")
    assert f"appVersion is not {__version__}" in check(checkout)


@pytest.mark.parametrize("version", ["1.0", "v1.0.0", "1.0.0-rc1", "1.0.0rc1"])
def test_a_version_that_python_and_helm_do_not_both_take(checkout: Path, version: str) -> None:
    edit(checkout / "init/__init__.py", __version__, version)
    assert f"__version__ is '{version}'" in check(checkout)


def test_a_changelog_that_says_nothing(checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [Unreleased]\n\n## [0.0.1] - 2020-01-01\n\n- Something.\n"
    )
    assert f"CHANGELOG.md says nothing of {__version__}" in check(checkout)


@pytest.mark.parametrize("line", ["COPY nothing /src/", "COPY --chmod=755 deploy/proxy.sh nothing /src/"])
def test_a_dockerfile_that_copies_what_is_not_there(checkout: Path, line: str) -> None:
    with (checkout / "Dockerfile.init").open("a") as file:
        file.write(line + "\n")
    assert "Dockerfile.init copies nothing, which is not in the repository" in check(checkout)
