"""A runtime on a real socket: verifies each signature with the library and answers as it is told."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from collector.enforcement.action import Runtime

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 — of the tests

STATUSES = ("stopping", "stopped", "unknown_session", "unsupported")


class Request:
    def __init__(self, headers: dict[str, str], body: bytes, verified: bool) -> None:
        self.headers = headers
        self.body = json.loads(body)
        self.raw = body
        self.verified = verified

    @property
    def key(self) -> str:
        return self.headers["webhook-id"]


class FakeRuntime:
    """Answers `behaviour`, or one entry of `script` after the other while there are any."""

    def __init__(self, secret: str = SECRET) -> None:
        self.secret = secret
        self.behaviour = "stopping"
        self.script: list[str] = []
        self.requests: list[Request] = []
        self.on_request: Callable[[], None] = lambda: None
        self._released = threading.Event()
        runtime = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                runtime.handle(self, body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — the name in http.server
                del format, args

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """A client that went away in mid-answer is what some tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/overcurrent"

    @property
    def keys(self) -> list[str]:
        return [request.key for request in self.requests]

    @property
    def types(self) -> list[str]:
        return [request.body["type"] for request in self.requests]

    def answers(self, behaviour: str) -> None:
        self.behaviour = behaviour

    def target(self, *agent_types: str) -> Runtime:
        return Runtime(url=self.url, secret=SecretStr(self.secret), agent_types=agent_types)

    def handle(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append(Request(headers, body, self._verify(body, headers)))
        self.on_request()
        behaviour = self.script.pop(0) if self.script else self.behaviour
        status, answer, extra = 200, b"{}", {}
        if behaviour in STATUSES:
            answer = json.dumps({"status": behaviour}).encode()
        elif behaviour.startswith("text:"):
            answer = behaviour.removeprefix("text:").encode()
        elif behaviour == "garbage":
            answer = b"<html>"
        elif behaviour == "error":
            status = 500
        elif behaviour == "busy":
            status, extra = 503, {"retry-after": "30"}
        elif behaviour == "redirect":
            status, extra = 307, {"location": self.url}
        elif behaviour == "flood":
            answer = b" " * 1_000_000
        elif behaviour == "silence":
            self._released.wait(60)
        handler.send_response(status)
        for name, value in extra.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(answer)))
        try:
            handler.end_headers()
            handler.wfile.write(answer)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True

    def _verify(self, body: bytes, headers: dict[str, str]) -> bool:
        try:
            Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError:
            return False
        return True


class Clock:
    """Time that passes only when told. Starts now, since receivers refuse signatures that are minutes old."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1_000_000_000)
