"""The control plane with many proxies, against a bare gRPC server that sends the same bytes, ready made.

world      the objects, a folder of YAML
fleet      the proxies' streams: a process of its own
floor      the bare server
running    the processes, their processor time and memory
control    what is measured
scale      how it grows with Services and proxies
"""
