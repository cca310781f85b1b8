"""The command line of the demo."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from demo import mesh, scenario
from demo.errors import DemoError
from demo.story import Story
from demo.tellers import Json, Terminal

EXIT_OK, EXIT_BROKEN, EXIT_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 130
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(argv: Sequence[str]) -> int:
    """Tells the story: 0 when every claim held, 1 when one did not, 2 when the demo could not go on, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="demo", description=scenario.__doc__)
    parser.add_argument("--json", action="store_true", help="print the story as one JSON object")
    args = parser.parse_args(argv)
    if missing := scenario.needs():
        print(f"demo: {missing}", file=sys.stderr)
        return EXIT_ERROR
    for number in INTERRUPTS:
        signal.signal(number, _interrupt)
    story = Story(Json(sys.stdout) if args.json else Terminal(sys.stdout))
    start = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="pysidecar-demo-") as folder:
            scenario.tell(story, Path(folder))
            mesh.tell(story, Path(folder))
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("demo: interrupted; everything is cleaned up", file=sys.stderr)
        return EXIT_INTERRUPTED
    story.end(time.monotonic() - start)
    return EXIT_BROKEN if story.broken else EXIT_OK


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Every `with` is left in order, and what cleans up is not interrupted again."""
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
