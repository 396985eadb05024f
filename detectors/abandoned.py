"""A session that fell silent with work in progress."""

from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from detectors.base import CLEAR, Answer, Context, Detector, Signal
from detectors.model import EvidenceLevel, Severity, Step, StepKind, Tick, ToolAsk
from detectors.step_features import StepFeatures
from detectors.text import quote

_LLM: Final = StepKind.LLM
_AGENT: Final = StepKind.AGENT
_ASKS: Final = 32
"""Open requests remembered."""


class AbandonedConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a session may be silent in the middle of something. Event time."""

    warn_silence_s: Annotated[float, Meta(ge=1, le=31_536_000)] = 900.0
    """Seconds without telemetry from which to warn, if the model waits for a tool."""
    warn_unfinished_s: Annotated[float, Meta(ge=1, le=31_536_000)] = 1800.0
    """Seconds without telemetry from which to warn, if all that is missing is the end of the trace."""


class Abandoned(Detector[AbandonedConfig]):
    """Nothing has been heard of the session for long, and it was in the middle of something.

    **Why it costs.** A worker that died takes its task with it, and whoever waits for the result waits on. If it is not
    dead but cut off from telemetry, it spends unseen.

    **When it is wrong.** It fires on a tool that takes very long, on a call that waits for a person, and on an agent whose
    spans of its last minutes got lost. It misses a session that died between two turns: that looks like one that is over.

    **Parameters** (`Config`): `warn_silence_s`, `warn_unfinished_s` (seconds).

    **Examples.** The model asked for a tool, and twenty minutes later there is still no result:

    >>> import msgspec
    >>> from detectors.base import Context
    >>> from detectors.step_features import StepFeatures
    >>> from detectors.model import Tick, ToolAsk
    >>> from detectors.testing import llm, session, tool
    >>> asked, done = session(llm(asks=(ToolAsk(call_id="c1", name="build"),)), tool("build", call_id="c1"))
    >>> watch = Abandoned(AbandonedConfig())
    >>> watch.observe(asked, StepFeatures(), Context())
    >>> later = Tick(seq=9, at_ns=asked.ended_ns + 1_200_000_000_000)
    >>> watch.tick(later, Context()).summary
    'Silent for 20 minutes since build was asked for.'

    The tool answered, so that the session is merely idle:

    >>> watch = Abandoned(AbandonedConfig())
    >>> [signal for signal in (watch.observe(asked, StepFeatures(), Context()), watch.observe(done, StepFeatures(), Context()),
    ...                        watch.tick(later, Context())) if signal]
    []

    **References.** Unreliable failure detectors: T. D. Chandra, S. Toueg, Journal of the ACM 43 (1996): silence can be
    suspected, never proved.
    """

    name: ClassVar[str] = "abandoned"
    halt_reason: ClassVar[str | None] = "abandoned"
    Config: ClassVar[type[msgspec.Struct]] = AbandonedConfig

    __slots__ = ("_asks", "_last_ns", "_last_seq", "_told", "_unfinished")

    def __init__(self, config: AbandonedConfig) -> None:
        super().__init__(config)
        self._asks: tuple[ToolAsk, ...] = ()
        self._last_seq: int | None = None
        """Sequence number of the step that ended last."""
        self._last_ns = 0
        """When that was."""
        self._unfinished = False
        """The latest step belongs to a span that was not heard of."""
        self._told = False

    def observe(self, step: Step, features: StepFeatures, context: Context) -> Answer:  # noqa: ARG002 — only what is open counts
        """Notes what is open, and takes a warning back when the session is heard of again."""
        ended_ns = step.ended_ns
        if ended_ns >= self._last_ns or self._last_seq is None:
            self._last_seq, self._last_ns = step.seq, ended_ns
        kind = step.kind
        self._unfinished = step.parent_span_id is not None
        if kind is _LLM:
            self._asks = step.asks[:_ASKS]
        elif self._asks:
            if kind is not _AGENT:
                self._answered(step)
            elif not self._unfinished:
                self._asks = ()
        if self._told:
            self._told = False
            return CLEAR
        return None

    def tick(self, tick: Tick, context: Context) -> Answer:
        """Warns once the silence has lasted too long."""
        if self._told or self._last_seq is None or context.halted_at_ns is not None or not (self._asks or self._unfinished):
            return None
        limit = self.config.warn_silence_s if self._asks else self.config.warn_unfinished_s
        silent_s = (tick.at_ns - self._last_ns) / 1e9
        if silent_s < limit:
            return None
        self._told = True
        names = [quote(ask.name or "a tool", 40) for ask in self._asks]
        since = f"since {names[0]} was asked for" if names else "and the end of its trace was never heard of"
        return Signal(
            severity=Severity.WARNING,
            score=min(1.0, silent_s / (4 * limit)),
            summary=f"Silent for {silent_s / 60:.0f} minutes {since}.",
            evidence={"silent_s": round(silent_s), "last_seq": self._last_seq, "open": names, "trace_unfinished": self._unfinished},
            threshold={"warn_silence_s" if self._asks else "warn_unfinished_s": limit},
            first_step_seq=self._last_seq,
            evidence_level=EvidenceLevel.STRUCTURE,
        )

    def _answered(self, step: Step) -> None:
        for ask in self._asks:
            if (ask.call_id is not None and ask.call_id == step.call_id) or (ask.name == step.name and None in {ask.call_id, step.call_id}):
                self._asks = tuple(other for other in self._asks if other is not ask)
                return
