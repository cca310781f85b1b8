"""`pyinject uninject`: take the sidecars out of files again."""

from __future__ import annotations

import argparse

from common.cli import add_command
from webhook.commands import options

DESCRIPTION = """\
Write FILE as it was before kube-inject: without sidecars, init containers and volumes that were injected, with probes
that ask the app itself, and without the injector's labels and annotations. A file that kube-inject wrote comes back
exactly; objects from a cluster, and what istioctl injected, in all that the injected pod tells of the one before.
"""
EPILOG = f"""\
examples:
  pyinject uninject -f injected.yaml -o app.yaml
  kubectl get deployment web -o yaml | pyinject uninject -f - | kubectl replace -f -

{options.EXIT_CODES}"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "uninject", "take the sidecars out of files again", DESCRIPTION, EPILOG)
    parser.set_defaults(run=run)
    options.add_files(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write (default: stdout)")


def run(args: argparse.Namespace) -> int:
    """Write the files with their pods as they were; 0."""
    from webhook.documents import files, pods
    from webhook.documents.offline import uninject_document

    written = []
    for file in options.read(args):
        outcomes = [uninject_document(document) for document in file.documents]
        for outcome in outcomes:
            where = outcome.document.where
            if outcome.text == outcome.document.text and any(pods.find(outcome.document.value)):
                options.note("note", f"{where}: not injected: passed through unchanged")
            if outcome.anew:
                options.note("warning", f"{where}: written anew without its comments: {outcome.anew}")
            for misfit in outcome.misfits:
                options.note("warning", f"{where}: {misfit} was edited since it was injected, and stays as it is")
        written.append(file.encoded(outcome.text for outcome in outcomes))
    options.write(files.joined(written), args.output)
    return 0
