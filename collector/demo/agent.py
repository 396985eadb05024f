"""A scripted agent: makes the calls of a scenario and reports each as an OpenTelemetry span, as instrumented agents do."""

import json
import secrets
import threading
import time
from typing import Any, Final

import httpx2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.demo.scenarios import Call, Scenario

_MODEL: Final = "gpt-4o"
_STEP_NS: Final = 2_000_000_000
"""Event time between two calls: the demonstration runs faster than the agents it plays."""


class Agent:
    """Runs one session. `halted` is what the runtime sets; the agent looks before each call, as a runtime's loop would."""

    def __init__(self, scenario: Scenario, endpoint: str, *, pause_s: float, token: str | None = None) -> None:
        self.scenario = scenario
        self.session_id = f"demo-{scenario.name}-{secrets.token_hex(3)}"
        self.halted = threading.Event()
        self.calls = 0
        self._pause_s = pause_s
        self._trace = secrets.token_bytes(16)
        self._root = secrets.token_bytes(8)
        self._tokens = 1_200
        self._now_ns = self._started_ns = time.time_ns() - scenario.patience * _STEP_NS
        self._http = httpx2.Client(headers={"Authorization": f"Bearer {token}"} if token else {}, trust_env=False, timeout=10)
        self._endpoint = f"{endpoint.rstrip('/')}/v1/traces"

    def run(self) -> None:
        """Makes calls until the script ends, the runtime stops it, or its patience is over."""
        for call in self.scenario.calls():
            if self.halted.is_set() or self.calls >= self.scenario.patience:
                break
            self._make(call)
            self.calls += 1
            time.sleep(self._pause_s)
        else:
            self._send(
                self._span(
                    f"invoke_agent {self.scenario.agent}",
                    self.scenario.agent,
                    self._started_ns,
                    {"gen_ai.operation.name": "invoke_agent"},
                    root=True,
                )
            )
        self._http.close()

    def _make(self, call: Call) -> None:
        self._tokens = call.input_tokens or self._tokens + 350
        arguments = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)
        call_id = f"call_{secrets.token_hex(8)}"
        if call.tool is None:
            asked = {"role": "user", "parts": [{"type": "text", "content": arguments}]}
            answered = {"role": "assistant", "parts": [{"type": "text", "content": call.result}]}
            spans = [
                self._model(call.agent, answered),
                self._span(
                    f"invoke_agent {call.agent}",
                    call.agent,
                    self._now_ns,
                    {
                        "gen_ai.operation.name": "invoke_agent",
                        "gen_ai.input.messages": json.dumps([asked]),
                        "gen_ai.output.messages": json.dumps([answered]),
                    },
                ),
            ]
        else:
            wish = {
                "role": "assistant",
                "parts": [{"type": "tool_call", "id": call_id, "name": call.tool, "arguments": json.loads(arguments)}],
            }
            tool = self._span(
                f"execute_tool {call.tool}",
                call.agent,
                self._now_ns + _STEP_NS // 2,
                {
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": call.tool,
                    "gen_ai.tool.call.id": call_id,
                    "gen_ai.tool.call.arguments": arguments,
                    "gen_ai.tool.call.result": call.result,
                },
            )
            if call.error is not None:
                tool.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=call.error))
            spans = [self._model(call.agent, wish), tool]
        self._now_ns += _STEP_NS
        self._send(*spans)

    def _model(self, agent: str, said: dict[str, Any]) -> Span:
        return self._span(
            f"chat {_MODEL}",
            agent,
            self._now_ns,
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": _MODEL,
                "gen_ai.response.id": f"resp-{secrets.token_hex(8)}",
                "gen_ai.usage.input_tokens": self._tokens,
                "gen_ai.usage.output_tokens": 60,
                "gen_ai.output.messages": json.dumps([said]),
            },
        )

    def _span(self, name: str, agent: str, start_ns: int, attributes: dict[str, Any], *, root: bool = False) -> Span:
        span = Span(
            trace_id=self._trace,
            span_id=self._root if root else secrets.token_bytes(8),
            parent_span_id=b"" if root else self._root,
            name=name,
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=start_ns,
            end_time_unix_nano=self._now_ns if root else start_ns + _STEP_NS // 3,
        )
        for key, value in {"gen_ai.conversation.id": self.session_id, "gen_ai.agent.name": agent, **attributes}.items():
            pair = span.attributes.add(key=key)
            if isinstance(value, int):
                pair.value.int_value = value
            else:
                pair.value.string_value = value
        return span

    def _send(self, *spans: Span) -> None:
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        resource.resource.attributes.add(key="service.name").value.string_value = self.scenario.agent
        resource.scope_spans.add().spans.extend(spans)
        response = self._http.post(self._endpoint, content=request.SerializeToString(), headers={"Content-Type": "application/x-protobuf"})
        response.raise_for_status()
