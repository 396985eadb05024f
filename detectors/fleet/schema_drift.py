"""A tool whose definition changed under its callers, or that refuses what they send."""

from collections import OrderedDict
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from detectors.base import CLEAR, Signal
from detectors.fleet.base import NOTHING, Answers, FleetDetector, Window, kept
from detectors.model import ErrorClass, EvidenceLevel, SchemaRegistered, Severity, Step, StepKind
from detectors.text import quote


class SchemaDriftConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a tool no longer takes what it is sent, over a window of event time."""

    window_s: Annotated[float, Meta(ge=60, le=86_400)] = 1_800.0
    """Seconds over which calls are counted."""
    max_share: Annotated[float, Meta(gt=0, le=1)] = 0.05
    """Share of calls that may fail for their arguments, 0–1."""
    critical_share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Share from which the tool is as good as gone."""
    min_errors: Annotated[int, Meta(ge=1, le=10_000)] = 3
    """Such failures below which nothing is said."""
    min_calls: Annotated[int, Meta(ge=1, le=100_000)] = 10
    """Calls below which nothing is said."""


class SchemaDrift(FleetDetector[SchemaDriftConfig]):
    """Calls to one tool fail for their arguments, across sessions, or its definition is another than before.

    **Why it costs.** Every session that uses the tool retries and fails. One release is the cause, hundreds of sessions the symptom.

    **When it is wrong.** It fires on a prompt that makes up parameters in many sessions at once, and tells of every intended
    change of a definition, for the record. It misses a tool that takes anything and means something else by it.

    **Parameters** (`Config`): `window_s` (seconds), `max_share`, `critical_share` (shares, 0–1), `min_errors`, `min_calls` (calls).

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

    **References.** Contract drift: I. Robinson, "Consumer-Driven Contracts" (2006).
    """

    name: ClassVar[str] = "schema_drift"
    halt_reason: ClassVar[str | None] = "schema_drift"
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL})
    Config: ClassVar[type[msgspec.Struct]] = SchemaDriftConfig

    def __init__(self, config: SchemaDriftConfig) -> None:
        super().__init__(config)
        self._tools: OrderedDict[str, Window] = OrderedDict()
        self._open: set[str] = set()
        self._definitions: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def observe(self, step: Step, agent_type: str) -> Answers:  # noqa: ARG002 — the tool is at fault, whoever calls it
        """Counts a call."""
        if step.name is None or step.error is None:
            return NOTHING
        bad = step.error_class is ErrorClass.SCHEMA
        window = self._tools.get(step.name)
        if window is None:
            window = kept(self._tools, step.name, lambda: Window(self.config.window_s))
        window.add(step.ended_ns, bad=bad)
        if not bad:
            if step.name in self._open and window.share <= self.config.max_share / 2:
                self._open.discard(step.name)
                return ((step.name, CLEAR),)
            return NOTHING
        window.blame(step)
        config = self.config
        if window.bad < config.min_errors or window.total < config.min_calls or window.share <= config.max_share:
            return NOTHING
        self._open.add(step.name)
        critical = window.share >= config.critical_share and window.bad >= 2 * config.min_errors
        named = quote(step.name, 80)
        signal = Signal(
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            score=min(1.0, window.share),
            summary=f"{window.share:.0%} of calls to {named} fail for their arguments, in {len(window.sessions)} sessions.",
            evidence={**window.proof(), "share": round(window.share, 4), "error": quote(step.error_message or step.result or "", 160)},
            threshold={"critical_share": config.critical_share} if critical else {"max_share": config.max_share},
            first_step_seq=window.first_seq,
        )
        return ((step.name, signal),)

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
        return ((cause, CLEAR), (cause, signal))


def _parameters(schema: str) -> set[str]:
    try:
        found = msgspec.json.decode(schema)
    except (msgspec.DecodeError, RecursionError):
        return set()
    properties = found.get("properties") if isinstance(found, dict) else None
    return {str(name)[:80] for name in properties} if isinstance(properties, dict) else set()
