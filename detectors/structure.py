"""What calls show whose content was not captured: the order of their names, and how large their results were.

The size of a result is what the sender gives for it, or else how much the context of the model grew from the call before it to the
call after it, less what the model itself said. Only calls of tools in a fixed order can be told; what they were about cannot.
"""

from typing import Final

import msgspec

LONGEST: Final = 6
"""Longest round of tools looked for, in calls."""
SIZES: Final = 8
"""Calls looked back on for a result of the same size."""
SEQS: Final = 12
"""Calls of a round given as proof."""
_ALL: Final = (1 << SIZES) - 1


class Round(msgspec.Struct, gc=False):
    """Names that follow each other, and how long they have done so in a fixed round of two to six."""

    names: list[str]
    seqs: list[int]
    matches: list[int] | None = None
    since: int = 0
    period: int = 0
    told: bool | None = None
    acknowledged: int = 0
    """Calls of the rounds, the first time through not included, that were only acknowledged."""

    def members(self) -> list[str]:
        """The distinct names of the round, in order."""
        return list(dict.fromkeys(self.names[-self.period :]))

    def begin(self, name: str, seq: int) -> bool:
        """Notes a name that can only be the first time through. Says whether a round that was told of ends."""
        told, self.told = self.told, None
        self.matches = None
        self._note(name, seq)
        return told is not None

    def add(self, name: str, seq: int) -> int:
        """Returns how many names repeat the round so far, the first time through not included."""
        if self.matches is None:
            self.matches = [0] * (LONGEST + 1)
        matches = self.matches
        self.period = best = 0
        for period in range(2, min(LONGEST, len(self.names)) + 1):
            matches[period] = matches[period] + 1 if self.names[-period] == name else 0
            if matches[period] > best:
                best, self.period = matches[period], period
        self._note(name, seq)
        if self.since == 0 or best <= 1:
            self.since = self.seqs[-min(len(self.seqs), self.period + 1)]
        if best and len(set(self.members())) < 2:
            return 0  # one name over and over is no round
        return best

    def _note(self, name: str, seq: int) -> None:
        self.names.append(name)
        self.seqs.append(seq)
        if len(self.seqs) > 2 * SEQS:
            del self.names[:-LONGEST], self.seqs[:-SEQS]


class Shape(msgspec.Struct, frozen=True, gc=False):
    """How a call whose content was not captured follows the ones before."""

    in_a_row: int
    """Calls of this tool in a row, this one included. 0: no other tool was called in the session, so that it means nothing."""
    row_since: int
    """Sequence number of the first of them."""
    in_rounds: int
    """Calls up to this one that repeat a round of two to `LONGEST` tools, the first time through not included."""
    round_since: int
    """Sequence number of the call that the first round began with."""
    round: tuple[str, ...]
    """Its tools."""
    sizes_repeated: int | None
    """How many of the last `SIZES` calls returned as much as one of the `SIZES` before them of the same tool. None: no size is known."""


class Shapes(msgspec.Struct, gc=False):
    """What is remembered of the calls of one session whose content was not captured."""

    order: Round
    sizes: list[tuple[str, int]]
    in_a_row: int = 0
    row_since: int = 0
    others: bool = False
    repeated: int | None = None
    """A bit for each of the last `SIZES` calls of known size, the latest lowest: whether it returned as much as one before."""
    waiting: str | None = None
    """The tool whose result the next model call will show the size of."""

    def call(self, name: str, seq: int, size: int | None) -> Shape:
        """Takes in the next call, with the size of its result where the sender gave it."""
        before = self.order.names[-1] if self.order.names else None
        if before == name:
            self.in_a_row += 1
        else:
            self.others = self.others or before is not None
            self.in_a_row, self.row_since = 1, seq
        length = self.order.add(name, seq)
        in_rounds = length if length >= self.order.period else 0
        self.waiting = name if size is None else None
        if size is not None:
            self.sized(name, size)
        return Shape(
            in_a_row=self.in_a_row if self.others else 0,
            row_since=self.row_since,
            in_rounds=in_rounds,
            round_since=self.order.since,
            round=tuple(self.order.members()) if in_rounds else (),
            sizes_repeated=None if self.repeated is None else self.repeated.bit_count() if self.repeated & 1 else 0,
        )

    def sized(self, name: str, size: int) -> None:
        """Notes how much a call returned."""
        self.waiting = None
        self.repeated = ((self.repeated or 0) << 1 | ((name, size) in self.sizes)) & _ALL
        self.sizes.append((name, size))
        if len(self.sizes) > SIZES:
            del self.sizes[0]


def shapes() -> Shapes:
    """Remembers nothing yet.

    >>> seen = shapes()
    >>> [seen.call(name, seq, 100).in_rounds for seq, name in enumerate(("look", "think", "look", "think", "look"))]
    [0, 0, 0, 2, 3]
    """
    return Shapes(Round([], []), [])
