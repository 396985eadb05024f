"""The runtime of the demonstration: receives the kill webhook, checks its signature, and stops the session it names."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from collector.demo.agent import Agent

_MAX_BODY = 1 << 20


class Runtime:
    """Runs agents and obeys signed halts. Listens on loopback, on a port of the system's choice."""

    def __init__(self, secret: str, told: Callable[[str, dict[str, Any]], None]) -> None:
        """`told` is called with what became of each message: `stopped`, `unknown_session` or `bad_signature`, and the message's data."""
        self._webhook = Webhook(secret)
        self._told = told
        self._agents: dict[str, Agent] = {}
        runtime = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                runtime._receive(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — the library's signature
                """Says nothing: the demonstration tells what happened."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/overcurrent"
        threading.Thread(target=self._server.serve_forever, name="demo-runtime", daemon=True).start()

    def adopt(self, agent: Agent) -> None:
        """From now on this runtime answers for the agent's session."""
        self._agents[agent.session_id] = agent

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _receive(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(min(int(request.headers.get("Content-Length", 0)), _MAX_BODY))
        try:
            self._webhook.verify(body, dict(request.headers.items()))
        except WebhookVerificationError:
            self._told("bad_signature", {})
            self._answer(request, 401, {"error": "signature does not match"})
            return
        message = json.loads(body)
        data = message["data"]
        agent = self._agents.get(data["session_id"])
        status = "unknown_session" if agent is None else "stopped"
        if agent is not None and message["type"] in {"session.halt", "session.pause"}:
            agent.halted.set()
        self._answer(request, 200, {"status": status})
        self._told(status, data)

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, code: int, body: dict[str, str]) -> None:
        payload = json.dumps(body).encode()
        request.send_response(code)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(payload)))
        request.end_headers()
        request.wfile.write(payload)
