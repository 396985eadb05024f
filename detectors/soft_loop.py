"""Calls that vary and bring nothing new."""

from collections import Counter, deque
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from detectors.answering import Answering, Reports
from detectors.base import CLEAR, Answer, Context, Detector, Signal
from detectors.model import Severity, Step
from detectors.progress import Moved
from detectors.receipts import RECEIPT_AT_MOST, RECEIPT_WORDS
from detectors.speech import substance
from detectors.step_features import StepFeatures
from detectors.structure import Shape
from detectors.text import quote, reads_as_failure, reads_as_polling
from detectors.uncaptured import asked_nearly_the_same, one_tool_over_and_over

_ONWARD: Final = Moved.ONWARD
_FIGURES: Final = Moved.FIGURES
_QUOTE: Final = 120
_ERRAND: Final = 4
"""New words from which a request to an agent is another errand, and a short answer to it an acknowledgement."""
_SHOWS: Final = 0.05
"""Share of unseen words from which a call made again shows what was done since."""
_REMIND: Final = 4
"""Stale calls after which an unchanged signal is given again."""


class SoftLoopConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When calls that bring nothing new become a loop. A call's staleness is 0 (brought something) to 1 (brought nothing)."""

    window_calls: Annotated[int, Meta(ge=2, le=256)] = 8
    """Calls looked back on."""
    warn_stale_calls: Annotated[float, Meta(ge=0.5, le=256)] = 1.4
    """Sum of staleness in the window from which to warn, in calls."""
    critical_stale_calls: Annotated[float, Meta(ge=0.5, le=256)] = 2.75
    """Sum of staleness in the window from which it is a loop, in calls: the third repetition, of failures the fourth."""
    halt_stale_calls: Annotated[int, Meta(ge=1, le=256)] = 10
    """Stale calls in the last `halt_window_calls` from which halting is justified."""
    halt_window_calls: Annotated[int, Meta(ge=1, le=256)] = 12
    """Calls looked back on before halting."""
    halt_unbroken_calls: Annotated[int, Meta(ge=2, le=256)] = 7
    """Stale calls, with no other between them, from which halting is justified too."""
    doubt: Annotated[float, Meta(ge=0, le=1)] = 0.9
    """Staleness (0–1) of a call that may have a reason: it failed, it is unlike earlier ones, an agent said it, its hits came in another
    order."""
    moved_weight: Annotated[float, Meta(ge=0, le=1)] = 0.4
    """Staleness (0–1) of a call made again unchanged after something else brought or changed something."""
    other_weight: Annotated[float, Meta(ge=0, le=1)] = 0.3
    """Staleness (0–1) of a call that looks up another thing and gets a long answer that was there before."""
    max_novelty: Annotated[float, Meta(ge=0, le=1)] = 0.15
    """Share of unseen words (0–1) up to which a result brought nothing new."""
    max_answer_novelty: Annotated[float, Meta(ge=0, le=1)] = 0.35
    """The same for an agent asked the same again: no two answers in free words are equal."""
    min_argument_similarity: Annotated[float, Meta(ge=0, le=1)] = 0.4
    """Similarity of arguments (0–1) from which a call is the same request in other words."""
    min_result_similarity: Annotated[float, Meta(ge=0, le=1)] = 0.85
    """Share of common words (0–1) from which a result is the same as an earlier one."""
    min_speech_similarity: Annotated[float, Meta(ge=0, le=1)] = 0.7
    """Likeness (0–1) from which a model says the same again."""
    warn_calls_without_content: Annotated[int, Meta(ge=2, le=10_000)] = 8
    """Calls in a row of one tool, after others were used, from which to warn where neither content nor sizes are known."""
    warn_calls_of_equal_sizes: Annotated[int, Meta(ge=2, le=10_000)] = 6
    """The same where sizes of results are known and repeat themselves."""
    min_equal_sizes: Annotated[int, Meta(ge=1, le=8)] = 5
    """Calls among the last 8 whose result was as large as an earlier one, from which sizes repeat themselves."""
    warn_calls_without_results: Annotated[int, Meta(ge=2, le=64)] = 5
    """Calls among the last `window_calls` that resemble earlier ones, from which to warn where results are not captured."""
    min_argument_similarity_without_results: Annotated[float, Meta(ge=0, le=1)] = 0.6
    """Similarity of arguments (0–1) from which a call then resembles an earlier one."""
    acknowledgement_words: Annotated[int, Meta(ge=0, le=200)] = 8
    """Words up to which a result only acknowledges: saying the same to different calls is then all it can do."""


class SoftLoop(Detector[SoftLoopConfig]):
    """The same request in other words, again and again, and nothing new comes back.

    **Why it costs.** Each variation is a full model call over a growing context. Removing duplicates does not catch it,
    since no two calls are equal, and every span says OK. A retry of what keeps failing, two agents that hand the same
    thing back and forth, and work that makes no progress look alike here and count too.

    **When it is wrong.** It fires on work whose results stay the same for a reason: a test rerun unchanged after each of
    several edits it does not see, one question put to many things in whole sentences. It warns where many things are looked up
    and one long answer is true of all. It misses a loop whose results differ in their words each time, such as agents that agree
    with each other ever anew or a feed read again and again, a text written anew again and again in its own words, and one that tries
    another path, number or id each time and is refused in words that do not begin like an error. It judges words, not meaning: numbers
    guessed that close in on one, each answered with one long sentence, look like a loop until the answer is another. Where results are
    not captured it knows that calls resemble each other, and without content one tool used over and over: both may as well be a long
    job, and it warns at most.

    **Parameters** (`Config`): `window_calls`, `halt_window_calls`, `halt_unbroken_calls` (calls), `warn_stale_calls`,
    `critical_stale_calls`, `halt_stale_calls` (calls, summed), `doubt`, `moved_weight`, `other_weight` (0–1), `max_novelty`,
    `max_answer_novelty`, `min_argument_similarity`, `min_result_similarity`, `min_speech_similarity` (shares, 0–1),
    `warn_calls_without_content`, `warn_calls_of_equal_sizes`, `min_equal_sizes`, `warn_calls_without_results` (calls),
    `min_argument_similarity_without_results` (share, 0–1), `acknowledgement_words` (words).

    **Examples.** The same search in other words:

    >>> from detectors.testing import run, session, tool
    >>> asked = ["q3 revenue acme", "acme q3 revenue", "revenue of acme in q3", "acme revenue q3 2024", "q3 acme sales revenue"]
    >>> searches = [tool("search", {"q": q}, "Acme makes robots. No figures are published.") for q in asked]
    >>> [(step.seq, signal.severity.value) for step, signal in run(SoftLoop, session(*searches))]
    [(3, 'warning'), (4, 'critical')]

    A list gone through item by item, each acknowledged alike:

    >>> run(SoftLoop, session(*(tool("resize", {"file": f"img_{n}.jpg"}, "Taken in; the result is sent by mail.") for n in range(30))))
    []

    **References.** Novelty as the share of new words: I. Soboroff, D. Harman, "Overview of the TREC 2003 Novelty Track".
    Similarity: P. Jaccard, New Phytologist 11 (1912).
    """

    name: ClassVar[str] = "soft_loop"
    yields_to: ClassVar[tuple[str, ...]] = ("exact_loop", "retry_storm", "ping_pong")
    halt_reason: ClassVar[str | None] = "soft_loop"
    Config: ClassVar[type[msgspec.Struct]] = SoftLoopConfig
    memory_steps: ClassVar[int] = 64

    __slots__ = (
        *("_answering", "_asked_last", "_drawn", "_moved", "_reports", "_resembling", "_speaking", "_sum", "_sure", "_told"),
        *("_unbroken", "_untold", "_window", "_work"),
    )

    def __init__(self, config: SoftLoopConfig) -> None:
        super().__init__(config)
        self._window: deque[tuple[int, float, StepFeatures]] | None = None
        """Made at the first stale call: what came before it neither adds to the sum nor is told of."""
        self._sure = 0
        """A bit for each of the last `halt_window_calls` calls, the latest lowest: whether it was stale beyond doubt."""
        self._asked_last: str | None = None
        self._drawn: tuple[str | None, int | None] = (None, None)
        """What was called whose answer to the same call changed, and changed back."""
        self._answering = Answering()
        self._reports: Reports | None = None
        self._resembling = 0
        """A bit for each of the last `window_calls` calls without a known result: whether it resembled an earlier one."""
        self._sum = 0.0
        self._unbroken = 0
        self._moved = 0
        """The last step that brought or changed something; 0 where a call was made again since."""
        self._work: tuple[int, str | None, str] = (0, None, "")
        """The last step that brought or changed something, what was called, and what came back."""
        self._speaking = False
        self._told: tuple[bool, bool] | None = None
        self._untold = 0

    def observe(self, step: Step, features: StepFeatures, context: Context) -> Answer:
        """Weighs the call, and answers as long as the window holds enough stale calls."""
        if features.key is None:
            return None
        if step.name in context.polling_tools:
            self._speaking = False
            return None
        if features.shape is not None:
            return self._without_content(step, features.shape)
        stale = self._staleness(features)
        if features.settles and features.result_novelty is not None:
            stale = (stale or 0.0) - 1.0  # the failure that it makes up for
        if stale is None:
            if features.changed:
                self._moved, self._unbroken, self._sure = step.seq, 0, 0
            if features.result_novelty is None and features.is_call and features.arguments and not features.key.startswith("agent:"):
                return self._without_results(step, features)
            return None
        if self._may_have_changed(features):
            self._work = (step.seq, features.key, features.result)
        if self._window is None:
            if stale <= 0:
                if stale < 0 or self._may_have_changed(features):
                    self._moved = step.seq
                return None
            self._window = deque(maxlen=self.config.window_calls)
        self._remember(self._window, step, features, stale)
        if stale > 0 and self._sum >= self.config.warn_stale_calls:
            return self._tell()
        if self._told is not None and self._sum < self.config.warn_stale_calls / 2:
            self._told = None
            return CLEAR
        return None

    def _without_content(self, step: Step, shape: Shape) -> Answer:
        """Answers as long as one tool is called over and over, with results of no other size than before where that is known."""
        config = self.config
        self._speaking = False
        sized = shape.sizes_repeated is not None
        limit = config.warn_calls_of_equal_sizes if sized else config.warn_calls_without_content
        if shape.in_a_row < limit or (shape.sizes_repeated or 0) < config.min_equal_sizes * sized:
            if self._told is not None and shape.in_a_row <= 1:
                self._told = None
                return CLEAR
            return None
        if self._told is not None:
            return None
        self._told = (False, False)
        return one_tool_over_and_over(step, shape, limit)

    def _without_results(self, step: Step, features: StepFeatures) -> Answer:
        """Answers as long as most of the latest calls ask nearly what was asked before; whether it was in vain nobody told."""
        config = self.config
        if self._window is not None:
            self._remember(self._window, step, features, -1.0 if features.settles else 0.0)  # it may have brought something
        similar = (features.argument_similarity or 0.0) >= config.min_argument_similarity_without_results
        similar = similar and not (features.enumerates or features.another)
        if features.same_call_as is not None and (features.key != self._asked_last or reads_as_polling(step.name or "", "", 0)):
            similar = False  # a check after something else was done, or waiting
        self._asked_last = features.key
        self._resembling = (self._resembling << 1 | similar) & ((1 << config.window_calls) - 1)
        count = self._resembling.bit_count()
        if not similar or count < config.warn_calls_without_results:
            if self._told == (False, False) and not count:
                self._told = None
                return CLEAR
            return None
        if self._told is not None:
            return None
        self._told = (False, False)
        return asked_nearly_the_same(step, features, count, config.window_calls, config.warn_calls_without_results)

    def _tell(self) -> Answer:
        """Signals a change of level at once, an unchanged one now and then: proof is dear to put together."""
        critical = self._sum >= self.config.critical_stale_calls
        config = self.config
        level = (critical, critical and (self._unbroken >= config.halt_unbroken_calls or self._sure.bit_count() >= config.halt_stale_calls))
        self._untold += 1
        if level == self._told and self._untold < _REMIND:
            return None
        self._told, self._untold = level, 0
        return self._signal(critical=critical, halt=level[1])

    def _remember(self, window: deque[tuple[int, float, StepFeatures]], step: Step, features: StepFeatures, stale: float) -> None:
        window.append((step.seq, stale, features))
        if stale < 0 or self._may_have_changed(features):
            self._moved = step.seq
        told = step.error is True  # what only reads like a failure may be something done, or a report
        done = features.wrote or features.changed or (features.writes and features.argument_news > 0)
        sure = stale > 0 and ((features.failed and (told or not done)) or self._asked_before(features))
        sure = sure and (step.error is True or not features.another)  # other things may all be answered alike
        self._sure = (self._sure << 1 | sure) & ((1 << self.config.halt_window_calls) - 1)
        if sure:
            self._unbroken += 1
        elif stale <= 0 or features.changed or features.varied:
            self._unbroken = 0
        if stale > 0 or self._sum > 0:
            total = 0.0
            for _, weight, _ in window:
                total = total + weight if total + weight > 0 else 0.0  # progress makes up for what was, not for what will be
            self._sum = total

    def _staleness(self, features: StepFeatures) -> float | None:
        """Weighs a step: 1 brought nothing, 0 neither way, below 0 progress. None: says nothing about it."""
        config = self.config
        if not features.is_call:
            return self._repeated_speech(features)
        self._speaking = False
        novelty = features.result_novelty
        if novelty is None:
            return -0.25 if features.unread else None
        if features.first:
            return 0.0
        if features.moved is _ONWARD or features.climbs:
            return -1.0
        if features.polls:
            return None  # waiting is for `exact_loop`, which is more patient with it
        same_call = features.same_call_as is not None
        same_result = features.same_result_as is not None
        if novelty > 0.5 and novelty > config.max_novelty and not same_call and not same_result:
            return -0.25
        an_agent = (features.key or "").startswith("agent:")
        similar = (features.argument_similarity or 0.0) >= config.min_argument_similarity
        if not same_result and not self._alike(features, novelty, same_call):
            if features.found_nothing and similar and not features.enumerates and novelty <= config.max_novelty:
                return config.doubt
            if an_agent and same_call and novelty <= config.max_answer_novelty:
                return 0.0 if self._tells(features) else config.doubt
            return -0.25 if novelty > (config.max_novelty if same_call else 0.5) else 0.0
        if same_call:
            if same_result and not features.same_outcome:
                self._drawn = (features.key, features.same_call_as)
                return 0.0  # the answer to this call changed, if only to one that was seen before: something moves
            moved = self._moved > (features.same_call_as or 0)
            if moved and novelty >= _SHOWS:
                self._moved = 0
                return 0.0  # something was done, and it shows
            if features.changed:
                return config.other_weight  # the answer as a whole is another, if in words that were all heard before
            if features.failed:
                return config.doubt
            if features.unsteady or self._drawn == (features.key, features.same_call_as):
                return None  # a draw is for `exact_loop`, too
            self._moved = 0
            if moved and (features.receipt if features.writes else features.result_words <= RECEIPT_WORDS):
                return 0.0  # an acknowledgement says no more; what came of it shows elsewhere
            return config.moved_weight if moved else 1.0  # a check made again after something was done
        short = features.result_words <= config.acknowledgement_words
        if features.failed:
            return config.doubt
        if features.enumerates and (short or not same_result):
            return 0.0
        if features.acted or (features.writes and features.argument_news):
            return -0.25
        if features.wrote or (features.writes and self._worked_since(features)):
            return 0.0  # a value that was there before, known words in a new order: a plan brought up to date
        if features.found_nothing and features.result_words:
            return 1.0
        answers = self._answering.observe(features, config.window_calls)
        if answers and features.result_words <= RECEIPT_AT_MOST and not (an_agent or features.asks):
            return config.other_weight
        if features.another:
            return 0.0 if short or not features.asks else config.other_weight
        if not same_result and features.asks and similar and not short and not features.new_words and not features.enumerates:
            return config.doubt  # the same hits in another order
        if not same_result or (short and features.argument_news >= (_ERRAND if an_agent else 1) and not features.asks):
            return 0.0
        return 1.0 if similar else config.doubt

    def _tells(self, features: StepFeatures) -> bool:
        """Whether an agent that was asked the same again reports something else."""
        if self._reports is None:
            self._reports = Reports()
        return self._reports.observe(features.key or "", substance(features.result))

    def _asked_before(self, features: StepFeatures) -> bool:
        """Whether the call resembles an earlier one: unlike calls with one answer may be a batch, however it is acknowledged."""
        if features.same_call_as is not None:
            return not features.changed and features.key != self._drawn[0]  # answers that come and go are a draw, however often one comes
        if not features.is_call:
            return features.result_similarity is not None  # what was asked is not known: it may have been something else
        if features.same_result_as is None and (features.result_similarity or 0.0) < 1.0:
            return False
        if features.varied or (features.key == self._answering.key and not features.asks):
            return False
        return (features.argument_similarity or 0.0) >= self.config.min_argument_similarity

    def _may_have_changed(self, features: StepFeatures) -> bool:
        return (
            features.acted
            or features.wrote
            or features.changed
            or (features.same_call_as is None and (features.result_novelty or 0.0) > self.config.max_novelty)
        )

    def _worked_since(self, features: StepFeatures) -> bool:
        """Whether another tool brought or changed something since the most similar call."""
        seq, key, result = self._work
        return seq > (features.similar_to or 0) and key != features.key and not reads_as_failure(result)

    def _alike(self, features: StepFeatures, novelty: float, same_call: bool) -> bool:
        """Whether the result, though not the same, brought nothing new."""
        config = self.config
        if same_call and (features.moved is _FIGURES or features.result_words <= 12):
            return False  # an answer to the same question of which figures changed is a counter, a status, a test result
        needed = config.min_result_similarity * (0.6 if same_call else 1.0)
        return novelty <= config.max_novelty and (features.result_similarity or 0.0) >= needed

    def _repeated_speech(self, features: StepFeatures) -> float | None:
        """Weighs what a model said after it had spoken already, with no call between: calls speak for themselves."""
        speaking, self._speaking = self._speaking, True
        if not speaking or len(features.arguments) < 20:
            return None
        if features.result_similarity is not None and features.result_similarity < self.config.min_result_similarity:
            return None  # the same answer to another question, as in sorting or grading
        if (features.argument_similarity or 0.0) < self.config.min_speech_similarity:
            self._sure, self._unbroken = 0, 0  # something else was said between
            return None
        return self.config.doubt

    def _signal(self, *, critical: bool, halt: bool) -> Signal:
        config = self.config
        window = self._window or ()
        stale = [(seq, features) for seq, weight, features in window if weight > 0]
        looked_back = len(window) - next(n for n, (_, weight, _) in enumerate(window) if weight > 0)
        often = Counter(features.key or "" for _, features in stale).most_common(2)
        what = " and ".join(quote(key.partition(":")[2] or key, 60) for key, _ in often)
        evidence: dict[str, Any] = {
            "stale_calls": len(stale),
            "window_sum": round(self._sum, 2),
            "calls": [
                {
                    "seq": seq,
                    "call": quote(features.key or "", _QUOTE),
                    "arguments": quote(features.arguments, _QUOTE),
                    "result": quote(features.result, _QUOTE),
                    "argument_similarity": None if features.argument_similarity is None else round(features.argument_similarity, 2),
                    "new_words": features.new_words,
                }
                for seq, features in stale
            ],
        }
        return Signal(
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            score=min(1.0, max(0.0, self._sum / config.window_calls)),
            summary=f"{len(stale)} calls of {what} among the last {looked_back} brought nothing that was not there before.",
            evidence=evidence,
            threshold={"critical_stale_calls": config.critical_stale_calls} if critical else {"warn_stale_calls": config.warn_stale_calls},
            first_step_seq=stale[0][0],
            halt_eligible=halt,
        )
