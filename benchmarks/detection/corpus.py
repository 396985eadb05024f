"""The project's own corpus: labelled sessions made from a seed, and as many healthy ones as one likes.

`sessions()` makes trouble and its look-alikes in two halves that share no template, tool or topic: thresholds may be looked at on
`tune` only. `healthy()` makes sessions of many shapes and lengths in which nothing is wrong, to bound how often a session
would be halted for nothing.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from benchmarks.detection import (  # noqa: F401 — register their scenarios
    circumstances,
    fleets,
    pieces,
    quiet_batches,
    quiet_known_words,
    quiet_more,
    quiet_unseen,
    quiet_unseen_services,
    stuck,
)
from benchmarks.detection.labelled import Draft, Labelled
from benchmarks.detection.loops import POSITIVE
from benchmarks.detection.quiet import NEGATIVE
from benchmarks.detection.together import Story, stories
from benchmarks.detection.writer import DOMAINS, HALVES, Writer

SEED: Final = "overcurrent-1"
EACH: Final = 6
"""Sessions of each scenario in each half: one a domain."""
_SUFFICIENT: Final = 500
"""Steps after which no further part is added to a healthy session."""


def sessions(seed: str = SEED, each: int = EACH) -> list[Labelled]:
    """Makes the corpus: every scenario `each` times in both halves, one domain after the other."""
    made = []
    for half in HALVES:
        for name in sorted(POSITIVE) + sorted(NEGATIVE):
            for number in range(each):
                draft = Draft(Writer(half, DOMAINS[number % len(DOMAINS)], f"{seed}/{name}/{number}"))
                expects, scenario = POSITIVE[name] if name in POSITIVE else ((), NEGATIVE[name])
                scenario(draft)
                made.append(draft.done(id_=f"{half}-{name}-{number}", scenario=name, expects=expects))
    return made


def healthy(count: int, seed: str = SEED) -> Iterator[Labelled]:
    """Makes healthy sessions: one to six scenarios of a healthy kind one after the other, in turn from both halves."""
    names = sorted(name for name, scenario in NEGATIVE.items() if scenario.__module__ != circumstances.__name__)
    for number in range(count):
        writer = Writer(HALVES[number % 2], DOMAINS[number // 2 % len(DOMAINS)], f"{seed}/healthy/{number}")
        draft = Draft(writer)
        parts = [names[number % len(names)]] + [writer.pick(names) for _ in range(writer.dice.choice((0, 0, 0, 1, 1, 2, 5)))]
        for part in parts:
            draft.subject, draft.aspect = writer.subject(), writer.aspect()
            NEGATIVE[part](draft)
            draft.ceiling = None if len(parts) > 1 else draft.ceiling
            draft.tokens = min(draft.tokens, 8_000)
            if len(draft.steps) > _SUFFICIENT:
                break
        yield draft.done(id_=f"healthy-{number}", scenario="+".join(parts), expects=())


def together(seed: str = SEED, each: int = EACH) -> list[Story]:
    """Makes the stories of many sessions, for detectors of the fleet and of workflows."""
    return list(stories(seed, each))


def digest(made: Sequence[Labelled | Story]) -> str:
    """Names the corpus: the same if and only if every session is."""
    hashed = hashlib.blake2b(digest_size=16)
    for session in made:
        hashed.update(msgspec.msgpack.encode(session, order="deterministic", enc_hook=str))
    return hashed.hexdigest()
