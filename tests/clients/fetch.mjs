// Node's fetch against BASE: plain requests, uploads, and a body that is read as it streams.
//
// Usage: node fetch.mjs BASE

import assert from "node:assert/strict";
import { createHash } from "node:crypto";

const base = process.argv[2].replace(/\/$/, "");
const timeout = () => AbortSignal.timeout(20_000);
const deterministic = (count) => Uint8Array.from({ length: count }, (_, n) => n % 251);
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const seen = {};

const plain = await fetch(`${base}/echo?a=1`, {
  headers: { "X-Test-Id": "fetch-get" },
  signal: timeout(),
});
assert.equal(plain.status, 200);
seen.region = plain.headers.get("x-region") ?? plain.headers.get("x-served-by");
const echoed = await plain.json();
assert.equal(echoed.method, "GET");
assert.equal(echoed.query, "a=1");

const body = deterministic(300_000);
const posted = await fetch(`${base}/orders`, { method: "POST", body, signal: timeout() });
assert.equal((await posted.json()).body_sha256, sha256(body));

// A body without a known length is sent in chunks.
const pieces = new ReadableStream({
  start(controller) {
    for (let at = 0; at < body.length; at += 10_000) {
      controller.enqueue(body.slice(at, at + 10_000));
    }
    controller.close();
  },
});
const uploaded = await fetch(`${base}/upload`, {
  method: "PUT",
  body: pieces,
  duplex: "half",
  signal: timeout(),
});
assert.equal((await uploaded.json()).body_sha256, sha256(body));
seen.uploaded_bytes = body.length;

const downloaded = await fetch(`${base}/bytes/1000000`, { signal: timeout() });
const bytes = new Uint8Array(await downloaded.arrayBuffer());
assert.equal(sha256(bytes), sha256(deterministic(1_000_000)));
seen.downloaded_bytes = bytes.length;

const missing = await fetch(`${base}/status/404`, { signal: timeout() });
assert.equal(missing.status, 404);
await missing.text();

const began = performance.now();
const stream = await fetch(`${base}/sse?events=5&gap_ms=40`, { signal: timeout() });
assert.ok(stream.headers.get("content-type").startsWith("text/event-stream"));
const decoder = new TextDecoder();
const arrivals = [];
let text = "";
for await (const piece of stream.body) {
  text += decoder.decode(piece, { stream: true });
  arrivals.push(performance.now() - began);
}
const data = text.split("\n").filter((line) => line.startsWith("data: "));
assert.deepEqual(
  data.map((line) => JSON.parse(line.slice(6)).n),
  [0, 1, 2, 3, 4],
);
// Had anybody buffered the stream, all events would arrive together.
assert.ok(arrivals.at(-1) - arrivals[0] > 100, `arrivals ${arrivals}`);
seen.events = data.length;
seen.first_event_ms = arrivals[0];

// A held stream that the client leaves must end without an error elsewhere.
const leaving = new AbortController();
const held = await fetch(`${base}/sse?events=1&hold=1`, { signal: leaving.signal });
const reader = held.body.getReader();
assert.equal((await reader.read()).done, false);
leaving.abort();
await assert.rejects(reader.read(), { name: "AbortError" });
seen.left = true;

console.log(JSON.stringify(seen));
