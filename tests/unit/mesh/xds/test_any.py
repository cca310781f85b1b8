"""Any order of changes, answers, refusals, broken streams: the fake Envoy finds nothing amiss, and all ends quiet."""

import json
from functools import lru_cache

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.xds.machine import Machine
from mesh.xds.order import PATIENCE_SECONDS
from mesh.xds.paths import Paths
from mesh.xds.types import CDS, EDS, LDS, RDS
from tests.unit.mesh.xds.envoy import FakeEnvoy, Pair, state

CLUSTERS = "abcd"
VERSION = st.sampled_from(["1", "2", "3", "bad"])


@st.composite
def worlds(draw):
    """Any world whose references are closed."""
    clusters = draw(st.dictionaries(st.sampled_from(CLUSTERS), VERSION))
    names = sorted(clusters)
    tables = draw(st.dictionaries(st.sampled_from(["80", "90"]), VERSION))
    named = {table: [name for name in names if draw(st.booleans())] for table in sorted(tables)}
    listeners = draw(st.dictionaries(st.sampled_from(["in", "out", "x"]), VERSION))
    uses = {name: [table for table in sorted(tables) if draw(st.booleans())] for name in sorted(listeners)}
    return {
        "cds": clusters,
        # `d` is a cluster without endpoints of its own, as one of a DNS name
        "eds": {name: draw(st.sampled_from(["10.0.0.1", "10.0.0.2"])) for name in names if name != "d"},
        "rds": {table: f"{version} -> {' '.join(named[table])}" for table, version in tables.items()},
        "lds": {name: f"{version} -> {' '.join(uses[name])}" for name, version in listeners.items()},
    }


STEP = st.one_of(
    worlds(),
    st.sampled_from(
        ["requests", "requests", "responses", "responses", "arrive", "arrive", "arrive", "break", "patience"]
    ),
)


class EdsEnvoy(FakeEnvoy):
    """`d` asks for no endpoints and does not warm."""

    def _apply(self, url, nonce, got, removed):
        super()._apply(url, nonce, got, removed)
        self.warming.discard("d")

    def check(self, url):
        self.fresh.discard("d")
        super().check(url)


@lru_cache(10_000)
def _told(text):
    return state(**json.loads(text))


def told(world):
    """The state of a world; of equal worlds the same, as two streams are told it."""
    return _told(json.dumps(world))


def play(steps, final, *, delta, names_who, paths, stands_in=False):
    envoy = EdsEnvoy(delta=delta, names_who=names_who, refuses={"bad"}, stands_in=stands_in)
    pair = Pair(envoy, Machine(delta=delta, paths=paths))
    pair.envoy.connect()
    for step in steps:
        if isinstance(step, dict):
            pair.machine.on_state(told(step))
        elif step == "break":
            pair.machine.close()
            last = pair.machine.position.state
            pair = Pair(pair.envoy, Machine(delta=delta, paths=paths))
            pair.machine.on_state(last)
            pair.envoy.connect()
        elif step != "patience":
            getattr(pair, step)()
    pair.machine.on_state(told(final))
    pair.until_quiet(rounds=200)
    if pair.machine.deadline is not None:
        pair.now = pair.machine.deadline + PATIENCE_SECONDS
        pair.until_quiet(rounds=200)
    return pair


def settled(pair, final):
    """What is good has come, what is bad has not, and nothing waits."""
    envoy = pair.envoy
    assert envoy.is_quiet(), (envoy.warming, envoy.log)
    assert pair.machine.is_at_rest
    assert pair.machine.deadline is None
    for url, key in ((CDS, "cds"), (LDS, "lds")):
        want = {name: f"{name}: {text}" for name, text in final[key].items()}
        good = {name: text for name, text in want.items() if "bad" not in text}
        assert {name: text for name, text in envoy.accepted[url].items() if name in good} == good
        assert set(envoy.accepted[url]) <= set(want)
        assert not any("bad" in text for text in envoy.accepted[url].values())
    for url, key in ((EDS, "eds"), (RDS, "rds")):
        for name in envoy.asked[url]:
            text = final[key].get(name)
            if text is not None and "bad" not in text:
                assert envoy.accepted[url][name] == f"{name}: {text}"


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(STEP, max_size=25), worlds(), st.booleans(), st.booleans())
def test_whatever_happens(steps, final, delta, names_who):
    pair = play(steps, final, delta=delta, names_who=names_who, paths=Paths())
    settled(pair, final)
    log = list(pair.envoy.log)
    pair.until_quiet()
    assert pair.envoy.log == log


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(STEP, max_size=12), st.lists(STEP, max_size=12), worlds(), st.booleans())
def test_two_proxies_of_a_class(one, two, final, delta):
    paths = Paths()
    settled(play(one, final, delta=delta, names_who=True, paths=paths), final)
    settled(play(two, final, delta=delta, names_who=False, paths=paths, stands_in=True), final)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(STEP, max_size=25), worlds(), st.booleans(), st.integers(0, 3))
def test_a_stream_that_goes_where_others_went_hears_what_one_alone_would(steps, final, delta, others):
    def log(paths):
        return play(steps, final, delta=delta, names_who=True, paths=paths).envoy.log

    def without_refusals(world):
        return {key: {name: text.replace("bad", "ok") for name, text in of.items()} for key, of in world.items()}

    steps = [without_refusals(step) if isinstance(step, dict) else step for step in steps]
    final, shared = without_refusals(final), Paths()
    for _ in range(others):
        play(steps[: len(steps) // 2], final, delta=delta, names_who=True, paths=shared)
        log(shared)
        shared.turn()
    assert log(shared) == log(Paths())
