"""Agents, or tools, that hand the same thing round."""

from collections import deque
from itertools import islice
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from detectors.answering import Reports, acknowledges
from detectors.base import CLEAR, Answer, Context, Detector, Signal
from detectors.model import EvidenceLevel, Severity, Step, StepKind
from detectors.speech import is_figure, substance
from detectors.step_features import StepFeatures
from detectors.structure import SEQS, SIZES, Round, Shape
from detectors.text import hands_over, quote

_LLM: Final = StepKind.LLM
_TOOL: Final = StepKind.TOOL
_RETRIEVAL: Final = StepKind.RETRIEVAL
_AGENT: Final = StepKind.AGENT
_QUOTE: Final = 120
_PARTIES: Final = 12
"""Parties told apart in one session."""
_HEARD: Final = 1500
"""Stems remembered in each of two generations."""
_ASKED: Final = 300
"""Stems remembered of what each party has been asked."""
_MOVES: Final = 12
_ALONE: Final = 3
"""Turns of one party in a row after which nobody else takes part."""
"""Moves kept as proof."""
_SOME_NOVELTY: Final = 0.25
"""Share of unseen words from which a tool's result brought something."""


class PingPongConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an exchange goes in circles. A move is one agent's turn; it is idle as far as it says nothing new, 0–1."""

    warn_idle_moves: Annotated[float, Meta(ge=1, le=100)] = 3.0
    """Idle moves, summed, from which to warn."""
    critical_idle_moves: Annotated[float, Meta(ge=1, le=100)] = 4.5
    """Idle moves, summed, from which the exchange goes in circles."""
    halt_idle_moves: Annotated[float, Meta(ge=1, le=200)] = 7.0
    """Idle moves, summed, from which halting is justified."""
    max_news: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """Share of an utterance's substance that may be new, 0–1, for it to be idle."""
    few_news: Annotated[int, Meta(ge=0, le=20)] = 3
    """New words up to which a short utterance is idle, whatever their share."""
    errand_words: Annotated[int, Meta(ge=1, le=50)] = 3
    """Words not heard before from which what is asked is another errand, where neither a figure nor the answer says so."""
    setback: Annotated[float, Meta(ge=0, le=20)] = 1.0
    """Idle moves that one move with something to say makes up for."""
    failed_weight: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """How much an idle move counts that failed, 0–1: repeating a failure is for `retry_storm`."""
    warn_moves_without_content: Annotated[int, Meta(ge=4, le=200)] = 12
    """Hand-overs in a fixed round, with no tool call between, from which to warn where content is not captured."""
    warn_tool_calls_without_content: Annotated[int, Meta(ge=3, le=10_000)] = 12
    """Calls that repeat a fixed round of tools, from which to warn where neither content nor sizes are known."""
    warn_tool_calls_of_equal_sizes: Annotated[int, Meta(ge=3, le=10_000)] = 6
    """The same where sizes of results are known and repeat themselves."""
    min_equal_sizes: Annotated[int, Meta(ge=1, le=8)] = 5
    """Calls among the last 8 whose result was as large as an earlier one, from which sizes repeat themselves."""
    critical_tool_calls: Annotated[int, Meta(ge=3, le=100)] = 3
    """Calls that repeat a fixed round of tools and bring nothing, from which it is a loop; a whole round at least."""
    halt_tool_calls: Annotated[int, Meta(ge=3, le=200)] = 8
    """The same, from which halting is justified."""


class _Move(msgspec.Struct, frozen=True):
    """One turn of one party."""

    seq: int
    party: str
    said: str
    news: int
    idle: float


class PingPong(Detector[PingPongConfig]):
    """Agents hand the same request round, each step succeeding, and nobody says anything new.

    **Why it costs.** Every hand-over is a whole model call, often over the other side's full history. Nothing fails and
    every agent does its job, so it ends when the money does.

    **When it is wrong.** It fires on a long exchange whose progress does not show in words: agents that agree for many
    rounds before one of them acts. It misses a circle whose every turn names something new, and one that runs through
    sessions not known to belong together. An errand about something not heard before starts the count anew, as in hub-and-spoke
    delegation, and so does a tool that brings something; so a circle whose requests each bring a figure is missed too.

    **Parameters** (`Config`): `warn_idle_moves`, `critical_idle_moves`, `halt_idle_moves`, `setback` (moves, summed),
    `max_news`, `failed_weight` (shares, 0–1), `few_news`, `errand_words` (words), `warn_moves_without_content` (moves),
    `warn_tool_calls_without_content`, `warn_tool_calls_of_equal_sizes`, `min_equal_sizes`, `critical_tool_calls`,
    `halt_tool_calls` (calls).

    **Examples.** Each waits for the other, in ever new words:

    >>> from detectors.testing import agent, run, session
    >>> turns = ["The schema is yours to choose.", "You choose the schema, please.", "I would rather wait for your schema.",
    ...          "Happy to go on ring you have a schema.", "As said, the schema should come from you.", "It is your call, the schema."]
    >>> talk = [agent(("coder", "planner")[n % 2], turns[n % 6 - 1], turns[n % 6]) for n in range(12)]
    >>> [(step.seq, signal.severity.value, signal.halt_eligible) for step, signal in run(PingPong, session(*talk))]
    [(7, 'warning', False), (9, 'critical', False), (11, 'critical', True)]

    A manager and a writer, each time about something else:

    >>> errands = [agent("writer", f"Write chapter {n}.", f"Chapter {n} is written.") for n in range(20)]
    >>> reviews = [agent("reviewer", f"Review chapter {n}.", "Approved.") for n in range(20)]
    >>> run(PingPong, session(*(step for pair in zip(errands, reviews) for step in pair)))
    []

    **References.** Novelty as the share of new words: I. Soboroff, D. Harman, "Overview of the TREC 2003 Novelty Track".
    Endless exchanges as a failure mode of their own: M. Cemri et al., "Why Do Multi-Agent LLM Systems Fail?" (2025).
    """

    name: ClassVar[str] = "ping_pong"
    halt_reason: ClassVar[str | None] = "ping_pong"
    Config: ClassVar[type[msgspec.Struct]] = PingPongConfig
    memory_steps: ClassVar[int] = 128

    __slots__ = (
        *("_answers", "_handed_in_words", "_idle", "_moves", "_old", "_parties", "_reports", "_talk_told", "_young"),
        *("_bare", "_bare_told", "_round"),
    )

    def __init__(self, config: PingPongConfig) -> None:
        super().__init__(config)
        self._parties: dict[str, set[str] | None] | None = None
        """What each party has been asked, once there are two."""
        self._answers: tuple[frozenset[str], ...] = ()
        """The last two."""
        self._reports: Reports | None = None
        self._handed_in_words = False
        self._young: set[str] | None = None
        self._old: set[str] | None = None
        self._moves: deque[_Move] | None = None
        self._idle = 0.0
        self._talk_told: tuple[bool, bool] | None = None
        self._round: Round | None = None
        self._bare: Round | None = None
        self._bare_told = False

    def observe(self, step: Step, features: StepFeatures, context: Context) -> Answer:
        """Weighs one turn or call, and answers as long as the exchange goes in circles."""
        kind = step.kind
        if kind is _LLM:
            if self._handed_in_words or not step.output_text or step.agent is None:
                return None
            return self._turn(step, step.agent, step.input_text, step.output_text, features)
        if kind is _TOOL or kind is _RETRIEVAL:
            if features.key is None or step.name in context.polling_tools:
                return None
            if step.name is None or not hands_over(step.name):
                return self._tool(step, features)
        return self._handed(step, features)

    # Agents

    def _handed(self, step: Step, features: StepFeatures) -> Answer:
        party = step.agent if step.kind is _AGENT and step.agent else step.name or step.agent
        if party is None:
            return None
        asked = step.input_text if step.input_text is not None else step.arguments
        answered = step.output_text if step.output_text is not None else step.result
        if (not answered and not asked) or (step.kind is _TOOL and not (asked and substance(asked))):
            return self._bare_move(step, party)
        if step.kind is _AGENT and not self._handed_in_words:
            self._handed_in_words = True
            self._parties = None
        return self._turn(step, party, asked, answered or "", features)

    def _turn(self, step: Step, party: str, asked: str | None, answered: str, features: StepFeatures) -> Answer:
        if self._parties is None:
            self._parties = {}
        known = party in self._parties
        if not known and len(self._parties) < _PARTIES:
            self._parties[party] = None
        if len(self._parties) < 2:
            return None  # one agent is no exchange, and most sessions have one
        asks = self._parties.get(party)
        if asks is None:
            asks = set()
            if party in self._parties:
                self._parties[party] = asks
        if self._moves is None:
            self._moves = deque(maxlen=_MOVES)
        config = self.config
        ask, answer = substance(asked) if asked else frozenset(), substance(answered)
        errand = self._errand(ask.difference(asks, *self._answers), answer)
        if len(asks) < _ASKED:
            asks |= ask
        self._answers = (*self._answers[-1:], answer)
        self._hear(ask)
        news = answer - self._young if self._young else answer
        if self._old:
            news -= self._old
        self._hear(answer)
        if self._reports is None:
            self._reports = Reports()
        reported = self._reports.observe(party, answer - ask)
        told = reported or any(map(is_figure, news))
        idle = 0.0 if errand or not known else self._idleness(len(news), len(answer), figures=told)
        if len(self._moves) >= _ALONE and all(move.party == party for move in islice(reversed(self._moves), _ALONE)):
            idle = 0.0  # one who talks to itself is no exchange
        if idle and features.failed:
            idle *= config.failed_weight
        self._moves.append(_Move(step.seq, party, answered[:_QUOTE] or (asked or "")[:_QUOTE], len(news), idle))
        if idle:
            self._idle += idle
        elif errand or reported:
            self._idle = 0.0
        else:
            self._idle = max(0.0, self._idle - config.setback)
        return self._talk(self._moves)

    def _errand(self, new: frozenset[str], answer: frozenset[str]) -> bool:
        """Whether what was asked is about something else than before: a word or two that nobody takes up are only other words for it."""
        return len(new) >= self.config.errand_words or any(map(is_figure, new)) or not new.isdisjoint(answer)

    def _idleness(self, news: int, said: int, *, figures: bool) -> float:
        if figures:
            return 0.0
        share = news / said if said else 0.0
        if share <= self.config.max_news:
            return 1.0 - share
        return self.config.max_news if news <= self.config.few_news else 0.0

    def _hear(self, said: frozenset[str]) -> None:
        if self._young is None:
            self._young = set(said)
        else:
            self._young |= said
        if len(self._young) > _HEARD:
            self._old, self._young = self._young, None

    def _talk(self, moves: deque[_Move]) -> Answer:
        config = self.config
        idle = [move for move in moves if move.idle]
        if self._idle < config.warn_idle_moves or len({move.party for move in idle}) < 2:
            if self._talk_told is not None and self._idle < config.warn_idle_moves / 2:
                self._talk_told = None
                return CLEAR
            return None
        critical = self._idle >= config.critical_idle_moves
        level = (critical, self._idle >= config.halt_idle_moves)
        if level == self._talk_told or not moves[-1].idle:
            return None
        self._talk_told = level
        parties = list(dict.fromkeys(move.party for move in idle))
        return Signal(
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            score=min(1.0, self._idle / (2 * config.critical_idle_moves)),
            summary=f"{_names(parties)} hand the same thing round: {len(idle)} of their last {len(moves)} turns said nothing new.",
            evidence={
                "idle_moves": round(self._idle, 2),
                "parties": [quote(party, 60) for party in parties],
                "moves": [
                    {
                        "seq": m.seq,
                        "agent": quote(m.party, 60),
                        "said": quote(m.said, _QUOTE),
                        "new_words": m.news,
                        "idle": round(m.idle, 2),
                    }
                    for m in moves
                ],
            },
            threshold={"critical_idle_moves": config.critical_idle_moves} if critical else {"warn_idle_moves": config.warn_idle_moves},
            first_step_seq=idle[0].seq,
            halt_eligible=level[1],
        )

    def _bare_move(self, step: Step, party: str) -> Answer:
        """Counts hand-overs of which only the names are known."""
        if step.kind is _AGENT:
            return None  # without content a parent's span cannot be told from its child's
        if self._bare is None:
            self._bare = Round([], [])
        length = self._bare.add(party, step.seq)
        if length < self.config.warn_moves_without_content:
            self._bare_told = False
            return None
        if self._bare_told:
            return None
        self._bare_told = True
        parties = self._bare.members()
        return Signal(
            severity=Severity.WARNING,
            score=0.5,
            summary=f"{_names(parties)} handed over to each other {length} times in a fixed round; content is not captured.",
            evidence={"parties": [quote(each, 60) for each in parties], "hand_overs": length},
            threshold={"warn_moves_without_content": float(self.config.warn_moves_without_content)},
            first_step_seq=self._bare.since,
            evidence_level=EvidenceLevel.STRUCTURE,
        )

    # Tools

    def _tool(self, step: Step, features: StepFeatures) -> Answer:
        """A call of a tool: it ends the exchange if it brought something, and may be part of a round of tools if not."""
        novelty = features.result_novelty
        self._bare = None
        if features.shape is not None:
            return self._without_content(step, features.shape)
        if features.new_words if features.polls else novelty is None and features.same_call_as is None:
            self._work()  # what is waited for moves; what was not captured may be anything
        if novelty is None or features.polls:
            return None
        ring = self._round
        if ring is None:
            ring = self._round = Round([], [])
        if novelty > _SOME_NOVELTY or features.first or not _stale(features):
            if novelty > _SOME_NOVELTY or features.argument_news or features.wrote:
                self._work()
            return CLEAR if ring.begin(features.key or "", step.seq) else None
        length = ring.add(features.key or "", step.seq)
        ring.acknowledged = (ring.acknowledged if length > 1 else 0) + (length > 0 and acknowledges(features))
        length -= ring.acknowledged
        if length < max(self.config.critical_tool_calls, ring.period) or ring.period < 2:
            return None
        halt = length >= self.config.halt_tool_calls
        if ring.told == halt:
            return None
        ring.told = halt
        keys = [key.partition(":")[2] for key in ring.members()]
        evidence: dict[str, Any] = {
            "tools": [quote(key, 60) for key in keys],
            "period": ring.period,
            "repeated_calls": length,
            "seqs": ring.seqs[-SEQS:],
            "arguments": quote(features.arguments, _QUOTE),
            "result": quote(features.result, _QUOTE),
        }
        return Signal(
            severity=Severity.CRITICAL,
            score=min(1.0, length / (2 * self.config.halt_tool_calls)),
            summary=f"{_names(keys)} are called in turn, {length} calls after the first round, and nothing new comes back.",
            evidence=evidence,
            threshold={"critical_tool_calls": float(self.config.critical_tool_calls)},
            first_step_seq=ring.since,
            halt_eligible=halt,
        )

    def _work(self) -> None:
        """Something was done: what models say between calls is not handed to each other unless spans say so."""
        if self._idle > 0:
            self._idle = max(0.0, self._idle - self.config.setback) if self._handed_in_words else 0.0

    def _without_content(self, step: Step, shape: Shape) -> Answer:
        """Answers as long as tools are called in a fixed round, with results of no other size than before where that is known."""
        config = self.config
        sized = shape.sizes_repeated is not None
        limit = config.warn_tool_calls_of_equal_sizes if sized else config.warn_tool_calls_without_content
        if shape.in_rounds < limit or (shape.sizes_repeated or 0) < config.min_equal_sizes * sized:
            if self._bare_told and not shape.in_rounds:
                self._bare_told = False
                return CLEAR
            return None
        if self._bare_told:
            return None
        self._bare_told = True
        keys = [key.partition(":")[2] for key in shape.round]
        how = f"{shape.sizes_repeated} of the last {SIZES} results as large as earlier ones" if sized else "sizes are not known"
        return Signal(
            severity=Severity.WARNING,
            score=min(1.0, shape.in_rounds / (4 * limit)),
            summary=f"{_names(keys)} are called in turn, {shape.in_rounds} calls after the first round; content is not captured, {how}.",
            evidence={
                "tools": [quote(key, 60) for key in keys],
                "repeated_calls": shape.in_rounds,
                "sizes_repeated": shape.sizes_repeated,
                "seq": step.seq,
            },
            threshold={("warn_tool_calls_of_equal_sizes" if sized else "warn_tool_calls_without_content"): float(limit)},
            first_step_seq=shape.round_since,
            evidence_level=EvidenceLevel.STRUCTURE,
        )


def _stale(features: StepFeatures) -> bool:
    """Whether a tool call brought nothing, for no reason that shows."""
    if (
        features.first
        or (features.result_novelty or 0.0) > 0.15
        or features.enumerates
        or features.wrote
        or (features.writes and features.argument_news)
    ):
        return False
    if features.same_call_as is not None:
        return features.same_outcome and not features.unsteady
    return features.same_result_as is not None and not features.argument_news and not features.varied


def _names(parties: list[str]) -> str:
    shown = [quote(party, 40) for party in parties[:3]]
    more = len(parties) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(shown) if len(shown) < 3 else f"{shown[0]}, {shown[1]} and {shown[2]}"
