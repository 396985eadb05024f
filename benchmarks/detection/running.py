"""Puts labelled sessions through the real detectors and notes what fires, when and how sure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from benchmarks.detection.labelled import Labelled
from detectors import DETECTORS
from detectors.base import Detector
from detectors.calibration import level_of
from detectors.host import DetectorHost
from detectors.model import Finding, Severity, Step, StepKind, Tick

Level = Literal["warning", "critical", "halt"]
LEVELS: Final[tuple[Level, ...]] = ("warning", "critical", "halt")


class Fire(msgspec.Struct, frozen=True, kw_only=True):
    """One finding, told by the index of the step at which it came."""

    detector: str
    cause: str
    at: int
    severity: Severity
    halt_eligible: bool
    evidence: str
    """Whether content or structure alone speaks for it."""
    score: float
    strength: float
    """What the detector itself made of it, before it was calibrated."""

    @property
    def kind(self) -> tuple[str, str, str]:
        """Findings of a kind are calibrated together."""
        return self.detector, level_of(self.severity, halt_eligible=self.halt_eligible), self.evidence

    def names(self, causes: frozenset[str]) -> bool:
        return self.detector in causes or self.cause in causes

    def reaches(self, level: Level) -> bool:
        return self.halt_eligible if level == "halt" else self.severity.rank >= Severity(level).rank


class Run(msgspec.Struct, frozen=True):
    """A session and what fired in it, in order."""

    session: Labelled
    fires: tuple[Fire, ...]


def without_content(step: Step) -> Step:
    """The step as a sender tells it that keeps content to itself: names, outcomes, tokens and times."""
    return msgspec.structs.replace(step, arguments=None, result=None, input_text=None, output_text=None, asks=())


def without_results(session: Labelled) -> Labelled:
    """The session as a sender tells it that says what tools were asked, but not what they returned."""
    steps = tuple(step if step.kind is StepKind.AGENT else msgspec.structs.replace(step, result=None) for step in session.steps)
    return msgspec.structs.replace(session, steps=steps)


def fire_of(finding: Finding, index: int) -> Fire:
    return Fire(
        detector=finding.detector,
        cause=finding.halt_reason or finding.detector,
        at=index,
        severity=finding.severity,
        halt_eligible=finding.halt_eligible,
        evidence=finding.evidence_level.value,
        score=finding.score,
        strength=finding.evidence["strength"],
    )


def watch(
    session: Labelled,
    *,
    strip: bool = False,
    detectors: Sequence[type[Detector[Any]]] = DETECTORS,
    configs: Mapping[str, msgspec.Struct] | None = None,
) -> Run:
    """Runs one session through the detectors directly."""
    host = DetectorHost(
        session.steps[0].session,
        detectors=detectors,
        configs=configs,
        ceiling_usd=session.ceiling_usd,
        polling_tools=session.polling_tools,
        on_error=_raise,
    )
    fires: list[Fire] = []
    host.context.baseline = session.baseline
    for index, step in enumerate(session.steps):
        found = host.observe(without_content(step) if strip else step)[1]
        fires += [fire_of(finding, index) for finding in found]
        if index == session.halted_after:
            host.context.halted_at_ns, host.context.halt_generation = step.ended_ns, 1
    if session.silence_s:
        last = session.steps[-1]
        later = Tick(seq=last.seq + 1, at_ns=last.ended_ns + session.silence_s * 1_000_000_000)
        fires += [fire_of(finding, len(session.steps) - 1) for finding in host.tick(later)]
    return Run(session, tuple(fires))


def watch_all(sessions: Iterable[Labelled], *, strip: bool = False) -> list[Run]:
    return [watch(session, strip=strip) for session in sessions if session.steps]


def _raise(detector: str, _: object, error: Exception) -> None:
    raise RuntimeError(f"{detector} raised") from error
