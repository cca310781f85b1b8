"""pymesh: the control plane. It tells each Envoy what to do with the traffic that pyinit brings to it.

    Kubernetes | files ──sources──▶ World ──queries──▶ what a class of proxies sees
        ──build──▶ {name: dict} ──encode──▶ bytes, hash = version ──xds──▶ order by ACKs ──serve──▶ streams

The folders stand in the order of the flow, and each imports only what is left of it:

    model ▸ world ▸ routing ▸ build ▸ encode ▸ xds ▸ sources ▸ serve ▸ commands

From model to xds everything is pure: no clock, no chance, no I/O.
"""

from init import __version__ as __version__
