"""The recorded past of one session, whatever it was called before."""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Final

from collector.model import Session
from collector.session_sums import steps_of
from collector.store.base import FindingQuery, Store
from detectors.model import Event, Finding, SessionKey, SessionsMerged

_TOGETHER: Final = 100
"""Sessions read in one go."""


class RecordedHistory:
    """Reads sessions back from a store."""

    def __init__(
        self,
        store: Store,
        known: Callable[[Sequence[SessionKey]], set[SessionKey]],
        since: Callable[[SessionKey], int] = lambda _: 0,
        indexed: Callable[[SessionKey], Session | None] | None = None,
    ) -> None:
        """`known` says cheaply of which sessions there is anything to read, `since` a sequence number before all of a session.

        What `since` spares is most of the work: nothing that was stored before a session began is looked at. `indexed` is the
        session as it was when it was last let go of, where there is an index.
        """
        self._store = store
        self._known = known
        self._since = since
        self._indexed = indexed
        self._ahead: dict[SessionKey, list[Event]] = {}

    def known(self, key: SessionKey) -> bool:
        return bool(self._known([key]))

    def several(self, keys: Sequence[SessionKey]) -> dict[SessionKey, list[Event]]:
        found = self._together([*self._known(keys)])
        merged = [key for key, events in found.items() if any(isinstance(event, SessionsMerged) for event in events)]
        return found | {key: self.events(key) for key in merged}

    def in_turn(self, keys: Sequence[SessionKey]) -> Iterator[SessionKey]:
        """Yields the keys; the events of many sessions are read in one go and at hand while their keys are yielded."""
        for first in range(0, len(keys), _TOGETHER):
            together = keys[first : first + _TOGETHER]
            self._ahead = self._together(together)
            yield from together
        self._ahead = {}

    def _together(self, keys: Sequence[SessionKey]) -> dict[SessionKey, list[Event]]:
        found: dict[SessionKey, list[Event]] = {key: [] for key in keys}
        for event in self._store.events(found, after_seq=min(map(self._since, keys))) if found else ():
            key: SessionKey = getattr(event, "session")  # noqa: B009 — only events of sessions are found
            found[key].append(event)
        return found

    def keys(self, key: SessionKey) -> list[SessionKey]:
        """The session's key and those of every session merged into it."""
        return list(self._recorded(key))

    def events(self, key: SessionKey) -> list[Event]:
        events = [event for each in self._recorded(key).values() for event in each]
        events.sort(key=lambda event: event.seq)
        return events

    def _recorded(self, key: SessionKey) -> dict[SessionKey, list[Event]]:
        since = self._since(key)
        found: dict[SessionKey, list[Event]] = {}
        wanted = [key]
        for one in wanted:
            if one not in found:
                # An absorbed session may have begun earlier than its survivor, until the index knows of the merge.
                found[one] = self._one(one, min(since, self._since(one)))
                wanted += [event.absorbed for event in found[one] if isinstance(event, SessionsMerged)]
        return found

    def _one(self, key: SessionKey, since: int) -> list[Event]:
        ahead = self._ahead.get(key)
        return ahead if ahead is not None else self._store.events([key], after_seq=since)

    def cost_usd(self, key: SessionKey) -> Decimal:
        indexed = None if self._indexed is None else self._indexed(key)
        if indexed is not None:
            return indexed.cost_usd or Decimal(0)
        return sum((step.cost_usd for step in steps_of(self.events(key)) if step.cost_usd is not None), Decimal(0))

    def workflow_findings(self, tenant: str, workflow_id: str) -> list[Finding]:
        found = self._store.findings(FindingQuery(workflow_id=workflow_id, limit=1_000))
        return [finding for finding in found if finding.session is None and any(key.tenant == tenant for key in finding.sessions)]

    def emitted(self, key: SessionKey) -> set[tuple[str, str, bool]]:
        keys = self.keys(key)
        return self._store.emissions(keys, after_seq=min(map(self._since, keys)))
