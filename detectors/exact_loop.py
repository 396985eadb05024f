"""One call repeated unchanged."""

from collections import deque
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from detectors.base import CLEAR, Answer, Context, Detector, Signal
from detectors.model import EvidenceLevel, Severity, Step, StepKind
from detectors.step_features import StepFeatures
from detectors.text import mask, quote

_QUOTE: Final = 160
_RUNS: Final = 16
_REMIND: Final = 4
"""Calls after which an unchanged signal is given again."""


class ExactLoopConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When repeating a call becomes a loop. Counts are of calls, the first one included."""

    warn_calls: Annotated[int, Meta(ge=2, le=10_000)] = 3
    """Equal calls from which to warn."""
    critical_calls: Annotated[int, Meta(ge=2, le=10_000)] = 5
    """Equal calls from which it is a loop."""
    halt_calls: Annotated[int, Meta(ge=2, le=10_000)] = 7
    """Equal calls from which halting is justified, if nothing else happened between."""
    polling_factor: Annotated[float, Meta(ge=1, le=1000)] = 4.0
    """How many times as patient to be with a call that reads as waiting for something, or whose outcomes may be drawn by lot."""
    max_surprise: Annotated[float, Meta(ge=0, le=1)] = 0.2
    """Share of calls (0–1) up to which outcomes that came back sooner or later than expected do not mean that they are drawn by lot."""
    gap_calls: Annotated[int, Meta(ge=1, le=200)] = 6
    """Other calls after which an earlier call no longer counts as being repeated."""
    warn_calls_without_content: Annotated[int, Meta(ge=2, le=10_000)] = 8
    """Calls in a row of equal sizes from which to warn where arguments and results are not captured."""
    warn_failures_without_content: Annotated[int, Meta(ge=2, le=10_000)] = 5
    """Calls in a row that fail the same way from which to warn where arguments and results are not captured."""


class _Run(msgspec.Struct):
    """How often one call was made with one outcome."""

    first_seq: int
    last_index: int
    steps: deque[int]
    calls: int = 1
    count: float = 1.0
    """Calls, less what was brought between them."""
    pure: bool = True
    """Nothing else brought anything since the run began."""
    lag: int = 1
    """How many calls of the run ago the latest outcome was seen before."""
    surprises: int = 0
    """How often an outcome came back sooner or later than the one before it did: it may be drawn."""


class ExactLoop(Detector[ExactLoopConfig]):
    """The same tool called with the same arguments and the same outcome, again and again.

    **Why it costs.** Each round pays for a model call over the whole context and learns nothing. Nothing fails, so nothing
    stops it.

    **When it is wrong.** It fires on a wait that gives no sign of waiting (declare the tool as polling), and on a reading
    that is legitimately the same each time. It misses a loop whose arguments change (see `soft_loop`) or that does more
    than `gap_calls` other things between rounds. The order of keys, readings of clocks and what is called a request id, a nonce or
    the like make no difference, nor do ids, times and durations in results. Where outcomes come and go unforeseeably, as when lots are
    drawn, it is as patient as with polling, and so it is with a look after a wait, with an answer that names a state of work under way, and
    with steps on from wherever things are (scrolling, paging, pressing a key). A wait between two readings is not counted. Lots that happen
    to come out the same from the start it takes for a loop.

    **Parameters** (`Config`): `warn_calls`, `critical_calls`, `halt_calls` (equal calls), `polling_factor` (times),
    `max_surprise` (share, 0–1), `gap_calls` (other calls), `warn_calls_without_content`, `warn_failures_without_content` (calls).

    **Examples.** Five times the same:

    >>> from detectors.testing import run, session, tool
    >>> same = [tool("read", {"path": "a.txt"}, "No such file: a.txt") for _ in range(5)]
    >>> [(step.seq, signal.severity.value) for step, signal in run(ExactLoop, session(*same))]
    [(3, 'warning'), (5, 'critical')]

    A job that moves:

    >>> run(ExactLoop, session(*(tool("job", {"id": 7}, f"running, {n} %") for n in range(0, 100, 5))))
    []

    **References.** Counting equal calls is what agent frameworks do themselves where they do anything, for example the
    stuck detector of OpenHands (four equal action-observation pairs).
    """

    name: ClassVar[str] = "exact_loop"
    yields_to: ClassVar[tuple[str, ...]] = ("retry_storm", "ping_pong")
    halt_reason: ClassVar[str | None] = "exact_loop"
    kinds: ClassVar[frozenset[StepKind]] = frozenset(StepKind) - {StepKind.LLM}
    Config: ClassVar[type[msgspec.Struct]] = ExactLoopConfig

    __slots__ = ("_drawn", "_index", "_last", "_open", "_runs", "_shape", "_shape_count", "_shape_since", "_told")

    def __init__(self, config: ExactLoopConfig) -> None:
        super().__init__(config)
        self._runs: dict[tuple[str, int], _Run] | None = None
        self._index = 0
        self._open: tuple[str, int] | None = None
        self._drawn: tuple[str, int] | None = None
        """The call repeated last whose answer changed."""
        self._last: tuple[str, int] | None = None
        """The latest call, by what was called and when it was first made."""
        self._told: tuple[tuple[str, int], bool, bool] | None = None
        self._shape: tuple[Any, ...] | None = None
        self._shape_since = 0
        self._shape_count = 0

    def observe(self, step: Step, features: StepFeatures, context: Context) -> Answer:
        """Counts the call, and answers as long as it is one repeated too often."""
        if not features.is_call or features.key is None or step.name in context.polling_tools:
            return None
        if features.result_novelty is None:
            if features.unread and self._runs:
                self._set_back(self._runs, 1.0)
            return self._without_content(step, features, features.key)
        first = features.same_call_as
        before, self._last = self._last, (features.key, first or step.seq)
        if features.waits and before != self._last:
            return None  # what is read between one wait and the next tells whether it is in vain
        self._index += 1
        if first is None or features.same_result_as is None:
            return self._moved(features, self._runs) if self._runs else None
        identity = (features.key, first)
        if self._runs is None:
            self._runs = {}
        if features.changed:
            self._set_back({other: run for other, run in self._runs.items() if other != identity}, 1.0)
        run = self._runs.get(identity)
        if run is None or self._index - run.last_index > self.config.gap_calls:
            run = self._begin(self._runs, identity, first)
        elif run.last_index < self._index - 1:
            # two calls that take turns are as stuck as one
            run.pure = run.pure and any(other.last_index == self._index - 1 for other in self._runs.values())
        run.pure = run.pure and features.same_outcome  # answers that come and go are a draw, not a standstill
        lag = 1 if features.same_outcome else self._lag(run, features)
        run.calls += 1
        if lag == run.lag:
            run.count += 1
        else:
            run.lag, run.surprises, run.count = lag, run.surprises + 1, max(1.0, run.count - 1)
        run.last_index = self._index
        run.steps.append(step.seq)
        return self._judge(run, identity, features)

    @staticmethod
    def _lag(run: _Run, features: StepFeatures) -> int:
        """How many calls of the run ago the outcome was seen before; 0: not in this run."""
        return next((ago for ago, seq in enumerate(reversed(run.steps), 1) if seq == features.same_result_as), 0)

    def _begin(self, runs: dict[tuple[str, int], _Run], identity: tuple[str, int], first_seq: int) -> _Run:
        runs.pop(identity, None)
        if len(runs) >= _RUNS:
            del runs[next(iter(runs))]
        pure = identity != self._drawn  # an answer that changed before may be drawn
        run = runs[identity] = _Run(first_seq, self._index, deque([first_seq], maxlen=12))
        run.pure = pure
        return run

    def _moved(self, features: StepFeatures, runs: dict[tuple[str, int], _Run]) -> Answer:
        """A new call, or a known one with another outcome: every run loses a round if it brought something."""
        if features.same_call_as is not None:
            identity = (features.key or "", features.same_call_as)
            if runs.pop(identity, None) is not None:
                self._drawn = identity
        did = features.acted or features.wrote or (features.writes and features.argument_news)
        brought = 1.0 if did or features.changed else min(1.0, 2 * (features.result_novelty or 0.0))
        if brought > 0.2:
            self._set_back(runs, brought)
        if self._open is None:
            return None
        run_open = runs.get(self._open)
        if run_open is None or run_open.count < self.config.warn_calls - 1 or self._index - run_open.last_index > self.config.gap_calls:
            self._open = self._told = None
            return CLEAR
        return None

    def _set_back(self, runs: dict[tuple[str, int], _Run], brought: float) -> None:
        for run in runs.values():
            run.count = max(0.0, run.count - brought)
            run.pure = False

    def _judge(self, run: _Run, identity: tuple[str, int], features: StepFeatures) -> Answer:
        config = self.config
        drawn = run.surprises > run.calls * config.max_surprise
        patience = config.polling_factor if (features.polls and not features.failed) or drawn else 1.0
        warn, critical, halt = config.warn_calls * patience, config.critical_calls * patience, config.halt_calls * patience
        if features.waited and features.failed:
            halt *= 2.0  # what is waited for may be coming up
        if run.count < warn:
            return None
        serious = run.count >= critical
        level = (identity, serious, run.pure and run.count >= halt)
        if level == self._told and run.calls % _REMIND:
            return None
        self._open, self._told = identity, level
        name = quote((features.key or "").partition(":")[2], 80)
        return Signal(
            severity=Severity.CRITICAL if serious else Severity.WARNING,
            score=min(1.0, run.count / (2 * critical)),
            summary=f"{name} was called {run.calls} times with the same arguments and the same result.",
            evidence={
                "call": quote(features.key or "", _QUOTE),
                "calls": run.calls,
                "seqs": list(run.steps),
                "arguments": quote(features.arguments, _QUOTE),
                "result": quote(features.result, _QUOTE),
                "failed": features.failed,
            },
            threshold={"critical_calls": critical} if serious else {"warn_calls": warn},
            first_step_seq=run.first_seq,
            halt_eligible=level[2],
        )

    def _without_content(self, step: Step, features: StepFeatures, key: str) -> Answer:
        """Counts calls in a row that have the same sizes, outcome and, before them, the same number of tokens spoken."""
        config = self.config
        known = (step.input_bytes, step.output_bytes, features.tokens_spoken)
        failure = (step.error_type, mask(step.error_message or "")[:_QUOTE]) if step.error else None
        shape = (key, failure or known)
        if (failure is None and known == (None, None, None)) or shape != self._shape:
            self._shape, self._shape_since, self._shape_count = shape, step.seq, 1
            if self._open is not None:
                self._open = self._told = None
                return CLEAR
            return None
        self._shape_count += 1
        limit = config.warn_calls_without_content if failure is None else config.warn_failures_without_content
        if self._shape_count < limit:
            return None
        self._open = (key, self._shape_since)
        name = quote(key.partition(":")[2], 80)
        how = "with equal sizes" if failure is None else "and failed the same way"
        return Signal(
            severity=Severity.WARNING,
            score=min(1.0, self._shape_count / (2 * limit)),
            summary=f"{name} was called {self._shape_count} times in a row {how}; content is not captured.",
            evidence={
                "call": quote(key, _QUOTE),
                "calls": self._shape_count,
                "first_seq": self._shape_since,
                "input_bytes": step.input_bytes,
                "output_bytes": step.output_bytes,
                "output_tokens_before": known[2],
                "error_type": None if failure is None else failure[0],
            },
            threshold={("warn_calls_without_content" if failure is None else "warn_failures_without_content"): float(limit)},
            first_step_seq=self._shape_since,
            evidence_level=EvidenceLevel.STRUCTURE,
        )
