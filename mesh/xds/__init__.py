"""The xDS protocol without I/O: requests and states in, responses out.

    messages      Request, Response and Outcome as values
    wire          … as bytes, delta and state of the world
    types         CDS, EDS, LDS, RDS, SDS, and how they differ
    subscription  what a stream asks for of one type
    ledger        one type on one stream: wanted, sent, accepted, refused
    sieve         a table without the virtual hosts that the proxy refused
    verdicts      what a class of proxies accepted and refused
    order         which step waits for which, as a table
    position      how far a stream is: all its types; shared by those that are equally far
    paths         which way streams of a class went from where, so that others go it too
    machine       one stream: its position, its nonces and times

Imports mesh.encode's resources and nothing that waits, reads or knows the time.
"""
