"""The recorded past of one session, whatever it was called before."""

from collections.abc import Callable, Sequence
from decimal import Decimal

from collector.model import Session
from collector.session_sums import steps_of
from collector.store.base import FindingQuery, Store
from detectors.model import Event, Finding, SessionKey, SessionsMerged


class RecordedHistory:
    """Reads sessions back from a store. `known` says cheaply of which sessions there is anything to read."""

    def __init__(
        self,
        store: Store,
        known: Callable[[Sequence[SessionKey]], set[SessionKey]],
        indexed: Callable[[SessionKey], Session | None] | None = None,
    ) -> None:
        """`indexed` is the session as it was when it was last let go of, where there is an index."""
        self._store = store
        self._known = known
        self._indexed = indexed

    def known(self, key: SessionKey) -> bool:
        return bool(self._known([key]))

    def several(self, keys: Sequence[SessionKey]) -> dict[SessionKey, list[Event]]:
        known = self._known(keys)
        found: dict[SessionKey, list[Event]] = {key: [] for key in keys if key in known}
        merged = set()
        for event in self._store.events(found) if found else ():
            key: SessionKey = getattr(event, "session")  # noqa: B009 — only events of sessions are found
            found[key].append(event)
            if isinstance(event, SessionsMerged):
                merged.add(key)
        return found | {key: self.events(key) for key in merged}

    def keys(self, key: SessionKey) -> list[SessionKey]:
        """The session's key and those of every session merged into it."""
        found, seen = [key], {key}
        for one in found:
            for event in self._store.events([one]):
                if isinstance(event, SessionsMerged) and event.session == one and event.absorbed not in seen:
                    seen.add(event.absorbed)
                    found.append(event.absorbed)
        return found

    def events(self, key: SessionKey) -> list[Event]:
        return self._store.events(self.keys(key))

    def cost_usd(self, key: SessionKey) -> Decimal:
        indexed = None if self._indexed is None else self._indexed(key)
        if indexed is not None:
            return indexed.cost_usd or Decimal(0)
        return sum((step.cost_usd for step in steps_of(self.events(key)) if step.cost_usd is not None), Decimal(0))

    def workflow_findings(self, tenant: str, workflow_id: str) -> list[Finding]:
        found = self._store.findings(FindingQuery(workflow_id=workflow_id, limit=1_000))
        return [finding for finding in found if finding.session is None and any(key.tenant == tenant for key in finding.sessions)]

    def emitted(self, key: SessionKey) -> set[tuple[str, str, bool]]:
        return self._store.emissions(self.keys(key))
