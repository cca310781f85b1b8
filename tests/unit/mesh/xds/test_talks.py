"""Conversations as files: what Envoy says, how the world changes, and what the machine says then.

    delta | whole                       the variant of the protocol
    world cds a=1 b=2 eds a=1           all there is now, as NAME=CONTENT by type
    envoy asks RDS 80 90                or `*`; `a@1`: it still has a in content 1; `drops RDS 90`
    envoy takes RDS                     the answer to the last response of that type; `refuses RDS WORDS`
    wait 10                             seconds
    mesh CDS a b -c                     all that is sent by now, in this order; `mesh nothing`

A line of `mesh` must hold all that is said; what is said without one fails.
"""

from pathlib import Path

import pytest

from mesh.xds.machine import Machine
from mesh.xds.messages import Request
from mesh.xds.paths import Paths
from mesh.xds.types import CDS, EDS, LDS, RDS, SDS
from tests.unit.mesh.xds.envoy import state

URLS = {"CDS": CDS, "EDS": EDS, "LDS": LDS, "RDS": RDS, "SDS": SDS}
SHORT = {url: short for short, url in URLS.items()}
TALKS = sorted((Path(__file__).parent / "talks").glob("*.txt"))


class Talk:
    def __init__(self):
        self.machine, self.now = Machine(delta=True, paths=Paths()), 0.0
        self.nonces, self.names, self.unsaid = {}, {}, []

    def line(self, line):
        word, *rest = line.split()
        if word == "mesh":
            said, self.unsaid = self.unsaid, []
            assert said == ([] if rest == ["nothing"] else [" ".join(part.split()) for part in line[5:].split(";")])
            return
        getattr(self, word)(*rest)
        for response in self.machine.next(self.now):
            self.nonces[response.type_url] = response.nonce
            names = [one.resource.name for one in response.resources] + [f"-{name}" for name in response.removed]
            self.unsaid.append(" ".join((SHORT[response.type_url], *sorted(names))))

    def delta(self):
        self.machine = Machine(delta=True, paths=Paths())

    def whole(self):
        self.machine = Machine(delta=False, paths=Paths())

    def wait(self, seconds):
        self.now += float(seconds)

    def world(self, *words):
        told, of = {}, ""
        for word in words:
            name, is_there, content = word.partition("=")
            if is_there:
                told[of][name] = content
            else:
                of = word
                told[of] = {}
        self.machine.on_state(state(**told))

    def envoy(self, does, kind, *words):
        getattr(self, does)(URLS[kind], *words)

    def asks(self, url, *names):
        has = dict(name.split("@") for name in names if "@" in name)
        versions = {name: state(cds={name: content})[CDS].get(name).version for name, content in has.items()}
        wanted = [name for name in names if name != "*" and "@" not in name]
        if self.machine.delta:
            self.machine.on_request(Request(url, subscribe=tuple(wanted), versions=versions), self.now)
        else:
            self.names[url] = [*self.names.get(url, ()), *wanted]
            self._say(url)

    def drops(self, url, *names):
        if self.machine.delta:
            self.machine.on_request(Request(url, unsubscribe=names), self.now)
        else:
            self.names[url] = [name for name in self.names[url] if name not in names]
            self._say(url)

    def takes(self, url):
        self._say(url)

    def refuses(self, url, *words):
        self._say(url, " ".join(words))

    def _say(self, url, error=None):
        names = None if self.machine.delta else tuple(self.names.get(url, ()))
        request = Request(url, nonce=self.nonces.get(url, ""), error=error, names=names)
        self.machine.on_request(request, self.now)


@pytest.mark.parametrize("path", TALKS, ids=lambda path: path.stem)
def test_talk(path):
    talk = Talk()
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            is_answer = line.startswith("mesh")
            assert is_answer or not talk.unsaid, f"line {number}: the mesh has said {talk.unsaid}"
            try:
                talk.line(line)
            except AssertionError as error:
                raise AssertionError(f"{path.name}:{number}: {line}\n{error}") from None
    assert talk.unsaid == []


def test_there_are_talks():
    assert len(TALKS) >= 8
