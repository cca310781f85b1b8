"""The xDS protocol without I/O: requests and states in, responses out.

Imports mesh.encode's resources and nothing that waits, reads or knows the time.
"""
