"""The contract of a fleet detector: it watches all sessions of one tenant for one cause, and finds it once for all of them."""

from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar

import msgspec

from detectors.base import CLEAR, Answer, Scope, Signal
from detectors.model import Evaluation, SchemaRegistered, Step, StepKind

Answers = Sequence[tuple[str, Answer]]
"""(cause, answer): the cause, such as a tool's name, tells episodes of one detector apart."""

NOTHING: Final[Answers] = ()
_PARTS: Final = 12
_NAMED: Final = 12
"""Sessions named as proof."""
_COUNTED: Final = 1_000
"""Sessions told apart when they are counted."""

C = TypeVar("C", bound=msgspec.Struct)


class FleetDetector(ABC, Generic[C]):
    """Watches the steps of all sessions of one tenant.

    It keeps the promises of `detectors.base.Detector`: no clock, no dice, bounded memory, unknown fields neither raise nor fire.
    Time is event time. A step costs it a few microseconds at most; what needs more is done now and then.
    """

    name: ClassVar[str]
    halt_reason: ClassVar[str | None]
    scope: ClassVar[Scope] = "fleet"
    kinds: ClassVar[frozenset[StepKind]]
    """Kinds of steps it wants to see."""
    yields_to: ClassVar[tuple[str, ...]] = ()
    Config: ClassVar[type[msgspec.Struct]]

    def __init__(self, config: C) -> None:
        self.config = config

    @abstractmethod
    def observe(self, step: Step, agent_type: str) -> Answers:
        """Takes in the next step of any session."""

    def registered(self, event: SchemaRegistered) -> Answers:  # noqa: ARG002 — most patterns do not depend on definitions
        """A tool's definition became known or changed."""
        return NOTHING

    def evaluated(self, event: Evaluation, agent_type: str) -> Answers:  # noqa: ARG002 — as above
        """Somebody judged a session."""
        return NOTHING

    @abstractmethod
    def lapsed(self, at_ns: int) -> Sequence[str]:
        """Causes of open findings of which so little was seen by `at_ns` that they stand no more, each told once."""


class Window:
    """Counts over the latest span of event time, in twelve parts. A late step counts in the newest part."""

    __slots__ = ("_part_ns", "_parts", "bad", "first_seq", "open", "sessions", "total")

    def __init__(self, span_s: float) -> None:
        self._part_ns = max(1, int(span_s * 1e9 / _PARTS))
        self._parts: deque[list[int]] = deque()
        self.total = 0
        self.bad = 0
        self.open = False
        """There is an open finding about it."""
        self.first_seq = 0
        """The first bad step of the present run of them."""
        self.sessions: OrderedDict[str, int] = OrderedDict()
        """Sessions with a bad step, and the latest such step of each."""

    def add(self, at_ns: int, *, bad: bool) -> None:
        """Counts one more."""
        part = at_ns // self._part_ns
        parts = self._parts
        if not parts or part > parts[-1][0]:
            parts.append([part, 0, 0])
            while parts[0][0] <= part - _PARTS:
                _, total, wrong = parts.popleft()
                self.total -= total
                self.bad -= wrong
        parts[-1][1] += 1
        self.total += 1
        if bad:
            parts[-1][2] += 1
            self.bad += 1

    def lapsed(self, at_ns: int) -> bool:
        """Whether nothing bad is in the span that ends at `at_ns`."""
        oldest = at_ns // self._part_ns - _PARTS
        return not any(wrong for part, _, wrong in self._parts if part > oldest)

    def blame(self, step: Step) -> None:
        """Remembers whose step was bad."""
        if self.bad == 1:
            self.first_seq = step.seq
            self.sessions.clear()
        name = step.session.session_id
        self.sessions[name] = step.seq
        self.sessions.move_to_end(name)
        if len(self.sessions) > _COUNTED:
            self.sessions.popitem(last=False)

    @property
    def share(self) -> float:
        """Bad ones as a share of all, 0–1."""
        return self.bad / self.total if self.total else 0.0

    def proof(self) -> dict[str, Any]:
        """Counts, and the latest sessions with a bad step."""
        latest = list(self.sessions.items())[-_NAMED:]
        return {
            "calls": self.total,
            "bad_calls": self.bad,
            "sessions": len(self.sessions),
            "latest": [{"session_id": name[:120], "seq": seq} for name, seq in latest],
        }

    def found(self, cause: str, signal: Signal) -> Answers:
        """There is something to say of it."""
        self.open = True
        return ((cause, signal),)

    def over(self, cause: str) -> Answers:
        """What was said of it no longer holds."""
        was_open, self.open = self.open, False
        return ((cause, CLEAR),) if was_open else NOTHING


class Windows:
    """A window for each cause. Of too many the oldest is forgotten."""

    __slots__ = ("_span_s", "_windows")

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._windows: OrderedDict[str, Window] = OrderedDict()

    def __contains__(self, cause: str) -> bool:
        return cause in self._windows

    def count(self, cause: str, step: Step, *, bad: bool) -> Window:
        """Counts a step of `cause`."""
        window = self._windows.get(cause)
        if window is None:
            window = kept(self._windows, cause, lambda: Window(self._span_s))
        window.add(step.ended_ns, bad=bad)
        if bad:
            window.blame(step)
        return window

    def lapsed(self, at_ns: int) -> list[str]:
        """Causes that something was said of, and that nothing bad was seen of for the whole span. They count as over from here on."""
        gone = [cause for cause, window in self._windows.items() if window.open and window.lapsed(at_ns)]
        for cause in gone:
            self._windows[cause].open = False
        return gone


V = TypeVar("V")


def kept(table: "OrderedDict[str, V]", name: str, make: "type[V] | Any", limit: int = 500) -> V:
    """The entry of `name`, made where there is none; beyond `limit` the one not used longest is forgotten."""
    found: V | None = table.get(name)
    if found is None:
        found = table[name] = make()
        if len(table) > limit:
            table.popitem(last=False)
    table.move_to_end(name)
    return found
