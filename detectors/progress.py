"""Figures in the answers to one call: whether they moved, and whether they move one way. Pure functions.

"3 of 11 ready" after "2 of 11 ready" is progress, however many words stand around it. What counts attempts, tells a time or a
duration, or is an id moves by itself and says nothing.
"""

import enum
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from detectors.calls import UNKNOWN, Call
from detectors.text import mask

_FIGURE: Final = re.compile(r"(?<![a-z_\d])\d+(?:[.,]\d+)*")
"""Not what follows a letter: that is part of a name or an id."""
_BY_ITSELF: Final = re.compile(
    r"""
      \b\d{4}-\d\d-\d\d\b | \b\d{1,2}:\d\d(?::\d\d)?\b                                            # date, clock time
    | \b(?:\d+(?:\.\d+)?\s?(?:d|days?|h|hrs?|hours?|m|mins?|minutes?|s|secs?|seconds?|ms)\s?){1,4}(?:ago\b|old\b|\b)   # duration, age
    | \b(?:attempts?|retry|retries|retrying|tries|try|iterations?|rounds?|turns?|cycles?|elapsed|
        took|after|since|uptime|age|waited|pid|port|(?:\w+_)?id|
        req(?:uest)?|trace|nonce|ticket|ref(?:erence)?|seq(?:uence)?|time|timestamp|ts)\b[^\w\n]{0,4}(?:n(?:o|umber)\b[^\w\n]{0,3})?(?:\d+[.,])*\w*\d\w*
        (?:\s?(?:/|of|out\ of)\s?\d+)?                                                            # counter of attempts, id
    | \b\d+(?:st|nd|rd|th)?\s(?:attempts?|retry|retries|tries|try|iterations?|rounds?|turns?|cycles?|times?|requests?)\b
    """,
    re.VERBOSE,
)
"""What differs from one call to the next though nothing else does, beside what `mask` replaces."""
_BOUND: Final = re.compile(r"\s*(?:%|(?:[a-z]+\s)?(?:/|of|out of)\s?(\d+(?:[.,]\d+)*))")
"""After a figure: what it goes up to."""
_RISES: Final = 3
"""Different answers one after the other that a figure without a bound must have risen, or fallen, through."""

Reading = tuple[str, tuple[float, ...], tuple[float | None, ...]]
"""A text without its figures, the figures, and what each goes up to."""


class Moved(enum.Enum):
    """How the answer to a call changed since the call was last made, other than by itself."""

    WORDS = "words"
    """In its words."""
    FIGURES = "figures"
    """In its figures alone."""
    ONWARD = "onward"
    """In its figures alone, and these move one way, best towards what they go up to: "2 of 11", "3 of 11"."""


def reading(text: str) -> Reading:
    """Takes the figures out of a text.

    >>> reading("Try 4: 3 of 11 replicas after 20 s")
    ('~: # of # replicas after ~', (3.0, 11.0), (11.0, None))
    """
    shown = _BY_ITSELF.sub("~", mask(text))
    figures, bounds = [], []
    for found in _FIGURE.finditer(shown):
        figures.append(_value(found[0]))
        bound = _BOUND.match(shown, found.end())
        bounds.append(None if bound is None else 100.0 if bound[1] is None else _value(bound[1]))
    return _FIGURE.sub("#", shown), tuple(figures), tuple(bounds)


def differs(now: Reading, before: Reading) -> bool:
    """Whether the texts are the same but for their figures, and these are not."""
    return now[0] == before[0] and now[1] != before[1]


def advances(now: Reading, earlier: Sequence[Reading]) -> bool:
    """Whether the figures moved on since the last of the `earlier` readings.

    A figure with a bound moved up to it, and none with a bound moved back; or all that ever moved in these texts moved one way,
    through at least `_RISES` different answers.
    """
    alike = [each for each in earlier if each[0] == now[0]]
    if not alike or alike[-1][1] == now[1]:
        return False
    last = alike[-1]
    up = down = False
    for figure, before, bound, bound_before in zip(now[1], last[1], now[2], last[2], strict=True):
        if bound is not None and bound == bound_before and before != figure <= bound:
            up, down = up or figure > before, down or figure < before
    if up or down:
        return up and not down
    alike.append(now)
    if len({each[1] for each in alike}) < _RISES:
        return False
    return all(list(place) in (sorted(place), sorted(place, reverse=True)) for place in zip(*(each[1] for each in alike), strict=True))


def follow(call: Call, calls: Sequence[Call]) -> Moved | None:
    """Compares the answer with the one that the same call brought last. None: nothing changed but what changes by itself.

    `calls` are the remembered ones. Notes in `call` whether its answers ever advanced.
    """
    before = [other for other in calls if other.identity == call.identity and other.returned != UNKNOWN]
    if not before:
        return None
    last = before[-1]
    call.advanced = last.advanced
    if last.result == call.result:
        return None
    now, then = _read(call), _read(last)
    if not differs(now, then):
        return Moved.WORDS if now[0] != then[0] else None
    if not advances(now, [_read(other) for other in before]):
        return Moved.FIGURES
    call.advanced = True
    return Moved.ONWARD


def climbs(call: Call, calls: Sequence[Call]) -> bool:
    """Whether what came back holds a mark that went up since the last answer, whoever was asked what: "55/100" after "46/100".

    `calls` are the remembered ones. Only figures with the same bound are compared, and where the last two answers held none or
    several of it, nothing is known.
    """
    if not calls or calls[-1].returned == UNKNOWN:
        return False
    now, before = (_marks(_read(each)) for each in (call, calls[-1]))
    return any(before.get(bound, mark) < mark <= bound for bound, mark in now.items())


def _marks(told: Reading) -> dict[float, float]:
    """Figure by bound, of bounds that bound one figure."""
    _, figures, bounds = told
    return {bound: figure for figure, bound in zip(figures, bounds, strict=True) if bound is not None and bounds.count(bound) == 1}


def is_unsteady(call: Call, calls: Sequence[Call]) -> bool:
    """Whether what the same call returned changed at least twice of late, other than by itself."""
    answers = [each for each in (*calls, call) if each.identity == call.identity and each.returned != UNKNOWN]
    if len(answers) < 3:
        return False
    return sum(one.result != other.result and _read(one)[:2] != _read(other)[:2] for one, other in pairwise(answers)) > 1


def _read(call: Call) -> Reading:
    if call.reading is None:
        call.reading = reading(call.result)
    return call.reading


def _value(figure: str) -> float:
    return float(figure.replace(",", "")) if figure.count(".") < 2 else 0.0
