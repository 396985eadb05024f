"""The execution layer of the agents: receives signed halts and stops what they name."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from standardwebhooks import Webhook, WebhookVerificationError

from tests.e2e.agent import Agent

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 — of the tests


class Message(NamedTuple):
    """One message whose signature was right."""

    id: str
    type: str
    data: dict[str, Any]


class Runtime:
    """Listens on loopback from the first `with` on. What is not signed by the service is refused and stops nothing."""

    def __init__(self, port: int = 0) -> None:
        self.messages: list[Message] = []
        self.forged = 0
        self._agents: dict[str, Agent] = {}
        self._webhook = Webhook(SECRET)
        runtime = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                code, status = runtime.receive(body, dict(self.headers.items()))
                answer = json.dumps({"status": status}).encode()
                self.send_response(code)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — the name in http.server
                del format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/halts"

    def adopt(self, agent: Agent) -> None:
        """From now on it answers for the agent's session."""
        self._agents[agent.session_id] = agent

    def halts(self, agent: Agent) -> list[Message]:
        """The halts it got for this agent."""
        return [message for message in self.messages if message.type == "session.halt" and message.data["session_id"] == agent.session_id]

    def receive(self, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        try:
            message = self._webhook.verify(body, headers)
        except WebhookVerificationError:
            self.forged += 1
            return 401, "unsigned"
        lowered = {name.lower(): value for name, value in headers.items()}
        agent = self._agents.get(message["data"]["session_id"])
        if agent is not None and message["type"] == "session.halt":
            agent.halted.set()
        self.messages.append(Message(lowered["webhook-id"], message["type"], message["data"]))
        return 200, "unknown_session" if agent is None else "stopped"
