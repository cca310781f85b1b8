"""`python -m tests.fuzz`: mutate, inject, take back; what fails is kept in corpus/ and told."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.harness import check_file
from tests.fuzz.mutate import SEED, mutated
from webhook.documents import dialect

CORPUS = Path(__file__).parent / "corpus"


def main() -> int:
    """Fuzz for some time; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true", help="mutate bytes, guided by coverage (pip install atheris)")
    args = parser.parse_args()
    return _guided(args) if args.atheris else _random(args)


def _random(args: argparse.Namespace) -> int:
    random, end = Random(args.seed), time.monotonic() + args.seconds
    runs = injected = 0
    found: dict[str, str] = {}
    while time.monotonic() < end:
        data = _written(mutated(SEED, random), random)
        runs += 1
        try:
            injected += check_file(data)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            key = f"{type(error).__name__} {Path(where.filename).name}:{where.lineno}"
            if key not in found:
                found[key] = _keep(data)
                print(f"{key}: {str(error)[:120]}  → {found[key]}", file=sys.stderr)
    print(f"{runs} runs, {injected} injected, {len(found)} findings")
    return int(bool(found))


def _written(value: Any, random: Random) -> bytes:
    """As JSON, or as YAML in block style."""
    if random.random() < 0.5 or not isinstance(value, dict) or not value:
        return json.dumps(value).encode()
    return "".join(f"{line}\n" for line in dialect.block(value, 0, random.choice((0, 2)))).encode()


def _keep(data: bytes) -> str:
    path = CORPUS / f"{hashlib.sha256(data).hexdigest()[:12]}.yaml"
    path.write_bytes(data)
    return path.name


def _guided(args: argparse.Namespace) -> int:
    import atheris

    with atheris.instrument_imports(include=["common", "webhook"]):
        for name in [name for name in sys.modules if name.startswith(("webhook", "tests.fuzz.harness"))]:
            del sys.modules[name]
        from tests.fuzz.harness import check_file as instrumented

    flags = [
        f"-max_total_time={int(args.seconds)}",
        "-max_len=20000",
        "-rss_limit_mb=1500",
        f"-artifact_prefix={CORPUS}/",
    ]
    seeds = CORPUS.parent.parent / "unit" / "webhook" / "inputs"
    with tempfile.TemporaryDirectory() as interesting:
        atheris.Setup([sys.argv[0], *flags, interesting, str(CORPUS), str(seeds)], instrumented)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
