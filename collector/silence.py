"""Which live sessions are silent, so that their detectors are told of it: each once a minute, not all of them at every tick."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

from collector.live import Live
from collector.model import Session
from detectors.model import SessionKey, Tick

SILENCE_NS: Final = 60 * 10**9
"""Detectors of a silent session are told this often that time passed."""


class Silences:
    """When each live session is due to be told. One entry is in force for each."""

    def __init__(self) -> None:
        self._due: deque[tuple[int, SessionKey]] = deque()

    def wait(self, live: Live, now_ns: int) -> None:
        """Has the session looked at in a minute."""
        live.due_ns = now_ns + SILENCE_NS
        self._due.append((live.due_ns, live.session.key))

    def over(self, sessions: Mapping[SessionKey, Live], now_ns: int) -> Iterator[Live]:
        """The sessions that are due and were not heard of for that long."""
        while self._due and self._due[0][0] <= now_ns:
            due_ns, key = self._due.popleft()
            live = sessions.get(key)
            if live is None or live.due_ns != due_ns:
                continue
            self.wait(live, now_ns)
            if live.touched_ns + SILENCE_NS <= now_ns:
                yield live


def past_ticks(session: Session, until_ns: int, seq: int, *, longest_ns: int) -> Iterator[Tick]:
    """The ticks of a silence in the past: a session's own events do not hold them."""
    silent_ns = until_ns - session.last_seen_ns if session.steps else 0
    for count in range(1, min(silent_ns, longest_ns) // SILENCE_NS + 1):
        yield Tick(seq=seq, at_ns=session.last_seen_ns + count * SILENCE_NS)
