"""Runs the fleet detectors of one tenant and turns their answers into findings: one for each cause, while it lasts."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from detectors.base import Clear, Signal
from detectors.fleet import FLEET_DETECTORS
from detectors.fleet.base import Answers, FleetDetector
from detectors.model import Evaluation, Finding, SchemaRegistered, Severity, Step, StepKind, Versions, finding_id

_CAUSES: Final = 2_000
"""Causes whose episodes are remembered."""

Seen = Step | SchemaRegistered | Evaluation


class _Episode(msgspec.Struct):
    number: int
    severity: Severity
    finding: Finding
    open: bool = True


class FleetHost:
    """The detectors of one tenant's fleet. A detector that raises is dropped and reported to `on_error`."""

    def __init__(
        self,
        tenant: str,
        *,
        detectors: Sequence[type[FleetDetector[Any]]] = FLEET_DETECTORS,
        configs: Mapping[str, msgspec.Struct] | None = None,
        modes: Mapping[str, str] | None = None,
        versions: Versions | None = None,
        on_error: Callable[[str, Any, Exception], None] | None = None,
    ) -> None:
        self._tenant = tenant
        self.versions = versions or Versions()
        self._modes = modes or {}
        self._on_error = on_error
        self._detectors = {kind.name: kind((configs or {}).get(kind.name) or kind.Config()) for kind in detectors}
        self._by_kind = self._dispatch()
        self._episodes: OrderedDict[tuple[str, str], _Episode] = OrderedDict()

    def _dispatch(self) -> dict[StepKind, tuple[FleetDetector[Any], ...]]:
        return {kind: tuple(each for each in self._detectors.values() if kind in each.kinds) for kind in StepKind}

    def set_modes(self, modes: Mapping[str, str]) -> None:
        """Changes how far findings may go from here on."""
        self._modes = modes

    def known(self, findings: Sequence[Finding]) -> None:
        """Takes in what was found before the steps that follow, so that episodes are numbered on."""
        for finding in sorted(findings, key=lambda one: one.episode):
            key = (finding.detector, str(finding.evidence.get("cause")))
            self._episodes[key] = _Episode(finding.episode, finding.severity, finding, open=False)

    def observe(self, step: Step, agent_type: str) -> list[Finding]:
        """Takes in a step of any session."""
        found: list[Finding] = []
        for detector in self._by_kind[step.kind]:
            try:
                answers = detector.observe(step, agent_type)
            except Exception as error:  # noqa: BLE001 — one broken detector must not stop the others
                self._drop(detector, step, error)
                continue
            if answers:
                self._take(detector, answers, step, agent_type, found)
        return found

    def registered(self, event: SchemaRegistered) -> list[Finding]:
        """Takes in a tool's definition."""
        return self._ask(lambda detector: detector.registered(event), event, event.agent_type)

    def evaluated(self, event: Evaluation, agent_type: str) -> list[Finding]:
        """Takes in a judgement."""
        return self._ask(lambda detector: detector.evaluated(event, agent_type), event, agent_type)

    def _ask(self, question: Callable[[FleetDetector[Any]], Answers], seen: Seen, agent_type: str) -> list[Finding]:
        found: list[Finding] = []
        for detector in list(self._detectors.values()):
            try:
                answers = question(detector)
            except Exception as error:  # noqa: BLE001 — as above
                self._drop(detector, seen, error)
                continue
            self._take(detector, answers, seen, agent_type, found)
        return found

    def _drop(self, detector: FleetDetector[Any], seen: Seen, error: Exception) -> None:
        self._detectors.pop(detector.name, None)
        self._by_kind = self._dispatch()
        if self._on_error is not None:
            self._on_error(detector.name, seen, error)

    def tick(self, at_ns: int) -> None:
        """Lets time pass: what nobody sees any more stands no more. Nothing is found by it."""
        for detector in self._detectors.values():
            for cause in detector.lapsed(at_ns):
                episode = self._episodes.get((detector.name, cause))
                if episode is not None:
                    episode.open = False

    def open(self) -> list[Finding]:
        """The findings that are open now."""
        return [episode.finding for episode in self._episodes.values() if episode.open]

    def _take(self, detector: FleetDetector[Any], answers: Answers, seen: Seen, agent_type: str, found: list[Finding]) -> None:
        for cause, answer in answers:
            key = (detector.name, cause)
            episode = self._episodes.get(key)
            if isinstance(answer, Clear):
                if episode is not None:
                    episode.open = False
                continue
            if answer is None:
                continue
            if episode is not None and episode.open and answer.severity.rank <= episode.severity.rank:
                continue
            number = 1 if episode is None else episode.number + (not episode.open)
            finding = self._finding(detector, cause, number, answer, seen, agent_type)
            self._episodes[key] = _Episode(number, answer.severity, finding)
            self._episodes.move_to_end(key)
            if len(self._episodes) > _CAUSES:
                self._episodes.popitem(last=False)
            found.append(finding)

    def _finding(  # noqa: PLR0917 — all of it stands in the finding
        self, detector: FleetDetector[Any], cause: str, number: int, signal: Signal, seen: Seen, agent_type: str
    ) -> Finding:
        step = seen if isinstance(seen, Step) else None
        return Finding(
            id=finding_id(None, f"{self._tenant}|{detector.name}|{cause}", number),
            session=None,
            detector=detector.name,
            halt_reason=detector.halt_reason,
            severity=signal.severity,
            halt_eligible=False,
            score=signal.score,
            step_seq=seen.seq,
            first_step_seq=signal.first_step_seq,
            span_id=step.span_id if step is not None else "",
            trace_id=step.trace_id if step is not None else "",
            at_ns=seen.ended_ns if isinstance(seen, Step) else seen.at_ns,
            evidence_level=signal.evidence_level,
            summary=signal.summary,
            evidence={"cause": cause, "tenant": self._tenant, **signal.evidence},
            threshold=signal.threshold,
            mode=self._modes.get(detector.name, "shadow"),
            episode=number,
            agent_type=agent_type,
            versions=self.versions,
        )
