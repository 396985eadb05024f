"""One live session: what is kept of it between two of its steps."""

from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgspec

from collector.knowledge import Known
from collector.model import Session, SessionState
from collector.session_contracts import Policy
from collector.session_sums import absorb, add
from detectors.host import DetectorHost
from detectors.model import Finding, Halted, Identified, Released, SessionKey, Step, TraceJoined
from detectors.step_features import StepFeatures

RECENT_STEPS: Final = 256
_SLOPE_CALLS: Final = 8
_FREE: Final = Decimal(0)
_STEP_BYTES: Final = 700
"""What a step weighs beside its texts, roughly."""


Seen = Callable[[Step, str, StepFeatures, float | None], None]
"""Told of each step as it is taken in, for metrics: the step, the session's agent type, what was computed of the step, and by how many
US dollars a call the session's calls got dearer lately (every eighth priced call, else None)."""


class Live(msgspec.Struct):
    """One live session: its aggregates, its detectors, and its recent steps while memory allows."""

    session: Session
    host: DetectorHost
    recent: list[Step] | None
    """Its latest steps, at most `RECENT_STEPS`; None where they are to be read from the store."""
    recent_bytes: int = 0
    touched_ns: int = 0
    """Event time when it was last heard of."""
    stale: bool = False
    """A recent step changed: the detectors are rebuilt before they see the next one."""
    open_findings: dict[str, Finding] = {}
    costs: list[Decimal] = []
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
    weight: int = 0
    """Bytes that it takes beside its recent steps, roughly, and its steps when that was reckoned."""
    weighed_steps: int = 0
    turn: int = 0
    """The owner's turn in which it was last heard of: what need not be done for each step is done once a turn."""
    said: tuple[str | None, ...] = ()
    """What its latest step said of who runs where: the next one mostly says the same."""

    def sum_up(self) -> None:
        """Tells the detectors what the session comes to."""
        session, context = self.session, self.host.context
        context.steps = session.steps
        context.llm_calls = session.llm_calls
        context.tool_calls = session.tool_calls
        context.tokens = (session.input_tokens or 0) + (session.output_tokens or 0)
        context.cost_usd = session.cost_usd or _FREE
        context.started_ns = session.started_ns or None

    def identify(self, event: TraceJoined | Identified) -> None:
        """Takes in what else the session is called by."""
        names = self.session.identifiers
        if isinstance(event, TraceJoined):
            add(names.trace_ids, event.trace_id)
            self.said = ()
        else:
            add(names.conversation_ids, event.conversation_id)

    def halt(self, event: Halted) -> None:
        """Takes in that a halt, pause or compaction was requested."""
        session = self.session
        session.generation = max(session.generation, event.generation)
        if event.verb == "halt":
            self.stand(event.at_ns)
            session.state, session.halt_reason = SessionState.HALTING, event.halt_reason
        elif event.verb == "pause" and session.state is not SessionState.HALTING:
            session.state, session.halt_reason = SessionState.PAUSING, event.halt_reason

    def release(self, event: Released) -> None:
        """Takes in that a person let it go on."""
        session = self.session
        session.generation = event.generation
        session.state, session.halt_reason = SessionState.RUNNING, None
        self.open_findings = {}
        self.host.release(event.grace_steps)
        self.stand(None)

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
        self.recent = both[-RECENT_STEPS:] if gone.recent is not None and self.recent is not None else None


class RecentSteps:
    """Keeps the latest steps of live sessions at hand, within so many bytes over all of them."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._of: OrderedDict[SessionKey, Live] = OrderedDict()
        """Whose steps are at hand, the longest silent first."""
        self.total = 0

    def enter(self, live: Live) -> None:
        """Counts a session that is live from here on."""
        self.total += live.recent_bytes
        if live.recent is not None:
            self._of[live.session.key] = live

    def spoke(self, live: Live) -> None:
        """The session is the last to let go of its steps."""
        if live.recent is not None:
            self._of.move_to_end(live.session.key)

    def leave(self, live: Live) -> None:
        """Counts a session no more."""
        self.total -= live.recent_bytes
        self._of.pop(live.session.key, None)

    def keep(self, live: Live, step: Step) -> None:
        """Adds the session's next step."""
        recent = live.recent
        if recent is None:
            return
        change = _weight(step)
        if len(recent) == RECENT_STEPS:
            change -= _weight(recent.pop(0))
        recent.append(step)
        live.recent_bytes += change
        self.total += change

    def replace(self, live: Live, seq: int, step: Step | None) -> None:
        """Changes one of the steps, or drops it."""
        if live.recent is not None:
            kept = [step if old.seq == seq else old for old in live.recent]
            live.recent = [old for old in kept if old is not None]
            self.weigh(live)

    def weigh(self, live: Live) -> None:
        """Counts anew what the session's steps take."""
        if live.recent is None:
            self._of.pop(live.session.key, None)
        self.total -= live.recent_bytes
        live.recent_bytes = sum(map(_weight, live.recent or ()))
        self.total += live.recent_bytes

    def bound(self) -> None:
        """Lets go of steps, those of the longest silent first; they can be read from the store."""
        while self.total > self._cap and self._of:
            _, live = self._of.popitem(last=False)
            self.total -= live.recent_bytes
            live.recent, live.recent_bytes = None, 0


def _weight(step: Step) -> int:
    """Bytes that a step takes in memory, roughly."""
    return _STEP_BYTES + len(step.arguments or "") + len(step.result or "") + len(step.input_text or "") + len(step.output_text or "")


def slope(live: Live, step: Step) -> float | None:
    """Rise of cost per call between the halves of each eight priced calls: coarse, for a histogram over many sessions."""
    if step.cost_usd is None:
        return None
    costs = live.costs
    costs.append(step.cost_usd)
    if len(costs) < _SLOPE_CALLS:
        return None
    half = _SLOPE_CALLS // 2
    rise = sum(costs[half:]) - sum(costs[:half])
    costs.clear()
    return float(rise) / half / half


def fresh(policy: Policy, key: SessionKey, seq: int, workflow_id: str | None) -> Live:
    """A session of which nothing is known but, where its events are expired, the workflow that it belongs to."""
    session = Session(key=key, workflow_id=workflow_id, first_seq=seq, last_seq=seq, budget_usd=policy.budget_usd("unknown"))
    return Live(session=session, host=policy.host(key), recent=[], open_findings={}, costs=[])
