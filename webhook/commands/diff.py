"""`pyinject diff`: what kube-inject changes in files, and why."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from common.cli import add_command
from common.errors import PysidecarError
from webhook.commands import options

if TYPE_CHECKING:
    from webhook.documents.causes import Causes
    from webhook.documents.files import File
    from webhook.documents.offline import Injector, Outcome

DESCRIPTION = """\
Show FILE before and after kube-inject as a unified diff. Behind each added line stands where it comes from: the
annotation or label of the pod, or the setting, without which it would be another. Lines without are the template's.
"""
EPILOG = """\
examples:
  pyinject diff -f app.yaml
  pyinject diff -f manifests/ --valuesFile values.json --no-sources

exit codes:
  0  nothing changes      1  something does      2  trouble
"""
CONTEXT_LINES = 3
STYLES = {"+": "green", "-": "red", "@": "cyan"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "diff", "what kube-inject changes, and why", DESCRIPTION, EPILOG)
    parser.set_defaults(run=run)
    options.add_files(parser)
    parser.add_argument(
        "--sources",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="where added lines come from (default: shown)",
    )
    parser.add_argument(
        "--color", choices=["auto", "always", "never"], default="auto", help="auto: on a terminal (default)"
    )
    options.add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Print the differences; 0 for none, 1 for some, 2 for trouble."""
    try:
        read = options.read(args)
        injector = options.load_injector(args, read)
        lines = [line for file in read for line in _file(file, injector, sources=args.sources)]
    except PysidecarError as error:
        options.note("pyinject diff", str(error))
        return 2
    if args.color == "always" or (args.color == "auto" and sys.stdout.isatty()):
        _print_coloured(lines)
    else:
        for line, source in lines:
            print(f"{line}  ◂ {source}" if source else line)
    return int(bool(lines))


def _file(file: File, injector: Injector, *, sources: bool) -> Iterator[tuple[str, str]]:
    """The lines of a file's diff, each with where it comes from."""
    from webhook.documents.causes import Causes
    from webhook.documents.offline import inject_document

    finder = Causes(injector.sources) if sources else None
    before: list[str] = []
    after: list[str] = []
    causes: dict[int, list[str]] = {}
    for document in file.documents:
        outcome = inject_document(document, injector)
        if finder and outcome.text != document.text:
            for line, names in _causes(outcome, injector, finder):
                causes.setdefault(len(after) + line, []).extend(names)
        before += document.text.splitlines()
        after += outcome.text.splitlines()
    return unified(file.name, before, after, {line: ", ".join(dict.fromkeys(names)) for line, names in causes.items()})


def _causes(outcome: Outcome, injector: Injector, finder: Causes) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Lines of a document, from 0, and what they come from."""
    from webhook.documents.dialect import compose
    from webhook.documents.lines import line_of

    root = compose(outcome.text)
    for place, result in outcome.results:
        if root is None or not result.decision.inject:
            continue
        for path, names in finder.of(injector.request(place, place.pod(outcome.document.value))).items():
            holder = place.metadata if path[0] == "metadata" else place.path
            yield line_of(root, (*holder, *path)), names


def unified(name: str, before: list[str], after: list[str], sources: dict[int, str]) -> Iterator[tuple[str, str]]:
    """A unified diff, each line with its source where it is a line of `after` that has one."""
    groups = SequenceMatcher(None, before, after, autojunk=False).get_grouped_opcodes(CONTEXT_LINES)
    for number, group in enumerate(groups):
        if not number:
            yield f"--- {name}", ""
            yield f"+++ {name} (injected)", ""
        (_, old, _, new, _), (_, _, old_end, _, new_end) = group[0], group[-1]
        yield f"@@ -{_range(old, old_end)} +{_range(new, new_end)} @@", ""
        for tag, start, end, new_start, new_end in group:
            if tag == "equal":
                yield from ((f" {line}", "") for line in before[start:end])
                continue
            yield from ((f"-{line}", "") for line in before[start:end])
            yield from ((f"+{after[index]}", sources.get(index, "")) for index in range(new_start, new_end))


def _range(start: int, end: int) -> str:
    """A range of lines as the unified format has it: from 1; of an empty one, the line before it."""
    return f"{start + 1 if end > start else start},{end - start}"


def _print_coloured(lines: Iterable[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(force_terminal=True, highlight=False, soft_wrap=True)
    for line, source in lines:
        style = "bold" if line.startswith(("--- ", "+++ ")) else STYLES.get(line[:1], "")
        text = Text(line, style=style)
        if source:
            text.append(f"  ◂ {source}", style="dim")
        console.print(text)
