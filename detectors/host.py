"""Runs the detectors of one session and turns their answers into findings."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Any, Final

import msgspec

from detectors import DETECTORS
from detectors.base import Answer, Clear, Context, Detector, Signal
from detectors.calibration import calibrated
from detectors.features import FeatureState, StepFeatures
from detectors.model import Finding, SessionKey, Severity, Step, StepKind, Tick, Versions, finding_id

_EPISODES: Final = 8
"""Episodes of each detector remembered, to recognise them when steps are replayed."""

_ORDINALS: Final = 512
"""Steps whose number in the session is remembered."""

_NUMBER_BYTES: Final = 100
"""What detectors keep of each step, on average, and its number."""

OnError = Callable[[str, Step | Tick, Exception], None]
"""Called with the detector's name, what it was looking at, and what it raised."""


@cache
def _usual(config: type[msgspec.Struct]) -> msgspec.Struct:
    """The default config: frozen, so that all sessions may share it."""
    return config()


class Episode(msgspec.Struct):
    """One stretch during which a detector's pattern held, and the worst that was reported of it."""

    number: int
    first_seq: int
    last_seq: int
    severity: Severity
    halt_eligible: bool
    open: bool = True


class _Watch:
    """One detector of the session and its episodes."""

    __slots__ = ("config", "detector", "episodes", "kind", "latest", "mode")

    def __init__(self, kind: type[Detector[Any]], config: msgspec.Struct, mode: str) -> None:
        self.kind = kind
        self.config = config
        self.mode = mode
        self.detector = kind(config)
        self.episodes: deque[Episode] = deque(maxlen=_EPISODES)
        self.latest = 0

    def current(self) -> Episode | None:
        if self.episodes and self.episodes[-1].open:
            return self.episodes[-1]
        return next((each for each in reversed(self.episodes) if each.open), None)

    def covering(self, signal: Signal, seq: int) -> Episode | None:
        """Finds the remembered episode that overlaps the steps of `signal`."""
        return next((each for each in reversed(self.episodes) if each.first_seq <= seq and signal.first_step_seq <= each.last_seq), None)


class DetectorHost:
    """Holds, for one session, what its detectors remember, and owns the rule of episodes.

    A signal with no open episode opens the next one and makes a finding; a worse severity, or halting becoming justified,
    makes the finding again under the same id; `CLEAR` closes the episode. A detector that raises is dropped for the session
    and reported to `on_error`; nothing propagates. Everything but `on_error` survives pickling.
    """

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
        polling_tools: frozenset[str] = frozenset(),
        on_error: OnError | None = None,
    ) -> None:
        """Starts every detector of `detectors`.

        `configs` and `modes` are by detector name: a missing config is the default one, a missing mode is `shadow`.
        """
        self.session = session
        self.versions = versions if versions is not None else Versions()
        self.workflow_id = workflow_id
        self.on_error = on_error
        self.context = Context(agent_type=agent_type, ceiling_usd=ceiling_usd, polling_tools=polling_tools)
        self.dropped: set[str] = set()
        self._features = FeatureState()
        self._watches = {
            kind.name: _Watch(kind, (configs or {}).get(kind.name) or _usual(kind.Config), (modes or {}).get(kind.name, "shadow"))
            for kind in detectors
        }
        self._by_kind = self._dispatch()
        self.numbered = 0
        """Steps of every kind the session has had: the number people know the latest step by. The owner may correct it."""
        self._recent: deque[int] = deque(maxlen=_ORDINALS)
        self._released_seq = -1
        self._last_seq = -1
        self._replaying = False

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"on_error": None}

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
        self._last_seq = max(self._last_seq, step.seq)
        self._number(step.seq)
        return self._feed(step)

    def tick(self, tick: Tick) -> list[Finding]:
        """Tells every detector that time passed."""
        found: list[Finding] = []
        for watch in list(self._watches.values()):
            try:
                answer = watch.detector.tick(tick, self.context)
            except Exception as error:  # noqa: BLE001 — one broken detector must not stop the others
                self._drop(watch, tick, error)
                continue
            if answer is not None:
                self._take(watch, answer, tick, found)
        return found

    def rebuild(self, steps: Iterable[Step]) -> list[Finding]:
        """Starts afresh and replays `steps`, the session's recent steps as they stand now, oldest first.

        For when an earlier step was amended or retracted, or another session merged into this one. Returns only what was
        not reported before: new episodes and escalations. Episodes keep their numbers; one whose steps no longer show its
        pattern is closed. Counts and costs of `context` are not recomputed: the owner corrects them.
        """
        replayed = list(steps)
        self._features = type(self._features)()
        for watch in self._watches.values():
            watch.detector = watch.kind(watch.config)
            for episode in watch.episodes:
                episode.open = False
        context = self.context
        final = (context.steps, context.llm_calls, context.tool_calls, context.tokens, context.cost_usd)
        self._rewind(replayed)
        if replayed:
            self.numbered = max(0, self._ordinal(replayed[0].seq) - 1)
        self._recent.clear()
        found: list[Finding] = []
        self._replaying = True
        for step in replayed:
            self._count(step)
            self._number(step.seq)
            found += self._feed(step, detect=step.seq > self._released_seq)[1]
            self._last_seq = max(self._last_seq, step.seq)
        self._replaying = False
        context.steps, context.llm_calls, context.tool_calls, context.tokens, context.cost_usd = final
        return found

    def release(self, grace_steps: int) -> None:
        """Closes every episode, forgets what detectors have seen, and reports nothing for the next `grace_steps` counted steps."""
        for watch in self._watches.values():
            watch.detector = watch.kind(watch.config)
            for episode in watch.episodes:
                episode.open = False
        self._released_seq = self._last_seq
        self.context.halted_at_ns = None
        self.context.grace_until_step = self.context.steps + grace_steps

    def set_modes(self, modes: Mapping[str, str]) -> None:
        """Changes how far findings may go from here on; a detector not named keeps its mode."""
        for name, watch in self._watches.items():
            watch.mode = modes.get(name, watch.mode)

    def open_episodes(self) -> dict[str, Episode]:
        """Returns the open episode of each detector that has one."""
        current = {name: watch.current() for name, watch in self._watches.items()}
        return {name: episode for name, episode in current.items() if episode is not None}

    def weight(self) -> int:
        """Bytes that what is remembered of the session takes, roughly, beyond what a host takes before its first step."""
        return self._features.weight() + _NUMBER_BYTES * len(self._recent)

    def _dispatch(self) -> dict[StepKind, tuple[_Watch, ...]]:
        return {kind: tuple(watch for watch in self._watches.values() if kind in watch.kind.kinds) for kind in StepKind}

    def _number(self, seq: int) -> None:
        self.numbered += 1
        self._recent.append(seq)

    def _ordinal(self, seq: int) -> int:
        """Which of the session's steps `seq` is, from 1; the nearest remembered one for a step not remembered."""
        known = len(self._recent)
        before = sum(1 for each in self._recent if each <= seq)
        return max(1, self.numbered - known + before) if known else 0

    def _count(self, step: Step) -> None:
        context = self.context
        context.tokens += (step.input_tokens or 0) + (step.output_tokens or 0)
        if context.started_ns is None or step.started_ns < context.started_ns:
            context.started_ns = step.started_ns
        if step.kind is not StepKind.AGENT:
            context.steps += 1
            if step.kind is StepKind.LLM:
                context.llm_calls += 1
            elif step.kind is StepKind.TOOL:
                context.tool_calls += 1
        if step.cost_usd is not None:
            context.cost_usd += step.cost_usd

    def _rewind(self, replayed: Sequence[Step]) -> None:
        """Sets the counts back to before `replayed`, so that they end where they are now."""
        context = self.context
        context.steps = max(0, context.steps - sum(step.counts for step in replayed))
        context.llm_calls = max(0, context.llm_calls - sum(step.kind is StepKind.LLM for step in replayed))
        context.tool_calls = max(0, context.tool_calls - sum(step.kind is StepKind.TOOL for step in replayed))
        context.tokens = max(0, context.tokens - sum((step.input_tokens or 0) + (step.output_tokens or 0) for step in replayed))
        known = sum((step.cost_usd for step in replayed if step.cost_usd is not None), Decimal(0))
        context.cost_usd = max(Decimal(0), context.cost_usd - known)

    def _feed(self, step: Step, *, detect: bool = True) -> tuple[StepFeatures, list[Finding]]:
        features = self._features.observe(step)
        found: list[Finding] = []
        if not detect:
            return features, found
        context = self.context
        broken: list[tuple[_Watch, Exception]] = []
        for watch in self._by_kind[step.kind]:
            try:
                answer = watch.detector.observe(step, features, context)
            except Exception as error:  # noqa: BLE001 — one broken detector must not stop the others
                broken.append((watch, error))
                continue
            if answer is not None:
                self._take(watch, answer, step, found)
        for watch, raised in broken:
            self._drop(watch, step, raised)
        return features, found

    def _drop(self, watch: _Watch, seen: Step | Tick, error: Exception) -> None:
        name = watch.kind.name
        del self._watches[name]
        self._by_kind = self._dispatch()
        self.dropped.add(name)
        if self.on_error is not None:
            self.on_error(name, seen, error)

    def _take(self, watch: _Watch, answer: Answer, seen: Step | Tick, found: list[Finding]) -> None:
        """Applies the rule of episodes to one answer."""
        episode = watch.current()
        if isinstance(answer, Clear):
            if episode is not None:
                episode.open = False
            return
        if answer is None or 0 < self.context.grace_until_step >= self.context.steps or self._told_better(watch, answer):
            return
        if episode is None:
            episode = watch.covering(answer, seen.seq) if self._replaying else None
        if episode is None:
            watch.latest += 1
            episode = Episode(watch.latest, answer.first_step_seq, seen.seq, answer.severity, answer.halt_eligible)
            watch.episodes.append(episode)
            found.append(self._finding(watch, episode, answer, seen))
            return
        episode.open = True
        episode.last_seq = max(episode.last_seq, seen.seq)
        if answer.severity.rank > episode.severity.rank or (answer.halt_eligible and not episode.halt_eligible):
            episode.severity = max(episode.severity, answer.severity, key=lambda severity: severity.rank)
            episode.halt_eligible = episode.halt_eligible or answer.halt_eligible
            found.append(self._finding(watch, episode, answer, seen))

    def _told_better(self, watch: _Watch, signal: Signal) -> bool:
        """Whether a detector that says the same more precisely has an open finding that is as bad."""
        for name in watch.kind.yields_to:
            other = self._watches.get(name)
            episode = other.current() if other is not None and other.episodes else None
            if episode is None or episode.severity.rank < signal.severity.rank or signal.halt_eligible > episode.halt_eligible:
                continue
            return True
        return False

    def _finding(self, watch: _Watch, episode: Episode, signal: Signal, seen: Step | Tick) -> Finding:
        kind = watch.kind
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
            mode=watch.mode,
            episode=episode.number,
            agent_type=self.context.agent_type,
            versions=self.versions,
        )
