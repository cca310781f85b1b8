"""What istio-iptables --native-nftables leaves, in family inet: known, replaced, taken away, put back on failure."""

import pytest

from tests.kernel.init.namespace import EVERYTHING, PLAIN, Namespace
from tests.kernel.init.test_backends import everything
from tests.kernel.init.test_killed import killed, kills

# As Istio 1.30 makes them, in short: an inet table for each of iptables', lower-case chains, a mark of its own.
ISTIO = """
table inet istio-proxy-nat {
	chain istio-inbound {
		meta l4proto tcp jump istio-in-redirect
	}
	chain istio-in-redirect {
		meta l4proto tcp redirect to :15006
	}
	chain istio-output {
		oifname "lo" ip saddr 127.0.0.6 return
		meta skuid 1337 return
		jump istio-redirect
	}
	chain istio-redirect {
		meta l4proto tcp redirect to :15001
	}
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		meta l4proto tcp jump istio-inbound
	}
	chain output {
		type nat hook output priority -100; policy accept;
		jump istio-output
	}
}
table inet istio-proxy-mangle {
	chain istio-divert {
		meta mark set 1337
		accept
	}
	chain istio-tproxy {
		meta l4proto tcp ip daddr != 127.0.0.1 tproxy ip to :15006 meta mark set 1337 accept
	}
	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		ct state related,established jump istio-divert
	}
}
table inet istio-proxy-of-somebody {
	chain output {
		type filter hook output priority filter; policy accept;
		tcp dport 7777 drop
	}
}
"""
WAYS = {"nftables": ["--native-nftables"], "iptables": []}


@pytest.fixture
def before(dual: Namespace) -> dict[str, list[str]]:
    """The state before Istio came, but for the table of somebody else."""
    dual.run("nft", ISTIO[ISTIO.index("table inet istio-proxy-of") :])
    without = everything(dual)
    dual.run("nft", ISTIO[: ISTIO.index("table inet istio-proxy-of")])
    for ip in ("-4", "-6"):
        dual.run("ip", ip, "route", "add", "local", "default", "dev", "lo", "table", "133")
        dual.run("ip", ip, "rule", "add", "fwmark", "1337", "lookup", "133")
    return without


@pytest.mark.parametrize("way", WAYS)
def test_they_are_other_rules(dual: Namespace, before: dict[str, list[str]], way: str) -> None:
    there = everything(dual)
    assert there != before
    refused = dual.pyinit(*PLAIN, *WAYS[way])
    assert refused.returncode == 3
    if way == "nftables":
        assert "IPv4 and IPv6 nat ISTIO_IN_REDIRECT:" in refused.stderr
        assert "- -p tcp -j REDIRECT --to-ports 15006" in refused.stderr
    else:
        assert "rules of ours are in force by nftables" in refused.stderr
    assert everything(dual) == there


@pytest.mark.parametrize("way", WAYS)
def test_they_are_replaced(dual: Namespace, before: dict[str, list[str]], way: str) -> None:
    dual.must(*PLAIN, *WAYS[way], "--reconcile", "--prune")
    assert "table inet istio-proxy-nat" not in dual.run("nft", "list", "tables").stdout
    assert "all is there already" in dual.must(*PLAIN, *WAYS[way])
    dual.must("--cleanup-only")
    assert everything(dual) == before


@pytest.mark.parametrize("way", WAYS)
def test_they_are_taken_away(dual: Namespace, before: dict[str, list[str]], way: str) -> None:
    dual.must("--cleanup-only", *WAYS[way])
    assert everything(dual) == before


@pytest.mark.parametrize("way", WAYS)
def test_killed_while_they_are_replaced(dual: Namespace, before: dict[str, list[str]], way: str) -> None:
    there = everything(dual)
    for when, which in kills():
        status = killed(dual, when, which, "guarded", *EVERYTHING, *WAYS[way], "--reconcile", "--prune")
        if status != -9:
            break
        assert everything(dual) == there, f"killed {when} change {which}"
    assert which == status + 1 > 1
    assert everything(dual) not in (before, there)
