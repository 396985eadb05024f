"""What models said, and how it compares with what the same agent's model said before."""

from typing import Final

import msgspec

from detectors.calls import alike, most_similar

SPEECH_CHARS: Final = 128
"""Characters of what a model says that are compared: repeated speech repeats its beginning."""
UTTERANCES: Final = 3
"""Utterances of each agent's model that what it says next is compared with."""
SPEAKERS: Final = 16
"""Agents whose utterances are remembered, the one silent longest forgotten first."""

_SPEAKER_BYTES: Final = 350
_UTTERANCE_BYTES: Final = 300
"""What CPython 3.11 takes for a remembered speaker and utterance, texts aside."""


class Utterance(msgspec.Struct, gc=False):
    """What a model said, as far as it is compared: its beginning, and the end of what it was asked."""

    seq: int
    said: str
    asked: str


class Utterances:
    """The last utterances of each agent's model: `SPEAKERS` × `UTTERANCES` of 2 × `SPEECH_CHARS` characters."""

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
        since = [each for each in reversed(before) if each.seq > self.news]
        if self.talking and since:
            likeness, place = most_similar(beginning, [each.said for each in since])
            if place >= 0:
                similar = since[place]
                answered = alike(question, similar.asked) if asked else None
        self.talking, first = True, not before
        before.append(Utterance(seq, beginning, question))
        if len(before) > UTTERANCES:
            del before[0]
        return likeness, answered, similar.seq if similar else None, first

    def weight(self) -> int:
        """Bytes of memory that it takes, roughly."""
        return sum(
            _SPEAKER_BYTES + sum(_UTTERANCE_BYTES + len(each.said) + len(each.asked) for each in spoken) for spoken in self._spoken.values()
        )
