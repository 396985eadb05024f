"""Remembered calls and how to compare them. Pure functions over one `Call` and the calls before it."""

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Final

import msgspec
from rapidfuzz import fuzz, process

from detectors.text import BETWEEN, canonical, is_an_id, leaves, mask, reads_as_duration, reads_as_measure, tokens

CALLS: Final = 6
"""Calls remembered of each tool."""
SIMILARITY_CHARS: Final = 256
"""Characters of the arguments whose similarity is measured."""
KEPT_CHARS: Final = 1024
"""Characters of arguments and result kept of each remembered call, half from the beginning and half from the end."""
UNKNOWN: Final = -1
"""Stands for a result that was not captured: it is not like any other."""
CHANCE: Final = 0.5
"""Indel similarity that unrelated texts have: it counts as none."""

_TOKENS: Final = re.compile(r"\w+")
_VALUE_WORDS: Final = 3
_VALUE_CHARS: Final = 80
"""Up to which a value is a name rather than a phrase, and arguments that are no JSON object are one value."""
_PLACE_WORDS: Final = 6
_FIGURES: Final = re.compile(r"\d+")
_PARTS_WORDS: Final = re.compile(r"\w[^\w]*[^\w./\\:@&=#~-][^\w]*\w")
"""Words parted by a blank, or by a sign that patterns have and names have not."""
_WAIT_CHARS: Final = 120
"""Characters of arguments up to which a call may be no more than a wait."""
_SLEEP: Final = re.compile(r"\s*sleep\s+[\d.]+[smh]?\s*;?\s*$")
_SLEEPS_FIRST: Final = re.compile(r"\s*sleep\s+[\d.]+[smh]?\s*(?:;|&)")
_CHUNK: Final = re.compile(r"[^\s\"'`,;()\[\]{}<>=]+")
_REFERENCE: Final = re.compile(r"\d|\w[./\\@:#_]+\w")
_NO_WORDS: Final[frozenset[bytes]] = frozenset()
_NO_NAMES: Final[frozenset[str]] = frozenset()


class Call(msgspec.Struct, gc=False):
    """One remembered call. `identity` is the sequence number of the first call with the same arguments.

    Holds nothing that could point back at it, so that the garbage collector need not look at it.
    """

    seq: int
    identity: int
    arguments: str
    result: str
    asked: int = 0
    """Stands for what of the arguments is not kept."""
    returned: int = 0
    """Stands for what of the result is not kept; `UNKNOWN` where none was captured."""
    leaves: dict[str, str] | None = None
    """Its arguments, path → value, once `read`. None: they are neither a JSON object nor one short value."""
    read: bool = False
    canonical: str | None = None
    masked: str | None = None
    returned_words: frozenset[bytes] | None = None
    references: frozenset[str] | None = None
    reading: tuple[str, tuple[float, ...], tuple[float | None, ...]] | None = None
    """Its result without figures, the figures, and what each goes up to, once read (`detectors.progress`)."""
    error: bool = False
    failed: bool = False
    """It ended in an error, or only reads as if it had failed."""
    advanced: bool = False
    """The figures that the call brings have advanced since it was first made."""


class Tool(msgspec.Struct, gc=False):
    """What is remembered of one tool: its last calls, and the words of its results in two generations."""

    calls: list[Call]
    results: int = 0
    unread: str | None = None
    """The only result of the young generation, whose words are not kept before there is another: a tool called once needs none."""
    unread_words: int = 0
    young: set[bytes] | None = None
    old: set[bytes] | None = None

    def words(self) -> set[bytes] | None:
        """The words of the young generation, to be changed in place; None: there are none."""
        if self.unread is not None:
            self.young, self.unread, self.unread_words = set(tokens(self.unread)), None, 0
        return self.young

    def size(self) -> int:
        """How many words that is."""
        return len(self.young) if self.young else self.unread_words


def remembered(seq: int, asked: str, returned: str) -> Call:
    """Cuts a call to what is kept of it."""
    if len(asked) <= KEPT_CHARS and len(returned) <= KEPT_CHARS:
        return Call(seq, seq, asked, returned)
    return Call(seq, seq, clip(asked, KEPT_CHARS), clip(returned, KEPT_CHARS), _rest(asked), _rest(returned))


def clip(text: str, chars: int) -> str:
    """Keeps the beginning and the end: logs and histories tell the news last."""
    half = chars // 2
    return text if len(text) <= chars else f"{text[:half]} {text[-half:]}"


def _rest(text: str) -> int:
    """Stands for what of `text` is not kept: its length and a checksum in one number, 0 where all of it is."""
    return len(text) << 32 | zlib.crc32(text.encode(errors="replace")) if len(text) > KEPT_CHARS else 0


def most_similar(text: str, others: list[str]) -> tuple[float, int]:
    """Finds the most similar of some texts: how similar, 0–1, and its place; of equals the first. 0 and -1: none resembles it."""
    found = process.extractOne(text, others, scorer=fuzz.ratio, score_cutoff=100 * CHANCE)
    if found is None or found[1] <= 100 * CHANCE:
        return 0.0, -1
    return (found[1] / 100 - CHANCE) / (1 - CHANCE), found[2]


def most_similar_call(arguments: str, calls: list[Call]) -> tuple[float, Call | None]:
    """Finds the most similar of the remembered calls by the beginning of their arguments; of equals the latest.

    Arguments that begin alike are compared as a whole: only equal ones have a similarity of 1.
    """
    head = arguments[:SIMILARITY_CHARS]
    heads = [other.arguments[:SIMILARITY_CHARS] for other in reversed(calls)]
    if head and head in heads:
        alike = [other for other, start in zip(reversed(calls), heads, strict=True) if start == head]
        same = next((other for other in alike if other.arguments == arguments), None)
        if same is not None:
            return 1.0, same
        similarity, place = most_similar(arguments, [other.arguments for other in alike])
        return similarity, alike[max(0, place)]
    similarity, place = most_similar(head, heads)
    return similarity, None if place < 0 else calls[-1 - place]


def alike(one: str, other: str) -> float:
    """Measures how alike two texts are, 0–1."""
    return max(0.0, (fuzz.ratio(one, other) / 100 - CHANCE) / (1 - CHANCE))


def remember(call: Call, calls: list[Call]) -> None:
    """Adds a call to those remembered of its tool, and forgets the oldest of too many."""
    calls.append(call)
    if len(calls) > CALLS:
        del calls[0]


def identify(call: Call, similar: Call, calls: Sequence[Call]) -> int | None:
    """Finds the first remembered call with the same arguments, and notes it in `call`."""
    for other in calls:
        if other.arguments == call.arguments and other.asked == call.asked:
            call.identity, call.arguments, call.canonical = other.identity, other.arguments, other.canonical
            call.leaves, call.read = other.leaves, other.read
            return call.identity
    if call.asked or similar.asked:
        return None  # what is cut off may differ
    call.canonical = canonical(call.arguments, values_of(call))
    for other in calls:
        if other.canonical is None:
            other.canonical = canonical(other.arguments, values_of(other))
        if other.canonical == call.canonical and not other.asked:
            call.identity = other.identity
            return call.identity
    return None


def values_of(call: Call) -> dict[str, str] | None:
    """The arguments by path; None where they are neither a JSON object nor one short value."""
    if not call.read:
        call.leaves, call.read = leaves(call.arguments), True
        if call.leaves is None and 0 < len(call.arguments) <= _VALUE_CHARS:
            words = call.arguments.split()
            call.leaves = {"": " ".join(words)} if len(words) <= _VALUE_WORDS else None
    return call.leaves


def news(call: Call, calls: Sequence[Call]) -> int:
    """Counts the argument words that no remembered call had; what is not kept of a long text counts as one."""
    unkept = call.asked != 0 and all(other.asked != call.asked for other in calls)
    return len(tokens(call.arguments).difference(*(tokens(other.arguments) for other in calls))) or int(unkept)


def most_similar_result(call: Call, calls: Sequence[Call]) -> tuple[float | None, int | None]:
    """Returns the largest Jaccard index among the remembered results, and the call whose result is the same if one is."""
    for other in reversed(calls):
        if other.result == call.result and other.returned == call.returned:
            return 1.0, other.seq
    best: float | None = None
    _read(call)
    ours = call.returned_words or _NO_WORDS
    for other in reversed(calls):
        if other.returned == UNKNOWN:
            continue
        if other.masked is None:
            _read(other)
        if other.masked == call.masked:
            return 1.0, other.seq
        theirs = other.returned_words or _NO_WORDS
        common = len(ours & theirs)
        either = len(ours) + len(theirs) - common
        share = common / either if either else 1.0
        if best is None or share > best:
            best = share
    return best, None


def _read(call: Call) -> None:
    masked = call.result if is_an_id(call.result) else mask(call.result)
    call.masked = call.result if masked == call.result else masked
    call.returned_words = tokens(masked) - tokens(call.arguments)


def last_same(call: Call, calls: Sequence[Call]) -> Call | None:
    """Finds the last remembered call with the same arguments, once `identify` has noted which these are."""
    return next((other for other in reversed(calls) if other.identity == call.identity), None)


def same_outcome(call: Call, last: Call) -> bool:
    """Whether both returned the same. `most_similar_result` has masked them."""
    if last.result == call.result and last.returned == call.returned:
        return True
    return call.masked is not None and last.masked == call.masked


def settles(call: Call, last: Call, *, brought: bool) -> bool:
    """Whether the same call failed when it was `last` made, and now did not.

    What only reads like a failure may have been an answer: there the call must have `brought` something new to settle it.
    """
    return not call.failed and (last.error or (last.failed and brought))


def goes_through_things(call: Call, calls: Sequence[Call], *, by_agent: bool) -> bool:
    """Whether the call goes through a list, or is another errand of an agent."""
    return goes_through_a_list(call, calls) or (by_agent and is_another_errand(call.arguments, calls))


def goes_through_a_list(call: Call, calls: Sequence[Call]) -> bool:
    """Whether the call differs from earlier ones only in values that were never used in their place, each of few words.

    `{"file": "a.txt"}`, `{"file": "b.txt"}` goes through a list; so does a long text in which a number alone counts on.
    `{"q": "q3 revenue"}`, `{"q": "q3 revenue acme"}` asks the same again in other words.
    """
    now = values_of(call)
    if not now:
        return False
    compared, counted = False, 0
    used: dict[str, set[str]] = {}
    alike = [before for other in calls if (before := values_of(other)) is not None and before.keys() == now.keys()]
    for before in alike:
        changed = [(now[key], before[key]) for key in now if now[key] != before[key]]
        if len(changed) == 1 and _counted_on(*changed[0]):
            counted += 1
        elif not changed:
            return False
    if counted > 1:
        return True
    for before in alike:
        for key, value in before.items():
            used.setdefault(key, set()).add(value)
        compared = True
        changed = [(now[key], before[key]) for key in now if now[key] != before[key]]
        stays = any(now[key] == before[key] and " " in now[key] for key in now)
        if not changed or any(
            (_longest(new) > _VALUE_WORDS and not (stays and _is_place(new))) or _reworded(new, old) for new, old in changed
        ):
            return False
    return compared and any(value not in used[key] for key, value in now.items())


def _longest(value: str) -> int:
    """Words of a value, of the longest member if it is a list."""
    return len(value.split()) if BETWEEN not in value else max(len(each.split()) for each in value.split(BETWEEN))


def is_about_another(call: Call, calls: Sequence[Call], *, by_words: bool) -> bool:
    """Whether the call names a thing that no remembered call named, as at least half of those did: by a path, address, number or id.

    The number of a page, and how much is asked for, names nothing. `by_words`: words that are none of these name things too, as in
    going through a list of names.
    """
    if by_words and _names_anew(call, calls):
        return True
    ours, theirs = _references(call), [_references(other) for other in calls]
    if ours <= _NO_NAMES.union(*theirs):
        return False
    used = Counter(chain(ours, *theirs))
    return 2 * sum(any(used[name] == 1 for name in each) for each in theirs) >= len(theirs)


def _names_anew(call: Call, calls: Sequence[Call]) -> bool:
    """Whether an argument other than a measure holds what no remembered call had there."""
    now = values_of(call) or {}
    before = [values_of(other) or {} for other in calls]
    return any(not reads_as_measure(key) and all(one.get(key) != value for one in before) for key, value in now.items())


def _references(call: Call) -> frozenset[str]:
    """The words of a call that name things: those with a figure, and paths, addresses and other compounds."""
    if call.references is None:
        flat = values_of(call)
        text = call.arguments if flat is None else " ".join(value for key, value in flat.items() if not reads_as_measure(key))
        chunks = (chunk.strip(".:!?") for chunk in _CHUNK.findall(text))
        call.references = frozenset(chunk for chunk in chunks if _REFERENCE.search(chunk))
    return call.references


def regroups(call: Call, calls: Sequence[Call]) -> bool:
    """Whether the call, unlike the earlier ones in some values, only puts words together anew that were asked for there before.

    Each new value must be a phrase all of whose words stood in earlier values in its place, one of them elsewhere in the phrase:
    `opening hours`, `store in Ghent`, `hours.*Ghent` goes round in circles. All combinations of kinds and properties are a list, and
    names and paths are no phrases, however they resemble each other.
    """
    now = values_of(call)
    if not now:
        return False
    alike = [before for other in calls if (before := values_of(other)) is not None and before.keys() == now.keys()]
    changed = [key for key, value in now.items() if any(before[key] != value for before in alike)]
    return bool(changed) and all(_regrouped(now[key], [before[key] for before in alike]) for key in changed)


def _regrouped(value: str, earlier: Sequence[str]) -> bool:
    ours = _phrase(value)
    theirs = {placed for other in earlier for placed in enumerate(_phrase(other))}
    known = {word for _, word in theirs}
    return bool(ours) and known.issuperset(ours) and not theirs.issuperset(enumerate(ours))


def _phrase(text: str) -> list[str]:
    """The words of a text or pattern to search for; none where nothing but the signs of names and paths parts them."""
    return _TOKENS.findall(text.lower()) if _PARTS_WORDS.search(text) else []


def only_waits(call: Call) -> bool:
    """Whether all that is asked for is that some time passes: `{"seconds": 60}`, or a command line `sleep 60`."""
    if len(call.arguments) > _WAIT_CHARS:
        return False
    now = values_of(call)
    if not now:
        return False
    if "sleep" in call.arguments and any(_SLEEP.match(value) is not None for value in now.values()):
        return True
    return all(map(reads_as_duration, now))


def waits_first(call: Call) -> bool:
    """Whether a command line lets some time pass before it looks: `sleep 10; kubectl get pods`."""
    if "sleep" not in call.arguments:
        return False
    values = (values_of(call) or {}).values()
    return _SLEEPS_FIRST.match(call.arguments) is not None or any(_SLEEPS_FIRST.match(value) is not None for value in values)


def is_another_errand(text: str, calls: Sequence[Call]) -> bool:
    """Whether the request differs from at least two earlier ones in one and the same word, which none of them had.

    For agents: "Edit chapter four." after "Edit chapter three." is another errand. For a search it may be the same question.
    """
    ours = _TOKENS.findall(text)
    places: list[int] = []
    for call in calls:
        theirs = _TOKENS.findall(call.arguments)
        if len(theirs) == len(ours):
            differ = [place for place, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other]
            if not differ:
                return False
            if len(differ) == 1:
                places += differ
    return len(places) > 1 and len(set(places)) == 1


def _counted_on(new: str, old: str) -> bool:
    """Whether two texts differ in one word alone, and that only in its figures: `key7`, `key8`."""
    ours, theirs = _TOKENS.findall(new), _TOKENS.findall(old)
    if len(ours) != len(theirs):
        return False
    differ = [(one, other) for one, other in zip(ours, theirs, strict=True) if one != other]
    return len(differ) == 1 and any(map(str.isdigit, differ[0][0])) and _FIGURES.sub("", differ[0][0]) == _FIGURES.sub("", differ[0][1])


def _is_place(value: str) -> bool:
    """Whether a value names where to look, in a few words with a number: where the question beside it stays, it goes through places."""
    return len(value.split()) <= _PLACE_WORDS and _FIGURES.search(value) is not None


def _reworded(new: str, old: str) -> bool:
    """Whether two values of several words have most of them in common."""
    if BETWEEN in new or BETWEEN in old:
        return False  # some things and some others
    ours, theirs = frozenset(new.lower().split()), frozenset(old.lower().split())
    return len(ours) > 1 and len(ours & theirs) * 5 >= len(ours | theirs) * 3
