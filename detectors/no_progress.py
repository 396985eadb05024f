"""Busy, and nothing changes."""

from collections import Counter, deque
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from detectors.base import CLEAR, Answer, Context, Detector, Signal
from detectors.model import Severity, Step, StepKind
from detectors.progress import reading
from detectors.step_features import StepFeatures
from detectors.text import quote

_QUOTE: Final = 100
_ALIKE: Final = 0.85
"""Share of common words from which two results are the same."""
_CALLS: Final = 8
"""Calls kept as proof."""


class NoProgressConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long nothing may change. Counts are of steps in a row that did something; waiting and going through a list do not count."""

    warn_steps: Annotated[int, Meta(ge=2, le=1000)] = 5
    """Steps in a row without a change that can be measured, from which to warn."""
    critical_steps: Annotated[int, Meta(ge=2, le=1000)] = 15
    """Steps in a row from which it is certain enough to page."""
    max_novelty: Annotated[float, Meta(ge=0, le=1)] = 0.15
    """Share of unseen words (0–1) up to which a result holds nothing new."""
    max_new_words: Annotated[int, Meta(ge=0, le=1000)] = 12
    """Unseen words up to which a result holds nothing new, however long it is."""
    acknowledgement_words: Annotated[int, Meta(ge=0, le=200)] = 8
    """Words up to which the result of a new call may be an acknowledgement that something was done."""


class NoProgress(Detector[NoProgressConfig]):
    """Step after step, and no state changes: no new information, no new tool, nothing written, no other answer.

    **Why it costs.** The session pays for each step and is where it was. It need not repeat itself to stand still: a few
    tools used by turns, each answering with words that were all there before, look like work.

    **When it is wrong.** It fires on work whose effects do not show in results, such as clicking through a form that is
    always described alike. It misses a standstill in which results are worded anew each time, and one interrupted now and
    then by something new that leads nowhere. Without content it says nothing. It never asks for a halt.

    **Parameters** (`Config`): `warn_steps`, `critical_steps` (steps in a row), `max_novelty` (share, 0–1),
    `max_new_words`, `acknowledgement_words` (words).

    **Examples.** Three tools by turns, and nothing that was not known:

    >>> from detectors.testing import run, session, tool
    >>> look = [tool("list", "/", "docs src"), tool("read", "notes", "buy the milk"), tool("find", "milk", "notes in docs")]
    >>> again = [tool("list", "/ all", "src docs"), tool("read", "the notes", "the milk buy"), tool("find", "the milk", "docs notes in")]
    >>> [(step.seq, signal.severity.value) for step, signal in run(NoProgress, session(*look, *again, *again, *again))]
    [(11, 'warning')]

    Pages of a list, each with other entries:

    >>> run(NoProgress, session(*(tool("orders", {"page": n}, f"order {n * 31} for {n * 7} EUR") for n in range(20))))
    []

    **References.** Novelty as the share of new words: I. Soboroff, D. Harman, "Overview of the TREC 2003 Novelty Track".
    Progress as what a watchdog measures: L. Lamport, "Proving the Correctness of Multiprocess Programs" (1977), on liveness.
    """

    name: ClassVar[str] = "no_progress"
    halt_reason: ClassVar[str | None] = "no_progress"
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL, StepKind.RETRIEVAL, StepKind.HANDOFF})
    yields_to: ClassVar[tuple[str, ...]] = ("retry_storm", "ping_pong", "exact_loop", "soft_loop")
    Config: ClassVar[type[msgspec.Struct]] = NoProgressConfig

    __slots__ = ("_calls", "_since", "_still", "_told")

    def __init__(self, config: NoProgressConfig) -> None:
        super().__init__(config)
        self._still = 0
        self._since = 0
        self._calls: deque[tuple[int, StepFeatures]] | None = None
        self._told: bool | None = None

    def observe(self, step: Step, features: StepFeatures, context: Context) -> Answer:
        """Counts a step that changed nothing, and answers from the fifth on."""
        novelty = features.result_novelty
        if not features.unread and (novelty is None or features.polls or step.name in context.polling_tools):
            return None
        if novelty is not None and self._lists(features) and not (features.acted or features.wrote):
            return None
        if novelty is None or self._changed(features, novelty):
            self._still = 0
            if self._told is not None:
                self._told = None
                return CLEAR
            return None
        if self._calls is None:
            self._calls = deque(maxlen=_CALLS)
        if not self._still:
            self._since = step.seq
            self._calls.clear()
        self._still += 1
        self._calls.append((step.seq, features))
        config = self.config
        if self._still < config.warn_steps:
            return None
        critical = self._still >= config.critical_steps
        if critical == self._told:
            return None
        self._told = critical
        return self._signal(self._calls, critical=critical)

    def _lists(self, features: StepFeatures) -> bool:
        """Whether the call goes through a list and its result may well be alike for each item."""
        short = features.result_words <= self.config.acknowledgement_words
        if features.another and not (short or features.writes or features.failed or features.found_nothing):
            return True
        return features.enumerates and (short or (features.result_similarity or 0.0) < _ALIKE)

    def _changed(self, features: StepFeatures, novelty: float) -> bool:
        if features.first or features.acted or features.wrote:
            return True
        acknowledged = features.writes or features.result_words <= self.config.acknowledgement_words
        if acknowledged and features.argument_news and not features.failed and not features.asks:
            return True  # something else was done
        if features.same_call_as is not None:
            short = features.result_words <= self.config.acknowledgement_words
            return not features.same_outcome and (short or features.new_words > 0)  # a counter, a status, another test that fails
        config = self.config
        if novelty > config.max_novelty or features.new_words > config.max_new_words:
            return True
        return features.same_result_as is None and self._reads(features)  # last: it reads texts again

    def _reads(self, features: StepFeatures) -> bool:
        """Whether the result holds other figures than those of the tool that are kept as proof: a reading, or a score, in known words."""
        before = [other for _, other in self._calls or () if other.key == features.key]
        now = _figures(features) if before else []
        return bool(now) and now not in map(_figures, before)

    def _signal(self, calls: deque[tuple[int, StepFeatures]], *, critical: bool) -> Signal:
        config = self.config
        often = Counter((features.key or "").partition(":")[2] for _, features in calls).most_common(3)
        return Signal(
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            score=min(1.0, self._still / (2 * config.critical_steps)),
            summary=f"{self._still} calls in a row changed nothing and brought nothing new, the latest of {quote(often[0][0], 60)}.",
            evidence={
                "calls_in_a_row": self._still,
                "tools": [quote(name, 60) for name, _ in often],
                "calls": [
                    {
                        "seq": seq,
                        "call": quote(features.key or "", _QUOTE),
                        "arguments": quote(features.arguments, _QUOTE),
                        "result": quote(features.result, _QUOTE),
                        "new_words": features.new_words,
                    }
                    for seq, features in calls
                ],
            },
            threshold={"critical_steps": float(config.critical_steps)} if critical else {"warn_steps": float(config.warn_steps)},
            first_step_seq=self._since,
        )


def _figures(features: StepFeatures) -> list[float]:
    return sorted(reading(features.result)[1])
