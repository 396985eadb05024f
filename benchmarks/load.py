"""Telemetry of agents without end: prepared OTLP requests, sent again and again with fresh ids and times.

A session is one trace: model calls and tool calls in turn, the root last, as real exporters send it; many sessions are
interleaved in each request. Preparing is done once, since making a span costs more than the service takes to store it.
"""

import json
import random
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

POOL_CHARACTERS: Final = 4_000_000
MAX_PREPARED_BYTES: Final = 64 * 2**20
MAX_REQUEST_BYTES: Final = 8 * 2**20
"""Half of what the service takes by default, so that large spans travel in smaller batches rather than be refused."""

_SYLLABLES: Final = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
_QUERIES: Final = (
    "reset two factor authentication",
    "reset two factor authentication latest",
    "how to reset two factor authentication",
    "two factor authentication reset guide",
    "reset 2fa steps",
    "official guide reset two factor authentication",
)
_FOUND: Final = "3 results: account security overview; password reset; contact support. No exact match."
_TOOLS: Final = (
    ("read_file", "path"),
    ("web_search", "query"),
    ("run_shell", "command"),
    ("sql_query", "sql"),
    ("send_email", "body"),
    ("http_get", "url"),
)
_MODELS: Final = (("anthropic", "claude-sonnet-4-5"), ("openai", "gpt-5"), ("gcp.gemini", "gemini-2.5-pro"))
_RENAMED: Final = frozenset({"gen_ai.conversation.id", "session.id", "gen_ai.response.id", "gen_ai.tool.call.id"})
_PREFIX: Final = 5
"""Length of `sess-`, `resp_` and `call_`; hex digits follow."""
_AHEAD_NS: Final = 120 * 10**9


@dataclass(frozen=True, kw_only=True)
class Mix:
    """What the load consists of."""

    batch: int = 256
    """Spans a request."""
    span_bytes: int = 1_500
    """Bytes a span on the wire, on average."""
    step_share: float = 1.0
    """Share of spans that are steps of an agent; the others are what HTTP and database instrumentation adds."""
    loop_share: float = 0.0
    """Share of sessions that ask the same thing in other words for ever."""
    sessions: int = 200
    spans_per_session: int = 50
    concurrent: int = 64
    """Sessions whose spans are interleaved."""
    seed: int | None = None

    def bounded(self) -> "Mix":
        """The same mix within the limits on prepared bytes and request size."""
        batch = max(1, min(self.batch, MAX_REQUEST_BYTES // max(1, self.span_bytes)))
        spans = max(batch, MAX_PREPARED_BYTES // max(1, self.span_bytes))
        sessions = max(1, min(self.sessions, spans // self.spans_per_session))
        return Mix(**{**self.__dict__, "batch": batch, "sessions": sessions})


class Prepared(NamedTuple):
    """One serialised request and how many spans it holds."""

    body: bytes
    spans: int


class _Text:
    """Random words: slices of one long text, so that making them costs next to nothing."""

    def __init__(self, dice: random.Random) -> None:
        words = ["".join(dice.choices(_SYLLABLES, k=dice.randint(2, 4))) for _ in range(17_000)]
        self._pool = " ".join(dice.choices(words, k=POOL_CHARACTERS // 7))
        self._dice = dice

    def __call__(self, length: int) -> str:
        length = min(length, len(self._pool) // 2)
        start = self._dice.randrange(len(self._pool) - length)
        return self._pool[start : start + length]


def put(span: Span, key: str, value: str | float | Sequence[str]) -> None:
    """Adds an attribute to a span."""
    pair = span.attributes.add(key=key)
    if isinstance(value, str):
        pair.value.string_value = value
    elif isinstance(value, int):
        pair.value.int_value = value
    elif isinstance(value, float):
        pair.value.double_value = value
    else:
        for item in value:
            pair.value.array_value.values.add().string_value = item


def _message(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


class _Session:
    def __init__(self, dice: random.Random, text: _Text, number: int, mix: Mix, *, characters: int, start_ns: int) -> None:
        self._dice, self._text, self._number, self._mix, self._characters = dice, text, number, mix, characters
        self._id = f"sess-{dice.getrandbits(64):016x}"
        self._trace = dice.randbytes(16)
        self._root = dice.randbytes(8)
        self._started = self._now = start_ns + number * 1_000_000
        self.agent = f"agent-{number % 8}"
        self._provider, self._model = _MODELS[number % 3]
        self._looping = dice.random() < mix.loop_share
        self._context = 900
        self._steps = 0
        self.made = 0

    def next(self, span: Span) -> None:
        self.made += 1
        span.trace_id = self._trace
        if self.made == self._mix.spans_per_session:
            self._end(span)
            return
        span.span_id = self._dice.randbytes(8)
        span.parent_span_id = self._root
        span.start_time_unix_nano = self._now
        if self._dice.random() >= self._mix.step_share:
            self._plumbing(span)
        elif self._steps % 2 == 0:
            self._call_model(span)
        else:
            self._call_tool(span)
        span.end_time_unix_nano = self._now

    def _identify(self, span: Span) -> None:
        put(span, "gen_ai.conversation.id", self._id)
        put(span, "session.id", self._id)
        put(span, "gen_ai.agent.name", self.agent)
        put(span, "gen_ai.agent.id", f"{self.agent}@{self._number % 50}")
        put(span, "gen_ai.provider.name", self._provider)

    def _end(self, span: Span) -> None:
        span.span_id, span.name, span.kind = self._root, f"invoke_agent {self.agent}", Span.SPAN_KIND_INTERNAL
        span.start_time_unix_nano, span.end_time_unix_nano = self._started, self._now
        self._identify(span)
        put(span, "gen_ai.operation.name", "invoke_agent")
        put(span, "user.id", f"user-{self._number % 200}")
        put(span, "gen_ai.input.messages", _message("user", self._text(self._characters // 2)))
        put(span, "gen_ai.output.messages", _message("assistant", self._text(self._characters // 2)))

    def _call_model(self, span: Span) -> None:
        dice = self._dice
        self._steps += 1
        self._now += dice.randint(300, 4000) * 1_000_000
        self._identify(span)
        span.name, span.kind = f"chat {self._model}", Span.SPAN_KIND_CLIENT
        said = dice.randint(40, 700)
        self._context += said + dice.randint(50, 900)
        put(span, "gen_ai.operation.name", "chat")
        put(span, "gen_ai.request.model", self._model)
        put(span, "gen_ai.response.model", self._model)
        put(span, "gen_ai.request.temperature", 0.2)
        put(span, "gen_ai.request.max_tokens", 4096)
        put(span, "gen_ai.response.id", f"resp_{dice.getrandbits(96):024x}")
        put(span, "gen_ai.response.finish_reasons", ["tool_calls"])
        put(span, "gen_ai.usage.input_tokens", self._context)
        put(span, "gen_ai.usage.output_tokens", said)
        put(span, "gen_ai.usage.cache_read.input_tokens", self._context // 2)
        put(span, "server.address", "api.example.test")
        put(span, "gen_ai.input.messages", _message("tool", self._text(self._characters // 2)))
        put(span, "gen_ai.output.messages", _message("assistant", self._text(self._characters // 2)))

    def _call_tool(self, span: Span) -> None:
        dice, number = self._dice, self._steps // 2
        self._steps += 1
        self._now += dice.randint(20, 1500) * 1_000_000
        self._identify(span)
        tool, argument = ("web_search", "query") if self._looping else dice.choice(_TOOLS)
        asked = _QUERIES[number % len(_QUERIES)] if self._looping else self._text(self._characters // 2)
        span.name, span.kind = f"execute_tool {tool}", Span.SPAN_KIND_INTERNAL
        put(span, "gen_ai.operation.name", "execute_tool")
        put(span, "gen_ai.tool.name", tool)
        put(span, "gen_ai.tool.type", "function")
        put(span, "gen_ai.tool.call.id", f"call_{dice.getrandbits(96):024x}")
        put(span, "gen_ai.tool.description", self._text(60))
        put(span, "gen_ai.tool.call.arguments", json.dumps({argument: asked, "limit": 10 if self._looping else dice.randint(1, 50)}))
        put(span, "gen_ai.tool.call.result", _FOUND if self._looping else self._text(self._characters * 2 // 3))
        if dice.random() < 0.05:
            span.status.code, span.status.message = Status.STATUS_CODE_ERROR, "tool failed"
            put(span, "error.type", "TimeoutError")
            event = span.events.add(name="exception", time_unix_nano=self._now)
            event.attributes.add(key="exception.message").value.string_value = self._text(80)

    def _plumbing(self, span: Span) -> None:
        """A span that is no step, and says nothing of the session either."""
        self._now += self._dice.randint(1, 90) * 1_000_000
        span.kind = Span.SPAN_KIND_CLIENT
        if self._dice.random() < 0.5:
            span.name = "POST"
            put(span, "http.request.method", "POST")
            put(span, "http.response.status_code", 200)
            put(span, "server.address", "tools.example.test")
            put(span, "url.full", f"https://tools.example.test/v1/{self._number}?q={self._text(self._characters).replace(' ', '+')}")
        else:
            span.name = "SELECT documents"
            put(span, "db.system.name", "postgresql")
            put(span, "db.namespace", "tools")
            put(span, "db.response.returned_rows", self._dice.randint(0, 50))
            put(span, "db.query.text", f"SELECT body FROM documents WHERE words @@ '{self._text(self._characters)}'")  # noqa: S608 — only shown


def _build(mix: Mix, dice: random.Random, text: _Text, characters: int) -> list[Prepared]:
    start_ns = time.time_ns() - _AHEAD_NS
    waiting = iter([_Session(dice, text, number, mix, characters=characters, start_ns=start_ns) for number in range(mix.sessions)])
    live = [session for _, session in zip(range(mix.concurrent), waiting, strict=False)]
    prepared = []
    while live:
        request = ExportTraceServiceRequest()
        scopes: dict[str, Any] = {}
        count = 0
        while count < mix.batch and live:
            place = dice.randrange(len(live))
            session = live[place]
            if session.agent not in scopes:
                scopes[session.agent] = _scope(request, session.agent)
            session.next(scopes[session.agent].spans.add())
            count += 1
            if session.made == mix.spans_per_session:
                following = next(waiting, None)
                if following is not None:
                    live[place] = following
                else:
                    live[place] = live[-1]
                    live.pop()
        prepared.append(Prepared(request.SerializeToString(), count))
    return prepared


def _scope(request: ExportTraceServiceRequest, agent: str) -> Any:
    resource = request.resource_spans.add()
    for key, value in (
        ("service.name", agent),
        ("service.instance.id", f"{agent}-pod-0"),
        ("telemetry.sdk.language", "python"),
        ("telemetry.sdk.name", "opentelemetry"),
        ("telemetry.sdk.version", "1.40.0"),
        ("deployment.environment.name", "load"),
    ):
        resource.resource.attributes.add(key=key).value.string_value = value
    scope = resource.scope_spans.add()
    scope.scope.name, scope.scope.version = "opentelemetry.instrumentation.agent", "0.1"
    return scope


def build(mix: Mix) -> list[Prepared]:
    """Prepares every span of the mix. Text is sized so that spans come out at `span_bytes` on average."""
    mix = mix.bounded()
    dice = random.Random(time.time_ns() if mix.seed is None else mix.seed)  # noqa: S311 — a workload, not a secret
    text = _Text(dice)

    def mean(characters: int) -> float:
        sample = _build(Mix(**{**mix.__dict__, "sessions": 8, "concurrent": 8, "batch": 64}), dice, text, characters)
        return sum(len(body) for body, _ in sample) / sum(spans for _, spans in sample)

    empty, full = mean(0), mean(1_000)
    return _build(mix, dice, text, max(0, round((mix.span_bytes - empty) / (full - empty) * 1_000)))


class _Patch(NamedTuple):
    body: "NDArray[np.uint8]"
    ids: "NDArray[np.int64]"
    names: "NDArray[np.int64]"
    times: "NDArray[np.int64]"
    spans: int


class Recycled:
    """Prepared requests without end: each round sends them with other ids, and with times moved to now."""

    def __init__(self, prepared: Sequence[Prepared]) -> None:
        self._built_ns = time.time_ns()
        self._patches = [_patch(request) for request in prepared]

    def stream(self, wanted: Callable[[], bool]) -> Iterator[Prepared]:
        """Requests as long as `wanted` says so."""
        round_ = 0
        while True:
            salt, digits = round_.to_bytes(3, "big"), f"{round_:04x}".encode()
            shift = np.uint64(time.time_ns() - self._built_ns)
            for patch in self._patches:
                if not wanted():
                    return
                body = patch.body.copy()
                for place, byte in enumerate(salt):
                    body[patch.ids + place] ^= byte
                for place, digit in enumerate(digits):
                    body[patch.names + place] = digit
                body[patch.times] = (np.ascontiguousarray(body[patch.times]).view("<u8") + shift).view(np.uint8)
                yield Prepared(body.tobytes(), patch.spans)
            round_ += 1


def _patch(request: Prepared) -> _Patch:
    ids: set[bytes] = set()
    names: set[str] = set()
    stamps: set[bytes] = set()
    for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                ids |= {span.trace_id, span.span_id, span.parent_span_id} - {b""}
                stamps.add(b"\x39" + struct.pack("<Q", span.start_time_unix_nano))
                stamps.add(b"\x41" + struct.pack("<Q", span.end_time_unix_nano))
                names |= {pair.value.string_value for pair in span.attributes if pair.key in _RENAMED}
    body = request.body
    return _Patch(
        np.frombuffer(body, dtype=np.uint8),
        _places(body, ids, 0),
        _places(body, {name.encode() for name in names}, _PREFIX),
        _places(body, stamps, 1)[:, None] + np.arange(8),
        request.spans,
    )


def _places(body: bytes, needles: set[bytes], skip: int) -> "NDArray[np.int64]":
    found: set[int] = set()
    for needle in needles:
        at = body.find(needle)
        while at >= 0:
            found.add(at + skip)
            at = body.find(needle, at + 1)
    return np.array(sorted(found), dtype=np.int64)
