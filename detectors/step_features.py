"""What detectors are told of each step beside the step itself; `detectors.features` computes it."""

from typing import Final

import msgspec

from detectors.progress import Moved
from detectors.receipts import RECEIPT_WORDS
from detectors.structure import Shape


class StepFeatures(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How one step relates to the earlier steps of its session. None: the telemetry did not carry the content for it."""

    key: str | None = None
    """What was called: `tool:search`, `agent:writer`, or `llm:` and the agent that spoke. None: nothing comparable."""
    is_call: bool = False
    """Whether the step did something (tool, retrieval, hand-off, agent invocation) rather than said something."""
    argument_similarity: float | None = None
    """0–1: likeness to the most similar remembered call of the same tool; 0 is what unrelated texts have in common. For llm
    steps, of what was said to what the same agent's model said before, measured only where a model spoke last: with a call
    between, the calls speak for themselves. None: nothing to compare with."""
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
    varied: bool = False
    """The tool returned something else the last time, whatever it was called with."""
    same_outcome: bool = False
    """The same call, when it was last made, returned the same."""
    moved: Moved | None = None
    """How the answer changed since the same call was last made, other than by itself. None: it did not, or is the first."""
    climbs: bool = False
    """An agent's answer holds a mark that went up since its last one: "55/100" after "46/100"."""
    unsteady: bool = False
    """What the same call returned changed at least twice of late: it may be a reading, or a draw."""
    failed: bool = False
    """The step ended in an error, or brought little new and reads as one."""
    settles: bool = False
    """The same call, when it was last made, failed, and now did not."""
    found_nothing: bool = False
    """The step brought little new and says that there was nothing to be found."""
    polls: bool = False
    """The step repeats a call, brought little new, and reads as waiting for something, or as going on by a step."""
    waits: bool = False
    """The step repeats a call that lets some time pass and does nothing else."""
    waited: bool = False
    """The step repeats a call, brought little new, and the agent let some time pass before it."""
    writes: bool = False
    """The step brought little new and its tool's name, or the statement it is given, says that it changes something."""
    wrote: bool = False
    """It writes, was not made before, and does not read as failed: something was changed, if only to a value that was there before."""
    receipt: bool = False
    """All that came back may be that something was done. Told where nothing new came back."""
    asks: bool = False
    """The step brought little new and its tool's name says that it looks something up."""
    enumerates: bool = False
    """The step goes through a list: its arguments differ from an earlier call's only in values never used before there."""
    another: bool = False
    """The call names something, other than the next number, that no remembered call of the tool named. Told where nothing new came back."""
    argument_news: int = 0
    """How many argument words no remembered call of the tool had. Counted only where the result brought nothing new."""
    unread: bool = False
    """The call returned something that was not captured: it may be news."""
    tokens_spoken: int | None = None
    """Output tokens of the model call before, where the call's content was not captured and no other call lies between."""
    shape: Shape | None = None
    """How a call of which neither arguments nor result were captured follows such calls before it. None: content is captured."""
    arguments: str = ""
    """The first characters of the arguments, to quote."""
    result: str = ""
    """The first characters of the result, to quote."""

    @property
    def changed(self) -> bool:
        """Whether the same call was made before, and its answer as a whole is another than last time, other than by itself."""
        return self.moved is not None and not self.same_outcome

    @property
    def acted(self) -> bool:
        """Whether the step may have changed something: it asked for something else than before, and was acknowledged."""
        if self.argument_news == 0 or self.failed or self.asks or (self.found_nothing and (self.result_words or not self.writes)):
            return False
        return self.writes or self.another or self.result_words <= RECEIPT_WORDS


NOTHING: Final = StepFeatures()
