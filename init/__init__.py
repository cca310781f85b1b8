"""pyinit: programs a pod's netfilter so that all its TCP traffic passes Envoy, as istio-iptables does.

The way of a packet's rules:

    argv, environ ──parse──▶ Config (what was asked)           ┐
    netlink, resolv.conf ──Host.probe──▶ Host (what is there)  ┘──capture──▶ Ruleset (values, kernel order)
        ──apply: Backend.read, compare──▶ Steps ──transaction.execute, all or none──▶ kernel

    config, kinds, argv, variables  the settings, each declared once; command line and environment
    host, network, netlink          facts about the pod
    capture, rules                  the policy: pure, one for every backend
    iptables_text, tables, nft_text rules as text, and back
    backends, routing               what is there, and steps that change it
    apply, transaction, lock        compare, decide, change all or nothing, one run at a time
    landing                         where a ruleset lets a packet land: pure
    probes, validate, wire          --run-validation: packets sent, and where they arrive
    cli, usage, show, log, errors, hints, difference   what people see

May import the standard library alone, and of that only what starts quickly: every pod waits for this program. The one
exception is the backend on python-iptables, which loads its library when it is chosen.
"""

__version__ = "0.1.0"
