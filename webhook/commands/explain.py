"""`pyinject explain`: why a pod is injected or not, and what made it so."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from common.cli import add_command
from common.errors import UsageError
from webhook.commands import options

if TYPE_CHECKING:
    from webhook.documents.causes import Causes
    from webhook.pod.inject import Request

DESCRIPTION = """\
Explain the webhook's decision on each pod of FILE, or on a pod of the cluster, step by step: what was asked, and what
decided; then the templates, what each setting, annotation and label has effect on, and the warnings. A pod that is
injected already is explained as it was before. (kube-inject asks no policy or selector: it injects what it is given.)
"""
EPILOG = f"""\
examples:
  pyinject explain -f app.yaml --valuesFile values.json
  pyinject explain web-5d9f8c7b6-x2x4q -n shop
  pyinject explain -f app.yaml -o json | jq '.[].decision'

{options.EXIT_CODES}"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "explain", "why a pod is injected or not", DESCRIPTION, EPILOG)
    parser.set_defaults(run=run)
    parser.add_argument("pod", nargs="?", metavar="POD", help="a pod of the cluster, instead of -f")
    parser.add_argument("-n", "--namespace", default="default", help="of POD (default: %(default)s)")
    options.add_files(parser, required=False)
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    options.add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Print the explanations; 0."""
    if bool(args.pod) == bool(args.filename):
        raise UsageError("name either a POD or a file with -f")
    explanations = list(_of_cluster(args) if args.pod else _of_files(args))
    if args.output == "json":
        print(options.as_json(explanations))
    else:
        print("\n".join(text for explanation in explanations for text in _lines(explanation)))
    return 0


def _of_files(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from webhook.documents.causes import Causes
    from webhook.errors import InjectionError
    from webhook.pod.uninject import uninject

    read = options.read(args)
    injector = options.load_injector(args, read)
    finder = Causes(injector.sources)
    for document in (document for file in read for document in file.documents):
        for place in injector.places(document.value):
            try:
                request = injector.request(place, uninject(place.pod(document.value)))
                yield {"object": str(place), "where": document.where, **explain(finder, request)}
            except InjectionError as error:
                raise InjectionError(f"{document.where}: {place}: {error}") from error


def _of_cluster(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from webhook.documents.causes import Causes
    from webhook.pod.inject import Request
    from webhook.pod.uninject import is_injected, uninject

    kubernetes = options.connect(args)
    injector = options.load_injector(args, kubernetes=kubernetes)
    pod = kubernetes.get("Pod", args.pod, args.namespace)
    namespace = kubernetes.get("Namespace", args.namespace)["metadata"]
    request = Request(
        uninject(pod), args.namespace, namespace, injector.native_sidecars, proxy_configs=injector.proxy_configs
    )
    told = explain(Causes(injector.sources), request)
    yield {"object": f"Pod/{args.pod} -n {args.namespace}", "injected": is_injected(pod), **told}


def explain(finder: Causes, request: Request) -> dict[str, Any]:
    """The explanation for one pod, as JSON data. Raises InjectionError for a pod that is refused."""
    from webhook.pod.inject import inject
    from webhook.pod.overlay import template_names
    from webhook.pod.podtree import annotations_of

    settings = finder.settings
    result = inject(settings, request)
    told: dict[str, Any] = {
        "decision": {
            "inject": result.decision.inject,
            "reason": result.decision.reason,
            "message": result.decision.message,
            "steps": _steps(result.decision.reason, request.namespace_metadata),
        }
    }
    if result.decision.inject:
        effects: dict[str, list[str]] = {}
        for path, causes in finder.of(request).items():
            for cause in causes:
                effects.setdefault(cause, []).append(_written(result.pod, path))
        told["templates"] = template_names(settings, annotations_of(request.pod))
        told["effects"] = effects
    told["warnings"] = list(result.warnings)
    return told


def _steps(decided: str, namespace: Any) -> list[str]:
    """What was asked before the answer, in the webhook's order (webhook.pod.decide)."""
    from webhook.pod.annotations import INJECT
    from webhook.pod.decide import Reason

    passed = {
        Reason.HOST_NETWORK: "hostNetwork is not true",
        Reason.IGNORED_NAMESPACE: "the namespace is none of the cluster's own",
        Reason.LABEL: f'no label {INJECT} says "true" or "false"',
        Reason.ANNOTATION: "nor does such an annotation",
        Reason.NEVER_SELECTOR: "no neverInjectSelector matches",
        Reason.ALWAYS_SELECTOR: "no alwaysInjectSelector matches",
    }
    steps = [] if namespace is None else [_asked(namespace.get("labels") or {})]
    for reason in Reason:
        if reason == decided:
            break
        steps.append(passed[reason])
    return steps


def _asked(labels: Any) -> str:
    """Whether the API server asks the webhook for pods of a namespace with these labels."""
    from webhook.pod.annotations import REVISION

    for name in ("istio-injection", REVISION):
        if value := labels.get(name):
            verb = "does not ask" if value == "disabled" else "asks"
            return f"the namespace has the label {name}={value}: the API server {verb} the webhook"
    return f"the namespace has neither istio-injection nor {REVISION}: the API server asks for labelled pods alone"


def _written(pod: Any, path: tuple[str | int, ...]) -> str:
    """A path as people write it: spec.initContainers[istio-proxy].args[4]."""
    text, value = "", pod
    for step in path:
        value = value[step]
        name = value.get("name", step) if isinstance(step, int) and isinstance(value, dict) else step
        if isinstance(step, int) or "." in step or "/" in step:
            text += f"[{name}]"
        else:
            text += f".{name}" if text else str(name)
    return text


def _lines(explanation: dict[str, Any]) -> Iterator[str]:
    decision = explanation["decision"]
    where = f"  ({explanation['where']})" if "where" in explanation else ""
    yield f"{explanation['object']}{where}"
    if "injected" in explanation:
        yield f"  it is {'injected' if explanation['injected'] else 'not injected'} now; created again, it would be"
    for step in decision["steps"]:
        yield f"    · {step}"
    yield f"    {'✓' if decision['inject'] else '✗'} {decision['message']}  [{decision['reason']}]"
    if decision["inject"]:
        yield f"  templates: {', '.join(explanation['templates'])}"
    for cause, paths in explanation.get("effects", {}).items():
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        yield f"  {cause}"
        yield f"      {', '.join(paths[:3])}{more}"
    for warning in explanation["warnings"]:
        yield f"  warning: {warning}"
