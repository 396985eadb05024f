"""Runs the detectors of one session and turns their answers into findings."""

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Any, Final

import msgspec

from detectors import DETECTORS
from detectors.base import Answer, Clear, Context, Detector, Signal
from detectors.calibration import calibrated
from detectors.episodes import Episode, Record
from detectors.features import FeatureState
from detectors.model import Finding, SessionKey, Step, StepKind, Tick, Versions, finding_id
from detectors.plan import BASELINE, GONE, HALT, Gone, plan_of
from detectors.step_features import StepFeatures

_LLM: Final = StepKind.LLM
_TOOL: Final = StepKind.TOOL
_AGENT: Final = StepKind.AGENT
_ORDINALS: Final = 512
"""Steps whose number in the session is remembered."""

_NUMBER_BYTES: Final = 10
"""What the number of a step takes."""
_PROOF_BYTES: Final = 12_000
"""What detectors keep as proof once something is wrong, on average."""

_NONE: Final[frozenset[str]] = frozenset()
_NO_VERSIONS: Final = Versions()
_DEFAULTS: Final[Mapping[str, Any]] = {}

OnError = Callable[[str, Step | Tick, Exception], None]
"""Called with the detector's name, what it was looking at, and what it raised."""


@cache
def _usual(config: type[msgspec.Struct]) -> msgspec.Struct:
    """The default config: frozen, so that all sessions may share it."""
    return config()


class DetectorHost:
    """Holds, for one session, what its detectors remember, and owns the rule of episodes.

    A signal with no open episode opens the next one and makes a finding; a worse severity, or halting becoming justified,
    makes the finding again under the same id; `CLEAR` closes the episode. A detector that raises is dropped for the session
    and reported to `on_error`; nothing propagates. Everything but `on_error` survives pickling.

    There is one to every live session, so what it holds is made when it is first needed: a detector at the first step it is
    shown, a record of episodes at the first signal.
    """

    __slots__ = (
        *("context", "dropped", "numbered", "on_error", "session", "versions", "workflow_id"),
        *("_configs", "_detectors", "_features", "_known", "_last_seq", "_modes", "_plan"),
        *("_recent", "_records", "_released_seq", "_replaying"),
    )

    def __init__(
        self,
        session: SessionKey,
        *,
        detectors: Sequence[type[Detector[Any]]] = DETECTORS,
        configs: Mapping[str, msgspec.Struct] | None = None,
        modes: Mapping[str, str] | None = None,
        agent_type: str = "unknown",
        versions: Versions | None = None,
        workflow_id: str | None = None,
        ceiling_usd: Decimal | None = None,
        polling_tools: frozenset[str] = _NONE,
        on_error: OnError | None = None,
    ) -> None:
        """Watches with every detector of `detectors`.

        `configs` and `modes` are by detector name: a missing config is the default one, a missing mode is `shadow`. Both are
        kept as they are, not copied: share them between sessions, and do not change them.
        """
        self.session = session
        self.versions = versions if versions is not None else _NO_VERSIONS
        self.workflow_id = workflow_id
        self.on_error = on_error
        self.context = Context(agent_type=agent_type, ceiling_usd=ceiling_usd, polling_tools=polling_tools)
        self.dropped: frozenset[str] = _NONE
        self.numbered = 0
        """Steps of every kind the session has had: the number people know the latest step by. The owner may correct it."""
        self._plan = plan_of(tuple(detectors))
        self._configs: Mapping[str, msgspec.Struct] = configs if configs is not None else _DEFAULTS
        self._modes: Mapping[str, str] = modes if modes is not None else _DEFAULTS
        self._features = FeatureState()
        self._detectors: list[Detector[Any] | None] = [None] * len(self._plan.kinds)
        self._known = 0
        """What is known of the session that some detectors need: `BASELINE`, `HALT`, or both added up."""
        self._records: dict[str, Record] = {}
        self._recent: array[int] = array("q")
        """Sequence numbers of the latest steps, at least `_ORDINALS` of them."""
        self._released_seq = -1
        self._last_seq = -1
        self._replaying = False

    def __getstate__(self) -> dict[str, Any]:
        slots = {name: getattr(self, name) for name in DetectorHost.__slots__}
        return slots | getattr(self, "__dict__", {}) | {"on_error": None, "_plan": self._plan.kinds}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, plan_of(value) if name == "_plan" else value)

    def observe(
        self, step: Step, *, cost_usd: Decimal | None = None, steps: int | None = None, count: bool = True
    ) -> tuple[StepFeatures, list[Finding]]:
        """Takes in the session's next step.

        The host counts steps and sums known cost by itself; `cost_usd` and `steps` are the owner's figures where it knows
        better, this step included. `count=False` leaves all counts alone. Ceilings and polling tools are set on `context`.
        """
        context = self.context
        if count:
            self._count(step)
        if cost_usd is not None:
            context.cost_usd = cost_usd
        if steps is not None:
            context.steps = steps
        return self._feed(step)

    def tick(self, tick: Tick) -> list[Finding]:
        """Tells every detector that time passed."""
        found: list[Finding] = []
        for place in self._plan.ticking:
            detector = self._detectors[place] or self._make(place)
            try:
                answer = detector.tick(tick, self.context)
            except Exception as error:  # noqa: BLE001 — one broken detector must not stop the others
                self._drop(place, tick, error)
                continue
            if answer is not None:
                self._take(self._plan.kinds[place], answer, tick, found)
        return found

    def rebuild(self, steps: Iterable[Step]) -> list[Finding]:
        """Starts afresh and replays `steps`, the session's recent steps as they stand now, oldest first.

        For when an earlier step was amended or retracted, or another session merged into this one. Returns only what was
        not reported before: new episodes and escalations. Episodes keep their numbers; one whose steps no longer show its
        pattern is closed. Counts and costs of `context` are not recomputed: the owner corrects them.
        """
        replayed = list(steps)
        self._features = type(self._features)()
        self._forget()
        context = self.context
        final = (context.steps, context.llm_calls, context.tool_calls, context.tokens, context.cost_usd)
        self._rewind(replayed)
        if replayed:
            self.numbered = max(0, self._ordinal(replayed[0].seq) - 1)
        del self._recent[:]
        found: list[Finding] = []
        self._replaying = True
        for step in replayed:
            self._count(step)
            if step.seq > self._released_seq:
                found += self._feed(step)[1]
            else:
                self._number(step.seq)
                self._features.observe(step)
        self._replaying = False
        context.steps, context.llm_calls, context.tool_calls, context.tokens, context.cost_usd = final
        return found

    def release(self, grace_steps: int) -> None:
        """Closes every episode, forgets what detectors have seen, and reports nothing for the next `grace_steps` counted steps."""
        self._forget()
        self._released_seq = self._last_seq
        self.context.halted_at_ns = None
        self.context.grace_until_step = self.context.steps + grace_steps

    def set_modes(self, modes: Mapping[str, str]) -> None:
        """Changes how far findings may go from here on; a detector not named keeps its mode."""
        self._modes = modes if self._plan.places.keys() <= modes.keys() else {**self._modes, **modes}

    def recall(self, detector: str) -> Record | None:
        """The record of one detector's episodes; None where it does not watch, or was dropped."""
        if detector not in self._plan.places or detector in self.dropped:
            return None
        record = self._records.get(detector)
        if record is None:
            record = self._records[detector] = Record()
        return record

    def open_episodes(self) -> dict[str, Episode]:
        """Returns the open episode of each detector that has one."""
        current = {name: record.current() for name, record in self._records.items()}
        return {name: episode for name, episode in current.items() if episode is not None}

    def weight(self) -> int:
        """Bytes that what is remembered of the session takes, roughly, beyond what a host takes before its first step."""
        return self._features.weight() + _NUMBER_BYTES * len(self._recent) + (_PROOF_BYTES if self._records else 0)

    def _forget(self) -> None:
        """Drops what detectors remember, and closes every episode."""
        self._detectors = [each if isinstance(each, Gone) else None for each in self._detectors]
        self._known = 0
        for record in self._records.values():
            for episode in record.episodes:
                episode.open = False

    def _make(self, place: int) -> Detector[Any]:
        kind = self._plan.kinds[place]
        made = self._detectors[place] = kind(self._configs.get(kind.name) or _usual(kind.Config))
        return made

    def _number(self, seq: int) -> None:
        if seq > self._last_seq:  # noqa: PLR1730 — on the way of every step, and `max` takes three times as long
            self._last_seq = seq
        self.numbered += 1
        recent = self._recent
        recent.append(seq)
        if len(recent) >= 2 * _ORDINALS:
            del recent[:-_ORDINALS]

    def _ordinal(self, seq: int) -> int:
        """Which of the session's steps `seq` is, from 1; the nearest remembered one for a step not remembered."""
        recent = self._recent[-_ORDINALS:]
        known = len(recent)
        before = sum(1 for each in recent if each <= seq)
        return max(1, self.numbered - known + before) if known else 0

    def _count(self, step: Step) -> None:
        context = self.context
        context.tokens += (step.input_tokens or 0) + (step.output_tokens or 0)
        if context.started_ns is None or step.started_ns < context.started_ns:
            context.started_ns = step.started_ns
        if step.kind is not _AGENT:
            context.steps += 1
            if step.kind is _LLM:
                context.llm_calls += 1
            elif step.kind is _TOOL:
                context.tool_calls += 1
        if step.cost_usd is not None:
            context.cost_usd += step.cost_usd

    def _rewind(self, replayed: Sequence[Step]) -> None:
        """Sets the counts back to before `replayed`, so that they end where they are now."""
        context = self.context
        context.steps = max(0, context.steps - sum(step.counts for step in replayed))
        context.llm_calls = max(0, context.llm_calls - sum(step.kind is _LLM for step in replayed))
        context.tool_calls = max(0, context.tool_calls - sum(step.kind is _TOOL for step in replayed))
        context.tokens = max(0, context.tokens - sum((step.input_tokens or 0) + (step.output_tokens or 0) for step in replayed))
        known = sum((step.cost_usd for step in replayed if step.cost_usd is not None), Decimal(0))
        context.cost_usd = max(Decimal(0), context.cost_usd - known)

    def _feed(self, step: Step) -> tuple[StepFeatures, list[Finding]]:
        self._number(step.seq)
        features = self._features.observe(step)
        found: list[Finding] = []
        context, plan, detectors = self.context, self._plan, self._detectors
        if context.baseline is not None:
            self._known |= BASELINE
        if context.halted_at_ns is not None:
            self._known |= HALT
        broken: dict[int, Exception] | None = None
        for place in plan.shown[self._known][step.kind]:
            try:
                answer = (detectors[place] or self._make(place)).observe(step, features, context)
            except Exception as error:  # noqa: BLE001 — one broken detector must not stop the others
                broken = {**(broken or {}), place: error}
                continue
            if answer is not None:
                self._take(plan.kinds[place], answer, step, found)
        if broken:
            for place, raised in broken.items():
                self._drop(place, step, raised)
        return features, found

    def _drop(self, place: int, seen: Step | Tick, error: Exception) -> None:
        name = self._plan.kinds[place].name
        self._detectors[place] = GONE
        self._records.pop(name, None)
        self.dropped |= {name}
        if self.on_error is not None:
            self.on_error(name, seen, error)

    def _take(self, kind: type[Detector[Any]], answer: Answer, seen: Step | Tick, found: list[Finding]) -> None:
        """Applies the rule of episodes to one answer."""
        record = self._records.get(kind.name)
        episode = None if record is None else record.current()
        if isinstance(answer, Clear):
            if episode is not None:
                episode.open = False
            return
        if answer is None or 0 < self.context.grace_until_step >= self.context.steps or self._told_better(kind, answer):
            return
        if record is None:
            record = self._records[kind.name] = Record()
        if episode is None:
            episode = record.covering(answer, seen.seq) if self._replaying else None
        if episode is None:
            episode = Episode(record.latest + 1, answer.first_step_seq, seen.seq, answer.severity, answer.halt_eligible)
            record.add(episode)
            found.append(self._finding(kind, episode, answer, seen))
            return
        episode.open = True
        episode.last_seq = max(episode.last_seq, seen.seq)
        if answer.severity.rank > episode.severity.rank or (answer.halt_eligible and not episode.halt_eligible):
            episode.severity = max(episode.severity, answer.severity, key=lambda severity: severity.rank)
            episode.halt_eligible = episode.halt_eligible or answer.halt_eligible
            found.append(self._finding(kind, episode, answer, seen))

    def _told_better(self, kind: type[Detector[Any]], signal: Signal) -> bool:
        """Whether a detector that says the same more precisely has an open finding that is as bad."""
        for name in kind.yields_to:
            other = self._records.get(name)
            episode = other.current() if other is not None else None
            if episode is None or episode.severity.rank < signal.severity.rank or signal.halt_eligible > episode.halt_eligible:
                continue
            return True
        return False

    def _finding(self, kind: type[Detector[Any]], episode: Episode, signal: Signal, seen: Step | Tick) -> Finding:
        score = calibrated(kind.name, episode.severity, halt_eligible=episode.halt_eligible, evidence_level=signal.evidence_level)
        return Finding(
            id=finding_id(self.session, kind.name, episode.number),
            session=self.session,
            workflow_id=self.workflow_id,
            detector=kind.name,
            halt_reason=kind.halt_reason,
            severity=episode.severity,
            halt_eligible=episode.halt_eligible,
            score=score,
            step_seq=seen.seq,
            first_step_seq=signal.first_step_seq,
            step=self._ordinal(seen.seq),
            first_step=self._ordinal(signal.first_step_seq),
            span_id="" if isinstance(seen, Tick) else seen.span_id,
            trace_id="" if isinstance(seen, Tick) else seen.trace_id,
            at_ns=seen.at_ns if isinstance(seen, Tick) else seen.ended_ns,
            evidence_level=signal.evidence_level,
            summary=signal.summary,
            evidence=signal.evidence | {"strength": round(signal.score, 4)},
            threshold=signal.threshold,
            mode=self._modes.get(kind.name, "shadow"),
            episode=episode.number,
            agent_type=self.context.agent_type,
            versions=self.versions,
        )
