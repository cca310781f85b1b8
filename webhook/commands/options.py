"""What the commands over files have in common: their flags, and the injector and documents that these stand for.

Names of flags are istioctl's, so that who knows `istioctl kube-inject` finds them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import KubernetesError, UsageError

if TYPE_CHECKING:
    from common.kube import Kubernetes
    from webhook.documents.files import File
    from webhook.documents.offline import Injector
    from webhook.settings.proxyconfigs import ProxyConfigs

EXIT_CODES = """\
exit codes:
  0  done                                   5  a pod is refused
  2  a flag or file that cannot be used     8  the API server refuses, or does not answer
  3  settings that cannot be used
  4  a document that cannot be read         Nothing is written unless all is well.
"""
NATIVE = {"auto": None, "true": True, "false": False}


def add_files(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """-f and -R."""
    parser.add_argument(
        "-f", "--filename", action="append", required=required, metavar="FILE|DIR|-",
        help="YAML or JSON to read, - for stdin; of a directory, the files in it; may be repeated",
    )  # fmt: skip
    parser.add_argument("-R", "--recursive", action="store_true", help="with a directory, those below it too")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Where settings come from: files, a cluster, or neither."""
    files = parser.add_argument_group("settings from files", "without any, and without a cluster: profile standalone")
    files.add_argument("--valuesFile", metavar="FILE", help="values, as in the ConfigMap istio-sidecar-injector")
    files.add_argument("--meshConfigFile", metavar="FILE", help="mesh configuration, as in the ConfigMap istio")
    files.add_argument("--proxyConfigFile", metavar="FILE", help="ProxyConfig resources, beside those in -f")
    files.add_argument("--injectConfigFile", metavar="FILE", help="policy, selectors, templates")

    cluster = parser.add_argument_group(
        "settings from a cluster", "any of these reads what no file gives from a cluster"
    )
    cluster.add_argument("--injectConfigMapName", metavar="NAME", help="default: istio-sidecar-injector[-REVISION]")
    cluster.add_argument("--meshConfigMapName", metavar="NAME", help="default: istio[-REVISION]")
    cluster.add_argument(
        "--webhookConfig", metavar="NAME", help="MutatingWebhookConfiguration whose Service's namespace has them"
    )
    cluster.add_argument("-i", "--istioNamespace", metavar="NAME", help="their namespace (default: istio-system)")
    cluster.add_argument("--kubeconfig", metavar="FILE", help="default: $KUBECONFIG, ~/.kube/config")
    cluster.add_argument("--context", metavar="NAME", help="default: the kubeconfig's current one")

    parser.add_argument("-r", "--revision", default="", help="the revision that pods are told they were injected by")
    parser.add_argument(
        "--native-sidecars",
        choices=tuple(NATIVE),
        default="auto",
        help="whether nodes run native sidecars; auto: as the cluster's nodes can; without a cluster: no",
    )


def read(args: argparse.Namespace) -> list[File]:
    """The files that -f names. Raises UsageError and InputError."""
    from webhook.documents import files

    return [files.read(name) for name in files.paths(args.filename, recursive=args.recursive)]


def load_injector(
    args: argparse.Namespace, files: Iterable[File] = (), kubernetes: Kubernetes | None = None
) -> Injector:
    """The injector that the flags ask for; Namespaces and ProxyConfigs among the files count.

    Raises SettingsError, KubernetesError.
    """
    from webhook.documents.causes import Sources
    from webhook.documents.offline import Injector, namespaces

    values, mesh, config = map(_text, (args.valuesFile, args.meshConfigFile, args.injectConfigFile))
    native = NATIVE[args.native_sidecars]
    if kubernetes is None and wants_cluster(args):
        kubernetes = connect(args)
    if kubernetes:
        values, mesh, config = _from_cluster(kubernetes, args, values, mesh, config)
        if native is None:
            native = _nodes_are_native(kubernetes)
    sources = Sources.of_texts(values, mesh, config, args.revision)
    settings = sources.settings()
    for told in settings.notes:
        note("note", told)
    for warning in settings.warnings:
        note("warning", warning)
    given = list(files)
    configs = _proxy_configs(args, given, kubernetes)
    return Injector(sources, settings.for_files(), bool(native), namespaces(given), configs)


def _proxy_configs(args: argparse.Namespace, read: Iterable[File], kubernetes: Kubernetes | None) -> ProxyConfigs:
    """ProxyConfig resources of a cluster, over them those of --proxyConfigFile, over them those of -f."""
    from webhook.documents import files
    from webhook.documents.offline import proxy_configs
    from webhook.settings.proxyconfigs import KIND, ProxyConfigs

    found: list[Mapping[str, Any]] = []
    if kubernetes:
        try:
            found += kubernetes.get(KIND)["items"]
        except KubernetesError as error:
            if error.status not in (403, 404):
                raise
            if error.status == 403:
                note("warning", f"without ProxyConfigs: {error}")
    if args.proxyConfigFile:
        found += proxy_configs([files.read(args.proxyConfigFile)])
    configs, problems = ProxyConfigs.read([*found, *proxy_configs(read)])
    for problem in problems:
        note("warning", problem)
    return configs


def wants_cluster(args: argparse.Namespace) -> bool:
    """Whether a flag was given that only a cluster can answer."""
    flags = ("injectConfigMapName", "meshConfigMapName", "webhookConfig", "istioNamespace", "kubeconfig", "context")
    return any(getattr(args, flag) for flag in flags)


def connect(args: argparse.Namespace) -> Kubernetes:
    """The cluster of --kubeconfig and --context, or the current one."""
    from common.kube import Kubernetes

    return Kubernetes(args.kubeconfig, args.context)


def _from_cluster(
    kubernetes: Kubernetes, args: argparse.Namespace, values: str | None, mesh: str | None, config: str | None
) -> tuple[str | None, str | None, str | None]:
    """Values, mesh and injection configuration, each from its file or else from its ConfigMap."""
    namespace = args.istioNamespace or _namespace_of_webhook(kubernetes, args.webhookConfig) or "istio-system"
    suffix = f"-{args.revision}" if args.revision not in ("", "default") else ""
    if values is None or config is None:
        name = args.injectConfigMapName or f"istio-sidecar-injector{suffix}"
        data = _config_map(kubernetes, namespace, name)
        values = data.get("values") if values is None else values
        config = data.get("config") if config is None else config
    if mesh is None:
        name = args.meshConfigMapName or f"istio{suffix}"
        mesh = _config_map(kubernetes, namespace, name).get("mesh")
    return values, mesh, config


def _config_map(kubernetes: Kubernetes, namespace: str, name: str) -> dict[str, str]:
    data: dict[str, str] = kubernetes.get("ConfigMap", name, namespace).get("data") or {}
    return data


def _namespace_of_webhook(kubernetes: Kubernetes, name: str | None) -> str | None:
    if not name:
        return None
    for webhook in kubernetes.get("MutatingWebhookConfiguration", name).get("webhooks") or ():
        if service := webhook["clientConfig"].get("service"):
            return str(service["namespace"])
    raise KubernetesError(f"--webhookConfig {name}: none of its webhooks is a Service; name its namespace with -i")


def _nodes_are_native(kubernetes: Kubernetes) -> bool:
    from webhook.serving.sources import run_native_sidecars

    nodes = kubernetes.get("Node")["items"]
    return run_native_sidecars([node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes])


def _text(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def write(data: bytes, output: str | None) -> None:
    """Write to a file, or to stdout. Raises UsageError."""
    if output in (None, "-"):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        Path(str(output)).write_bytes(data)
    except OSError as error:
        raise UsageError(f"-o {output}: {error.strerror or error}") from error


def note(kind: str, message: str) -> None:
    """A line for the user that is not part of the result."""
    print(f"{kind}: {message}", file=sys.stderr)


def as_json(value: Any) -> str:
    """Indented JSON, for people and programs."""
    import json

    return json.dumps(value, indent=2, ensure_ascii=False)
