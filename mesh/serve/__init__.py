"""Processes and sockets: the loop that turns events into states, the gRPC streams, the ports for people and tools."""
