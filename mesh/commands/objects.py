"""Objects for commands that look at all of them at once: from files, from the cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesh.world.events import Event


def of_file(name: str) -> list[Event]:
    """The objects of a file, a folder, or stdin. Raises UsageError."""
    from common.errors import UsageError
    from mesh.model.kinds import kind_of
    from mesh.sources.documents import read_documents
    from mesh.sources.files import Files
    from mesh.sources.intake import Intake, unknown_kind
    from mesh.world.events import Key, Upsert

    path = Path(name)
    if name != "-" and path.is_dir():
        return Files(path).look()
    try:
        data = sys.stdin.buffer.read() if name == "-" else path.read_bytes()
    except OSError as error:
        raise UsageError(f"-f {name}: {error.strerror}") from error
    documents = read_documents(data, name)
    problems = list(documents.problems)
    intake, events = Intake(), list[Any]()
    for thing in documents.objects:
        kind = kind_of(thing)
        if kind is not None:
            events += intake.upsert(kind, thing)
        elif problem := unknown_kind(thing):
            problems.append(problem)
    if problems:
        events.append(Upsert("File", Key("", name), None, tuple(problems)))
    return events


def of_cluster(kubeconfig: str | None, context: str | None) -> list[Event]:
    """All objects of the cluster. Raises KubernetesError."""
    import asyncio

    from common.errors import KubernetesError
    from common.kube import Kubernetes as Client
    from mesh.sources.kubernetes import Kubernetes

    client = Client(kubeconfig, context, connections=40)
    try:
        with client.reading("/version", {}, 10):
            pass
    except KubernetesError as error:
        if not error.status:  # nobody there: no need to wait for every kind
            raise
    source = Kubernetes(client)
    events: list[Event] = []

    async def read() -> None:
        task = asyncio.create_task(source.run(events.extend))
        try:
            for _ in range(600):
                await asyncio.sleep(0.05)
                if not source.waiting:
                    return
            kind, reason = next(iter(source.waiting.items()))
            raise KubernetesError(f"{kind} cannot be listed: {reason}")
        finally:
            task.cancel()

    asyncio.run(read())
    return events
