"""Does what findings, merges and people ask for: a halt stands in the control store first, then in the event stream.

What the control store refuses stays owed: the telemetry that led to it is acknowledged already.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Container, Sequence
from typing import Final

from collector.config import Config
from collector.enforcement.action import Runtime
from collector.enforcement.control import ControlStore
from collector.enforcement.rows import as_subject
from collector.errors import OvercurrentError, StoreUnavailable
from collector.model import Halt, Session, Verb
from collector.policy import GRACE_STEPS, decide, may_interfere
from collector.readiness import CONTROL, Readiness
from collector.session_policy import ConfiguredPolicy
from collector.telemetry import Telemetry
from detectors.model import Event, Finding, Halted, Released, SessionKey, SessionsMerged

logger = logging.getLogger(__name__)

_DISOBEYED: Final = "zombie"
"""The detector of sessions that go on after their halt."""
_OWED: Final = 10_000
"""Merges, and findings that may halt, that may wait for a control store that refuses."""


class Halting:
    """Between what is found and what runtimes are told. All methods but `acknowledge` run on the ingest thread."""

    def __init__(
        self,
        config: Config,
        control: ControlStore,
        policy: ConfiguredPolicy,
        telemetry: Telemetry,
        readiness: Readiness,
        *,
        session: Callable[[SessionKey], Session | None],
        record: Callable[[Callable[[int], Sequence[Event]]], None],
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`session` is a session as it stands, `record` commits events from inside and raises StoreUnavailable."""
        self.config = config
        self.on_halt: Callable[[], None] = lambda: None
        """Told after the control store took a halt, so that the outbox looks."""
        self._control = control
        self._policy = policy
        self._telemetry = telemetry
        self._readiness = readiness
        self._session = session
        self._record = record
        self._clock_ns = clock_ns
        self._owed: deque[Finding | SessionsMerged] = deque()
        self.missed = False
        """More was owed than may wait: once the control store works, recent merges and what is open are to be looked through."""

    @property
    def owes(self) -> bool:
        """Whether something is still to be done."""
        return bool(self._owed)

    def owe(self, asked: Sequence[Finding | SessionsMerged]) -> None:
        """Takes what `act` is to do, in this order. Of too much merges are let go of first, then the oldest: see `missed`."""
        wanted = [one for one in asked if isinstance(one, SessionsMerged) or may_interfere(one) or one.detector == _DISOBEYED]
        if len(self._owed) + len(wanted) > _OWED:
            if not self.missed:
                logger.error("%d merges and halts wait for the control store already: the oldest are forgotten", len(self._owed))
            self.missed = True
            kept = [one for one in (*self._owed, *wanted) if not isinstance(one, SessionsMerged)]
            self._owed = deque(kept[-_OWED:])
            return
        self._owed += wanted

    def runtimes(self) -> list[Runtime]:
        return [
            Runtime(url=r.url, secret=r.secret, agent_types=r.agent_types) for r in self.config.actions.runtimes if r.secret is not None
        ]

    def act(self) -> None:
        """Does what merges and findings ask for. What a store refuses stays owed: the telemetry is acknowledged already."""
        while self._owed:
            owed = self._owed.popleft()
            try:
                if isinstance(owed, SessionsMerged):
                    self.follow(owed.absorbed, owed.session)
                elif owed.detector == _DISOBEYED:
                    self._reassert(owed)
                else:
                    self.enforce(owed)
            except StoreUnavailable as error:
                self._owed.appendleft(owed)
                self._readiness.fails(CONTROL, error.message)
                return

    def enforce(self, finding: Finding, *, again: bool = False) -> None:
        """Does about a finding what the policy decides; with `again` also what should have been done before. Raises StoreUnavailable."""
        keys = finding.sessions if finding.session is None else (finding.session,)
        # Told again for one that joined, which comes last: about the others it was decided then.
        for key in keys[-1:] if "joined" in finding.evidence and not again else keys:
            self._enforce_on(key, finding)

    def _enforce_on(self, key: SessionKey, finding: Finding) -> None:
        active = self._control.active(key)
        if active is not None:
            self._told(active)
        decision = decide(
            finding, mode=self._policy.mode(finding.detector), budgets_mode=self.config.budgets_mode, active=active.verb if active else None
        )
        if decision.act.verb is not None:
            try:
                self.request(
                    key,
                    decision.act.verb,
                    halt_reason=finding.halt_reason,
                    requested_by=f"detector:{finding.detector}",
                    finding=finding.id,
                    summary=finding.summary,
                )
            except StoreUnavailable:
                raise
            except OvercurrentError as error:
                logger.error("session %s: %s was not requested: %s", key, decision.act, error.message)  # noqa: TRY400
        if decision.armed.verb is not None:  # counted here, so that one which a store refused is counted once
            self._telemetry.halt_decided(finding.halt_reason, finding.agent_type, decision.mode)

    def _reassert(self, finding: Finding) -> None:
        """Sends a halt again that its runtime took, and whose session goes on. That it is to stop was decided before: any mode will do."""
        active = None if finding.session is None else self._control.active(finding.session)
        if active is not None:
            self._control.reassert(active.halt_id, now_ns=self._clock_ns(), runtimes=self.runtimes())
            self.on_halt()

    def prove(self, silent_ns: int, live: Container[SessionKey]) -> None:
        """Notes which sessions stopped for all that is known: their runtime took the halt, and nothing came for `silent_ns`.

        Raises StoreUnavailable. One that is `live` spoke of late, whatever its sender's clock says. A halt that no runtime took
        stays as it is: it has to be delivered all the same.
        """
        now_ns = self._clock_ns()
        for halt in self._control.answered():
            session = None if halt.session in live else self._session(halt.session)
            if session is not None and session.last_seen_ns and now_ns - max(session.last_seen_ns, halt.requested_ns) > silent_ns:
                self._control.quiet(halt.halt_id, now_ns=now_ns)

    def request(
        self,
        key: SessionKey,
        verb: Verb,
        *,
        halt_reason: str | None,
        requested_by: str,
        finding: str | None = None,
        note: str = "",
        summary: str = "",
    ) -> Halt:
        """Records a halt, pause or release in the control store first, then in the event stream. Raises Refused, StoreUnavailable."""
        session = self._session(key)
        halt = self._control.request_halt(
            key,
            verb,
            halt_reason=halt_reason,
            requested_by=requested_by,
            now_ns=self._clock_ns(),
            finding=finding,
            note=note,
            subject=as_subject(session, summary or note),
            recorded_generation=session.generation if session is not None else 0,
            runtimes=self.runtimes(),
        )
        self.on_halt()  # it goes out, whether or not the other store takes it
        self._told(halt)
        return halt

    def _told(self, halt: Halt) -> None:
        """Records a halt in the event stream where that was not done, or failed. Raises StoreUnavailable."""
        session = self._session(halt.session)
        if session is None or session.generation < halt.generation:
            self.record_halt(halt.session, halt.generation, halt.verb, halt.halt_reason)

    def acknowledge(self, halt_id: str, status: str) -> Halt:
        """Takes a runtime's word; safe from any thread. Raises NotFound."""
        return self._control.acknowledge(halt_id, status, now_ns=self._clock_ns())

    def record_halt(self, key: SessionKey, generation: int, verb: Verb, halt_reason: str | None) -> None:
        at_ns = self._clock_ns()
        if verb is Verb.RELEASE:
            self._record(lambda seq: [Released(seq=seq, session=key, generation=generation, grace_steps=GRACE_STEPS, at_ns=at_ns)])
        else:
            self._record(
                lambda seq: [Halted(seq=seq, session=key, generation=generation, verb=verb.value, halt_reason=halt_reason, at_ns=at_ns)]
            )

    def follow(self, absorbed: SessionKey, survivor: SessionKey) -> None:
        """Halts follow a merge; one in force is recorded for the survivor too."""
        session = self._session(survivor)
        halt = self._control.merge(
            absorbed,
            survivor,
            now_ns=self._clock_ns(),
            identifiers=session.identifiers if session else None,
            runtimes=self.runtimes(),
        )
        if halt is not None:
            self.on_halt()
            self.record_halt(survivor, halt.generation, halt.verb, halt.halt_reason)
