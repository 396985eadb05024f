"""A tool whose definition changed under its callers, or that refuses what they send."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from detectors.base import CLEAR, Signal
from detectors.fleet.base import NOTHING, Answers, FleetDetector, Windows, kept
from detectors.fleet.shapes import Compared, ResultShape, shape_of
from detectors.model import ErrorClass, EvidenceLevel, SchemaRegistered, Severity, Step, StepKind
from detectors.text import quote, reads_as_failure


class SchemaDriftConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a tool no longer takes what it is sent, over a window of event time."""

    window_s: Annotated[float, Meta(ge=60, le=86_400)] = 1_800.0
    """Seconds over which calls are counted, and for which a change that stays is told of."""
    max_share: Annotated[float, Meta(gt=0, le=1)] = 0.05
    """Share of calls that may fail for their arguments, 0–1."""
    critical_share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Share from which the tool is as good as gone."""
    min_errors: Annotated[int, Meta(ge=1, le=10_000)] = 3
    """Such failures below which nothing is said."""
    min_calls: Annotated[int, Meta(ge=1, le=100_000)] = 10
    """Calls below which nothing is said."""
    shape_results: Annotated[int, Meta(ge=5, le=1_000)] = 20
    """Results that must have had one shape before it is the usual one."""
    shape_sessions: Annotated[int, Meta(ge=1, le=100)] = 10
    """Sessions that they must come from."""
    changed_results: Annotated[int, Meta(ge=2, le=20)] = 5
    """Results of another shape below which nothing is said; they must be half of the latest ones at least."""
    changed_sessions: Annotated[int, Meta(ge=1, le=20)] = 3
    """Sessions that these must come from."""


class SchemaDrift(FleetDetector[SchemaDriftConfig]):
    """One tool's contract is another than before: calls fail for their arguments, its definition changed, or its results did.

    Results count where they are structured: fields that every result had in many sessions are gone or of another type.

    **Why it costs.** Every session that uses the tool retries and fails. One release is the cause, hundreds of sessions the symptom.

    **When it is wrong.** It fires on a prompt that makes up parameters in many sessions at once, and tells of every intended
    change of a definition, for the record. It fires when the fleet begins to ask a tool of many shapes for another kind of
    thing, after a time of one kind only. It misses a tool that takes anything and means something else by it, results that
    kept their fields and types and changed their meaning, fields that were sometimes absent before, and results whose
    content is not captured.

    **Parameters** (`Config`): `window_s` (seconds), `max_share`, `critical_share` (shares, 0–1), `min_errors`, `min_calls` (calls),
    `shape_results`, `changed_results` (results), `shape_sessions`, `changed_sessions` (sessions).

    **Examples.** Every other call is refused:

    >>> from detectors.fleet.testing import run, spread
    >>> from detectors.model import ErrorClass
    >>> from detectors.testing import tool
    >>> bad = [tool("search", error=True, error_class=ErrorClass.SCHEMA), tool("search", result="found", error=False)]
    >>> [(finding.severity.value, finding.evidence["cause"]) for finding in run(SchemaDrift, spread(bad * 10, sessions=4))]
    [('critical', 'search')]

    One in forty:

    >>> run(SchemaDrift, spread(([tool("search", error=False)] * 39 + bad[:1]) * 3, sessions=4))
    []

    Results that used to name a price, and no longer do:

    >>> old, new = tool("quote", result='{"sku": "a", "price": 3}'), tool("quote", result='{"sku": "a", "prices": [3]}')
    >>> [finding.evidence["fields_gone"] for finding in run(SchemaDrift, spread([old] * 40 + [new] * 40, sessions=12))]
    [['price']]

    A field that was not always there:

    >>> some = tool("quote", result='{"sku": "a", "price": 3, "rebate": 1}')
    >>> run(SchemaDrift, spread([some, old] * 20 + [old] * 40, sessions=12))
    []

    **References.** Contract drift: I. Robinson, "Consumer-Driven Contracts" (2006). What a result may not lose: T. Preston-Werner,
    "Semantic Versioning 2.0.0" (2013), item 8, and the robustness principle, RFC 9413.
    """

    name: ClassVar[str] = "schema_drift"
    halt_reason: ClassVar[str | None] = "schema_drift"
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL})
    Config: ClassVar[type[msgspec.Struct]] = SchemaDriftConfig

    def __init__(self, config: SchemaDriftConfig) -> None:
        super().__init__(config)
        self._tools = Windows(config.window_s)
        self._definitions: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._shapes: OrderedDict[str, ResultShape] = OrderedDict()
        self._reshaped: OrderedDict[str, set[str]] = OrderedDict()
        """Causes of open findings about results, and the agent types and tools that show them."""
        self._stays: OrderedDict[str, int] = OrderedDict()
        """Causes of open findings, and when the latest change was seen, in nanoseconds, earliest first: the window after it they end."""

    def observe(self, step: Step, agent_type: str) -> Answers:
        """Counts a call, and looks at what it returned."""
        if step.name is None:
            return NOTHING
        answers: Answers = [(cause, CLEAR) for cause in self._over(step.ended_ns)] if self._stays else NOTHING
        if step.error is not None:
            answers = (*answers, *self._called(step, step.name))
        if step.result and step.error is not True:
            answers = (*answers, *self._returned(step, step.name, step.result, agent_type))
        return answers

    def lapsed(self, at_ns: int) -> Sequence[str]:
        """Causes of which no failure or change was seen for the window."""
        return [*self._tools.lapsed(at_ns), *self._over(at_ns)]

    def _over(self, now_ns: int) -> list[str]:
        over = []
        for cause, since_ns in self._stays.items():
            if now_ns - since_ns < self.config.window_s * 1e9:
                break
            over.append(cause)
        for cause in over:
            del self._stays[cause]
            self._reshaped.pop(cause, None)
        return over

    def _seen(self, cause: str, at_ns: int) -> None:
        self._stays[cause] = at_ns
        self._stays.move_to_end(cause)

    def _called(self, step: Step, tool: str) -> Answers:
        bad = step.error_class is ErrorClass.SCHEMA
        window = self._tools.count(tool, step, bad=bad)
        if not bad:
            return window.over(tool) if window.open and window.share <= self.config.max_share / 2 else NOTHING
        config = self.config
        if window.bad < config.min_errors or window.total < config.min_calls or window.share <= config.max_share:
            return NOTHING
        critical = window.share >= config.critical_share and window.bad >= 2 * config.min_errors
        named = quote(tool, 80)
        signal = Signal(
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            score=min(1.0, window.share),
            summary=f"{window.share:.0%} of calls to {named} fail for their arguments, in {len(window.sessions)} sessions.",
            evidence={**window.proof(), "share": round(window.share, 4), "error": quote(step.error_message or step.result or "", 160)},
            threshold={"critical_share": config.critical_share} if critical else {"max_share": config.max_share},
            first_step_seq=window.first_seq,
        )
        return window.found(tool, signal)

    def _returned(self, step: Step, tool: str, result: str, agent_type: str) -> Answers:
        """Compares a result with those before. What agents of another type call by the same name may be another tool."""
        config, name = self.config, f"{agent_type}:{tool}"
        known = self._shapes.get(name)
        if known is None:
            known = kept(self._shapes, name, ResultShape)
        if known.learned < config.shape_results or len(known.sessions) < config.shape_sessions:
            if known.learned < config.shape_results or step.session not in known.sessions:
                shape = shape_of(result)
                if shape is not None and not reads_as_failure(result):
                    known.learn(shape, step.session)
            return NOTHING
        if not known.structured or not known.due():
            return NOTHING
        shape = shape_of(result)
        if shape is None:
            return NOTHING
        change = known.compare(shape)
        if change and reads_as_failure(result):
            return NOTHING
        known.note(step.seq, step.session, change)
        cause = f"results of {tool}"
        seen_by: set[str] = kept(self._reshaped, cause, set)
        if known.settled():  # it is the usual thing by now
            known.forget()
            seen_by.discard(name)
            self._seen(cause, step.ended_ns)
            return NOTHING
        if change and name in seen_by:
            self._seen(cause, step.ended_ns)
        if known.steady():
            return self._as_before(cause, name)
        changed = known.changed()
        sessions = dict.fromkeys(one.session.session_id for one in changed)
        if len(changed) < config.changed_results or len(sessions) < config.changed_sessions:
            return NOTHING
        if name in seen_by:
            return NOTHING
        seen_by.add(name)
        self._seen(cause, step.ended_ns)
        return ((cause, _reshaped(tool, changed, list(sessions), known.learned, config.changed_results)),)

    def _as_before(self, cause: str, name: str) -> Answers:
        seen_by = self._reshaped[cause]
        if name not in seen_by:
            return NOTHING
        seen_by.discard(name)
        return NOTHING if seen_by else ((cause, CLEAR),)

    def registered(self, event: SchemaRegistered) -> Answers:
        """Compares a definition with the one before."""
        name = f"{event.agent_type}:{event.tool}"
        before = self._definitions.get(name)
        kept(self._definitions, name, lambda: (event.fingerprint, event.schema), 2_000)
        self._definitions[name] = (event.fingerprint, event.schema)
        if before is None or before[0] == event.fingerprint:
            return NOTHING
        gone, new = _parameters(before[1]) - _parameters(event.schema), _parameters(event.schema) - _parameters(before[1])
        signal = Signal(
            severity=Severity.WARNING if gone else Severity.INFO,
            score=0.5 if gone else 0.2,
            summary=f"The definition of {quote(event.tool, 80)} changed for {quote(event.agent_type, 60)}.",
            evidence={
                "tool": quote(event.tool, 120),
                "fingerprint": event.fingerprint,
                "fingerprint_before": before[0],
                "parameters_gone": sorted(gone)[:20],
                "parameters_new": sorted(new)[:20],
            },
            threshold={"changes": 1.0},
            first_step_seq=event.seq,
            evidence_level=EvidenceLevel.CONTENT,
        )
        # Each change is an episode of its own.
        cause = f"definition of {name}"
        self._seen(cause, event.at_ns)
        return ((cause, CLEAR), (cause, signal))


def _reshaped(tool: str, changed: list[Compared], sessions: list[str], learned: int, needed: int) -> Signal:
    gone = dict.fromkeys(path for one in changed for path in one.change.gone)
    other = dict.fromkeys(each for one in changed for each in one.change.other)
    return Signal(
        severity=Severity.WARNING,
        score=0.5,
        summary=f"Results of {quote(tool, 80)} have another shape than before, in {len(sessions)} sessions.",
        evidence={
            "tool": quote(tool, 120),
            "fields_gone": [quote(path, 120) for path in list(gone)[:20]],
            "fields_changed": [{"field": quote(path, 120), "was": was, "is": now} for path, was, now in list(other)[:20]],
            "results_before": learned,
            "results_changed": len(changed),
            "sessions": len(sessions),
            "latest": [{"session_id": quote(one.session.session_id, 120), "seq": one.seq} for one in changed[-12:]],
        },
        threshold={"changed_results": float(needed)},
        first_step_seq=changed[0].seq,
        evidence_level=EvidenceLevel.CONTENT,
    )


def _parameters(schema: str) -> set[str]:
    try:
        found = msgspec.json.decode(schema)
    except (msgspec.DecodeError, RecursionError):
        return set()
    properties = found.get("properties") if isinstance(found, dict) else None
    return {str(name)[:80] for name in properties} if isinstance(properties, dict) else set()
