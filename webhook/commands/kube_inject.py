"""`pyinject kube-inject`: inject the pods of files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from common.cli import add_command
from webhook.commands import options

if TYPE_CHECKING:
    from webhook.documents.offline import Outcome

DESCRIPTION = """\
Write FILE with a sidecar in every pod: of Pods, Deployments, CronJobs and whatever else has a pod template, custom
resources included, in one document or many, or in a List. All other documents, and all lines that need not change,
stay as they are, comments included. What was skipped, and why, and warnings go to stderr.
"""
EPILOG = f"""\
examples:
  pyinject kube-inject -f app.yaml | kubectl apply -f -
  pyinject kube-inject -f manifests/ -o injected.yaml --valuesFile values.json --meshConfigFile mesh.yaml
  kubectl get deployment web -o yaml | pyinject kube-inject -i istio-system -f - | kubectl apply -f -

{options.EXIT_CODES}"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "kube-inject", "inject the pods of files", DESCRIPTION, EPILOG)
    parser.set_defaults(run=run)
    options.add_files(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write (default: stdout)")
    options.add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Write the files with their pods injected; 0."""
    from webhook.documents import files
    from webhook.documents.offline import inject_document

    read = options.read(args)
    injector = options.load_injector(args, read)
    written = []
    for file in read:
        outcomes = [inject_document(document, injector) for document in file.documents]
        for outcome in outcomes:
            _tell(outcome)
        written.append(file.encoded(outcome.text for outcome in outcomes))
    options.write(files.joined(written), args.output)
    return 0


def _tell(outcome: Outcome) -> None:
    where = outcome.document.where
    for name in outcome.others:
        options.note("note", f"{where}: {name} has no pod: passed through unchanged")
    for place, result in outcome.results:
        if not result.decision.inject:
            options.note("note", f"{where}: {place}: {result.decision.message}")
        for warning in result.warnings:
            options.note("warning", f"{where}: {place}: {warning}")
    if outcome.anew:
        options.note("warning", f"{where}: written anew without its comments: {outcome.anew}")
    if not outcome.exact:
        options.note("note", f"{where}: JSON has no comments, so uninject will not give it back in every detail")
