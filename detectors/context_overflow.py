"""A context window that fills up."""

from itertools import pairwise
from statistics import median
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from detectors.base import CLEAR, Answer, Context, Detector, Signal
from detectors.model import EvidenceLevel, Severity, Step, StepKind
from detectors.step_features import StepFeatures
from detectors.text import quote

_Name = tuple[str | None, str | None]
"""Of an agent and a model."""

_LINES: Final = 8
"""Contexts told apart in one session."""
_REMIND: Final = 8
"""Calls after which an unchanged signal is given again."""
_READINGS: Final = 8
"""Calls of each context that the forecast rests on."""


class ContextOverflowConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How full is too full. Utilisation is input tokens as a share of the model's window, 0 and up."""

    warn_utilization: Annotated[float, Meta(ge=0.01, le=10)] = 0.70
    """Share of the window from which to warn."""
    critical_utilization: Annotated[float, Meta(ge=0.01, le=10)] = 0.90
    """Share of the window from which the next calls are in danger."""
    halt_utilization: Annotated[float, Meta(ge=0.01, le=10)] = 0.98
    """Share of the window from which the next call cannot be expected to fit, if the context still grows."""
    compaction_drop: Annotated[float, Meta(ge=0.01, le=1)] = 0.30
    """Share of the former utilisation by which it must fall to be a compaction, 0–1."""
    forget_calls: Annotated[int, Meta(ge=1, le=100)] = 24
    """Model calls of others after which a context not heard of no longer counts."""


class _Line(msgspec.Struct, gc=False):
    """One context: the calls of one agent to one model."""

    last_call: int
    first_seq: int
    shares: list[float]
    seqs: list[int]
    fallen: float | None = None
    """A reading far below the last: a compaction if the next confirms it, another context of the same name if not."""
    fallen_seq: int = 0


class ContextOverflow(Detector[ContextOverflowConfig]):
    """The context window of a model fills up, call by call.

    **Why it costs.** Every further call pays for the whole window, answers get worse long before it is full, and then the
    call fails or the oldest instructions silently drop out.

    **When it is wrong.** It fires on a single long document that was meant to fill the window. It misses a context whose
    window or input tokens are unknown, and one that drops old messages all along and so never fills. Agents that share one
    name and one model are told apart only by one jump up or down at a time.

    **Parameters** (`Config`): `warn_utilization`, `critical_utilization`, `halt_utilization` (shares of the window),
    `compaction_drop` (share, 0–1), `forget_calls` (model calls).

    **Examples.** A context that grows by a tenth a call:

    >>> from detectors.testing import llm, run, session
    >>> growing = [llm(input_tokens=10_000 * n, context_window=100_000) for n in range(1, 10)]
    >>> [(step.seq, signal.severity.value, signal.evidence["steps_left"]) for step, signal in run(ContextOverflow, session(*growing))]
    [(7, 'warning', 3), (9, 'critical', 1)]

    One that is compacted in time:

    >>> sawtooth = [llm(input_tokens=10_000 * n, context_window=100_000) for n in (4, 5, 6, 2, 3, 4, 5, 6, 2, 3)]
    >>> run(ContextOverflow, session(*sawtooth))
    []

    **References.** Answers worsen well before the window is full: N. F. Liu et al., "Lost in the Middle", TACL 12 (2024).
    70 and 90 % are the customary pair of warning and paging thresholds for anything that fills.
    """

    name: ClassVar[str] = "context_overflow"
    halt_reason: ClassVar[str | None] = "context_overflow"
    Config: ClassVar[type[msgspec.Struct]] = ContextOverflowConfig
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.LLM})
    memory_steps: ClassVar[int] = 128

    __slots__ = ("_calls", "_lines", "_open", "_told", "_told_at")

    def __init__(self, config: ContextOverflowConfig) -> None:
        super().__init__(config)
        self._lines: dict[_Name, _Line] | None = None
        self._calls = 0
        self._open = False
        self._told: tuple[bool, bool] | None = None
        self._told_at = 0

    def observe(self, step: Step, features: StepFeatures, context: Context) -> Answer:  # noqa: ARG002 — tokens say it all
        """Takes in one model call's input tokens, and answers as long as a context is too full."""
        tokens, window = step.input_tokens, step.context_window
        if tokens is None or not window:
            return None
        share = tokens / window
        self._calls += 1
        name = (step.agent, step.model or step.name)
        if self._lines is None:
            self._lines = {}
        line = self._lines.get(name) or self._begin(self._lines, name, step.seq)
        line.last_call = self._calls
        if self._read(line, share, step.seq) and share >= self.config.warn_utilization:
            self._open = True
            return self._tell(name, line, step, share)
        if self._open and not any(self._full(each) for each in self._lines.values()):
            self._open, self._told = False, None
            return CLEAR
        return None

    def _tell(self, name: _Name, line: _Line, step: Step, share: float) -> Answer:
        """Signals a change of level at once, an unchanged one now and then: a full context mostly stays full."""
        level = (share >= self.config.critical_utilization, share >= self.config.halt_utilization)
        if level == self._told and self._calls - self._told_at < _REMIND:
            return None
        signal = self._signal(name, line, step)
        if signal.halt_eligible == level[1]:
            self._told, self._told_at = level, self._calls
        return signal

    def _begin(self, lines: dict[_Name, _Line], name: _Name, seq: int) -> _Line:
        if len(lines) >= _LINES:
            del lines[min(lines, key=lambda each: lines[each].last_call)]
        line = lines[name] = _Line(self._calls, seq, [], [])
        return line

    def _full(self, line: _Line) -> bool:
        recent = self._calls - line.last_call <= self.config.forget_calls
        return recent and bool(line.shares) and line.shares[-1] >= self.config.warn_utilization

    def _read(self, line: _Line, share: float, seq: int) -> bool:
        """Adds a reading; False while it is not known whose it is."""
        shares = line.shares
        if shares and share < shares[-1] * (1 - self.config.compaction_drop):
            if line.fallen is None or share < line.fallen * (1 - self.config.compaction_drop):
                line.fallen, line.fallen_seq = share, seq
                return False
            shares[:] = [line.fallen]
            line.seqs[:] = [line.fallen_seq]
            line.first_seq = line.fallen_seq
        line.fallen = None
        shares.append(share)
        line.seqs.append(seq)
        if len(shares) > _READINGS:
            del shares[0], line.seqs[0]
        return True

    def _signal(self, name: _Name, line: _Line, step: Step) -> Signal:
        config = self.config
        share = line.shares[-1]
        readings = line.shares
        growth = median(after - before for before, after in pairwise(readings)) if len(readings) > 1 else 0.0
        left = max(0, round((1 - share) / growth)) if growth > 0.0005 else None
        critical = share >= config.critical_utilization
        forecast = "" if left is None else f"; at this rate it is full in {left} more call{'' if left == 1 else 's'}"
        evidence: dict[str, Any] = {
            "agent": name[0],
            "model": name[1],
            "input_tokens": step.input_tokens,
            "context_window": step.context_window,
            "utilization": round(share, 4),
            "growth_per_call": round(growth, 4),
            "steps_left": left,
            "readings": [{"seq": seq, "utilization": round(each, 4)} for seq, each in zip(line.seqs, readings, strict=True)],
        }
        return Signal(
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            score=min(1.0, share),
            summary=f"The context of {quote(name[0] or name[1] or 'the model', 80)} is {share:.0%} full{forecast}.",
            evidence=evidence,
            threshold={"critical_utilization": config.critical_utilization} if critical else {"warn_utilization": config.warn_utilization},
            first_step_seq=line.first_seq,
            halt_eligible=share >= config.halt_utilization and growth > 0,
            evidence_level=EvidenceLevel.STRUCTURE,
        )
