"""A proxy before an S3 store that fails as stores do: errors, throttling, resets, slow bodies and bodies cut short."""

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

KINDS = ("error", "throttled", "reset", "slow", "cut")


class Faults:
    """Which requests fail: a share of them, drawn from a seed, or all while the store is `away`."""

    def __init__(self, share: float, seed: int = 0, kinds: tuple[str, ...] = KINDS) -> None:
        self.share, self.kinds, self.away = share, kinds, False
        self.seen: Counter[str] = Counter()
        self._random, self._lock = random.Random(seed), threading.Lock()

    def draw(self) -> str:
        """The kind of the next fault, or "none"."""
        with self._lock:
            kind = self._random.choice(self.kinds) if self._random.random() < self.share else "none"
            kind = "error" if self.away else kind
            self.seen[kind] += 1
            return kind


@contextmanager
def between(address: str, faults: Faults) -> Iterator[str]:
    """host:port of a proxy before the store at `address`."""
    target = urlsplit(address)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            kind = faults.draw()
            body = self._body()
            if kind in ("error", "throttled"):
                status, code = (500, "InternalError") if kind == "error" else (503, "SlowDown")
                return self._answer(status, {}, f"<Error><Code>{code}</Code></Error>".encode())
            if kind == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return None
            there = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
            there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    there.putheader(name, value)
            there.endheaders(body)
            answer = there.getresponse()
            content = answer.read()
            there.close()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP}
            return self._answer(answer.status, kept, content, kind, answer.getheader("Content-Length"))

        do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

        def _body(self) -> bytes:
            """As it came: a body in chunks keeps their lengths and what follows the last of them."""
            if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while True:
                line = self.rfile.readline()
                size = int(line.partition(b";")[0], 16)
                body += line + (self.rfile.read(size + 2) if size else b"")
                if not size:
                    break
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                body += line
            return body + b"\r\n"

        def _answer(
            self, status: int, headers: dict[str, str], body: bytes, kind: str = "none", length: str | None = None
        ) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if kind == "slow":
                time.sleep(0.2)
            if kind == "cut" and body:
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
                return
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "keep-alive", "date", "server"}
