"""An endpoint that checks X-Fence-Epoch: a write of an owner that was is refused.

The highest epoch of each tenant lies in the same database as the data, and is raised in the same
transaction as the write. Only so is a write stopped that was on its way while its owner changed.

    python3 fence_epoch.py [PATH OF THE DATABASE]        prints its port, and serves until it is killed
"""

import sqlite3
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TABLES = """
    CREATE TABLE IF NOT EXISTS fence (tenant TEXT PRIMARY KEY, epoch INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS orders (tenant TEXT NOT NULL, text TEXT NOT NULL);
"""
# Changes a row when the epoch is no lower than the one before, and none otherwise.
RAISE = """
    INSERT INTO fence (tenant, epoch) VALUES (?, ?)
    ON CONFLICT (tenant) DO UPDATE SET epoch = excluded.epoch WHERE fence.epoch <= excluded.epoch
"""


def is_current(database, tenant, epoch):
    """Whether a write may be made, inside the transaction that makes it."""
    return database.execute(RAISE, (tenant, epoch)).rowcount == 1


class Endpoint(BaseHTTPRequestHandler):
    """POST writes an order of the tenant in X-Tenant."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        tenant, stamped = self.headers.get("X-Tenant", ""), self.headers.get("X-Fence-Epoch", "")
        if not stamped.isascii() or not stamped.isdigit():
            return self.answer(428, "X-Fence-Epoch is wanted")
        database = sqlite3.connect(self.server.path, timeout=5, isolation_level=None)
        try:
            database.execute("BEGIN IMMEDIATE")
            if not is_current(database, tenant, int(stamped)):
                database.execute("ROLLBACK")
                # 409 and not 503: whoever sent it must not send it again.
                return self.answer(409, "the epoch is over")
            database.execute("INSERT INTO orders VALUES (?, ?)", (tenant, text))
            database.execute("COMMIT")
        finally:
            database.close()
        return self.answer(200, "written")

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.path = sys.argv[1] if len(sys.argv) > 1 else "orders.db"
    sqlite3.connect(server.path).executescript(TABLES)
    print(server.server_port, flush=True)
    server.serve_forever()
