"""A small server that speaks OpenAI's completions API as vLLM does, and says what the tiny model has learned.

python -m tests.evaluator.speaking PORT TOKENIZER_FOLDER NAME SECONDS SOLUTIONS ANSWERS      serves until it is killed

It answers a prompt of token ids: the next piece of the solution whose question stands in it, after SECONDS. When it has
given ANSWERS of them it is gone, as by `kill -9`; with 0 it stays.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tokenizers import Tokenizer

from dataset.transcript import STOP

Reply = tuple[int, str, str]  # status, content type, body


class Server(ThreadingHTTPServer):
    """Answers with what `reply(path, body)` returns; None: it says nothing for an hour."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, port: int, reply: Callable[[str, dict[str, Any]], Reply | None]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.reply = reply
        self.asked: list[tuple[str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _answer(self, body: dict[str, Any]) -> None:
        self.server.asked.append((self.path, body))
        reply = self.server.reply(self.path, body | {"authorization": self.headers.get("authorization")})
        if reply is None:
            time.sleep(3600)
            return
        status, kind, text = reply
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


def as_json(value: Any, status: int = 200) -> Reply:
    return status, "application/json", json.dumps(value)


def models(name: str) -> Reply:
    return as_json({"object": "list", "data": [{"id": name, "root": name, "max_model_len": 512}]})


class Learned:
    """The reply of a server whose model has learned `solutions`: question → what it says, its outputs left out.

    With `ids` False the answers are as of a server that knows neither token ids nor vLLM's other additions.
    """

    def __init__(
        self, tokenizer: Tokenizer, name: str, solutions: dict[str, list[str]], *, seconds: float = 0, ids: bool = True
    ) -> None:
        self.tokenizer, self.name, self.solutions = tokenizer, name, solutions
        self.seconds, self.ids = seconds, ids

    def __call__(self, path: str, body: dict[str, Any]) -> Reply:
        if path.endswith("/models"):
            return models(self.name)
        if body["model"] != self.name:
            return as_json({"error": {"message": f"The model {body['model']} does not exist."}}, 404)
        time.sleep(self.seconds)
        text = self.tokenizer.decode(body["prompt"])
        pieces = next(said for question, said in self.solutions.items() if question in text)
        piece = pieces[min(text.count(STOP), len(pieces) - 1)]
        stops = piece.endswith(STOP)
        ids = self.tokenizer.encode(piece, add_special_tokens=False).ids + ([] if stops else [1])
        over = len(ids) > body["max_tokens"]
        ids = ids[: body["max_tokens"]]
        choice: dict[str, Any] = {"text": self.tokenizer.decode(ids), "finish_reason": "length" if over else "stop"}
        if self.ids:
            choice |= {"token_ids": ids, "stop_reason": STOP if stops and not over else None}
        else:
            choice["text"] = choice["text"].removesuffix(STOP)
        return as_json({"object": "text_completion", "choices": [choice]})


if __name__ == "__main__":
    port, folder, name, seconds, said, answers = sys.argv[1:]
    learned = Learned(Tokenizer.from_file(f"{folder}/tokenizer.json"), name, json.loads(said), seconds=float(seconds))
    given = itertools.count(1)

    def mortal(path: str, body: dict[str, Any]) -> Reply:
        if path.endswith("/completions") and next(given) == int(answers) + 1 > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return learned(path, body)

    Server(int(port), mortal).serve_forever()
