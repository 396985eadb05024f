"""Which workflow each session belongs to: what traces, links and shared ids connect is one piece of work."""

from collections import OrderedDict
from collections.abc import Callable

from collector.bounded import Recent
from detectors.model import SessionKey


def workflow_of(key: SessionKey) -> str:
    """The workflow of a session that nothing connects to another: named after the session."""
    return f"wf-{key.session_id}"


class Workflows:
    """Connected sessions. `joined` is told of every session whose workflow is another from here on."""

    def __init__(self, limit: int, joined: Callable[[SessionKey, str], None]) -> None:
        self._limit = limit
        self._joined = joined
        self._of: OrderedDict[SessionKey, str] = OrderedDict()
        self._members: dict[str, dict[SessionKey, None]] = {}
        """The same the other way round; of each workflow in the order in which its sessions joined."""
        self._first: Recent[tuple[str, str], SessionKey] = Recent(limit)
        """By tenant and conversation id the first session that was known by it."""
        self._own: Recent[SessionKey, bool] = Recent(limit)
        """Sessions that were heard of, which others may name as the one that handed over to them."""
        self._named: Recent[int, bool] = Recent(limit)
        """Sessions with a conversation id that they are known by, as hashes."""

    def connect(self, first: SessionKey, second: SessionKey) -> None:
        """Makes the workflows of two sessions one; that of `first` stays, where it has one."""
        if first == second:
            return
        one, two = self._of.get(first), self._of.get(second)
        if one is not None and one == two:
            return
        target = one or two or workflow_of(first)
        if two is not None and two != target:
            self._move(two, target)
        for key in (first, second):
            if self._of.get(key) != target:
                self._set(key, target)

    def identify(self, session: SessionKey, name: str) -> tuple[bool, SessionKey | None]:
        """Notes that the session is known by `name` too. Whether that is news, and the first session that was, if another."""
        pair = hash((session, name))
        if self._named.get(pair):
            return False, None
        self._named.set(pair, value=True)
        key = (session.tenant, name)
        first = self._first.get(key)
        if first is None:
            bears_it = SessionKey(session.tenant, session.namespace, name)
            first = bears_it if self._own.get(bears_it) else session
        self._first.set(key, first)
        return True, first if first != session else None

    def heard_of(self, session: SessionKey) -> SessionKey | None:
        """Notes that there is a session of this id. Returns the first session that named it before, if there is one."""
        if self._own.get(session):
            return None
        self._own.set(session, value=True)
        first = self._first.get((session.tenant, session.session_id))
        return first if first != session else None

    def merge(self, survivor: SessionKey, absorbed: SessionKey) -> None:
        """Hands the workflow of `absorbed` on; where both have one, the two are connected."""
        lost = self._drop(absorbed)
        if lost is None:
            return
        kept = self._of.get(survivor)
        if kept is None:
            self._set(survivor, lost)
        elif kept != lost:
            self._move(lost, kept)

    def restore(self, session: SessionKey, workflow: str) -> None:
        """Takes in what was told before a restart."""
        self._drop(session)
        self._of[session] = workflow
        self._members.setdefault(workflow, {})[session] = None
        if len(self._of) > self._limit:
            self._drop(next(iter(self._of)))

    def _set(self, key: SessionKey, workflow: str) -> None:
        self.restore(key, workflow)
        self._joined(key, workflow)

    def _move(self, workflow: str, target: str) -> None:
        for key in list(self._members.get(workflow, ())):
            self._set(key, target)

    def _drop(self, key: SessionKey) -> str | None:
        workflow = self._of.pop(key, None)
        if workflow is not None:
            members = self._members[workflow]
            del members[key]
            if not members:
                del self._members[workflow]
        return workflow
