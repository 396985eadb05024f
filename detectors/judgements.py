"""What a judgement says of the goal: how far it was reached. Labels, scales and directions differ from judge to judge."""

import re
from typing import Final

from detectors.model import Evaluation

_GOOD: Final = frozenset({
    "accept", "accepted", "complete", "completed", "correct", "factual", "faithful", "good", "grounded", "helpful", "like", "ok", "pass",
    "passed", "positive", "relevant", "resolved", "safe", "satisfied", "success", "thumbs_up", "true", "up", "yes", "👍",
})  # fmt: skip
_BAD: Final = frozenset({
    "bad", "dislike", "down", "fail", "failed", "failure", "false", "hallucinated", "incomplete", "incorrect", "irrelevant", "negative",
    "no", "not_correct", "not_helpful", "not_relevant", "reject", "rejected", "thumbs_down", "unfaithful", "ungrounded", "unhelpful",
    "unresolved", "unsafe", "unsatisfied", "wrong", "👎",
})  # fmt: skip
_FACTS: Final = frozenset({"true", "false", "yes", "no", "positive", "negative"})
"""Labels that answer what the judgement asks, which may be a bad thing."""
_ASKS_FOR_BAD: Final = re.compile(
    r"(?:^|[^a-z])(?:hallucinat\w*|toxic\w*|bias\w*|harm(?:s|ful|fulness)?|violations?|errors?|failures?|jailbreaks?|pii|profan\w*|"
    r"refusals?|unsafe|frustrat\w*|leak\w*)(?:[^a-z]|$)"
)


def reached(event: Evaluation, scale: float = 1.0) -> float | None:
    """Says how far the goal was reached, 0–1. None where the judgement does not tell.

    A label that says good or bad decides; else the score as a share of `scale`, more being better. Where the judgement's name
    asks for something bad (hallucination, toxicity …) scores and yes-or-no labels are read the other way round. A score beyond
    the scale is of another one, and tells nothing; one below zero is as bad as can be.

    >>> from detectors.model import SessionKey
    >>> def judged(name, score=None, label=None):
    ...     key = SessionKey("default", "", "s")
    ...     return Evaluation(seq=1, session=key, name=name, score=score, label=label, at_ns=0)
    >>> reached(judged("correctness", label="not relevant")), reached(judged("correctness", score=4.0), scale=5.0)
    (0.0, 0.8)
    >>> reached(judged("hallucination", score=0.25)), reached(judged("toxic", label="yes")), reached(judged("tone", label="formal"))
    (0.75, 0.0, None)
    """
    label = re.sub(r"[\s-]+", "_", (event.label or "").strip().lower())
    asks_for_bad = _ASKS_FOR_BAD.search(event.name.lower()) is not None
    if label in _GOOD or label in _BAD:
        good = label in _GOOD
        return float(good != (asks_for_bad and label in _FACTS))
    if event.score is None or event.score > scale:
        return None
    value = max(0.0, event.score / scale)
    return 1.0 - value if asks_for_bad else value
