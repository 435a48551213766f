"""httpx against BASE: plain requests, kept connections, uploads and streams, over HTTP/1.1 and h2c.

Usage: httpx_client.py BASE [1|2|both]
"""

import hashlib
import json
import sys

import httpx


def deterministic(count):
    return bytes(n % 251 for n in range(count))


def talk(client, base):
    seen = {}
    first = client.get(f"{base}/echo?a=1", headers={"X-Test-Id": "httpx-get"})
    assert first.status_code == 200, first
    assert first.json()["method"] == "GET" and first.json()["query"] == "a=1", first.text
    seen["version"] = first.http_version
    seen["region"] = first.json()["region"]

    body = deterministic(300_000)
    posted = client.post(f"{base}/orders", content=body, headers={"X-Test-Id": "httpx-post"})
    assert posted.status_code == 200, posted
    assert posted.json()["body_sha256"] == hashlib.sha256(body).hexdigest(), posted.text

    pieces = (body[at : at + 1000] for at in range(0, len(body), 1000))
    uploaded = client.post(f"{base}/upload", content=pieces)
    assert uploaded.json()["body_bytes"] == len(body), uploaded.text
    assert uploaded.json()["body_sha256"] == hashlib.sha256(body).hexdigest(), uploaded.text

    downloaded = client.get(f"{base}/bytes/1000000")
    assert downloaded.content == deterministic(1_000_000), "the downloaded bytes differ"

    for status in (204, 404, 503):
        answer = client.get(f"{base}/status/{status}")
        assert answer.status_code == status, answer
    head = client.head(f"{base}/echo")
    assert head.status_code == 200 and head.content == b"", head

    with client.stream("GET", f"{base}/sse?events=5&gap_ms=5") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream"), stream.headers
        lines = [line for line in stream.iter_lines() if line.startswith("data: ")]
    numbers = [json.loads(line[6:])["n"] for line in lines]
    assert numbers == [0, 1, 2, 3, 4], numbers
    seen["events"] = len(numbers)
    return seen


def main():
    base = sys.argv[1].rstrip("/")
    which = sys.argv[2] if len(sys.argv) > 2 else "both"
    seen = {}
    if which in ("1", "both"):
        with httpx.Client(timeout=20, trust_env=False) as client:
            seen["http1"] = talk(client, base)
        assert seen["http1"]["version"] == "HTTP/1.1", seen
    if which in ("2", "both"):
        with httpx.Client(http1=False, http2=True, timeout=20, trust_env=False) as client:
            seen["http2"] = talk(client, base)
        assert seen["http2"]["version"] == "HTTP/2", seen
    print(json.dumps(seen))


main()
