"""`pyinject check`: what is wrong between a cluster and its injector."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from common.cli import add_command
from webhook.commands import options

DESCRIPTION = """\
Look at a cluster and change nothing: is the webhook's Service answered by each replica, with a certificate that the
caBundle trusts; do all namespaces that ask for injection have one injector, and no second; which pods run with settings
of before. Says of each what to do about it.
"""
EPILOG = f"""\
examples:
  pyinject check -i pysidecar-system
  pyinject check -i pysidecar-system -o json | jq '.[] | select(.level == "error")'

exit code 9: an error was found. Warnings alone are 0.
{options.EXIT_CODES}"""
FOUND = 9


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "check", "what is wrong between a cluster and its injector", DESCRIPTION, EPILOG)
    parser.set_defaults(run=run)
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    options.add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Print the findings; 0, or FOUND where one is an error."""
    from common.cabundle import MUTATING
    from webhook.serving import checks

    name = args.webhookConfig or "pyinject"
    kubernetes = options.connect(args)
    configuration = kubernetes.get(MUTATING, name)
    namespaces = kubernetes.get("Namespace")["items"]
    injector = options.load_injector(args, kubernetes=kubernetes)
    metadata = {it["metadata"]["name"]: it["metadata"] for it in namespaces}
    found = [
        *checks.of_configuration(name, configuration),
        *checks.of_replicas(kubernetes, configuration),
        *checks.of_selectors(name, kubernetes.get(MUTATING)["items"], namespaces),
        *checks.of_pods(
            injector.settings,
            kubernetes.get("Pod")["items"],
            metadata,
            injector.proxy_configs,
            native=injector.native_sidecars,
        ),
    ]
    if args.output == "json":
        print(options.as_json([asdict(finding) for finding in found]))
    else:
        for finding in found:
            remedy = f"\n         way out: {finding.remedy}" if finding.remedy else ""
            print(f"{finding.level:8} {finding.about}: {finding.message}{remedy}")
    return FOUND if any(finding.level == checks.ERROR for finding in found) else 0
