"""`pyinject kube-inject`: inject the pods of files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from webhook.errors import InputError, UsageError

if TYPE_CHECKING:
    from webhook.documents.pods import Place
    from webhook.settings import Settings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("kube-inject", help="inject the pods of files")
    parser.set_defaults(run=run)
    parser.add_argument("-f", "--filename", required=True, metavar="FILE", help="YAML or JSON; - reads stdin")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write (default: stdout)")
    parser.add_argument("--valuesFile", metavar="FILE", help="values, as in the ConfigMap istio-sidecar-injector")
    parser.add_argument("--meshConfigFile", metavar="FILE", help="mesh configuration, as in the ConfigMap istio")
    parser.add_argument("--injectConfigFile", metavar="FILE", help="injection configuration: policy, templates …")
    parser.add_argument("--revision", default="", help="the revision that the pods are told they were injected by")
    parser.add_argument(
        "--native-sidecars",
        choices=("auto", "true", "false"),
        default="auto",
        help="whether the nodes run native sidecars; auto: no, which works on every node",
    )


def run(args: argparse.Namespace) -> int:
    """Write each document, its pods injected."""
    import yaml

    from webhook.documents import pods
    from webhook.settings import Settings
    from webhook.yamlio import Loader, describe

    files = [_read(name) for name in (args.valuesFile, args.meshConfigFile, args.injectConfigFile)]
    settings = Settings.load(*files, revision=args.revision).for_files()
    try:
        documents = [document for document in yaml.load_all(_read(args.filename), Loader) if document is not None]
    except yaml.YAMLError as error:
        raise InputError(f"{args.filename}: {describe(error)}") from error
    injected = []
    for document in documents:
        for place in pods.find(document):
            document = place.put(document, _inject(settings, place, place.pod(document), args.native_sidecars == "true"))
        injected.append(document)
    text = yaml.dump_all(injected, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
    if args.output:
        Path(args.output).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


def _inject(settings: Settings, place: Place, pod: dict[str, Any], native_sidecars: bool) -> dict[str, Any]:
    from webhook.inject import Request, inject
    from webhook.workload import Workload, of_pod

    metadata, owner = pod.get("metadata") or {}, place.owner.get("metadata") or {}
    if place.owner.get("kind") == "Pod":
        workload = of_pod(metadata, metadata.get("labels") or {}, metadata.get("namespace") or "")
    else:
        kind, version = place.owner.get("kind") or "", place.owner.get("apiVersion") or ""
        workload = Workload(owner.get("name") or "", owner.get("namespace") or "", kind, version)
    request = Request(pod, metadata.get("namespace") or "", native_sidecars=native_sidecars, workload=workload)
    result = inject(settings, request)
    if not result.decision.inject:
        print(f"{place}: {result.decision.message}", file=sys.stderr)
    return result.pod


def _read(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: {error}") from error
