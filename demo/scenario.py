"""The demo's steps, in the order they are told. Each returns what the next one needs."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonpatch

from demo import sample
from demo.counters import Counters, read
from demo.errors import DemoError
from demo.network import Network, address
from demo.pod import Pod
from demo.request import Answer, request
from demo.story import Story, Table, Text
from demo.webhook import Webhook

PROXY, INIT, APP = "istio-proxy", "istio-init", "web"


def tell(story: Story, folder: Path) -> None:
    """The whole story; `folder` takes certificates and logs. DemoError when it cannot go on."""
    injected = inject(story, folder)
    with Network() as network, Pod(injected, network, folder) as pod, outside(network):
        start(story, pod)
        inbound(story, pod)
        outbound(story, pod)
        past_the_sidecar(story, pod)
        stop(story, pod)


def inject(story: Story, folder: Path) -> dict[str, Any]:
    """The webhook is asked, and its patch applied: the injected pod."""
    story.step(
        "inject",
        "The webhook injects a pod",
        "An API server would send this AdmissionReview over HTTPS for a pod in a namespace labelled "
        "istio-injection=enabled; here the demo does.",
    )
    with Webhook(folder) as webhook:
        response = webhook.review(sample.admission_review(sample.POD))
    started = f"pyinject serve answered at {webhook.url}, {webhook.seconds:.1f} s after its start"
    story.claim("webhook", True, "The webhook serves over HTTPS with a certificate of its own", started)
    decision = (response.get("auditAnnotations") or {}).items()
    message = (response.get("status") or {}).get("message") or ", ".join(f"{name}: {value}" for name, value in decision)
    allowed = bool(response.get("allowed")) and "patch" in response
    story.claim("allowed", allowed, "The pod is admitted, with a JSON Patch", message or f"allowed: {allowed}")
    if not allowed:
        raise DemoError(f"the webhook did not inject the pod: {json.dumps(response)}")
    patch = json.loads(base64.b64decode(response["patch"]))
    injected: dict[str, Any] = jsonpatch.apply_patch(sample.POD, patch)
    rows = [(operation["op"], where(operation["path"]), _short(operation.get("value", ""))) for operation in patch]
    story.show(Table("patch", "The patch (RFC 6902), in short:", ("op", "where", "value"), rows))
    spec = injected["spec"]
    names = [container["name"] for container in [*(spec.get("initContainers") or ()), *spec["containers"]]]
    story.claim(
        "containers", {INIT, PROXY} <= {*names}, "The pod got an init container and a sidecar", ", ".join(names)
    )
    app = next(container for container in spec["containers"] if container["name"] == APP)
    before = sample.POD["spec"]["containers"][0]
    changed = sorted(name for name in {*app, *before} if app.get(name) != before.get(name))
    probed = [app[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")]
    evidence = f"changed: {', '.join(changed)}, now at " + ", ".join(f":{get['port']}{get['path']}" for get in probed)
    kept = all(name.endswith("Probe") for name in changed)
    story.claim("app", kept, "Of the app's container nothing changed but its probes, which Envoy answers", evidence)
    return injected


def start(story: Story, pod: Pod) -> None:
    """Init container, sidecar, app, in the order kubelet starts them."""
    story.step(
        "start",
        "The injected pod runs",
        "What the injector wrote is what runs: each container as a process in the pod's network namespace, with its "
        "arguments, its variables and its uid. A client and a server have namespaces of their own on the same wire.",
    )
    result = pod.run(INIT)
    story.show(Text("init", f"{INIT} runs:", [_command("pyinit", pod.arguments(INIT))]))
    output = (result.stdout + result.stderr).strip().splitlines() or [""]
    evidence = f"exit {result.returncode}: {output[-1]}"
    story.claim("init", result.returncode == 0, f"{INIT} set the pod's rules up", evidence)
    if result.returncode:
        raise DemoError("\n".join(["istio-init failed:", *output]))
    pod.start(PROXY)
    short = [argument if len(argument) < 60 else "'{…}'" for argument in pod.arguments(PROXY)]
    story.show(Text("proxy", f"{PROXY} runs, as uid {pod.uid(PROXY)}:", ["envoy " + " ".join(short)]))
    seconds = pod.wait_for(PROXY, _readiness(pod))
    evidence = f"GET :{_readiness(pod)['port']}{_readiness(pod)['path']} is 200 after {seconds:.1f} s"
    story.claim("ready", True, "Envoy is ready", evidence)
    tcp = pod.container(APP)["readinessProbe"]["httpGet"]
    early = pod.probe(tcp)
    pod.start(APP)
    live = pod.container(APP)["livenessProbe"]["httpGet"]
    pod.wait_for(APP, live)
    seconds = pod.wait_for(APP, tcp)
    evidence = f"TCP probe {early.status} before the app ran and 200 {seconds:.1f} s after it listened; HTTP probe 200"
    story.claim("probes", early.status == 503, "kubelet's probes of the app tell the app's state", evidence)
    uids = {name: pod.running_uid(name) for name in (PROXY, APP)}
    separate = uids == {PROXY: sample.PROXY_UID, APP: sample.APP_UID}
    story.claim("uids", separate, "Each runs as its own user", ", ".join(f"{name}: uid {uids[name]}" for name in uids))


def inbound(story: Story, pod: Pod) -> None:
    """A client asks the app."""
    url = f"http://{pod.address}:{sample.APP_PORT}/hello"
    story.step(
        "inbound",
        "A client asks the app",
        f"{address('client')} asks {url}. The pod's rules turn the packet to Envoy's port 15006; Envoy asks the app.",
    )
    before = read(pod.netns)
    answer = request(pod.network.netns("client"), 0, url)
    _passed(story, answer, "inbound")
    story.claim(
        "source",
        answer.seen.get("client") == "127.0.0.6",
        "The app was asked by Envoy, whose address on this side is 127.0.0.6",
        f"the app saw {answer.seen.get('client')}",
    )
    _logged(story, pod, "inbound", "/hello")
    _counted(story, before, read(pod.netns), "ISTIO_IN_REDIRECT")


def outbound(story: Story, pod: Pod) -> None:
    """The app asks a server."""
    url = f"http://{address('server')}:{sample.SERVER_PORT}/order"
    story.step(
        "outbound",
        "The app asks a server outside",
        f"A process of uid {sample.APP_UID} in the pod asks {url}. The rules turn it to Envoy's port 15001, and Envoy "
        f"connects to where it was going.",
    )
    before = read(pod.netns)
    answer = request(pod.netns, sample.APP_UID, url)
    _passed(story, answer, "outbound")
    story.claim(
        "source",
        answer.seen.get("client") == pod.address,
        "The server was asked from the pod's address",
        f"the server saw {answer.seen.get('client')}",
    )
    _logged(story, pod, "outbound", "/order")
    _counted(story, before, read(pod.netns), "ISTIO_REDIRECT")


def past_the_sidecar(story: Story, pod: Pod) -> None:
    """What must not pass Envoy."""
    server = address("server")
    story.step(
        "past",
        "What does not pass the sidecar",
        "Envoy's own traffic must not come back to Envoy, and an annotation of the pod excludes port "
        f"{sample.EXCLUDED_PORT}.",
    )
    ways = [
        ("proxy-uid", sample.PROXY_UID, sample.SERVER_PORT, f"Traffic of uid {sample.PROXY_UID}, Envoy's own"),
        ("excluded-port", sample.APP_UID, sample.EXCLUDED_PORT, f"The app's traffic to port {sample.EXCLUDED_PORT}"),
    ]
    for name, uid, port, text in ways:
        before = read(pod.netns)
        answer = request(pod.netns, uid, f"http://{server}:{port}/{name}")
        redirected = read(pod.netns).packets("ISTIO_REDIRECT") - before.packets("ISTIO_REDIRECT")
        logged = pod.log(PROXY, f"/{name} ", seconds=0)
        evidence = f"answer {answer.status} without x-sidecar, {redirected} packets redirected, {len(logged)} log lines"
        past = answer.status == 200 and not answer.passed and redirected == 0 and not logged
        story.claim(name, past, f"{text} went straight to the server", evidence)
    rows = [(rule.chain, rule.text, str(rule.packets)) for rule in read(pod.netns).rules]
    story.show(
        Table("rules", "The pod's rules, and how many connections each has seen:", ("chain", "rule", "seen"), rows)
    )


def stop(story: Story, pod: Pod) -> None:
    """The sidecar ends as kubelet ends it."""
    story.step(
        "stop",
        "The pod ends",
        "kubelet runs the sidecar's preStop hook, in which Envoy drains, and then ends the container.",
    )
    url, client = f"http://{pod.address}:{sample.APP_PORT}/last", pod.network.netns("client")
    with pod.pre_stop(PROXY):
        time.sleep(0.5)
        answer = request(client, 0, url)
    evidence = f"HTTP {answer.status}, connection: {answer.headers.get('connection', 'keep-alive')}"
    drained = answer.status == 200 and answer.headers.get("connection") == "close"
    story.claim("drain", drained, "While it drains, clients are still served, and told to go elsewhere", evidence)
    code = pod.terminate(PROXY)
    story.claim("ended", code == 0, "After that SIGTERM ends it", f"exit {code}")


@contextmanager
def outside(network: Network) -> Iterator[None]:
    """The server outside, which knows nothing of sidecars."""
    ports = [str(sample.SERVER_PORT), str(sample.EXCLUDED_PORT)]
    command = [sys.executable, "-m", "demo.app", network.netns("server"), "0", "0.0.0.0", *ports]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "serving\n":
                raise DemoError(f"the server outside did not start: exit {process.wait()}")
            yield
        finally:
            process.terminate()


def _passed(story: Story, answer: Answer, direction: str) -> None:
    evidence = f"HTTP {answer.status}, x-sidecar: {', '.join(answer.passed)}" if answer.status else answer.error
    ok = answer.status == 200 and answer.passed == [direction]
    story.claim("header", ok, "The answer has the header that the sidecar sets", evidence)


def _logged(story: Story, pod: Pod, direction: str, path: str) -> None:
    lines = [line for line in pod.log(PROXY, f"{path} ") if f" {direction} " in line]
    story.claim("log", len(lines) == 1, "Envoy wrote it down in its access log", lines[0] if lines else "no line")


def _counted(story: Story, before: Counters, after: Counters, chain: str) -> None:
    counts = before.packets(chain), after.packets(chain)
    evidence = f"{chain}: {counts[0]} connections before, {counts[1]} after"
    story.claim("counters", counts[1] == counts[0] + 1, "The kernel redirected this one connection", evidence)


def _readiness(pod: Pod) -> dict[str, Any]:
    """The probe by which kubelet learns that the sidecar is ready."""
    proxy = pod.container(PROXY)
    get: dict[str, Any] = (proxy.get("readinessProbe") or proxy["startupProbe"])["httpGet"]
    return get


def _command(program: str, arguments: list[str]) -> str:
    return shlex.join([program, *(arguments[1:] if arguments[:1] == [program] else arguments)])


def where(pointer: str) -> str:
    """A JSON Pointer (RFC 6901) as people write it: spec.containers[0].image, or an annotation by its name."""
    first, second, *rest = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    if second == "annotations" and rest:
        return f"annotation {rest[0]}"
    return f"{first}.{second}" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in rest)


def _short(value: object, width: int = 48) -> str:
    """A patch's value in short: what it is of, and how much."""
    if isinstance(value, dict) and "image" in value:
        return f"{value['name']} ({value['image']})"
    if isinstance(value, list) and all(isinstance(item, dict) and "name" in item for item in value):
        return f"[{', '.join(_short(item) for item in value)}]"
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text if len(text) <= width else f"{text[: width - 1]}…"


def needs() -> str:
    """What is missing on this machine for the demo; empty when nothing is."""
    if os.geteuid():
        return "the demo makes network namespaces and netfilter rules: run it as root (sudo make demo)"
    return ""
