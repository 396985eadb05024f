"""The vocabulary everything shares: steps, the recorded event stream, findings.

Every value is immutable, with no behaviour beyond derivation. Times are the sender's, in nanoseconds since the epoch, as OTLP has them.
Money is `Decimal` US dollars. A field that the telemetry did not report is None, never a guess: zero tokens and unknown tokens differ.
"""

import hashlib
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import msgspec


class StepKind(StrEnum):
    """What a step is. `agent` covers agent, chain and workflow spans: numbered, never charged, never counted."""

    LLM = "llm"
    TOOL = "tool"
    HANDOFF = "handoff"
    RETRIEVAL = "retrieval"
    AGENT = "agent"


class Severity(StrEnum):
    """`info` is for the record, `warning` deserves a look, `critical` pages someone."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0, 1, 2: larger is worse."""
        return _SEVERITY_RANK[self]


_SEVERITY_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class EvidenceLevel(StrEnum):
    """Whether a finding rests on what was said (`content`) or only on names, counts, sizes and times (`structure`)."""

    CONTENT = "content"
    STRUCTURE = "structure"


class ErrorClass(StrEnum):
    """Why a step failed, in terms that decide who acts on it."""

    SCHEMA = "schema"
    AUTH = "auth"
    TIMEOUT = "timeout"
    RATE_LIMIT = "rate_limit"
    NOT_FOUND = "not_found"
    OTHER = "other"


class CostBasis(StrEnum):
    """Where a figure in dollars comes from. `mixed` is for sums of several kinds.

    `provider`: the provider's own response. `computed`: a price list, with every count that matters known. `estimated`: the same with
    something assumed, or what the sender reckons. `unmetered`: nobody knows.
    """

    PROVIDER = "provider"
    COMPUTED = "computed"
    ESTIMATED = "estimated"
    UNMETERED = "unmetered"
    MIXED = "mixed"


class SessionKey(NamedTuple):
    """Names one session among all: the same session id under another tenant or namespace is another session."""

    tenant: str
    namespace: str
    session_id: str

    def __str__(self) -> str:
        return "/".join(quote(part, safe="") for part in self)

    @classmethod
    def parse(cls, text: str) -> "SessionKey":
        """Reverses `str()`. Raises ValueError where `text` is not three parts."""
        parts = text.split("/")
        if len(parts) != 3:
            msg = f"not a session key: {text!r} (expected tenant/namespace/session)"
            raise ValueError(msg)
        return cls(*(unquote(part) for part in parts))


class ToolAsk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A tool call that a model asked for in its output."""

    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="step", gc=False):
    """One finished thing an agent did, whichever SDK reported it. Also an event of the recorded stream.

    `seq` is the commit sequence number; it never changes and totally orders the stream. `session` is the session the
    step was recorded under; after `SessionsMerged` it belongs to the survivor.
    Like everything recorded it is a tree, so the garbage collector need not look at it (`gc=False`): it would look at each that is kept.
    """

    seq: int
    session: SessionKey
    kind: StepKind
    name: str | None = None
    """Of the model or the tool."""
    agent: str | None = None
    started_ns: int
    ended_ns: int
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str | None = None
    dialect: str = ""
    service_name: str | None = None
    service_instance: str | None = None

    provider: str | None = None
    model: str | None = None
    response_id: str | None = None
    input_tokens: int | None = None
    """All input, cached included."""
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    """Of `cache_write_tokens` those kept for an hour; None where nobody says for how long."""
    output_tokens: int | None = None
    """All output, reasoning included."""
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    zeros_left_out: bool | None = None
    """Who sent this leaves out counts of nothing: where it has no `cached_input_tokens`, nothing was read from a cache."""
    of_several: bool | None = None
    """The counts are the sum of several calls, which are not told apart: how full a context window was they do not tell."""
    billed_usd: Decimal | None = None
    """What the provider's own response says it charges for the call."""
    stated_usd: Decimal | None = None
    """What the sender reckons that the call costs, by prices of its own."""
    cost_usd: Decimal | None = None
    cost_basis: CostBasis | None = None
    service_tier: str | None = None
    """Where it is none of those that list prices are for: `priority`, `flex`, `batch`, `fast`."""
    context_window: int | None = None
    finish_reasons: tuple[str, ...] = ()
    asks: tuple[ToolAsk, ...] = ()
    """Tool calls the model asked for."""

    call_id: str | None = None
    """The tool call's id, as the model gave it."""
    arguments: str | None = None
    result: str | None = None
    input_text: str | None = None
    """What was newly said to a model or agent: the last message only, not the history."""
    output_text: str | None = None
    """What the model or agent answered, in text."""
    input_bytes: int | None = None
    output_bytes: int | None = None
    """Sizes in bytes, where content is off but its size was sent."""

    error: bool | None = None
    """None where nothing says how the step ended."""
    error_class: ErrorClass | None = None
    error_type: str | None = None
    error_message: str | None = None

    @property
    def context_utilization(self) -> float | None:
        """Input tokens as a share of the model's context window, 0 and up."""
        if self.input_tokens is None or not self.context_window:
            return None
        return self.input_tokens / self.context_window

    @property
    def counts(self) -> bool:
        """Whether the step counts in `Session.steps`: agent and chain spans do not."""
        return self.kind is not StepKind.AGENT


def without_texts(step: Step) -> Step:
    """The step with everything that can be long left out."""
    return msgspec.structs.replace(step, arguments=None, result=None, input_text=None, output_text=None, error_message=None, asks=())


class StepAmended(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="step_amended", gc=False):
    """A fact of an earlier step learned later: an outcome, a token count.

    `step` is the whole step as it stands now, `was` what it stood for before, without its texts: enough to correct sums.
    """

    seq: int
    session: SessionKey
    step: Step
    was: Step


class StepRetracted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="step_retracted", gc=False):
    """An earlier step that turned out to be a twin or a total of others: it no longer counts or costs."""

    seq: int
    session: SessionKey
    was: Step
    """The step without its texts."""
    reason: str


class SessionsMerged(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="sessions_merged"):
    """Two sessions turned out to be one. Halts, budgets and findings of `absorbed` follow to `session`."""

    seq: int
    session: SessionKey
    absorbed: SessionKey
    at_ns: int


class WorkflowJoined(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="workflow_joined"):
    """`session` belongs to the workflow `workflow_id` from here on."""

    seq: int
    session: SessionKey
    workflow_id: str


class TraceJoined(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="trace_joined"):
    """Spans of the trace that say nothing else belong to `session`."""

    seq: int
    session: SessionKey
    trace_id: str


class Identified(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="identified"):
    """`session` is also known by `conversation_id`: a conversation, thread, run or workflow id that others may share."""

    seq: int
    session: SessionKey
    conversation_id: str


class Tick(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="tick"):
    """Time passed: event time reached `at_ns`. Written into the stream by the shell, so that silence is noticed."""

    seq: int
    at_ns: int


class Halted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="halted"):
    """A halt, pause or compaction was requested for the session; `generation` grows with every such request."""

    seq: int
    session: SessionKey
    generation: int
    verb: str
    halt_reason: str | None = None
    at_ns: int


class Released(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="released"):
    """A person let the session go on: detectors start a new episode and stay quiet for `grace_steps`."""

    seq: int
    session: SessionKey
    generation: int
    grace_steps: int
    at_ns: int


class SchemaRegistered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="schema_registered"):
    """The JSON Schema of a tool's arguments became known or changed; `fingerprint` is of its canonical JSON."""

    seq: int
    agent_type: str
    tool: str
    schema: str
    fingerprint: str
    at_ns: int


class BaselineSnapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="baseline_snapshot"):
    """What is normal for an agent type from here on: measure → quantile name → value."""

    seq: int
    agent_type: str
    version: str
    sessions: int = 0
    """How many sessions it rests on."""
    measures: dict[str, dict[str, float]]
    at_ns: int


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="evaluation"):
    """Somebody judged the session: an evaluation result, feedback, a goal reached or missed."""

    seq: int
    session: SessionKey
    name: str
    score: float | None = None
    label: str | None = None
    at_ns: int


class GateCheck(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="gate_check"):
    """A provisional step: a call that is about to be made, seen before its span."""

    seq: int
    session: SessionKey
    reservation_id: str
    kind: StepKind
    name: str | None = None
    arguments: str | None = None
    at_ns: int


Event = (
    Step
    | StepAmended
    | StepRetracted
    | SessionsMerged
    | WorkflowJoined
    | TraceJoined
    | Identified
    | Tick
    | Halted
    | Released
    | SchemaRegistered
    | BaselineSnapshot
    | Evaluation
    | GateCheck
)
"""One entry of the recorded stream. Ordered by `seq`; a restart, a back-test and a live run consume the same entries."""


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """Which policy, prices and baselines a verdict was reached under."""

    policy: str = ""
    prices: str = ""
    baselines: str = ""


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one detector concluded, with the proof.

    Emitted when an episode opens and again at each escalation, under the same `id`, with the step, span, severity
    and `halt_eligible` of that moment.
    """

    id: str
    session: SessionKey | None
    workflow_id: str | None = None
    sessions: tuple[SessionKey, ...] = ()
    """The sessions that take part, where it is about several: a halt halts these."""
    detector: str
    halt_reason: str | None
    severity: Severity
    halt_eligible: bool
    score: float
    step_seq: int
    first_step_seq: int
    step: int = 0
    """Which of the session's steps it was raised at, counted from 1 over every kind: what people are shown. 0: not known."""
    first_step: int = 0
    """The same for the step at which the pattern began."""
    span_id: str
    trace_id: str
    at_ns: int
    evidence_level: EvidenceLevel
    summary: str
    evidence: dict[str, Any]
    threshold: dict[str, float]
    mode: str = "shadow"
    episode: int = 1
    open: bool = True
    agent_type: str = "unknown"
    versions: Versions = Versions()


def finding_id(session: SessionKey | None, detector: str, episode: int) -> str:
    """The same for the same session, detector and episode, so that a restart makes the same finding and kills once.

    Returns 26 characters: `fnd_` and 22 hexadecimal digits.
    """
    digest = hashlib.blake2b(f"{session}|{detector}|{episode}".encode(), digest_size=11).hexdigest()
    return f"fnd_{digest}"
