"""Which workflow each session belongs to: what traces, links and shared ids connect is one piece of work."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from collector.traces import remember
from detectors.model import SessionKey

_SHARERS: Final = 1_000
"""Sessions remembered of one conversation id."""


def workflow_of(key: SessionKey) -> str:
    """The workflow of a session that nothing connects to another: named after the session."""
    return f"wf-{key.session_id}"


class Workflows:
    """Connected sessions. `joined` is told of every session whose workflow is another from here on."""

    def __init__(self, limit: int, joined: Callable[[SessionKey, str], None]) -> None:
        self._limit = limit
        self._joined = joined
        self._of: OrderedDict[SessionKey, str] = OrderedDict()
        self._known_as: OrderedDict[tuple[str, str], dict[SessionKey, None]] = OrderedDict()

    def connect(self, first: SessionKey, second: SessionKey) -> None:
        """Makes the workflows of two sessions one; that of `first` stays, where it has one."""
        if first == second:
            return
        one, two = self._of.get(first), self._of.get(second)
        if one is not None and one == two:
            return
        target = one or two or workflow_of(first)
        if two is not None and two != target:
            for key, workflow in list(self._of.items()):
                if workflow == two:
                    self._set(key, target)
        for key in (first, second):
            if self._of.get(key) != target:
                self._set(key, target)

    def identify(self, session: SessionKey, name: str) -> list[SessionKey] | None:
        """Notes that the session is known by `name` too. The others that are, the first one first; None where it was noted before."""
        sharers = self._known_as.get((session.tenant, name))
        if sharers is None:
            sharers = {}
            remember(self._known_as, (session.tenant, name), sharers, self._limit)
        elif session in sharers:
            return None
        others = list(sharers)
        if len(sharers) >= _SHARERS:
            del sharers[others[1]]
        sharers[session] = None
        return others

    def merge(self, survivor: SessionKey, absorbed: SessionKey) -> None:
        """Hands the workflow of `absorbed` on; where both have one, the two are connected."""
        lost = self._of.pop(absorbed, None)
        if lost is None:
            return
        kept = self._of.get(survivor)
        if kept is None:
            self._set(survivor, lost)
        elif kept != lost:
            for key, workflow in list(self._of.items()):
                if workflow == lost:
                    self._set(key, kept)

    def restore(self, session: SessionKey, workflow: str) -> None:
        """Takes in what was told before a restart."""
        remember(self._of, session, workflow, self._limit)

    def _set(self, key: SessionKey, workflow: str) -> None:
        remember(self._of, key, workflow, self._limit)
        self._joined(key, workflow)
