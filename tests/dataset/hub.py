"""A server of files on this machine: the Hub and GitHub to whoever sets $HF_ENDPOINT and $GITHUB_RAW_ENDPOINT to it.

The Hub's addresses answer with a redirect, as the Hub does for large files.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Files:
    """What the server has, and what it was asked.

    `files` maps URL paths, "/OWNER/NAME/REVISION/FILE" for GitHub, "/datasets/OWNER/NAME/resolve/REVISION/FILE" for the
    Hub. `breaks` is how many of the next answers end after half of what they announced.
    """

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    breaks: int = 0
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that name this server."""
        return {"HF_ENDPOINT": self.address, "GITHUB_RAW_ENDPOINT": self.address}


class _Handler(BaseHTTPRequestHandler):
    served: Files

    def do_GET(self) -> None:
        served = self.served
        served.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        path = self.path.removeprefix("/cdn")
        content = served.files.get(path)
        if content is None:
            self.send_error(404)
            return
        if self.path.startswith("/datasets/"):
            self.send_response(302)
            self.send_header("Location", f"{served.address}/cdn{path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        etag, first = f'"{hashlib.md5(content).hexdigest()}"', 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and self.headers.get("If-Range", etag) == etag:
            first = int(wanted[1])
            if first >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if first else 200)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(content) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        rest = content[first:]
        if served.breaks:
            served.breaks -= 1
            rest = rest[: len(rest) // 2]
            self.close_connection = True
        self.wfile.write(rest)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving() -> Iterator[Files]:
    """A server on a free port for as long as the block lasts."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.served = served = Files(address=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
