"""Runs the detectors of one workflow over the steps of all its sessions."""

from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from detectors.base import Answer, Detector, Signal
from detectors.episodes import Episode
from detectors.features import FeatureState
from detectors.host import DetectorHost
from detectors.model import Finding, SessionKey, Step, Tick
from detectors.step_features import StepFeatures

WATCHED_STEPS: Final = 256
"""Steps of the workflow that its detectors remember, and are shown again."""


class _Features(FeatureState):
    """Hands the detectors what was computed for the step's own session."""

    def __init__(self) -> None:
        super().__init__()
        self.ready: StepFeatures | None = None
        self._states: dict[SessionKey, FeatureState] = {}

    def observe(self, step: Step) -> StepFeatures:
        if self.ready is not None:
            return self.ready
        return self._states.setdefault(step.session, FeatureState()).observe(step)


class WorkflowHost(DetectorHost):
    """Runs the detectors of one workflow. Of a session's pattern it reports what two or more take part in: the rest is their own."""

    def __init__(self, tenant: str, workflow_id: str, **settings: Any) -> None:
        super().__init__(SessionKey(tenant, "workflow", workflow_id), workflow_id=workflow_id, **settings)
        self._features = _Features()
        self._owners: deque[tuple[int, SessionKey]] = deque(maxlen=WATCHED_STEPS)
        self._standing: dict[str, Finding] = {}
        """What was last told by each detector."""

    def take(self, step: Step, features: StepFeatures) -> list[Finding]:
        """Takes in the workflow's next step."""
        shared = self._features
        if not isinstance(shared, _Features):  # a rebuild made it anew
            shared = self._features = _Features()
        shared.ready = features
        self._owners.append((step.seq, step.session))
        return self.observe(step, count=False, steps=self.numbered + 1)[1]

    def remake(self, steps: list[Step], told: list[Finding], released_seq: int) -> list[Finding]:
        """Shows the detectors the workflow's recent steps; what was `told` is not told again."""
        for finding in sorted(told, key=lambda one: one.episode):
            record = self.recall(finding.detector)
            if record is None:
                continue
            ended = finding.step_seq <= released_seq
            last_seq = finding.step_seq if ended or not steps else max(finding.step_seq, steps[-1].seq)
            record.add(Episode(finding.episode, finding.first_step_seq, last_seq, finding.severity, finding.halt_eligible, open=False))
        self._released_seq = released_seq
        self._owners.extend((step.seq, step.session) for step in steps)
        found = self.rebuild(steps)
        self._standing = {finding.detector: finding for finding in sorted([*told, *found], key=lambda one: one.episode)}
        return found

    def parties(self, signal: Signal) -> tuple[SessionKey, ...]:
        """The sessions whose steps the signal rests on."""
        named = set(_numbers(signal.evidence))
        chosen = [key for seq, key in self._owners if (seq in named if named else seq >= signal.first_step_seq)]
        return tuple(dict.fromkeys(chosen))

    def _take(self, kind: type[Detector[Any]], answer: Answer, seen: Step | Tick, found: list[Finding]) -> None:
        if isinstance(answer, Signal) and kind.scope != "workflow" and len(self.parties(answer)) < 2:
            return
        before = len(found)
        super()._take(kind, answer, seen, found)
        if len(found) == before and isinstance(answer, Signal) and isinstance(seen, Step):
            found += self._joined(kind, answer, seen)
        if len(found) > before:
            self._standing[kind.name] = found[-1]

    def _joined(self, kind: type[Detector[Any]], signal: Signal, step: Step) -> list[Finding]:
        """What is to stop is told again where a session takes part of which it was not told: else that one would go on."""
        told, episode = self._standing.get(kind.name), self.open_episodes().get(kind.name)
        if told is None or episode is None or told.episode != episode.number or not told.halt_eligible or step.session in told.sessions:
            return []
        finding = self._finding(kind, episode, signal, step)
        if step.session not in finding.sessions:
            return []
        others = dict.fromkeys([*told.sessions, *finding.sessions])
        del others[step.session]
        sessions = (*list(others)[1 - WATCHED_STEPS :], step.session)
        return [msgspec.structs.replace(finding, sessions=sessions, evidence={**finding.evidence, "joined": step.session.session_id})]

    def _finding(self, kind: type[Detector[Any]], episode: Episode, signal: Signal, seen: Step | Tick) -> Finding:
        finding = super()._finding(kind, episode, signal, seen)
        # What is about the workflow as such is about whoever spoke lately.
        parties = tuple(dict.fromkeys(key for _, key in self._owners)) if kind.scope == "workflow" else self.parties(signal)
        evidence = {**signal.evidence, "sessions": [key.session_id for key in parties[:16]]}
        return msgspec.structs.replace(finding, session=None, sessions=parties, evidence=evidence)


def _numbers(evidence: Any) -> Iterator[int]:
    """The sequence numbers in the evidence."""
    for name, value in evidence.items() if isinstance(evidence, dict) else ():
        if name == "seq" and isinstance(value, int):
            yield value
        elif name == "seqs" and isinstance(value, list):
            yield from (each for each in value if isinstance(each, int))
        elif isinstance(value, list):
            for each in value:
                # A move that said something new is no part of the pattern.
                if not isinstance(each, dict) or each.get("idle") != 0:
                    yield from _numbers(each)
