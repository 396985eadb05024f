"""Reads back sessions that speak and are not live: those that one commit needs together, as many at a time as memory is good for."""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from collector.session_contracts import History
from detectors.model import Event, SessionKey

_AT_ONCE: Final = 64
"""Sessions read together."""


class Recall:
    """The recorded past of sessions, read ahead for those that are awaited."""

    def __init__(self, history: History | None) -> None:
        self._history = history
        self._awaited: dict[SessionKey, None] = {}
        self._read: dict[SessionKey, list[Event]] = {}

    def expect(self, keys: Iterable[SessionKey]) -> None:
        """Says whose past will be asked for next, and in which order; what was read for others is let go of."""
        self._read.clear()
        self._awaited = dict.fromkeys(keys) if self._history is not None else {}

    def events(self, key: SessionKey) -> list[Event]:
        """Every recorded event of the session and of those merged into it; none where it was never heard of."""
        if self._history is None:
            return []
        if key in self._awaited:
            del self._awaited[key]
            others = list(islice(self._awaited, _AT_ONCE - 1))
            for other in others:
                del self._awaited[other]
            self._read = self._history.several([key, *others])
            # Those not known are read already, too: there is nothing of them.
            self._read |= {each: [] for each in (key, *others) if each not in self._read}
        read = self._read.pop(key, None)
        if read is not None:
            return read
        return self._history.events(key) if self._history.known(key) else []
