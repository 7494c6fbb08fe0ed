"""Files, ports and servers that users get wrong, by the names that the tables of wrong and interrupted uses have."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from dataset.demo.build import build_demo

ROW = {
    "id": "own/1/cot",
    "style": "cot",
    "problem": {"id": "own/1", "source": "own", "language": "en", "question": "What is 2 plus 2?", "answer": "4"},
    "turns": [["text", "It is $\\boxed{4}$."]],
}
TOOL = ROW | {"style": "pot", "turns": [["code", "print(4)"]]}


class _Locked(BaseHTTPRequestHandler):
    """A sandbox server that wants a token (401)."""

    status, answer = 401, b'{"error": {"type": "Unauthorized", "message": "a token is required"}}'

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: object) -> None: ...


class _Stranger(_Locked):
    """A server that is no sandbox (404)."""

    status, answer = 404, b"<html>stranger</html>"


@contextmanager
def laid_out(folder: Path) -> Iterator[Mapping[str, str]]:
    """Everything in `folder`, by name: paths of files, addresses, a taken port, and flags."""
    texts = {
        "rows": json.dumps(ROW), "tool": json.dumps(TOOL), "empty": "", "poem": '{"poem": "roses"}',
        "program": "print(6 * 7)", "broken": "[[[", "keys": 'wokers = 2\nport = "many"', "token": "s3cret",
        "umlaut": "schlüssel", "replay": json.dumps({"question": "What is 2 + 3?", "solution": "It is 5."}),
        "exam": json.dumps(ROW["problem"] | {"subject": None, "level": None, "split": None}),
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")
    (folder / "gbk").write_bytes(json.dumps({"id": "题"}, ensure_ascii=False).encode("gbk"))
    (folder / "latin1").write_bytes("größe = 1".encode("latin-1"))
    (folder / "picture").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    (folder / "rows.parquet").write_bytes(b"PAR1 and nothing else")
    (folder / "folder").mkdir()
    (folder / "folder" / "notes.txt").write_text("mine")
    build_demo(folder / "done", problems=5, test_problems=5, seed=0, spoiled=0.15)
    with socket.socket() as taken, socket.socket() as closed:
        for each in (taken, closed):
            each.bind(("127.0.0.1", 0))
        taken.listen()
        servers = [ThreadingHTTPServer(("127.0.0.1", 0), each) for each in (_Locked, _Stranger)]
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        names = {path.name: str(path) for path in folder.iterdir()}
        names["locked"], names["stranger"] = (f"http://127.0.0.1:{server.server_port}" for server in servers)
        yield names | {
            "exam": f"--benchmark demo --file {names['exam']}",
            "replayed": f"--backend replay --model {names['replay']} --benchmark demo --file {names['exam']}",
            "parquet": str(folder / "rows.parquet"),
            "mix": str(mixed(folder)),
            "taken": str(taken.getsockname()[1]),
            "closed": f"http://127.0.0.1:{closed.getsockname()[1]}",
        }
        for server in servers:
            server.shutdown()
            server.server_close()


def mixed(folder: Path) -> Path:
    from dataset.__main__ import main

    assert main(["mix", str(folder / "rows"), "--out", str(folder / "mix"), "--benchmarks", "--quiet"]) == 0
    return folder / "mix"
