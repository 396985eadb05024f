"""An agent that is instrumented with the real OpenTelemetry SDK, by the GenAI conventions."""

import itertools
import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Final, NamedTuple, Self

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from tests.e2e.programs import PATIENCE_S

MODEL: Final = "gpt-4o"
_FOUND_NOTHING: Final = "3 results: Account security overview; Password reset; Contact support."
_SEARCHES: Final = [
    " ".join(filter(None, words))
    for words in itertools.product(
        ("", "how to", "guide:", "best way to", "official:"),
        ("rotate signing key", "rotate a signing key", "signing key rotation", "rotate the signing keys"),
        ("without downtime", "no downtime", "with zero downtime", "without any downtime", "and have no downtime"),
    )
]


class Call(NamedTuple):
    """One tool call and what it brought."""

    tool: str
    arguments: dict[str, object]
    result: str
    error: str | None = None


def same_search_in_other_words() -> Iterator[Call]:
    """A soft loop: a hundred ways to ask the same thing, and always the same three results. No two calls are equal."""
    return (Call("search_docs", {"query": query, "limit": 10}, _FOUND_NOTHING) for query in itertools.cycle(_SEARCHES))


def exporter(protocol: str, address: str) -> SpanExporter:
    """The SDK's own exporter, compressing."""
    if protocol == "grpc":
        return GrpcExporter(endpoint=f"http://{address}", insecure=True, compression=grpc.Compression.Gzip)
    return HttpExporter(endpoint=f"http://{address}/v1/traces", compression=Compression.Gzip)


class Batches:
    """Finished spans of tool calls, for an exporter that is called by hand."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(SimpleSpanProcessor(self._kept))
        self._tracer = self._provider.get_tracer("tests.e2e")

    def next(self, size: int, attributes: Mapping[str, str]) -> list[ReadableSpan]:
        """`size` new spans with these attributes beside their own."""
        self._kept.clear()
        for _ in range(size):
            known = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}
            self._tracer.start_span("execute_tool t", attributes={**known, **attributes}).end()
        return list(self._kept.get_finished_spans())


def span_ids(batch: list[ReadableSpan]) -> list[str]:
    """In hexadecimal, as the store has them."""
    return [format(span.context.span_id, "016x") for span in batch if span.context]


class Agent:
    """One session of an agent. Before each call it looks whether its runtime has stopped it, as a runtime's loop would."""

    def __init__(self, exporter: SpanExporter, *, name: str = "research-web", model: str = MODEL) -> None:
        self.name = name
        self.session_id = f"conv-{secrets.token_hex(6)}"
        self.halted = threading.Event()
        self.calls = 0
        self.spans = 0
        self._model = model
        self._tokens = 1_000
        resource = Resource.create({"service.name": f"{name}-worker", "service.instance.id": f"{name}-0"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=50))
        self._tracer = self._provider.get_tracer("tests.e2e")
        self._root = self._tracer.start_span(f"invoke_agent {name}", attributes=self._attributes("invoke_agent"))
        self.trace_id = format(self._root.get_span_context().trace_id, "032x")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._provider.shutdown()

    def run(self, calls: Iterator[Call]) -> None:
        """Makes calls until it is stopped, the script ends, or nobody stops it in all that time."""
        deadline = time.monotonic() + PATIENCE_S
        for call in calls:
            self.call(call)
            if self.halted.wait(0.02) or time.monotonic() > deadline:
                break

    def call(self, call: Call) -> None:
        """One turn: the model asks for a tool, the tool answers."""
        self.calls += 1
        self._tokens += 150
        call_id = f"call_{secrets.token_hex(8)}"
        wish = {"type": "tool_call", "id": call_id, "name": call.tool, "arguments": call.arguments}
        parent = set_span_in_context(self._root)
        with self._tracer.start_as_current_span(f"chat {self._model}", parent, SpanKind.CLIENT, self._attributes("chat")) as span:
            span.set_attributes(
                {
                    "gen_ai.provider.name": "openai",
                    "gen_ai.request.model": self._model,
                    "gen_ai.response.model": self._model,
                    "gen_ai.response.id": f"resp_{secrets.token_hex(8)}",
                    "gen_ai.response.finish_reasons": ["tool_calls"],
                    "gen_ai.usage.input_tokens": self._tokens,
                    "gen_ai.usage.output_tokens": 40,
                    "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [wish], "finish_reason": "tool_call"}]),
                }
            )
        with self._tracer.start_as_current_span(f"execute_tool {call.tool}", parent, attributes=self._attributes("execute_tool")) as span:
            span.set_attributes(
                {
                    "gen_ai.tool.name": call.tool,
                    "gen_ai.tool.call.id": call_id,
                    "gen_ai.tool.call.arguments": json.dumps(call.arguments),
                    "gen_ai.tool.call.result": call.result,
                }
            )
            if call.error is not None:
                span.set_attribute("error.type", call.error)
                span.set_status(Status(StatusCode.ERROR, call.error))
        self.spans += 2

    def flush(self) -> None:
        """Returns when everything so far was acknowledged."""
        assert self._provider.force_flush(20_000)

    def finish(self) -> None:
        """Ends the task in good order."""
        self._root.end()
        self.spans += 1
        self.flush()

    def _attributes(self, operation: str) -> dict[str, str]:
        return {"gen_ai.operation.name": operation, "gen_ai.conversation.id": self.session_id, "gen_ai.agent.name": self.name}
