"""A small OpenAI-compatible server on loopback, in front of a real engine, that can misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from webapp.inference import FinishEvent, GenerationRequest
from webapp.inference.backend import Backend

Misbehave = Callable[[BaseHTTPRequestHandler], bool]


class V1Server(ThreadingHTTPServer):
    """`misbehave` sees every POST first; when it returns True the request is answered."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, backend: Backend | None, misbehave: Misbehave | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.backend = backend
        self.misbehave = misbehave
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.times: list[float] = []
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @contextmanager
    def running(self) -> Iterator[V1Server]:
        thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: V1Server

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.server.keys.append(self.headers.get("Authorization", ""))
        body = json.dumps({"object": "list", "data": [{"id": "tiny"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(asked)
        self.server.keys.append(self.headers.get("Authorization", ""))
        self.server.times.append(time.monotonic())
        self.server.paths.append(self.path)
        if self.server.misbehave is not None and self.server.misbehave(self):
            return
        assert self.server.backend is not None
        is_chat = self.path.endswith("/chat/completions")
        prompt = asked["messages"][-1]["content"] if is_chat else asked["prompt"]
        n_top = asked.get("top_logprobs") if is_chat else asked.get("logprobs")
        names = ("max_tokens", "temperature", "top_p", "seed")
        handle = self.server.backend.submit(
            GenerationRequest(prompt, frozenset(), top_logprobs=n_top, **{name: asked[name] for name in names})
        )
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for event in handle:
                self.say({"choices": [_choice(event, is_chat)]})
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            handle.cancel()

    def say(self, body: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(body)}\n\n".encode())


def _choice(event: Any, is_chat: bool) -> dict[str, Any]:
    if isinstance(event, FinishEvent):
        return {"index": 0, "delta": {}, "text": "", "finish_reason": str(event.reason)}
    text = {"delta": {"content": event.text}} if is_chat else {"text": event.text}
    return {"index": 0, **text, "logprobs": _logprobs(event, is_chat) if event.logprob else None, "finish_reason": None}


def _logprobs(event: Any, is_chat: bool) -> dict[str, Any]:
    tops = [{"token": top.text, "logprob": top.logprob} for top in event.top_logprobs]
    if is_chat:
        content = {"token": event.logprob.text, "logprob": event.logprob.logprob, "top_logprobs": tops}
        return {"content": [content]}
    return {
        "tokens": [event.logprob.text],
        "token_logprobs": [event.logprob.logprob],
        "top_logprobs": [{f"{i}{top['token']}": top["logprob"] for i, top in enumerate(tops)}],
    }
