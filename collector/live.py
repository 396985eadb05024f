"""One live session: what is kept of it between two of its steps."""

from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import msgspec

from collector.knowledge import Known
from collector.model import Session
from collector.session_contracts import Policy
from collector.session_sums import absorb
from detectors.features import StepFeatures
from detectors.host import DetectorHost
from detectors.model import Finding, SessionKey, Step

RECENT_STEPS: Final = 256
_SLOPE_CALLS: Final = 8
_STEP_BYTES: Final = 700
"""What a step weighs beside its texts, roughly."""


class StepSeen(msgspec.Struct, frozen=True):
    """A step as it was taken in: for metrics."""

    step: Step
    features: StepFeatures | None
    agent_type: str
    cost_slope: float | None = None
    """US dollars a call by which calls of the session got dearer lately; every eighth priced call."""


class Live(msgspec.Struct):
    """One live session: its aggregates, its detectors, and its recent steps while memory allows."""

    session: Session
    host: DetectorHost
    recent: "deque[Step] | None"
    recent_bytes: int = 0
    touched_ns: int = 0
    """Event time when it was last heard of."""
    stale: bool = False
    """A recent step changed: the detectors are rebuilt before they see the next one."""
    open_findings: dict[str, Finding] = {}
    costs: list[float] = []
    """Costs of the priced model calls since the last slope."""
    agent_types: tuple[str, ...] = ()
    """Of every agent heard of in it, the session's own first."""
    flagged: bool = False
    """Something critical was found in it: it is no example of what is normal."""
    learned: bool = False
    """It was over once, and counted for what is normal."""
    known: Known | None = None
    """The baseline that its detectors were told of."""
    due_ns: int = 0
    """When its detectors are told next that time passed."""

    def sum_up(self) -> None:
        """Tells the detectors what the session comes to."""
        session, context = self.session, self.host.context
        context.steps, context.llm_calls, context.tool_calls = session.steps, session.llm_calls, session.tool_calls
        context.tokens = (session.input_tokens or 0) + (session.output_tokens or 0)
        context.cost_usd = session.cost_usd or Decimal(0)
        context.started_ns = session.started_ns or None

    def stand(self, halted_at_ns: int | None) -> None:
        """Tells the detectors since when the session is halted, if it is."""
        self.host.context.halted_at_ns = halted_at_ns
        self.host.context.halt_generation = self.session.generation

    def absorb(self, gone: "Live") -> None:
        """Takes over the sums and steps of `gone`; of the two sets of detectors the one that saw more stays."""
        halted_at_ns = max(filter(None, (each.host.context.halted_at_ns for each in (self, gone))), default=None)
        if gone.session.steps > self.session.steps:
            self.host, self.stale, self.known = gone.host, gone.stale, gone.known
            self.open_findings = gone.open_findings | self.open_findings
        absorb(self.session, gone.session)
        self.flagged, self.learned = self.flagged or gone.flagged, self.learned or gone.learned
        self.stand(halted_at_ns)
        both = sorted([*(gone.recent or ()), *(self.recent or ())], key=lambda step: step.seq)
        self.recent = deque(both, maxlen=RECENT_STEPS) if gone.recent is not None and self.recent is not None else None


class RecentSteps:
    """Keeps the latest steps of live sessions at hand, within so many bytes over all of them."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self.total = 0

    def keep(self, live: Live, step: Step) -> None:
        """Adds the session's next step."""
        if live.recent is None:
            return
        change = _weight(step)
        if len(live.recent) == RECENT_STEPS:
            change -= _weight(live.recent[0])
        live.recent.append(step)
        live.recent_bytes += change
        self.total += change

    def replace(self, live: Live, seq: int, step: Step | None) -> None:
        """Changes one of the steps, or drops it."""
        if live.recent is not None:
            kept = [step if old.seq == seq else old for old in live.recent]
            live.recent = deque((old for old in kept if old is not None), maxlen=RECENT_STEPS)
            self.weigh(live)

    def weigh(self, live: Live) -> None:
        """Counts anew what the session's steps take."""
        self.total -= live.recent_bytes
        live.recent_bytes = sum(map(_weight, live.recent or ()))
        self.total += live.recent_bytes

    def bound(self, sessions: Iterable[Live]) -> None:
        """Lets go of steps, those of the first sessions first; they can be read from the store."""
        if self.total <= self._cap:
            return
        for live in sessions:
            self.total -= live.recent_bytes
            live.recent, live.recent_bytes = None, 0
            if self.total <= self._cap:
                return


def _weight(step: Step) -> int:
    """Bytes that a step takes in memory, roughly."""
    return _STEP_BYTES + sum(len(text) for text in (step.arguments, step.result, step.input_text, step.output_text) if text)


def slope(live: Live, step: Step) -> float | None:
    """Rise of cost per call between the halves of each eight priced calls: coarse, for a histogram over many sessions."""
    if step.cost_usd is None:
        return None
    live.costs.append(float(step.cost_usd))
    if len(live.costs) < _SLOPE_CALLS:
        return None
    half = _SLOPE_CALLS // 2
    rise = (sum(live.costs[half:]) - sum(live.costs[:half])) / half / half
    live.costs = []
    return rise


def fresh(policy: Policy, key: SessionKey, seq: int, workflow_id: str | None) -> Live:
    """A session of which nothing is known but, where its events are expired, the workflow that it belongs to."""
    session = Session(key=key, workflow_id=workflow_id, first_seq=seq, last_seq=seq, budget_usd=policy.budget_usd("unknown"))
    return Live(session=session, host=policy.host(key), recent=deque(maxlen=RECENT_STEPS), open_findings={}, costs=[])
