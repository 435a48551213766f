"""grpcio against BASE: all four kinds of call, metadata, and errors with and without a message.

Usage: grpcio_client.py BASE
"""

import hashlib
import json
import queue
import sys

import grpc

SERVICE = "/tidegate.test.Echo/"
TIMEOUT = 20


def fails(call, message, before=()):
    """The call ends with FAILED_PRECONDITION, after the messages in `before`."""
    got = []
    try:
        for answer in call:
            got.append(answer)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        assert error.details() == message, error
        trailers = dict(error.trailing_metadata())
        assert trailers.get("x-echo-trailer") == "present", trailers
        assert got == list(before), got
        return {"code": error.code().value[0], "message": error.details()}
    raise AssertionError(f"wanted an error, got {got}")


def main():
    target = sys.argv[1].rstrip("/").removeprefix("http://")
    seen = {}
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 2**24)]
    with grpc.insecure_channel(target, options=options) as channel:
        grpc.channel_ready_future(channel).result(timeout=TIMEOUT)
        metadata = (("x-test-id", "grpc"),)

        unary = channel.unary_unary(SERVICE + "Unary")
        answer, call = unary.with_call(b"hello", timeout=TIMEOUT, metadata=metadata)
        assert answer == b"hello", answer
        first = dict(call.initial_metadata())
        seen["region"] = first.get("x-region") or first.get("x-served-by")
        assert dict(call.trailing_metadata()).get("x-echo-trailer") == "present", call
        large = bytes(n % 251 for n in range(1024 * 1024))
        assert unary(large, timeout=TIMEOUT) == large, "the large message differs"
        assert unary(b"", timeout=TIMEOUT) == b"", "the empty message differs"
        seen["unary_bytes"] = len(large)

        server = channel.unary_stream(SERVICE + "ServerStream")
        answers = list(server(b"100", timeout=TIMEOUT))
        assert answers == [str(n).encode() for n in range(100)], answers
        seen["server_stream"] = len(answers)

        client = channel.stream_unary(SERVICE + "ClientStream")
        messages = [bytes([n]) * 1000 for n in range(50)]
        said = json.loads(client(iter(messages), timeout=TIMEOUT))
        assert said["count"] == 50 and said["bytes"] == 50_000, said
        assert said["sha256"] == hashlib.sha256(b"".join(messages)).hexdigest(), said
        seen["client_stream"] = said["count"]

        # Each message is sent only when the answer to the one before has come, so anybody who
        # waits for the end of the request would stop here.
        outgoing = queue.Queue()
        bidi = channel.stream_stream(SERVICE + "Bidi")
        answers = bidi(iter(outgoing.get, None), timeout=TIMEOUT)
        for n in range(20):
            outgoing.put(f"ping {n}".encode())
            answer = next(answers)
            assert answer == f"ping {n}".encode(), answer
        outgoing.put(None)
        assert list(answers) == [], "messages after the end"
        seen["bidi"] = 20

        def call_of(name):
            return channel.unary_stream(SERVICE + name)(b"x", timeout=TIMEOUT)

        seen["fail"] = fails(call_of("Fail"), "failed as asked")
        seen["fail_late"] = fails(call_of("FailLate"), "failed after a message", [b"x"])
        seen["fail_at_once"] = fails(call_of("FailAtOnce"), "refused at once")
        try:
            channel.unary_unary(SERVICE + "Nothing")(b"", timeout=TIMEOUT)
            raise AssertionError("wanted UNIMPLEMENTED")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    print(json.dumps(seen))


main()
