"""What each step says about repetition, computed once and shared by all detectors.

Two questions decide whether an agent moves: does this call resemble earlier ones, and did it bring anything new? Both are
answered per tool, since a parent span repeats what its child returned. Ids, time stamps and durations are masked; other
digits are not, because they are what tells progress (`12 %`, `25 %`) from a standstill. In arguments an id stays: it tells which
thing is meant, unless its name says that it is made up for each call.

Novelty is the share of words not seen before, as in TREC's Novelty track (I. Soboroff, D. Harman, 2003). Similarity of
results is the Jaccard index of their words (P. Jaccard, New Phytologist 11, 1912). Similarity of arguments is the normalised
Indel similarity (twice the longest common subsequence over the summed lengths) less what unrelated texts reach by chance.
"""

from typing import Final

from detectors.calls import (
    KEPT_CHARS,
    UNKNOWN,
    Tool,
    clip,
    goes_through_things,
    identify,
    is_about_another,
    last_same,
    most_similar_call,
    most_similar_result,
    news,
    only_waits,
    regroups,
    remember,
    remembered,
    same_outcome,
    settles,
    waits_first,
)
from detectors.effects import polling, reads_as, shows_a_picture
from detectors.model import Step, StepKind
from detectors.novelty import count_new
from detectors.progress import climbs, follow, is_unsteady
from detectors.receipts import RECEIPT_AT_MOST, RECEIPT_WORDS, is_receipt
from detectors.step_features import NOTHING, StepFeatures
from detectors.structure import Shape, Shapes, shapes
from detectors.text import reads_as_failure, reads_as_left_out, reads_as_nothing_found, signs, tokens
from detectors.utterances import Utterances
from detectors.wording import is_reordered, is_worded_anew

SAME_SIMILARITY: Final = 0.2
"""Similarity from which it is worth finding out whether two calls are the same but for their form."""
RESULT_CHARS: Final = 2048
"""Characters of the result that are compared, half from the beginning and half from the end."""
LITTLE_NOVELTY: Final = 0.25
"""Share of unseen words up to which a result is looked at more closely."""
TOOLS: Final = 16
"""Tools remembered, the least recently called forgotten first."""
WORDS: Final = 600
"""Result words remembered over all tools in each of two generations: when the young is full it becomes the old."""

_LLM: Final = StepKind.LLM
_AGENT: Final = StepKind.AGENT
"""Here and in detectors: looking a member up in its class takes 0.2 µs in CPython 3.11."""
_TOOL_BYTES: Final = 350
_CALL_BYTES: Final = 300
_WORD_BYTES: Final = 90
"""What CPython 3.11 takes for a remembered tool, call and word, texts of calls aside."""

_PREFIX: Final = {kind: f"{kind.value}:" for kind in StepKind}
_NO_WORDS: Final[frozenset[bytes]] = frozenset()
_NAME_CHARS: Final = 200
"""Characters of a tool's name that are read."""


class FeatureState:
    """What is remembered of one session to compute `StepFeatures`. Feed it every step once, in order.

    Holds at most `TOOLS` × `CALLS` calls of up to 2 × `KEPT_CHARS` characters (`detectors.calls`; kept twice while they repeat),
    2 × `WORDS` result words, and what models said (`detectors.utterances`): under 1 MB for a session
    made to fill it. `python -m benchmarks.detection.cost` measures ordinary ones.
    """

    __slots__ = ("_heard", "_remembered", "_results_seen", "_shapes", "_spoken", "_tools", "_utterances", "_waited")

    def __init__(self) -> None:
        self._tools: dict[str, Tool] = {}
        self._utterances: Utterances | None = None
        self._remembered = 0
        self._results_seen = False
        self._waited = 0
        """The latest call that did nothing but let some time pass."""
        self._spoken: int | None = None
        self._heard: tuple[str | None, int, int] | None = None
        """The agent whose model spoke last, and its input and output tokens."""
        self._shapes: Shapes | None = None

    def observe(self, step: Step) -> StepFeatures:
        """Takes in the next step and compares it with the ones before. Never raises on odd content."""
        kind = step.kind
        if kind is _LLM:
            self._spoken = step.output_tokens
            if not self._results_seen:
                self._weigh(step)
            text = step.output_text
            return self._said(step, text) if text else NOTHING
        if self._utterances is not None:
            self._utterances.talking = False
        if kind is _AGENT:
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
            spoken, self._spoken = self._spoken, None
            return StepFeatures(key=key, is_call=True, failed=step.error is True, tokens_spoken=spoken, shape=self._bare(step, key))
        if result:
            self._results_seen = self._results_seen or kind is not _AGENT
        elif step.error_message:
            result = step.error_message
        elif step.output_bytes == 0 or (self._results_seen and kind is not _AGENT and step.output_bytes is None):
            result = ""  # senders leave an empty attribute out: where results are captured, a missing one is empty
        if result is None or (reads_as_left_out(result) if result else shows_a_picture(step.name or "", arguments or "")):
            return self._begun(step, key, arguments or "")
        return self._called(step, key, arguments, result)

    def _weigh(self, step: Step) -> None:
        """Reckons from the growth of a model's context how much the call before it returned."""
        heard, before = step.input_tokens, self._heard
        shapes = self._shapes
        if shapes is not None and shapes.waiting is not None and before is not None and heard is not None and before[0] == step.agent:
            shapes.sized(shapes.waiting, heard - before[1] - before[2])
        elif shapes is not None:
            shapes.waiting = None
        self._heard = None if heard is None else (step.agent, heard, step.output_tokens or 0)

    def _bare(self, step: Step, key: str) -> Shape | None:
        """Compares a call of which nothing was captured; none where results are captured, so that this one's is empty."""
        if step.kind is _AGENT or step.name is None or self._results_seen:
            return None
        if self._shapes is None:
            self._shapes = shapes()
        return self._shapes.call(key, step.seq, step.output_bytes)

    def weight(self) -> int:
        """Bytes of memory that it takes, roughly."""
        total = 0
        for tool in self._tools.values():
            total += _TOOL_BYTES + _WORD_BYTES * (len(tool.young or ()) + len(tool.old or ())) + len(tool.unread or "")
            for call in tool.calls:
                total += _CALL_BYTES + len(call.arguments) + len(call.result)
        return total if self._utterances is None else total + self._utterances.weight()

    def _tool(self, key: str) -> Tool:
        tools = self._tools
        tool = tools.pop(key, None)
        if tool is None:
            tool = Tool([])
            if len(tools) >= TOOLS:
                self._remembered -= tools.pop(next(iter(tools))).size()
        tools[key] = tool
        return tool

    def _learn(self, tool: Tool, shown: str, brought: frozenset[bytes]) -> None:
        """Remembers the words that a result `brought`."""
        tool.results += 1
        if not brought:
            return
        young = tool.young
        if young:
            self._remembered -= len(young)
            young |= brought
            self._remembered += len(young)
        elif tool.results == 1 and len(shown) <= KEPT_CHARS:
            tool.unread, tool.unread_words = shown, len(brought)
            self._remembered += len(brought)
        else:
            tool.young = set(brought)
            self._remembered += len(brought)
        if self._remembered > WORDS:
            for each in self._tools.values():
                each.old, each.young = each.words(), None
            self._remembered = 0

    def _said(self, step: Step, text: str) -> StepFeatures:
        """Notes what a model answered, and compares it with what the same agent's model answered before."""
        if self._utterances is None:
            self._utterances = Utterances()
        agent = step.agent or "model"
        likeness, answered, similar, first = self._utterances.said(step.seq, agent, text, step.input_text)
        return StepFeatures(
            key=f"llm:{agent}",
            argument_similarity=likeness,
            similar_to=similar,
            first=first,
            result_similarity=answered,
            arguments=clip(text, KEPT_CHARS),
        )

    def _begun(self, step: Step, key: str, arguments: str) -> StepFeatures:
        """Compares a call of which only the arguments were captured."""
        tool = self._tool(key)
        calls = tool.calls
        if self._utterances is not None and step.kind is not _AGENT and step.error is not True:
            self._utterances.news = step.seq
        call = remembered(step.seq, arguments, "")
        call.returned = UNKNOWN
        similarity, similar = most_similar_call(call.arguments, calls) if calls else (None, None)
        near = similar if similarity is not None and similarity >= SAME_SIMILARITY else None
        same = identify(call, near, calls) if near is not None else None
        listed = near is not None and same is None and goes_through_things(call, calls, by_agent=False)
        another = near is not None and same is None and is_about_another(call, calls, by_words=listed)
        call.failed = call.error = step.error is True
        last = last_same(call, calls) if same is not None else None
        settled = last is not None and settles(call, last, brought=False)
        if only_waits(call):
            self._waited = step.seq
        remember(call, calls)
        spoken, self._spoken = self._spoken, None
        return StepFeatures(
            key=key,
            is_call=True,
            argument_similarity=similarity,
            similar_to=similar.seq if similar else None,
            same_call_as=same,
            failed=call.failed,
            settles=settled,
            enumerates=listed,
            another=another,
            arguments=call.arguments,
            tokens_spoken=spoken,
            unread=bool(step.output_bytes or step.result or step.output_text) or self._results_seen,
        )

    def _called(self, step: Step, key: str, arguments: str | None, result: str) -> StepFeatures:
        """Compares a call with the remembered calls of the same tool."""
        tool = self._tool(key)
        calls = tool.calls
        call = remembered(step.seq, arguments or "", result)
        similarity, similar, same = None, None, None
        if calls and arguments is not None:
            similarity, similar = most_similar_call(call.arguments, calls)
            if similar is not None and similarity >= SAME_SIMILARITY:
                same = identify(call, similar, calls)
        first = not tool.results
        shown = clip(result, RESULT_CHARS)
        brought = tokens(shown) or signs(shown)
        count, total = count_new(tool, brought, shown, call.arguments if arguments else "")
        novelty = count / total if total else 0.0
        self._learn(tool, shown, brought)
        stale = not first and novelty <= LITTLE_NOVELTY
        if not stale and self._utterances is not None and step.kind is not _AGENT:
            self._utterances.news = step.seq
        call.failed = call.error = step.error is True
        climbing = step.kind is _AGENT and climbs(call, calls)
        waits = only_waits(call)
        if waits:
            self._waited = step.seq
        if not stale and same is None:
            remember(call, calls)
            return StepFeatures(
                key=key,
                is_call=True,
                argument_similarity=similarity,
                similar_to=similar.seq if similar else None,
                result_novelty=novelty,
                new_words=count,
                result_words=total,
                first=first,
                failed=call.failed,
                climbs=climbing,
                arguments=call.arguments,
                result=call.result,
            )
        shared, same_result = most_similar_result(call, calls)
        name = (step.name or "")[:_NAME_CHARS]
        nothing = stale and reads_as_nothing_found(result)
        asks, writes = reads_as(name, call.arguments) if stale else (False, False)
        listed = stale and same is None and goes_through_things(call, calls, by_agent=step.kind is _AGENT)
        another = stale and same is None and is_about_another(call, calls, by_words=listed and same_result is not None)
        moved = follow(call, calls) if same is not None else None
        if stale and same is None and not (another or asks or nothing) and step.kind is not _AGENT and total <= RECEIPT_AT_MOST:
            another = is_worded_anew(call, calls)
        receipt = is_receipt(result, total)
        call.failed = call.failed or (stale and reads_as_failure(result, at_once=another))
        last = last_same(call, calls) if same is not None else None
        waited = stale and last is not None and (self._waited > last.seq or waits_first(call)) and not waits
        polls = stale and last is not None and (waits or waited or call.advanced or polling(name, call, total))
        found = StepFeatures(
            key=key,
            is_call=True,
            argument_similarity=similarity,
            similar_to=similar.seq if similar else None,
            same_call_as=same,
            result_novelty=novelty,
            new_words=count,
            result_words=total,
            first=first,
            result_similarity=shared,
            same_result_as=same_result,
            varied=bool(calls) and same_result != calls[-1].seq,
            same_outcome=last is not None and same_outcome(call, last),
            moved=moved,
            climbs=climbing,
            unsteady=same is not None and is_unsteady(call, calls),
            failed=call.failed,
            settles=last is not None and settles(call, last, brought=not stale),
            found_nothing=nothing,
            polls=polls,
            waits=waits and stale and last is not None,
            waited=waited,
            writes=writes,
            asks=asks,
            enumerates=listed and not (nothing and regroups(call, calls)),
            another=another,
            argument_news=news(call, calls) if stale and same is None else 0,
            wrote=stale
            and same is None
            and not (call.failed or nothing)
            and (receipt if writes else total <= RECEIPT_WORDS and not asks)
            and not is_reordered(call, calls),
            receipt=receipt,
            arguments=call.arguments,
            result=call.result,
        )
        remember(call, calls)
        return found
