"""The openai library against BASE/v1: one plain and one streamed chat completion.

Usage: openai_client.py BASE [GAP_MS]
"""

import json
import sys
import time

import httpx
import openai


def main():
    base = sys.argv[1].rstrip("/")
    gap_ms = sys.argv[2] if len(sys.argv) > 2 else "40"
    client = openai.OpenAI(
        base_url=f"{base}/v1",
        api_key="none",
        max_retries=0,
        timeout=20,
        default_query={"gap_ms": gap_ms},
        http_client=httpx.Client(trust_env=False),
    )
    messages = [{"role": "user", "content": "one two three four"}]

    plain = client.chat.completions.create(model="fake-1", messages=messages)
    text = plain.choices[0].message.content
    assert text.endswith("heard: one two three four"), text
    assert plain.choices[0].finish_reason == "stop", plain
    assert plain.usage.total_tokens > 0, plain

    began = time.monotonic()
    tokens, arrived, delays_ns, finish = [], [], [], None
    raw = client.chat.completions.with_raw_response.create(
        model="fake-1", messages=messages, stream=True
    )
    for chunk in raw.parse():
        choice = chunk.choices[0]
        finish = choice.finish_reason or finish
        if choice.delta.content:
            delays_ns.append(time.time_ns() - chunk.model_extra["sent_unix_ns"])
            arrived.append(time.monotonic() - began)
            tokens.append(choice.delta.content)
    assert "".join(tokens) == text, tokens
    assert finish == "stop", finish
    assert len(tokens) >= 5, tokens
    # Had anybody buffered the stream, all words would arrive together.
    spread = arrived[-1] - arrived[0]
    assert spread >= (len(tokens) - 1) * int(gap_ms) / 1000 * 0.5, arrived

    print(
        json.dumps(
            {
                "plain": text,
                "tokens": tokens,
                "first_token_s": arrived[0],
                "last_token_s": arrived[-1],
                "first_token_delay_ms": delays_ns[0] / 1e6,
                "max_token_delay_ms": max(delays_ns) / 1e6,
                "region": raw.headers.get("x-region") or raw.headers.get("x-served-by"),
            }
        )
    )


main()
