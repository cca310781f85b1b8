"""A client of gRPC's own xDS: calls xds:///TARGET as often as a line on stdin says, prints who answered how often."""

import collections
import json
import sys

import grpc

channel = grpc.insecure_channel(f"xds:///{sys.argv[1]}")
call = channel.unary_unary("/test.Echo/Who")
print(json.dumps({"ready": call(b"", timeout=20, wait_for_ready=True).decode()}), flush=True)
for line in sys.stdin:
    counted: collections.Counter[str] = collections.Counter()
    for _ in range(int(line)):
        try:
            counted[call(b"", timeout=5).decode()] += 1
        except grpc.RpcError as error:
            counted[f"{error.code().name}: {error.details()}"] += 1
    print(json.dumps(counted), flush=True)
