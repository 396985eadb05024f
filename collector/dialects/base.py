"""The contract of a dialect: one SDK's or convention's way to say what an agent did."""

from typing import ClassVar, Final, Protocol

import msgspec

from collector.telemetry_data import LogRecord, Span
from detectors.model import SessionKey, Step, ToolAsk

UNASSIGNED: Final = SessionKey("", "", "")
"""The session of a step that the session assembler has not placed yet."""


class ToolAnswer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The outcome of an earlier tool call, as the next prompt repeats it."""

    call_id: str | None
    name: str | None = None
    arguments: str | None = None
    """What the call was asked for with, where the same prompt repeats that too."""
    result: str | None = None
    error: bool | None = None
    rejected: bool = False
    """The call was not run, so that nothing else may tell of it, not even its name."""
    below: str | None = None
    """Where the outcome names no call: the span under which the model was called that asked for it."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What somebody made of a session's work: an evaluation result, a person's feedback. Score and label as sent."""

    name: str
    score: float | None = None
    label: str | None = None
    response_id: str | None = None
    """Provider response id of the model call that was judged, where the record is in no trace."""


class Fragment(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """What a dialect made of one span or log record.

    `step` has `seq` 0 and session UNASSIGNED, no cost and no context window: the assembler fills them in, in place, so it must
    be made for this fragment alone. It is None for a span that is no step but says who it belongs to.
    """

    step: Step | None = None
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    at_ns: int = 0
    session_id: str | None = None
    """Explicit session, conversation or thread id found on this very span; refused placeholders are already dropped."""
    conversation_ids: tuple[str, ...] = ()
    """Further ids of the same conversation (run id, thread id), for `Session.identifiers`."""
    of_resource: bool = True
    """Where nothing else does, the resource's `session.id` names the session."""
    namespace: str = ""
    """Resource attribute `service.namespace`."""
    is_root: bool = False
    """The span has no parent: when it ends, the turn ended."""
    source: str = ""
    """Instrumentation scope: two records of one call come from different ones."""
    twin_key: str | None = None
    """Equal on two records of the same call (provider response id, request id): it is charged once."""
    authority: int = 0
    """Of twins that contradict each other the one with more of it is believed: 1 for the vendor's own SDK."""
    supplements: str | None = None
    """Span id (in `trace_id`) of another record that these facts complete: content in log events, for example."""
    agent: str | None = None
    """Agent in whose name this span and those below it run."""
    joins: tuple[str, ...] = ()
    """Ids that only the same session shares, such as tool-call ids that one call's output and the next call's input hold."""
    links: tuple[tuple[str, str], ...] = ()
    """(trace id, span id) of linked spans."""
    asks: tuple[ToolAsk, ...] = ()
    answers: tuple[ToolAnswer, ...] = ()
    tool_schemas: tuple[tuple[str, str], ...] = ()
    """(tool, JSON Schema of its arguments as canonical JSON)."""
    evaluations: tuple[Judgement, ...] = ()
    """A log record with these judges the span `parent_span_id` and is nothing else."""
    parts: "tuple[Fragment, ...]" = ()
    """Further steps that the same span tells of, each with ids of its own."""


class Dialect(Protocol):
    """Translates the spans and log records of one SDK or convention.

    All methods are pure and total: they never raise, whatever the attributes hold. A value of the wrong type is treated
    as absent; it stays in the stored raw attributes. Tests hold every registered dialect to this with random payloads.
    A dialect that claims only what comes from certain instrumentation scopes may say so in a class variable `scopes`, a
    tuple of prefixes of their names: then it is not asked about others (`span_scopes` if that is so of spans only). One
    that claims only spans with certain attributes may name these in `marks` (any of them; `marked_scopes` are scopes that it
    claims without), one that claims only spans of certain names their prefixes in `names`.
    """

    name: ClassVar[str]

    def recognises(self, span: Span) -> bool:
        """Whether this dialect claims the span. The first claim in DIALECTS wins: test for keys nobody else sets."""

    def translate(self, span: Span) -> Fragment | None:
        """Makes a fragment of a recognised span; None where it is noise (framework plumbing, transport)."""

    def recognises_log(self, record: LogRecord) -> bool:
        """Whether this dialect claims the log record."""

    def translate_log(self, record: LogRecord) -> Fragment | None:
        """Makes a fragment of a recognised log record; None where it is noise."""
