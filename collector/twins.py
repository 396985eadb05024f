"""Records of the very same call by two instrumentations: how they are found, and which of them is believed."""

from collections.abc import Callable
from typing import Final

from collector.bounded import Recent
from collector.dialects.base import Fragment
from collector.folding import fill
from detectors.model import Step, StepKind

_LLM: Final = StepKind.LLM
_PER_MARK = 8
"""Records that are alike and remembered at once: as many calls may run side by side."""

_SLACK_NS = 50_000_000
"""By which two records of one call in one trace may differ in time: one of them may be a log record, written later."""

_Known = tuple[int, str, int]
"""Step, source and authority of a record."""
Marks = tuple[int, int]
"""What twins have in common, as hashes: the id that the record shares with its twins, and what it says. 0 is none."""


class Twins:
    """Remembers records of calls by the ids they share with their twins, and where they have none by what they say."""

    def __init__(self, limit: int) -> None:
        self._by_mark: Recent[int, tuple[_Known, ...]] = Recent(limit)

    def __len__(self) -> int:
        return len(self._by_mark)

    def seen(self, marks: Marks) -> bool:
        """Whether anything remembered has one of the marks."""
        by_id, likeness = marks
        young, old = self._by_mark.young, self._by_mark.old
        return by_id in young or likeness in young or by_id in old or likeness in old

    def note(self, marks: Marks, fragment: Fragment, seq: int) -> None:
        """Remembers a record that became the step `seq`."""
        by_id, likeness = marks
        alone: tuple[_Known, ...] = ((seq, fragment.source, fragment.authority),)
        if by_id:
            self._by_mark.set(by_id, alone)
        if likeness:
            others = self._by_mark.get(likeness)
            self._by_mark.set(likeness, alone if others is None else others[1 - _PER_MARK :] + alone)

    def restore(self, tenant: str, step: Step) -> None:
        """After a restart: the ids of a recorded step."""
        twin_key = step.response_id if step.kind is StepKind.LLM else step.call_id
        if twin_key:
            self._by_mark.set(hash((tenant, step.kind, twin_key)), ((step.seq, "", 0),))

    def of(
        self, marks: Marks, fragment: Fragment, step: Step, steps: Callable[[int], Step | None], nested: Callable[[Step], bool]
    ) -> Step | None:
        """The step of another record of this very call; None where there is none.

        Where one span stands above the other they are no twins: then the outer one wraps the inner one.
        """
        by_id, likeness = marks
        for seq, _, _ in self._by_mark.get(by_id) or ():
            one = steps(seq)
            # The same id at another time is a sender that reuses ids, not a twin.
            if one is not None and one.started_ns <= step.ended_ns and step.started_ns <= one.ended_ns:
                return one
        for seq, source, _ in reversed(self._by_mark.get(likeness) or ()):
            one = steps(seq) if source != fragment.source else None
            if one is not None and _may_be_one(one, step) and not nested(one):
                return one
        return None

    def step_of(self, tenant: str, kind: StepKind, twin_key: str | None, steps: Callable[[int], Step | None]) -> Step | None:
        """The step known by this id; None where there is none."""
        found = self._by_mark.get(hash((tenant, kind, twin_key))) if twin_key else None
        return next((step for seq, _, _ in found or () if (step := steps(seq)) is not None), None)

    def combined(self, marks: Marks, fragment: Fragment, known: Step, step: Step) -> Step:
        """What is known of a call from two records: the more believed one's facts, else those of the one that ended first."""
        records = (one for mark in marks for one in self._by_mark.get(mark) or ())
        believed = next((authority for seq, _, authority in records if seq == known.seq), 0)
        if (fragment.authority, -step.ended_ns, step.span_id) > (believed, -known.ended_ns, known.span_id):
            return fill(step, known, seq=known.seq, session=known.session)
        return fill(known, step)


def marks_of(tenant: str, fragment: Fragment, step: Step) -> Marks | None:
    """What a twin of this record would have too; None where nothing could show that one is."""
    kind, twin_key = step.kind, fragment.twin_key
    by_id = hash((tenant, kind, twin_key)) if twin_key else 0
    if kind is not _LLM or not fragment.source:
        return (by_id, 0) if by_id else None
    likeness = 0
    if step.error is True and not step.response_id:
        likeness = hash((tenant, "failed", step.service_name, step.service_instance))
    elif step.input_tokens and step.output_tokens and step.trace_id:
        likeness = hash((tenant, step.trace_id, step.input_tokens, step.output_tokens))
    return (by_id, likeness) if by_id or likeness else None


def _may_be_one(known: Step, step: Step) -> bool:
    """Whether two records that are alike are of one call: one ran within the other, and nothing tells them apart."""
    outer, inner = (known, step) if known.ended_ns - known.started_ns >= step.ended_ns - step.started_ns else (step, known)
    slack = 0 if known.error and step.error else _SLACK_NS
    if outer.started_ns > inner.started_ns + slack or inner.ended_ns > outer.ended_ns + slack:
        return False
    if known.response_id and step.response_id and known.response_id != step.response_id:
        return False
    if known.error_class is not step.error_class and known.error and step.error:
        return False
    return _same_model(known.model, step.model)


def _same_model(one: str | None, other: str | None) -> bool:
    """Whether the names may be of one model: a prefix tells the vendor, a suffix the date."""
    if one is None or other is None:
        return True
    one, other = one.rpartition("/")[2], other.rpartition("/")[2]
    return one.startswith(other) or other.startswith(one)
