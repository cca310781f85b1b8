"""Drills: a real control plane and a real Envoy under what production does to them; `make drills`.

Each takes seconds; with `--drill-seconds 600` those that go on go on for so long.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from demo.network import Network
from tests.drills.rig import Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    """The namespaces, with the backends; nothing else runs yet."""
    if os.geteuid() != 0:
        pytest.fail("drills need root: make drills", pytrace=False)
    with Network("drill") as network, TemporaryDirectory(prefix="drill-") as name, Rig(network, Path(name)) as made:
        yield made
