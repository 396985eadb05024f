"""Which sessions are live: so many, so many bytes, so long silent. One that left is made again when it speaks.

Who leaves first decides only what is read again, never what is found.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from collector.live import Live, RecentSteps
from collector.model import Session, SessionState
from collector.silence import Silences
from detectors.model import SessionKey

_BASE_BYTES: Final = 6_000
"""What a session takes before its first step, roughly: its sums and names, and its detectors."""
_WEIGHED_EVERY: Final = 8
"""Steps after which a session is weighed again. A young one is weighed whenever it spoke."""


class Residence:
    """The live sessions, the longest silent first. One instance, one thread."""

    def __init__(
        self, *, max_live: int, max_bytes: int, recent_bytes: int, idle_timeout_ns: int, finished: Callable[[Live], None] | None = None
    ) -> None:
        """`finished` is told of a session that is over, once."""
        self._max_live = max_live
        self._max_bytes = max_bytes
        self.idle_timeout_ns = idle_timeout_ns
        self._finished = finished
        self.live: OrderedDict[SessionKey, Live] = OrderedDict()
        self._ended: OrderedDict[SessionKey, None] = OrderedDict()
        """Those whose root ended: most will not speak again."""
        self._spoke: list[Live] = []
        self.recent = RecentSteps(recent_bytes)
        self.silences = Silences()
        self.bytes = 0
        """What all of them take beside their recent steps, roughly."""
        self.evicted: dict[SessionKey, Session] = {}
        """Those that left since the owner last took them."""
        self.evictions = {"idle": 0, "capacity": 0}

    def enter(self, live: Live, now_ns: int) -> None:
        """Makes the session live."""
        self.live[live.session.key] = live
        self.evicted.pop(live.session.key, None)
        self.recent.enter(live)
        live.weight, live.weighed_steps = _BASE_BYTES, 0
        self.bytes += _BASE_BYTES
        self.silences.wait(live, now_ns)
        self.spoke(live, now_ns)

    def spoke(self, live: Live, now_ns: int) -> None:
        """The session was heard of: it is the last to leave for its silence."""
        key = live.session.key
        self.live.move_to_end(key)
        self.recent.spoke(live)
        self._spoke.append(live)
        live.touched_ns = now_ns

    def drop(self, key: SessionKey) -> None:
        """Lets go of the session."""
        live = self.live.pop(key, None)
        if live is not None:
            self._ended.pop(key, None)
            self.recent.leave(live)
            self.bytes -= live.weight

    def expire(self, now_ns: int) -> None:
        """Lets go of sessions that were silent for the idle time-out, by event time.

        A sender whose clock runs ahead keeps its session no longer than others: then the time of the stream counts.
        """
        while self.live:
            live = next(iter(self.live.values()))
            seen_ns = live.session.last_seen_ns
            if max(live.touched_ns, seen_ns if seen_ns <= now_ns else 0) + self.idle_timeout_ns > now_ns:
                return
            if live.session.state is SessionState.RUNNING:
                live.session.state = SessionState.IDLE
            self._over(live)
            self._evict(live, "idle")

    def bound(self) -> None:
        """Lets go of sessions while there are too many, or they take too many bytes: first those that ended, then the longest silent."""
        for live in self._spoke:
            key = live.session.key
            if self.live.get(key) is not live:
                continue
            if live.session.state is SessionState.COMPLETED:
                self._ended[key] = None
                self._ended.move_to_end(key)
            else:
                self._ended.pop(key, None)
            steps = live.host.numbered
            if steps - live.weighed_steps >= _WEIGHED_EVERY or steps < _WEIGHED_EVERY:
                live.weighed_steps = steps
                weight = _BASE_BYTES + live.host.weight()
                self.bytes += weight - live.weight
                live.weight = weight
        self._spoke.clear()
        self.recent.bound()
        while len(self.live) > self._max_live or (self.bytes > self._max_bytes and len(self.live) > 1):
            live = self.live[next(iter(self._ended))] if self._ended else next(iter(self.live.values()))
            if live.session.state is SessionState.COMPLETED:
                self._over(live)
            self._evict(live, "capacity")

    def _over(self, live: Live) -> None:
        if not live.learned:
            live.learned = True
            if self._finished is not None:
                self._finished(live)

    def _evict(self, live: Live, cause: str) -> None:
        self.evicted[live.session.key] = live.session
        self.evictions[cause] += 1
        self.drop(live.session.key)
