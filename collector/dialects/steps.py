"""Makes steps and fragments out of what a dialect read: the facts that mean the same in every dialect."""

import re
from decimal import Decimal
from typing import Any, Final, NamedTuple

from msgspec.structs import force_setattr as complete

from collector.dialects.base import UNASSIGNED, Fragment
from collector.dialects.messages import NOTHING, Exchange
from collector.dialects.values import as_id, as_int, as_text, seems_failed
from collector.error_classes import classify
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import ErrorClass, Step, StepKind

_HANDOFF: Final = re.compile(r"^((transfer(_back)?|hand_?off|delegate)_to_(\w+_)?agent|handoff to .+)$", re.IGNORECASE)
"""Names that frameworks generate: for any agent, for an agent whose name says so, or with blanks that no function has."""
_HANDOFF_INITIALS: Final = frozenset("tThHdD")
_JUMPS: Final = ('{"graph": "__parent__"', '{"graph":"__parent__"')
"""How the result of a LangGraph tool begins that jumps to another agent of the graph."""
_CONTROL: Final = frozenset({"final_answer", "finish", "final_result"})
_FLOW: Final = frozenset({"ParentCommand", "GraphInterrupt", "GraphBubbleUp", "NodeInterrupt", "CallDeferred", "ApprovalRequired"})
"""Exceptions by which frameworks steer: a graph jumps or waits for a person. Nothing failed."""
_MAX_MESSAGE: Final = 2000
_TRACEBACK: Final = "Traceback (most recent call last)"


class Ending(NamedTuple):
    """How a step ended. `error` is None where nothing says."""

    error: bool | None = None
    error_class: ErrorClass | None = None
    error_type: str | None = None
    error_message: str | None = None


class Usage(NamedTuple):
    """Tokens of one model call: `input_tokens` with everything cached, `output_tokens` with all reasoning."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    """Of `cache_write_tokens` those kept for an hour; None where nobody says for how long."""
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    zeros_left_out: bool | None = None
    """No count of cached tokens means that there were none; None where it means that nobody says."""
    billed_usd: Decimal | None = None
    """What the provider's own response says it charges, in US dollars."""
    stated_usd: Decimal | None = None
    """What the sender reckons that the call costs."""


SUCCESS: Final = Ending(error=False)
UNKNOWN_ENDING: Final = Ending()


def inclusive(
    input_tokens: int | None,
    output_tokens: int | None,
    *,
    read: int | None = None,
    write: int | None = None,
    reasoning: int | None = None,
    total: int | None = None,
    write_1h: int | None = None,
    input_audio: int | None = None,
    output_audio: int | None = None,
) -> Usage:
    """Usage with cache and reasoning inside the totals, whichever way the sender counts.

    Conventions that say "included" are obeyed by most and broken by some, so the figures themselves are asked: a part
    cannot be larger than its whole, and the total, where it is sent, fits only one of the readings.

    >>> inclusive(100, 10, read=80, total=190).input_tokens
    180
    >>> inclusive(100, 10, read=80, reasoning=5, total=195)[:2]
    (180, 15)
    >>> inclusive(100, 10, read=80, total=110).input_tokens
    100
    """
    if input_tokens is not None and output_tokens is not None:
        cached, thought = (read or 0) + (write or 0), reasoning or 0
        # Who counts what is cached apart from the input counts its audio apart too.
        told, said = cached + (input_audio or 0), thought + (output_audio or 0)
        beyond = 0 if total is None else total - input_tokens - output_tokens
        if beyond and told and beyond in {told, told + said}:
            input_tokens += told
        elif cached > input_tokens:
            input_tokens += cached
        if beyond and said and beyond in {said, told + said}:
            output_tokens += said
        elif thought > output_tokens:
            output_tokens += thought
    return Usage(input_tokens, output_tokens, read, write, reasoning, write_1h, input_audio, output_audio)


def lasting(write: int | None, hour: int | None, minutes: int | None) -> int | None:
    """Of `write` tokens written to a cache those kept for an hour, from counts of both durations, either of which may be missing."""
    return max((write or 0) - minutes, 0) if hour is None and minutes is not None and write is not None else hour


def ending(span: Span, *, ok_tells: bool = True, unset_is_ok: bool = False) -> Ending:
    """How the span ended, from its status, `error.type` and exception event.

    `ok_tells`: in this dialect status OK is set only on success. `unset_is_ok`: it marks every failure, so that no mark
    means success.
    """
    if span.status_code == 2:
        return _failure(span)
    if span.status_code == 1:
        return SUCCESS if ok_tells else UNKNOWN_ENDING
    if "error.type" in span.attributes and as_text(span.attributes["error.type"]):
        return _failure(span)
    return SUCCESS if unset_is_ok and span.status_code == 0 else UNKNOWN_ENDING


def _failure(span: Span) -> Ending:
    exception: Attributes = {}
    for event in span.events:
        if event.name == "exception" or event.name.endswith(".exception"):
            exception = event.attributes
    error_type = as_text(exception.get("exception.type")) or as_text(span.attributes.get("error.type"))
    message = as_text(exception.get("exception.message")) or as_text(span.status_message)
    if (error_type and error_type.rpartition(".")[2] in _FLOW) or (message and message.startswith(("Command(graph=", "ParentCommand("))):
        return UNKNOWN_ENDING
    return failed(error_type, message, as_int(span.attributes.get("http.response.status_code")))


def failed(error_type: str | None, message: str | None, code: int | None = None) -> Ending:
    """A failure, its message cut to what a person reads: before the traceback, at most 2,000 characters."""
    if message:
        message = message.partition(_TRACEBACK)[0].strip()[:_MAX_MESSAGE] or message[-_MAX_MESSAGE:]
    return Ending(error=True, error_class=classify(error_type, message, code), error_type=error_type, error_message=message)


def judged(known: Ending, result: str | None) -> Ending:
    """`known`, unless the tool's result itself says that the call failed."""
    if known.error is True:
        return known
    return failed(None, result) if seems_failed(result) else known


def tool_kind(name: str | None, result: str | None = None, arguments: str | None = None) -> StepKind | None:
    """Whether a tool call hands over to another agent; None for control tools, by which an agent says that it is done.

    A verb alone does not make a hand-off: money is transferred to accounts too.

    >>> [tool_kind(name).value for name in ("transfer_to_agent", "transfer_to_billing_agent", "transfer_to_savings")]
    ['handoff', 'handoff', 'tool']
    """
    if name is None:
        return StepKind.TOOL
    if name in _CONTROL:
        return None
    if (name[:1] in _HANDOFF_INITIALS and _HANDOFF.match(name)) or (result is not None and result.startswith(_JUMPS)):
        return StepKind.HANDOFF
    return StepKind.HANDOFF if name == "handoff" and arguments is not None and '"to_agent"' in arguments else StepKind.TOOL


class _Services:
    """The resource seen last, which all spans of an export share, and what it is called."""

    last: tuple[Attributes | None, str | None, str | None] = (None, None, None)


def _service(resource: Attributes) -> tuple[str | None, str | None]:
    known, service, instance = _Services.last
    if known is not resource:
        service, instance = as_text(resource.get("service.name")), as_id(resource.get("service.instance.id"))
        _Services.last = (resource, service, instance)
    return service, instance


# Steps are made with at most fifteen keywords and then completed: with more of them CPython makes dicts at each call, which is dearer.


def step(span: Span, dialect: str, kind: StepKind, **facts: Any) -> Step:
    """A step with everything a span tells in every dialect."""
    service, instance = _service(span.resource)
    made = Step(
        seq=0,
        session=UNASSIGNED,
        kind=kind,
        started_ns=span.start_ns,
        ended_ns=max(span.start_ns, span.end_ns),
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        dialect=dialect,
        service_name=service,
        service_instance=instance,
    )
    for field, fact in facts.items():
        if fact is not None:
            complete(made, field, fact)
    return made


def tool_call(
    span: Span,
    dialect: str,
    kind: StepKind,
    name: str | None,
    ended: Ending,
    *,
    agent: str | None = None,
    call_id: str | None = None,
    arguments: str | None = None,
    result: str | None = None,
) -> Step:
    """A tool call, or a hand-off that is one."""
    service, instance = _service(span.resource)
    made = Step(
        seq=0,
        session=UNASSIGNED,
        kind=kind,
        name=name,
        agent=agent,
        started_ns=span.start_ns,
        ended_ns=max(span.start_ns, span.end_ns),
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        dialect=dialect,
        service_name=service,
        service_instance=instance,
        call_id=call_id,
        arguments=arguments,
    )
    complete(made, "result", result)
    _end(made, ended)
    return made


def model_call(
    span: Span,
    dialect: str,
    model: str | None,
    usage: Usage,
    ended: Ending,
    *,
    said: Exchange = NOTHING,
    agent: str | None = None,
    provider: str | None = None,
    response_id: str | None = None,
    finish_reasons: tuple[str, ...] = (),
    service_tier: str | None = None,
) -> Step:
    """A model call: named after its model; one that answered did not fail, where its status leaves that open."""
    started_ns, ended_ns = span.start_ns, span.end_ns
    service, instance = _service(span.resource)
    made = Step(
        seq=0,
        session=UNASSIGNED,
        kind=_LLM,
        name=model,
        agent=agent,
        started_ns=started_ns,
        ended_ns=max(started_ns, ended_ns),
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        dialect=dialect,
        service_name=service,
        service_instance=instance,
        model=model,
        response_id=response_id,
    )
    complete(made, "provider", provider)
    complete(made, "finish_reasons", finish_reasons)
    complete(made, "input_text", said.input_text)
    complete(made, "output_text", said.output_text)
    if service_tier is not None:
        complete(made, "service_tier", service_tier)
    input_tokens, output_tokens, read, write, reasoning, write_1h, input_audio, output_audio, zeros_left_out, billed, stated = usage
    complete(made, "input_tokens", input_tokens)
    complete(made, "output_tokens", output_tokens)
    if read is not None:
        complete(made, "cached_input_tokens", read)
    if write is not None:
        complete(made, "cache_write_tokens", write)
    if reasoning is not None:
        complete(made, "reasoning_tokens", reasoning)
    if write_1h is not None:
        complete(made, "cache_write_1h_tokens", write_1h)
    if input_audio is not None:
        complete(made, "input_audio_tokens", input_audio)
    if output_audio is not None:
        complete(made, "output_audio_tokens", output_audio)
    if zeros_left_out:
        complete(made, "zeros_left_out", True)
    if billed is not None:
        complete(made, "billed_usd", billed)
    if stated is not None:
        complete(made, "stated_usd", stated)
    _end(made, SUCCESS if ended.error is None and (output_tokens or said.output_text or said.asks) else ended)
    return made


def _end(made: Step, ended: Ending) -> None:
    complete(made, "error", ended.error)
    if ended.error:
        complete(made, "error_class", ended.error_class)
        complete(made, "error_type", ended.error_type)
        complete(made, "error_message", ended.error_message)


_LLM: Final = StepKind.LLM
"""Looked up once: members of an enum are found by a search."""


def log_step(record: LogRecord, dialect: str, kind: StepKind, *, duration_ms: Any = None, **facts: Any) -> Step:
    """A step out of a log record, written when the step ended. The record's span is what the step ran under."""
    at_ns = record.time_ns or record.observed_ns
    lasted_ns = (as_int(duration_ms) or 0) * 1_000_000
    service, instance = _service(record.resource)
    return Step(
        seq=0,
        session=UNASSIGNED,
        kind=kind,
        started_ns=max(at_ns - lasted_ns, 0),
        ended_ns=at_ns,
        trace_id=record.trace_id or "",
        parent_span_id=record.span_id,
        dialect=dialect,
        service_name=service,
        service_instance=instance,
        **facts,
    )


def identity_only(span: Span, session_id: str | None, conversation_ids: tuple[str, ...] = (), agent: str | None = None) -> Fragment | None:
    """A fragment for a span that is no step; None where it says nothing about whose it is and stands in no trace that needs it."""
    if session_id is None and not conversation_ids and agent is None:
        return None
    return Fragment(session_id=session_id, conversation_ids=conversation_ids, agent=agent, at_ns=span.end_ns)
