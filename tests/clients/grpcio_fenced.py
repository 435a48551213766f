"""grpcio on a fenced route: each call twice and more often, and what it comes to.

Usage: grpcio_fenced.py BASE CALLS

CALLS is a JSON list of [method, key, message]. The last line printed is a JSON list with the code
of each call by name, its answer, what the server said of it, and the metadata at both ends.
"""

import json
import sys

import grpc

SERVICE = "/tidegate.test.Echo/"
TIMEOUT = 20


def main():
    target = sys.argv[1].rstrip("/").removeprefix("http://")
    seen = []
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        grpc.channel_ready_future(channel).result(timeout=TIMEOUT)
        for method, key, message in json.loads(sys.argv[2]):
            metadata = [("authorization", "Bearer alice"), ("x-test-id", key)]
            if key:
                metadata.append(("idempotency-key", key))
            unary = channel.unary_unary(SERVICE + method)
            try:
                answer, call = unary.with_call(
                    message.encode(), timeout=TIMEOUT, metadata=metadata
                )
            except grpc.RpcError as error:
                answer, call = None, error
            seen.append(
                {
                    "code": call.code().name,
                    "details": call.details(),
                    "answer": answer and answer.decode(),
                    "head": dict(call.initial_metadata() or ()),
                    "end": dict(call.trailing_metadata() or ()),
                }
            )
    print(json.dumps(seen))


main()
