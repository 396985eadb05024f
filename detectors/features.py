"""What each step says about repetition, computed once and shared by all detectors.

Two questions decide whether an agent moves: does this call resemble earlier ones, and did it bring anything new? Both are
answered per tool, since a parent span repeats what its child returned. Ids, time stamps and durations are masked; other
digits are not, because they are what tells progress (`12 %`, `25 %`) from a standstill.

Novelty is the share of words not seen before, as in TREC's Novelty track (I. Soboroff, D. Harman, 2003). Similarity of
results is the Jaccard index of their words (P. Jaccard, New Phytologist 11, 1912). Similarity of arguments is the normalised
Indel similarity (twice the longest common subsequence over the summed lengths) less what unrelated texts reach by chance.
"""

from collections import deque
from itertools import islice
from typing import Final

import msgspec

from detectors.calls import (
    SIMILARITY_CHARS,
    SPEECH_CHARS,
    Call,
    asked_alike,
    clip,
    goes_through_a_list,
    identify,
    is_another_errand,
    most_similar,
    most_similar_result,
    news,
    same_outcome_as_last,
)
from detectors.model import Step, StepKind
from detectors.text import (
    mask,
    reads_as_failure,
    reads_as_nothing_found,
    reads_as_polling,
    reads_as_question,
    reads_as_write,
    words,
)

SAME_SIMILARITY: Final = 0.2
"""Similarity from which it is worth finding out whether two calls are the same but for their form."""
ECHO_WORDS: Final = 24
"""Words up to which a result is searched for echoes of the arguments, however new it looks."""
RESULT_CHARS: Final = 2048
"""Characters of the result that are compared, half from the beginning and half from the end."""
LITTLE_NOVELTY: Final = 0.25
"""Share of unseen words up to which a result is looked at more closely."""
UTTERANCES: Final = 3
"""Utterances that what a model says is compared with."""
TOOLS: Final = 16
"""Tools remembered, the least recently called forgotten first."""
CALLS: Final = 6
"""Calls remembered of each tool."""
WORDS: Final = 600
"""Result words remembered over all tools in each of two generations: when the young is full it becomes the old."""

_PREFIX: Final = {kind: f"{kind.value}:" for kind in StepKind}
_NO_WORDS: Final[frozenset[str]] = frozenset()


class StepFeatures(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How one step relates to the earlier steps of its session. None: the telemetry did not carry the content for it."""

    key: str | None = None
    """What was called: `tool:search`, `agent:writer`, or `llm:` and the agent that spoke. None: nothing comparable."""
    is_call: bool = False
    """Whether the step did something (tool, retrieval, hand-off, agent invocation) rather than said something."""
    argument_similarity: float | None = None
    """0–1: likeness to the most similar remembered call of the same tool; 0 is what unrelated texts have in common. For llm
    steps, of what was said to what the same agent's model said before. None: nothing to compare with."""
    similar_to: int | None = None
    """Sequence number of that call."""
    same_call_as: int | None = None
    """Sequence number of the first remembered call with the same arguments, volatile parts aside. None: a new call."""
    result_novelty: float | None = None
    """0–1: share of the result's words that earlier results of the same tool had not brought. Echoed arguments do not count."""
    new_words: int = 0
    """How many words that is."""
    result_words: int = 0
    """Distinct words in the result."""
    first: bool = False
    """No earlier result of this tool is remembered, so that novelty means nothing."""
    result_similarity: float | None = None
    """0–1: largest share of words in common with a remembered result of the same tool. Measured only where little is new. For
    llm steps, likeness of what was asked to what the most similar utterance answered."""
    same_result_as: int | None = None
    """Sequence number of the remembered call that returned the same, volatile parts aside."""
    same_outcome: bool = False
    """The same call, when it was last made, returned the same."""
    failed: bool = False
    """The step ended in an error, or brought little new and reads as one."""
    found_nothing: bool = False
    """The step brought little new and says that there was nothing to be found."""
    polls: bool = False
    """The step repeats a call, brought little new, and reads as waiting for something."""
    writes: bool = False
    """The step brought little new and its tool's name says that it changes something."""
    asks: bool = False
    """The step brought little new and its tool's name says that it looks something up."""
    enumerates: bool = False
    """The step goes through a list: its arguments differ from an earlier call's only in values never used before there."""
    argument_news: int = 0
    """How many argument words no remembered call of the tool had. Counted only where the result brought nothing new."""
    arguments: str = ""
    """The first characters of the arguments, to quote."""
    result: str = ""
    """The first characters of the result, to quote."""


NOTHING: Final = StepFeatures()


class _Tool:
    """What is remembered of one tool: its last calls, and the words of its results in two generations."""

    __slots__ = ("calls", "old", "results", "young")

    def __init__(self) -> None:
        self.calls: deque[Call] = deque(maxlen=CALLS)
        self.young: set[str] = set()
        self.old: set[str] = set()
        self.results = 0


class FeatureState:
    """What is remembered of one session to compute `StepFeatures`. Feed it every step once, in order.

    Holds at most `TOOLS` × `CALLS` calls of up to 2 × `KEPT_CHARS` characters (`detectors.calls`; kept twice while they repeat) and
    2 × `WORDS` result words: about 100 KB of memory for a session of 50 ordinary steps, under 1 MB for one made to fill it.
    """

    __slots__ = ("_remembered", "_results_seen", "_tools")

    def __init__(self) -> None:
        self._tools: dict[str, _Tool] = {}
        self._remembered = 0
        self._results_seen = False

    def observe(self, step: Step) -> StepFeatures:
        """Takes in the next step and compares it with the ones before. Never raises on odd content."""
        kind = step.kind
        if kind is StepKind.LLM:
            return self._said(step, step.output_text) if step.output_text else NOTHING
        if kind is StepKind.AGENT:
            key = f"agent:{step.agent or step.name}"
            arguments, result = step.input_text, step.output_text
        else:
            key = _PREFIX[kind] + (step.name or "None")
            arguments, result = step.arguments, step.result
            if arguments is None:
                arguments = step.input_text
            if result is None:
                result = step.output_text
        if arguments is None and result is None:
            return StepFeatures(key=key, is_call=True, failed=step.error is True)
        if not result and step.error_message:
            result = step.error_message
        if result:
            self._results_seen = True
        elif self._results_seen and kind is not StepKind.AGENT:
            result = ""  # senders leave an empty attribute out: where results are captured, a missing one is empty
        return self._called(step, key, arguments, result)

    def _tool(self, key: str) -> _Tool:
        tool = self._tools.pop(key, None)
        if tool is None:
            tool = _Tool()
            if len(self._tools) >= TOOLS:
                forgotten = self._tools.pop(next(iter(self._tools)))
                self._remembered -= len(forgotten.young)
        self._tools[key] = tool
        return tool

    def _learn(self, tool: _Tool, brought: frozenset[str]) -> None:
        before = len(tool.young)
        tool.young |= brought
        tool.results += 1
        self._remembered += len(tool.young) - before
        if self._remembered > WORDS:
            for each in self._tools.values():
                each.old, each.young = each.young, set()
            self._remembered = 0

    def _said(self, step: Step, text: str) -> StepFeatures:
        """Compares what a model answered with what the same agent's model answered before, by characters: it is cheaper."""
        key = f"llm:{step.agent or 'model'}"
        tool = self._tool(key)
        call = Call(step.seq, text, step.input_text or "", SPEECH_CHARS)
        first = not tool.calls
        similarity, similar = most_similar(call, list(islice(reversed(tool.calls), UTTERANCES)))
        same = None if similarity < SAME_SIMILARITY or similar is None else identify(call, similar, tool.calls)
        tool.calls.append(call)
        return StepFeatures(
            key=key,
            argument_similarity=None if first else similarity,
            similar_to=similar.seq if similar else None,
            same_call_as=same,
            first=first,
            result_similarity=asked_alike(call, similar) if similar and step.input_text else None,
            arguments=call.arguments,
        )

    @staticmethod
    def _lists(step: Step, call: Call, tool: _Tool) -> bool:
        if goes_through_a_list(call.arguments, tool.calls):
            return True
        return step.kind is StepKind.AGENT and is_another_errand(call.arguments, tool.calls)

    def _called(self, step: Step, key: str, arguments: str | None, result: str | None) -> StepFeatures:
        """Compares a call with the remembered calls of the same tool."""
        tool = self._tool(key)
        answer = result or ""
        call = Call(step.seq, arguments or "", answer, SIMILARITY_CHARS)
        similarity, similar = most_similar(call, list(reversed(tool.calls))) if arguments is not None else (0.0, None)
        same = None if similarity < SAME_SIMILARITY or similar is None else identify(call, similar, tool.calls)
        known = similarity if tool.calls and arguments is not None else None
        if result is None:
            tool.calls.append(call)
            return StepFeatures(
                key=key,
                is_call=True,
                argument_similarity=known,
                similar_to=similar.seq if similar else None,
                same_call_as=same,
                failed=step.error is True,
                arguments=call.arguments,
            )
        first = not tool.results
        shown = clip(answer, RESULT_CHARS)
        brought = words(shown) if shown else _NO_WORDS
        new = brought - tool.young
        if tool.old:
            new -= tool.old
        total = len(brought)
        if new and arguments and (len(new) * 2 < total or total <= ECHO_WORDS):
            new -= words(call.arguments)
        if new and not first and len(new) * 2 < total:
            unmasked = words(mask(shown))
            new &= unmasked
            total = len(unmasked)
        novelty = len(new) / total if total else 0.0
        stale = not first and novelty <= LITTLE_NOVELTY
        alike, same_result = (None, None)
        if stale or same is not None:
            alike, same_result = most_similar_result(call, tool.calls)
        name = step.name or ""
        found = StepFeatures(
            key=key,
            is_call=True,
            argument_similarity=known,
            similar_to=similar.seq if similar else None,
            same_call_as=same,
            result_novelty=novelty,
            new_words=len(new),
            result_words=total,
            first=first,
            result_similarity=alike,
            same_result_as=same_result,
            same_outcome=same is not None and same_outcome_as_last(call, tool.calls),
            failed=step.error is True or (stale and reads_as_failure(answer)),
            found_nothing=stale and reads_as_nothing_found(answer),
            polls=stale and same is not None and reads_as_polling(name, answer, total),
            writes=stale and reads_as_write(name),
            asks=stale and reads_as_question(name),
            enumerates=stale and same is None and self._lists(step, call, tool),
            argument_news=news(call, tool.calls) if stale and same is None else 0,
            arguments=call.arguments,
            result=call.result,
        )
        self._learn(tool, brought)
        tool.calls.append(call)
        return found
