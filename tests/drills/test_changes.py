"""Changes under load, many and for long, and what must not come of them."""

from __future__ import annotations

import itertools
import time

from tests.conftest import Tell
from tests.drills.rig import FIRST, SECOND, THIRD, Rig, rules, service, total, workloads

CHANGES_PER_SECOND = 20
ROUNDS = 1000


def change(rig: Rig, number: int) -> None:
    """One of the changes of a busy day; which clusters lead to which pods is always so that somebody answers."""
    match number % 5:
        case 0:
            rig.write("workloads", *workloads(*([THIRD] if number % 2 else [])))
        case 1:
            rig.write("rules", *rules((number % 101, 100 - number % 101)))
        case 2:
            rig.write("rules", *rules((50, 50), f"s{number % 7}", f"s{number % 3 + 7}", timeout=f"{number % 9 + 3}s"))
        case 3:
            rig.write(f"other-{number % 20}", service(f"other-{number % 20}", number % 20))
        case 4:
            (rig.objects / f"other-{(number + 9) % 20}.yaml").unlink(missing_ok=True)


def test_churn_costs_no_request(rig: Rig, seconds: float, tell: Tell) -> None:
    rig.write("rules", *rules((50, 50)))
    rig.serve()
    rig.proxy()
    with rig.load() as loads:
        began = time.monotonic()
        for number in itertools.count():
            if (ahead := began + number / CHANGES_PER_SECOND - time.monotonic()) > 0:
                time.sleep(ahead)
            if time.monotonic() - began > seconds:
                break
            change(rig, number)
        rig.until(rig.is_synced)
    tell(f"{number} changes in {time.monotonic() - began:.0f} s, {total(loads)} requests, none failed")
    assert {one for load in loads for one in load.answers} == {FIRST, SECOND, THIRD}
    assert rig.refused() == {}


def test_memory_is_level_after_a_thousand_rounds_of_change(rig: Rig, tell: Tell) -> None:
    rig.write("rules", *rules((50, 50)))
    rig.serve()
    rig.proxy()
    held = []
    for number in range(ROUNDS):
        change(rig, number)
        time.sleep(0.02)
        if number % (ROUNDS // 10) == ROUNDS // 10 - 1:
            rig.until(rig.is_synced)
            held.append(rig.rss())
    tell("MiB after each tenth: " + " ".join(f"{one:.0f}" for one in held))
    # what the allocator holds back varies; what every round would keep would show
    assert held[-1] - held[len(held) // 2] < 10


def test_a_kill_under_load_costs_no_request_and_little_is_sent_again(rig: Rig, seconds: float, tell: Tell) -> None:
    rig.write("rules", *rules((50, 50)))
    for number in range(200):
        rig.write(f"more-{number}", service(f"more-{number}", number))
    rig.serve()
    rig.proxy()
    first = received(rig)
    with rig.load() as loads:
        rig.kill()
        time.sleep(min(60.0, seconds))  # long enough that the proxy tries less often
        rig.write("workloads", *workloads())  # what changes meanwhile is told by the next one
        rig.serve()
        waited = rig.until(rig.is_synced, 30)
        rig.until(lambda: rig.answers() == {FIRST, SECOND}, 10)
    again = received(rig) - first
    tell(
        f"{seconds:.0f} s without a control plane: {total(loads)} requests, none failed; again in sync {waited:.1f} s "
        f"after it was ready; {first:,} bytes at first, {again:,} again"
    )
    assert again < first / 10
    assert rig.refused() == {}


def received(rig: Rig) -> int:
    """What Envoy received of the control plane so far, in bytes."""
    rig.until(rig.is_synced)
    (found,) = [
        value
        for name, value in rig.stats().items()
        if name.startswith("cluster.xds") and name.endswith("upstream_cx_rx_bytes_total")
    ]
    return found
