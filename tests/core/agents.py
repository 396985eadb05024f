"""What agents say, in few words: spans by short names, packed into OTLP requests, and a pipeline to put them through."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from collector.assembly import Assembler
from collector.config import Config
from collector.model import Request, Session
from collector.pipeline import Pipeline
from collector.session_policy import ConfiguredPolicy, prices_of
from collector.session_sums import steps_of
from collector.sessions import Sessions
from collector.store.history import RecordedHistory
from collector.store.memory import MemoryStore
from collector.traces import Limits
from detectors.model import Event, Finding, SessionKey, Step

START_NS = 1_700_000_000 * 10**9
SECOND_NS = 10**9


class Made(NamedTuple):
    """One span to be sent. Names stand for ids; times are seconds after `START_NS`, or nanoseconds where they are huge."""

    name: str
    trace: str
    parent: str | None
    at: float
    lasts: float
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...] = ()
    failed: str | None = None
    service: str = "agents"
    namespace: str = ""
    instance: str | None = None

    @property
    def end_ns(self) -> int:
        return START_NS + int((self.at + self.lasts) * SECOND_NS)


def trace_id(name: str) -> str:
    return hashlib.blake2b(f"trace {name}".encode(), digest_size=16).hexdigest()


def span_id(name: str) -> str:
    return hashlib.blake2b(f"span {name}".encode(), digest_size=8).hexdigest()


def span(
    name: str,
    attributes: dict[str, Any],
    *,
    trace: str = "t",
    parent: str | None = None,
    at: float = 0,
    lasts: float = 1,
    session: str | None = None,
    agent: str | None = None,
    **rest: Any,
) -> Made:
    given = {"gen_ai.conversation.id": session, "gen_ai.agent.name": agent}
    return Made(name, trace, parent, at, lasts, attributes | {key: value for key, value in given.items() if value is not None}, **rest)


def llm(
    name: str,
    *,
    tokens: tuple[int | None, int | None] = (100, 10),
    model: str = "gpt-4o-mini",
    response: str | None = None,
    asks: Sequence[tuple[str, str, Mapping[str, Any]]] = (),
    told: Sequence[tuple[str, str]] = (),
    **where: Any,
) -> Made:
    """A model call. `asks`: (call id, tool, arguments) it wants; `told`: (call id, outcome) its prompt ends with."""
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": tokens[0],
        "gen_ai.usage.output_tokens": tokens[1],
        "gen_ai.response.id": response,
    }
    if asks:
        parts = [{"type": "tool_call", "id": call, "name": tool, "arguments": arguments} for call, tool, arguments in asks]
        attributes["gen_ai.output.messages"] = json.dumps([{"role": "assistant", "parts": parts}])
    if told:
        parts = [{"type": "tool_call_response", "id": call, "response": outcome} for call, outcome in told]
        attributes["gen_ai.input.messages"] = json.dumps([{"role": "tool", "parts": parts}])
    return span(name, {key: value for key, value in attributes.items() if value is not None}, **where)


def tool(
    name: str, called: str = "search", arguments: Any = None, result: str | None = None, *, call: str | None = None, **where: Any
) -> Made:
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": called,
        "gen_ai.tool.call.id": call,
        "gen_ai.tool.call.arguments": None if arguments is None else json.dumps(arguments),
        "gen_ai.tool.call.result": result,
    }
    return span(name, {key: value for key, value in attributes.items() if value is not None}, **where)


def agent(name: str, called: str | None = None, **where: Any) -> Made:
    return span(name, {"gen_ai.operation.name": "invoke_agent"}, agent=called, **where)


def plumbing(name: str, **where: Any) -> Made:
    """A span that is no step but says whose it is."""
    return span(name, {"gen_ai.operation.name": "create_agent"}, **{"agent": "planner", **where})


def _value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=str(value))


def pairs(attributes: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def request(*spans: Made, arrival_ns: int | None = None, tenant: str = "default") -> Request:
    """One export request with these spans, in this order."""
    message = ExportTraceServiceRequest()
    for made in spans:
        resource = message.resource_spans.add()
        about = {"service.name": made.service, "service.namespace": made.namespace or None, "service.instance.id": made.instance}
        resource.resource.attributes.extend(pairs({key: value for key, value in about.items() if value is not None}))
        sent = resource.scope_spans.add().spans.add()
        sent.trace_id, sent.span_id = bytes.fromhex(trace_id(made.trace)), bytes.fromhex(span_id(made.name))
        if made.parent is not None:
            sent.parent_span_id = bytes.fromhex(span_id(made.parent))
        sent.name = made.name
        sent.start_time_unix_nano, sent.end_time_unix_nano = START_NS + int(made.at * SECOND_NS), max(made.end_ns, 0)
        sent.attributes.extend(pairs(made.attributes))
        for trace, linked in made.links:
            sent.links.add(trace_id=bytes.fromhex(trace_id(trace)), span_id=bytes.fromhex(span_id(linked)))
        if made.failed is not None:
            sent.status.code, sent.status.message = SpanMessage().status.STATUS_CODE_ERROR, made.failed
    return Request(signal="traces", encoding="protobuf", body=message.SerializeToString(), tenant=tenant, arrival_ns=arrival_ns)


def content_log(
    of: str, *, trace: str = "t", asks: Sequence[tuple[str, str, Mapping[str, Any]]] = (), says: str = "", at: float = 0
) -> Request:
    """A log record with what the model call `of` said, as instrumentations send it that keep content out of spans."""
    message = ExportLogsServiceRequest()
    record = message.resource_logs.add().scope_logs.add().log_records.add()
    record.trace_id, record.span_id = bytes.fromhex(trace_id(trace)), bytes.fromhex(span_id(of))
    record.time_unix_nano = START_NS + int(at * SECOND_NS)
    record.event_name = "gen_ai.client.inference.operation.details"
    parts: list[dict[str, Any]] = [{"type": "tool_call", "id": call, "name": name, "arguments": given} for call, name, given in asks]
    parts += [{"type": "text", "content": says}] if says else []
    record.attributes.extend(
        pairs({"gen_ai.operation.name": "chat", "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": parts}])})
    )
    return Request(signal="logs", encoding="protobuf", body=message.SerializeToString())


class Sums(NamedTuple):
    """What a session came to."""

    steps: int
    llm_calls: int
    tool_calls: int
    tool_errors: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal


def sums(session: Session) -> Sums:
    return Sums(
        session.steps,
        session.llm_calls,
        session.tool_calls,
        session.tool_errors,
        session.input_tokens or 0,
        session.output_tokens or 0,
        (session.cost_usd or Decimal(0)).normalize(),
    )


def loop(trace: str, *, session: str | None = None, rounds: int = 12, first: int = 0, called: str = "search") -> Iterator[Made]:
    """An agent that makes the same call again and again."""
    for number in range(first, first + rounds):
        at = number * 10.0
        where: dict[str, Any] = {"trace": trace, "parent": f"{trace} root", "session": session}
        yield llm(f"{trace} llm {number}", at=at, tokens=(100 + number, 10), **where)
        yield tool(f"{trace} tool {number}", called, {"query": "the same"}, "No results.", at=at + 2, **where)


class Run:
    """The pipeline over a store in memory, as a replay has it."""

    def __init__(self, config: Config | None = None, limits: Limits | None = None, **bounds: Any) -> None:
        config = config or Config.load(None, {})
        self.store = MemoryStore()
        prices = prices_of(config)
        self.sessions = Sessions(
            policy=ConfiguredPolicy(config, prices_version=prices.version),
            history=RecordedHistory(self.store, known=self.store.known),
            **bounds,
        )
        self.assembler = Assembler(price=prices.charge, limits=limits)
        self.pipeline = Pipeline(store=self.store, assembler=self.assembler, sessions=self.sessions)

    def send(self, *items: Made | Request | Iterable[Made]) -> "Run":
        """One commit: spans are put into one request."""
        spans = [one for item in items if not isinstance(item, Request) for one in ([item] if isinstance(item, Made) else item)]
        requests = [item for item in items if isinstance(item, Request)]
        self.pipeline.process([*([request(*spans)] if spans else []), *requests])
        return self

    def send_each(self, *items: Made | Request) -> "Run":
        """A commit for each, in this order."""
        for item in items:
            self.send(item)
        return self

    @property
    def events(self) -> list[Event]:
        return self.store.tail(1_000_000)

    @property
    def findings(self) -> list[Finding]:
        return self.store.emitted

    def by_id(self) -> dict[str, Session]:
        """Sessions under their final names, bare ids for keys."""
        everyone = [*self.sessions.residence.evicted.values(), *(live.session for live in self.sessions.live.values())]
        return {session.key.session_id: session for session in everyone if self.assembler.survivor(session.key) == session.key}

    def sums(self) -> dict[str, Sums]:
        return {name: sums(session) for name, session in self.by_id().items()}

    def steps(self, session: str = "s", tenant: str = "default") -> list[Step]:
        history = RecordedHistory(self.store, known=set)
        return steps_of(history.events(SessionKey(tenant, "", session)))
