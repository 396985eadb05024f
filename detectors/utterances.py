"""What models said, and how it compares with what the same agent's model said before."""

from typing import Final

import msgspec

from detectors.calls import KEPT_CHARS, alike, clip, most_similar
from detectors.text import mask, tokens

SPEECH_CHARS: Final = 128
"""Characters of what a model says that are compared: repeated speech repeats its beginning."""
UTTERANCES: Final = 3
"""Utterances of each agent's model that what it says next is compared with."""
SPEAKERS: Final = 16
"""Agents whose utterances are remembered, the one silent longest forgotten first."""
HEARD_CHARS: Final = 4096
"""Characters kept of the latest question to each agent, half from the beginning and half from the end."""
NEW_QUESTION_WORDS: Final = 3
"""Words not there before from which a model is asked something else."""

_SPEAKER_BYTES: Final = 350
_UTTERANCE_BYTES: Final = 300
"""What CPython 3.11 takes for a remembered speaker and utterance, texts aside."""


class Utterance(msgspec.Struct, gc=False):
    """What a model said, as far as it is compared: its beginning, and the end of what it was asked."""

    seq: int
    said: str
    asked: str
    heard: str = ""
    """Of the latest: what it was asked and what it answered, to look there for the words of the next question."""


class Utterances:
    """The last utterances of each agent's model: `SPEAKERS` × `UTTERANCES` of 2 × `SPEECH_CHARS` characters, and what each heard last."""

    __slots__ = ("_spoken", "news", "talking")

    def __init__(self) -> None:
        self._spoken: dict[str, list[Utterance]] = {}
        self.talking = False
        """A model spoke, and no call came since."""
        self.news = 0
        """The latest call that brought something new: to say the same of it as of what came before is not to repeat oneself."""

    def said(self, seq: int, agent: str, text: str, asked: str | None) -> tuple[float | None, float | None, int | None, bool]:
        """Takes in what a model said, and compares it, where a model spoke last, with what was said since there was news.

        Returns how like it is to the most similar utterance, how alike the two questions are, the sequence number of that utterance,
        and whether it is the agent's first.
        """
        before = self._spoken.pop(agent, None)
        if before is None:
            before = []
            if len(self._spoken) >= SPEAKERS:
                del self._spoken[next(iter(self._spoken))]
        self._spoken[agent] = before
        beginning, question = text[:SPEECH_CHARS], (asked or "")[-SPEECH_CHARS:]
        likeness: float | None = None
        answered: float | None = None
        similar: Utterance | None = None
        since = [each for each in reversed(before) if each.seq > self.news] if self.talking else ()
        if since:
            likeness, place = most_similar(beginning, [each.said for each in since])
            if place >= 0:
                similar = since[place]
                answered = _asked_alike(asked, similar, before[-1]) if asked else None
        self.talking, first = True, not before
        if before:
            before[-1].heard = ""
        heard = f"{clip(asked, HEARD_CHARS)} {clip(text, KEPT_CHARS)}" if asked else ""
        before.append(Utterance(seq, beginning, question, heard))
        if len(before) > UTTERANCES:
            del before[0]
        return likeness, answered, similar.seq if similar else None, first

    def weight(self) -> int:
        """Bytes of memory that it takes, roughly."""
        return sum(
            _SPEAKER_BYTES + sum(_UTTERANCE_BYTES + len(each.said) + len(each.asked) + len(each.heard) for each in spoken)
            for spoken in self._spoken.values()
        )


def _asked_alike(asked: str, similar: Utterance, last: Utterance) -> float:
    """Measures how alike what is asked is to what a similar utterance answered, 0–1, by its end: the rest may be all that was said so far.

    Where it holds several words found neither in what was asked last nor in what was answered it is another question, however it
    ends: many texts put to a model in one form end alike.
    """
    heard = clip(asked, HEARD_CHARS)
    if heard not in last.heard and len(tokens(mask(heard)) - tokens(mask(last.heard))) >= NEW_QUESTION_WORDS:
        return 0.0
    return alike(asked[-SPEECH_CHARS:], similar.asked)
