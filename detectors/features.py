"""What each step says about repetition, computed once and shared by all detectors.

Two questions decide whether an agent moves: does this call resemble earlier ones, and did it bring anything new? Both are
answered per tool, since a parent span repeats what its child returned, and by words rather than characters, since a
re-phrased call reorders and replaces words. Ids, time stamps and durations are masked; other digits are not, because they
are what tells progress (`12 %`, `25 %`) from a standstill.

Novelty is the share of words not seen before, as in TREC's Novelty track (I. Soboroff, D. Harman, 2003). Similarity of
results is the Jaccard index of their words (P. Jaccard, New Phytologist 11, 1912). Similarity of arguments is the normalised
Indel similarity (twice the longest common subsequence over the summed lengths) less what unrelated texts reach by chance.
"""

import zlib
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

import msgspec
from rapidfuzz import fuzz

from detectors.model import Step, StepKind
from detectors.text import (
    canonical,
    leaves,
    mask,
    reads_as_failure,
    reads_as_nothing_found,
    reads_as_polling,
    reads_as_question,
    reads_as_write,
    words,
)

SIMILARITY_CHARS: Final = 256
"""Characters of the arguments whose similarity is measured."""
CHANCE: Final = 0.5
"""Indel similarity that unrelated texts have: it counts as none."""
SAME_SIMILARITY: Final = 0.2
"""Similarity from which it is worth finding out whether two calls are the same but for their form."""
ECHO_WORDS: Final = 24
"""Words up to which a result is searched for echoes of the arguments, however new it looks."""
RESULT_CHARS: Final = 2048
"""Characters of the result that are compared."""
SPEECH_CHARS: Final = 128
"""Characters of what a model says that are compared: repeated speech repeats its beginning."""
LITTLE_NOVELTY: Final = 0.25
"""Share of unseen words up to which a result is looked at more closely."""
UTTERANCES: Final = 3
"""Utterances that what a model says is compared with."""
KEPT_CHARS: Final = 1024
"""Characters of arguments and result kept of each remembered call."""
TOOLS: Final = 16
"""Tools remembered, the least recently called forgotten first."""
CALLS: Final = 6
"""Calls remembered of each tool."""
WORDS: Final = 600
"""Result words remembered over all tools in each of two generations: when the young is full it becomes the old."""

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
    """0–1: largest share of words in common with a remembered result of the same tool. Measured only where little is new."""
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


class _Call:
    """One remembered call. `identity` is the sequence number of the first call with the same arguments."""

    __slots__ = ("arguments", "asked", "canonical", "identity", "masked", "result", "returned", "returned_words", "seq")

    def __init__(self, seq: int, asked: str, returned: str) -> None:
        self.seq = seq
        self.identity = seq
        self.arguments = asked[:KEPT_CHARS]
        self.asked = 0 if len(asked) <= KEPT_CHARS else _rest(asked)
        self.result = returned[:KEPT_CHARS]
        self.returned = 0 if len(returned) <= KEPT_CHARS else _rest(returned)
        self.canonical: str | None = None
        self.masked: str | None = None
        self.returned_words: frozenset[str] | None = None


class _Tool:
    """What is remembered of one tool: its last calls, and the words of its results in two generations."""

    __slots__ = ("calls", "old", "results", "young")

    def __init__(self) -> None:
        self.calls: deque[_Call] = deque(maxlen=CALLS)
        self.young: set[str] = set()
        self.old: set[str] = set()
        self.results = 0


class FeatureState:
    """What is remembered of one session to compute `StepFeatures`. Feed it every step once, in order.

    Holds at most `TOOLS` × `CALLS` calls of up to 2 × `KEPT_CHARS` characters (kept twice while they repeat) and
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
            key = f"{kind.value}:{step.name}"
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
        key = f"llm:{step.agent or ''}"
        tool = self._tool(key)
        call = _Call(step.seq, text, "")
        first = not tool.calls
        similarity, similar = _most_similar(call, islice(reversed(tool.calls), UTTERANCES), SPEECH_CHARS)
        same = None if similarity < SAME_SIMILARITY or similar is None else _identify(call, similar, tool.calls)
        tool.calls.append(call)
        return StepFeatures(
            key=key,
            argument_similarity=None if first else similarity,
            similar_to=similar.seq if similar else None,
            same_call_as=same,
            first=first,
            arguments=call.arguments,
        )

    def _called(self, step: Step, key: str, arguments: str | None, result: str | None) -> StepFeatures:
        """Compares a call with the remembered calls of the same tool."""
        tool = self._tool(key)
        answer = result or ""
        call = _Call(step.seq, arguments or "", answer)
        similarity, similar = _most_similar(call, reversed(tool.calls), SIMILARITY_CHARS) if arguments is not None else (0.0, None)
        same = None if similarity < SAME_SIMILARITY or similar is None else _identify(call, similar, tool.calls)
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
        brought = words(answer[:RESULT_CHARS]) if answer else _NO_WORDS
        new = brought - tool.young
        if tool.old:
            new -= tool.old
        total = len(brought)
        if new and arguments and (len(new) * 2 < total or total <= ECHO_WORDS):
            new -= words(call.arguments)
        if new and not first and len(new) * 2 < total:
            unmasked = words(mask(answer[:RESULT_CHARS]))
            new &= unmasked
            total = len(unmasked)
        novelty = len(new) / total if total else 0.0
        stale = not first and novelty <= LITTLE_NOVELTY
        alike, same_result = (None, None)
        if stale or same is not None:
            alike, same_result = _most_similar_result(call, tool.calls)
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
            same_outcome=same is not None and _same_outcome(call, tool.calls),
            failed=step.error is True or (stale and reads_as_failure(answer)),
            found_nothing=stale and reads_as_nothing_found(answer),
            polls=stale and same is not None and reads_as_polling(name, answer, total),
            writes=stale and reads_as_write(name),
            asks=stale and reads_as_question(name),
            enumerates=stale and same is None and _enumerates(call.arguments, tool.calls),
            argument_news=_news(call, tool.calls) if stale and same is None else 0,
            arguments=call.arguments,
            result=call.result,
        )
        self._learn(tool, brought)
        tool.calls.append(call)
        return found


def _rest(text: str) -> int:
    """Stands for what of `text` is not kept: its length and a checksum in one number."""
    return len(text) << 32 | zlib.crc32(text[KEPT_CHARS:].encode(errors="replace"))


def _most_similar(call: _Call, others: Iterable[_Call], chars: int) -> tuple[float, _Call | None]:
    """Finds the most similar of the remembered calls, the latest first; of equals the latest. 0 and None: none resembles it."""
    best, found = 100 * CHANCE, None
    ours = call.arguments[:chars]
    for other in others:
        theirs = other.arguments[:chars]
        if ours == theirs:
            return 1.0, other
        ratio = fuzz.ratio(ours, theirs, score_cutoff=best)
        if ratio > best:
            best, found = ratio, other
    return (best / 100 - CHANCE) / (1 - CHANCE), found


def _identify(call: _Call, similar: _Call, calls: deque[_Call]) -> int | None:
    """Finds the first remembered call with the same arguments, and notes it in `call`."""
    for other in calls:
        if other.arguments == call.arguments and other.asked == call.asked:
            call.identity = other.identity
            call.canonical = other.canonical
            return call.identity
    if call.asked or similar.asked:
        return None  # what is cut off may differ
    call.canonical = canonical(call.arguments)
    for other in calls:
        if other.canonical is None:
            other.canonical = canonical(other.arguments)
        if other.canonical == call.canonical and not other.asked:
            call.identity = other.identity
            return call.identity
    return None


def _news(call: _Call, calls: deque[_Call]) -> int:
    """Counts the argument words that no remembered call had."""
    return len(words(call.arguments).difference(*(words(other.arguments) for other in calls)))


def _most_similar_result(call: _Call, calls: deque[_Call]) -> tuple[float | None, int | None]:
    """Returns the largest Jaccard index among the remembered results, and the call whose result is the same if one is."""
    for other in reversed(calls):
        if other.result == call.result and other.returned == call.returned:
            return 1.0, other.seq
    best: float | None = None
    call.masked = mask(call.result)
    call.returned_words = words(call.masked) - words(call.arguments)
    for other in reversed(calls):
        if other.masked is None:
            other.masked = mask(other.result)
            other.returned_words = words(other.masked) - words(other.arguments)
        if other.masked == call.masked:
            return 1.0, other.seq
        theirs = other.returned_words or _NO_WORDS
        common = len(call.returned_words & theirs)
        either = len(call.returned_words) + len(theirs) - common
        share = common / either if either else 1.0
        if best is None or share > best:
            best = share
    return best, None


def _same_outcome(call: _Call, calls: deque[_Call]) -> bool:
    """Whether the last remembered call with the same arguments returned the same. `_most_similar_result` has masked both."""
    last = next((other for other in reversed(calls) if other.identity == call.identity), None)
    if last is None:
        return False
    if last.result == call.result and last.returned == call.returned:
        return True
    return call.masked is not None and last.masked == call.masked


def _enumerates(text: str, calls: deque[_Call]) -> bool:
    """Whether the call differs from earlier ones only in values that were never used in their place, each of few words.

    `{"file": "a.txt"}`, `{"file": "b.txt"}` goes through a list. `{"q": "q3 revenue"}`, `{"q": "q3 revenue acme"}` asks the
    same again in other words.
    """
    now = leaves(text)
    if not now:
        return False
    compared = False
    used: dict[str, set[str]] = {}
    for call in calls:
        before = leaves(call.arguments)
        if before is None or before.keys() != now.keys():
            continue
        for key, value in before.items():
            used.setdefault(key, set()).add(value)
        compared = True
        changed = [(now[key], before[key]) for key in now if now[key] != before[key]]
        if not changed or any(len(new.split()) > 3 or _reworded(new, old) for new, old in changed):
            return False
    return compared and any(value not in used[key] for key, value in now.items())


def _reworded(new: str, old: str) -> bool:
    """Whether two values of several words have most of them in common."""
    ours, theirs = frozenset(new.lower().split()), frozenset(old.lower().split())
    return len(ours) > 1 and len(ours & theirs) * 5 >= len(ours | theirs) * 3
