"""A session that goes on after it was halted."""

from collections import deque
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from detectors.base import CLEAR, Answer, Context, Detector, Need, Signal
from detectors.model import EvidenceLevel, Severity, Step, StepKind
from detectors.step_features import StepFeatures
from detectors.text import quote


class ZombieConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much life is too much after a halt. Event time."""

    grace_s: Annotated[float, Meta(ge=0, le=86_400)] = 30.0
    """Seconds after the halt was asked for in which a step may still begin."""
    critical_steps: Annotated[int, Meta(ge=1, le=10_000)] = 3
    """Steps begun after that from which the halt has plainly failed; the first one warns."""


class Zombie(Detector[ZombieConfig]):
    """The session was halted and still begins new steps.

    **Why it costs.** Everybody believes it stopped. What it spends now is spent without anyone looking, and whatever it was
    halted for goes on.

    **When it is wrong.** It fires on a sender whose clock is ahead by more than the grace, and on calls that were queued
    before the halt and begun after it. It misses a session that goes on under another id or has stopped reporting. It is no
    reason to halt: the halt is there already and has to be asserted again.

    **Parameters** (`Config`): `grace_s` (seconds), `critical_steps` (counted steps).

    **Examples.** Halted a minute before its first step begins:

    >>> from detectors.testing import run, session, tool
    >>> steps = session(*(tool("read", {"page": n}, f"page {n}") for n in range(4)))
    >>> halted = steps[0].started_ns - 60_000_000_000
    >>> [(step.seq, signal.severity.value) for step, signal in run(Zombie, steps, halted_at_ns=halted)]
    [(1, 'warning'), (3, 'critical')]

    Never halted:

    >>> run(Zombie, steps)
    []

    **References.** Fencing off what was declared dead and is not: M. Kleppmann, "Designing Data-Intensive Applications"
    (2017), chapter 8.
    """

    name: ClassVar[str] = "zombie"
    halt_reason: ClassVar[str | None] = None
    kinds: ClassVar[frozenset[StepKind]] = frozenset(StepKind) - {StepKind.AGENT}
    needs: ClassVar[Need | None] = "halt"
    Config: ClassVar[type[msgspec.Struct]] = ZombieConfig

    __slots__ = ("_first", "_generation", "_seqs", "_steps")

    def __init__(self, config: ZombieConfig) -> None:
        super().__init__(config)
        self._generation = 0
        self._seqs: deque[int] = deque(maxlen=12)
        self._steps = 0
        self._first = 0

    def observe(self, step: Step, features: StepFeatures, context: Context) -> Answer:  # noqa: ARG002 — only when it began counts
        """Counts a step that began after the halt."""
        halted = context.halted_at_ns
        if halted is None or context.halt_generation != self._generation:
            self._generation = context.halt_generation
            steps, self._steps = self._steps, 0
            self._seqs.clear()
            if halted is None:
                return CLEAR if steps else None
        if step.started_ns - halted <= self.config.grace_s * 1e9:
            return None
        self._first = self._first if self._steps else step.seq
        self._steps += 1
        self._seqs.append(step.seq)
        critical = self._steps >= self.config.critical_steps
        if self._steps not in {1, self.config.critical_steps}:
            return None
        late_s = (step.started_ns - halted) / 1e9
        return Signal(
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            score=min(1.0, self._steps / (2 * self.config.critical_steps)),
            summary=f"{self._steps} step{'' if self._steps == 1 else 's'} begun after the halt, the latest {late_s:.0f} s after it.",
            evidence={
                "steps": self._steps,
                "seqs": list(self._seqs),
                "latest": quote(f"{step.kind.value}:{step.name}", 120),
                "seconds_after_halt": round(late_s, 1),
                "halt_generation": context.halt_generation,
            },
            threshold={"critical_steps": float(self.config.critical_steps)} if critical else {"grace_s": self.config.grace_s},
            first_step_seq=self._first,
            evidence_level=EvidenceLevel.STRUCTURE,
        )
