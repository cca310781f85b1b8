"""pyinit: programs a pod's netfilter so that all its TCP traffic passes Envoy, as istio-iptables does.

The way of a packet's rules, one module each:

    argv, environ ──config.parse──▶ Config (what was asked)   ┐
    /proc, resolv.conf ──host.probe──▶ Host (what is there)   ┘──capture.capture──▶ Ruleset (values, kernel order)
        ──render──▶ iptables-restore text │ nft text ──backends.*──▶ kernel

May import the standard library alone, and of that only what starts quickly: every pod waits for this program. The one
exception is the backend on python-iptables, which loads its library when it is chosen.
"""

__version__ = "0.1.0"
