// An endpoint that checks X-Fence-Epoch: a write of an owner that was is refused.
//
// Here everything is in memory, and a request is looked at and written without anything in between.
// With a database, raise the epoch in the transaction that writes:
//
//   INSERT INTO fence (tenant, epoch) VALUES ($1, $2)
//   ON CONFLICT (tenant) DO UPDATE SET epoch = excluded.epoch WHERE fence.epoch <= excluded.epoch
//
// and roll back when that has changed no row.
//
//   node fence_epoch.mjs        prints its port, and serves until it is killed
import http from "node:http";

const highest = new Map();
const orders = [];

/** Whether a write may be made. Epochs are below 2^53, so numbers are exact. */
export function isCurrent(tenant, epoch) {
  if (epoch < (highest.get(tenant) ?? 0)) return false;
  highest.set(tenant, epoch);
  return true;
}

const server = http.createServer(async (request, response) => {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  const stamped = request.headers["x-fence-epoch"] ?? "";
  const tenant = request.headers["x-tenant"] ?? "";
  const answer = (status, text) => response.writeHead(status).end(text);
  if (!/^[0-9]+$/.test(stamped)) return answer(428, "X-Fence-Epoch is wanted");
  // 409 and not 503: whoever sent it must not send it again.
  if (!isCurrent(tenant, Number(stamped))) return answer(409, "the epoch is over");
  orders.push([tenant, Buffer.concat(pieces).toString()]);
  return answer(200, "written");
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
