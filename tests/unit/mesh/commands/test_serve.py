"""`pymesh serve`: flags that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.cli import run


@pytest.mark.parametrize("flag", ["--xds-address", "--debug-address", "--xds-tls-address", "--admission-address"])
@pytest.mark.parametrize("text", ["15010", ":1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "::1:15010", "a:²"])
def test_an_address_that_is_none_is_told_with_its_flag(
    flag: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", "--files", str(tmp_path), flag, text]) == 2
    assert f"{flag} {text}: no HOST:PORT such as" in capsys.readouterr().err
