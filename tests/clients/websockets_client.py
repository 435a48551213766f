"""The websockets library against BASE/ws: text, binary, ping, and closing from both sides.

Usage: websockets_client.py BASE
"""

import json
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def main():
    base = sys.argv[1].rstrip("/").replace("http://", "ws://", 1)
    seen = {}
    headers = {"X-Test-Id": "websocket"}
    options = {"open_timeout": 20, "close_timeout": 20, "proxy": None, "max_size": 2**24}

    with connect(
        f"{base}/ws", additional_headers=headers, subprotocols=["echo.v1"], **options
    ) as socket:
        assert socket.subprotocol == "echo.v1", socket.subprotocol
        reply = socket.response.headers
        seen["region"] = reply.get("X-Region") or reply.get("X-Served-By")
        for text in ("hello", "", "Gezeitentor \N{WATER WAVE}"):
            socket.send(text)
            answer = socket.recv(timeout=20)
            assert answer == text, answer
        binary = bytes(n % 251 for n in range(1024 * 1024))
        socket.send(binary)
        assert socket.recv(timeout=20) == binary, "the echoed bytes differ"
        seen["binary_bytes"] = len(binary)
        pieces = [b"a" * 1000, b"b" * 1000, b"c"]
        socket.send(pieces)
        assert socket.recv(timeout=20) == b"".join(pieces), "fragments were lost"
        assert socket.ping("are you there").wait(20), "no pong came"
        seen["pong"] = True
        socket.close(4000, "client has enough")
    seen["client_close"] = [socket.close_code, socket.close_reason]
    assert seen["client_close"] == [4000, "client has enough"], seen

    with connect(f"{base}/ws", additional_headers=headers, **options) as socket:
        socket.send("close:4001:region has enough")
        try:
            answer = socket.recv(timeout=20)
            raise AssertionError(f"wanted a close, got {answer!r}")
        except ConnectionClosed as closed:
            seen["region_close"] = [closed.rcvd.code, closed.rcvd.reason]
    assert seen["region_close"] == [4001, "region has enough"], seen
    print(json.dumps(seen))


main()
