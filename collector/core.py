"""The working heart of the service: stores, pipeline, live sessions and halts, wired together. No sockets here.

The ingest thread owns everything that changes; other threads reach it through `Admission.call`.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

import msgspec

from collector.assembly import Assembler
from collector.baselines import Baselines
from collector.commit_counts import count_commit
from collector.config import Config
from collector.enforcement.control import ControlStore
from collector.errors import OvercurrentError, StoreUnavailable
from collector.gauges import gauges
from collector.halting import Halting
from collector.model import Outcome, Request, Session, SessionState, Verb
from collector.pipeline import Pipeline
from collector.readiness import CONTROL, TELEMETRY, Readiness
from collector.session_policy import ConfiguredPolicy, prices_of
from collector.sessions import Sessions
from collector.store.base import FindingQuery
from collector.store.duckdb import DuckDBStore
from collector.store.history import RecordedHistory
from collector.store.learned import LearnedStore
from collector.store.session_index import SessionIndex
from collector.telemetry import BatchCounts, Snapshot, Telemetry
from collector.translate import waiting_for_spans
from detectors.fleet import FLEET_DETECTORS
from detectors.model import Event, Finding, SessionKey, SessionsMerged, Tick

logger = logging.getLogger(__name__)

RESTORED_EVENTS = 50_000
"""How many of the newest events and spans are read at start to know traces, twins and tool calls again."""
RESTORED_NOTES = 100_000
"""The same of events about more than one session, such as who belongs to which workflow, from however long ago."""
RESTORED_SESSIONS = 500
"""How many sessions with open findings are made again at start; the others when they speak."""
RESTORED_AT_WORK, RESTORED_A_SECOND = 1_000, 25
"""How many of the sessions that were at work are made again after a start, so that their silence is noticed, and how many at once."""
UNLISTED = 100_000
"""Sessions that are live no more, or were merged, and may wait for a control store that refuses, at about a kilobyte each."""
EXPIRE_EVERY_NS = 60 * 10**9
PROVE_EVERY_NS = 10 * 10**9


class Core:
    """Everything between bytes and halts. All methods but `__init__` and `close` run on the ingest thread."""

    def __init__(
        self,
        config: Config,
        data_dir: Path,
        telemetry: Telemetry,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        only_read: bool = False,
    ) -> None:
        """Opens the stores and makes live state again; with `only_read` nothing is written or requested.

        Raises StoreUnavailable, ConfigError.
        """
        self.config = config
        self.telemetry = telemetry
        self._clock_ns = clock_ns
        self._batch = BatchCounts()
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"storage.data_dir: cannot make {data_dir}: {error.strerror}") from error
        self.store = DuckDBStore(data_dir / "telemetry.duckdb", max_bytes=config.storage.max_bytes)
        try:
            self.control = ControlStore(data_dir / "control.sqlite")
        except OvercurrentError:
            self.store.close()
            raise
        self.index = SessionIndex(self.control.database)
        self.prices = prices_of(config)
        self.policy = ConfiguredPolicy(config, prices_version=self.prices.version, on_error=self._detector_failed)
        self.history = RecordedHistory(self.store, self._known, self.index.since, self.index.get)
        self.snapshot = Snapshot()
        self.readiness = Readiness()
        self.halting = Halting(
            config,
            self.control,
            self.policy,
            telemetry,
            self.readiness,
            session=self.session,
            record=lambda events: self.pipeline.record(events),  # noqa: PLW0108 — the pipeline comes later
            clock_ns=clock_ns,
        )
        self._snapshot_at = 0.0
        self._expired_ns = self._proved_ns = 0
        self._learned = LearnedStore(self.control.database)
        self.baselines = Baselines(self._learned.load)
        self._told_ns = 0
        self._tail: list[Event] = []
        self._at_work: Iterator[SessionKey] = iter(())
        """Sessions that are still to be made again."""
        sessions = Sessions(
            policy=self.policy,
            history=self.history,
            max_live=config.sessions.max_live,
            max_bytes=config.sessions.max_bytes,
            idle_timeout_ns=int(config.sessions.idle_timeout * 1e9),
            seen=self._batch.step,
            finished=self.baselines.learn,
        )
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="overcurrent-writer")
        made = self._assembler()
        self.pipeline = Pipeline(
            store=self.store, assembler=made, sessions=sessions, observer=self, recover=self._recovered, writer=self._writer
        )
        self._only_read = only_read
        sessions.now_ns = self._told_ns
        sessions.remember(self.store.of_kinds(Sessions.REMEMBERED, RESTORED_NOTES))
        self.baselines.missing(sessions.knowledge.baselines())
        if not only_read:
            self._catch_up()
        self._tail = []

    @property
    def sessions(self) -> Sessions:
        return self.pipeline.sessions

    # Start and restart

    def _assembler(self) -> Assembler:
        self.store.recover()  # after a failed commit nothing is written before it is read
        assembler = Assembler(price=self.prices.charge, first_seq=max(self.store.last_seq(), self.index.seq) + 1)
        tail = self.store.tail(RESTORED_EVENTS)
        assembler.restore(tail, self.store.parents(RESTORED_EVENTS), waiting_for_spans(self.store))
        self._tail = tail
        self._told_ns = max((event.at_ns for event in tail if isinstance(event, Tick)), default=0)
        return assembler

    def _recovered(self) -> Assembler:
        assembler = self._assembler()
        self._tail = []
        return assembler

    def _catch_up(self) -> None:
        """Makes again the sessions that the index does not reflect or that have findings open, and finishes what a crash cut off."""
        seq = self.index.seq
        behind = self.store.sessions_after(seq)
        told = [one for kind in FLEET_DETECTORS for one in self.store.findings(FindingQuery(detector=kind.name, limit=1_000))]
        findings = self.sessions.fleets.restore(self._tail, told)
        self._at_work = iter([session.key for session in self.index.page(state=SessionState.RUNNING, limit=RESTORED_AT_WORK)])
        keys = [self.pipeline.assembler.survivor(key) for key in [*behind, *self.index.with_open_findings(RESTORED_SESSIONS)]]
        findings += [finding for key in self.history.in_turn(keys) for finding in self.sessions.restore(key)]
        if findings:
            self.store.append_findings(findings)
        # A crash between a merge's commit and the control store leaves a halt with the session that is gone.
        self._follow_merges()
        for halt in self.control.active_all():
            survivor = self.pipeline.assembler.survivor(halt.session)
            if survivor != halt.session:
                self.halting.follow(halt.session, survivor)
        # What was told before the last flush was done before it.
        for finding in self.store.findings(FindingQuery(severity="critical", limit=RESTORED_SESSIONS)):
            if finding.step_seq > seq and self.sessions.workflows.stands(finding):
                self.halting.enforce(finding, again=True)
        self._enforce_open()
        for halt in self.control.active_all():
            session = self.session(halt.session)
            if session is None or not session.state.sticky:
                self.halting.record_halt(halt.session, halt.generation, halt.verb, halt.halt_reason)
        self.flush()
        for state in (SessionState.HALTING, SessionState.PAUSING):
            for held in self.index.page(state=state, limit=RESTORED_SESSIONS):
                generation = self.control.generation(held.key)
                if generation > held.generation and self.control.active(held.key) is None:
                    self.halting.record_halt(held.key, generation, Verb.RELEASE, None)
        self.flush()

    def _follow_merges(self) -> None:
        """Halts follow recent merges. Raises StoreUnavailable."""
        for absorbed, survivor in list(self.sessions.merged.items()):
            self.halting.follow(absorbed, survivor)

    def _enforce_open(self) -> None:
        """What is open is decided on anew. Raises StoreUnavailable."""
        for live in list(self.sessions.live.values()):
            for finding in list(live.open_findings.values()):
                self.halting.enforce(finding)
        for finding in list(self.sessions.workflows.open()):
            self.halting.enforce(finding, again=True)

    def _known(self, keys: Sequence[SessionKey]) -> set[SessionKey]:
        known = {key for key in keys if key in self.sessions.residence.evicted}
        return known | self.index.known([key for key in keys if key not in known])

    def close(self, *, at_rest: bool = True) -> None:
        """Writes what is pending, unless the ingest thread is still at work, and closes both stores."""
        try:
            if at_rest:
                self.flush()
        except StoreUnavailable as error:
            logger.error("the session index was not written, the next start repairs it: %s", error.message)  # noqa: TRY400
        self._writer.shutdown()
        self.store.close()
        self.control.close()

    # Ingest

    def process(self, requests: Sequence[Request]) -> list[Outcome | OvercurrentError]:
        """For `Admission`: commits a group and answers each request."""
        if len(self.sessions.residence.evicted) + len(self.sessions.merged) >= UNLISTED and self.readiness.failing(CONTROL):
            full = StoreUnavailable(f"the control store fails, and {UNLISTED:,} sessions wait for it: nothing was kept, try again later")
            return [full] * len(requests)
        self._batch.reset()
        outcomes = self.pipeline.process(requests)
        if self.halting.owes and not self.readiness.failing(CONTROL):
            self.settle()
        if refused := next((outcome for outcome in outcomes if isinstance(outcome, StoreUnavailable)), None):
            self.readiness.fails(TELEMETRY, refused.message)
        elif any(isinstance(outcome, Outcome) for outcome in outcomes):
            self.readiness.works(TELEMETRY)
        return outcomes

    def settle(self) -> None:
        """Brings sessions, findings and what they ask for up to what is committed."""
        self.pipeline.settle()
        self.halting.act()

    def committed(self, duplicates: dict[str, int]) -> None:
        for signal, count in duplicates.items():
            self._batch.duplicate(signal, count)

    def found(self, events: Sequence[Event], findings: Sequence[Finding], arrival_ns: int | None) -> None:
        self.halting.owe([event for event in events if isinstance(event, SessionsMerged)])
        self.halting.owe(findings)
        # Nothing can be recorded while a commit is being written; and where the control store fails once a second is enough.
        if not self.pipeline.writing and not self.readiness.failing(CONTROL):
            self.halting.act()
        count_commit(self._batch, self.sessions, events, findings, arrival_ns=arrival_ns, now_ns=self._clock_ns())
        self.telemetry.batch(self._batch)
        self._batch.reset()

    def _detector_failed(self, detector: str, seen: object, error: Exception) -> None:
        self._batch.detector_error(detector)
        logger.error("detector %s raised on seq %s and is off for this session: %r", detector, getattr(seen, "seq", "?"), error)

    def reconfigure(self, config: Config) -> None:
        """Takes another configuration from now on: modes, agent types, budgets, runtimes. Prices and stores stay as they were."""
        self.config = self.halting.config = config
        self.policy.adopt(config)
        for watch in self.sessions.workflows.watches():
            self.policy.refit(watch)
        for fleet in self.sessions.fleets.hosts():
            self.policy.refit(fleet)
        for live in self.sessions.live.values():
            self.policy.refit(live.host)
            live.said = ()  # the next step has its agent type looked up anew
            live.session.budget_usd = self.policy.budget_usd(live.session.agent_type)

    def tick(self) -> None:
        """Once a second: time passes even when nothing arrives; the index and the gauges follow."""
        now_ns = self._clock_ns()
        self.telemetry.heartbeat(now_ns / 1e9)
        self.readiness.went_round()
        for part, work in ((TELEMETRY, self._let_time_pass), (CONTROL, self._write_down)):
            try:
                work(now_ns)
            except StoreUnavailable as error:
                self.readiness.fails(part, error.message)
        # Counting tens of thousands of sessions takes a while: not more often than a scrape can use.
        pause = 1.0 if len(self.sessions.live) < 5_000 else 5.0
        if now_ns / 1e9 - self._snapshot_at >= pause:
            self._snapshot_at = now_ns / 1e9
            self.snapshot = gauges(
                self.sessions, self.control, self.policy, self.store.size(), self.pipeline.watermark.at_ns, now_ns=now_ns
            )

    def _let_time_pass(self, now_ns: int) -> None:
        if self.readiness.failing(TELEMETRY):  # nobody may send while it is not ready, so it finds out by itself
            self.pipeline.record(lambda seq: [Tick(seq=seq, at_ns=self.pipeline.watermark.at_ns)])
            self.readiness.works(TELEMETRY)
        if together := [self.pipeline.assembler.survivor(key) for key in islice(self._at_work, RESTORED_A_SECOND)]:
            try:
                self.pipeline.make_again(self.history.in_turn(together))
            except StoreUnavailable:
                self._at_work = chain(together, self._at_work)
                raise
        self.pipeline.idle(now_ns)
        if snapshots := self.baselines.due(self.sessions.now_ns):
            self.pipeline.record(lambda seq: [msgspec.structs.replace(one, seq=seq + n) for n, one in enumerate(snapshots)])
        if now_ns - self._expired_ns >= EXPIRE_EVERY_NS:
            self._expired_ns = now_ns
            self.store.expire(now_ns - self.config.storage.retention_days * 86_400 * 10**9, self.config.storage.max_bytes)

    def _write_down(self, now_ns: int) -> None:
        self.halting.act()
        if self.halting.missed and not self.halting.owes:
            self._follow_merges()
            self._enforce_open()
            self.halting.missed = False
        if now_ns - self._proved_ns >= PROVE_EVERY_NS:
            self._proved_ns = now_ns
            self.halting.prove(int(self.config.sessions.idle_timeout * 1e9), self.sessions.live)
        self.flush()
        if self.readiness.failing(CONTROL) and not self.halting.owes:
            self.index.write((), {}, self.pipeline.committed_seq)  # nothing may have had to be written
            self.readiness.works(CONTROL)

    def flush(self) -> None:
        """Writes changed sessions to the index. Raises StoreUnavailable; then they stay marked as changed."""
        if self._only_read:
            return
        self.pipeline.settle()
        sessions = self.sessions
        rows = {key: (session, 0) for key, session in sessions.residence.evicted.items()}
        changed = [live for key in sessions.changed if (live := sessions.live.get(key)) is not None]
        rows |= {live.session.key: (live.session, len(live.open_findings)) for live in changed}
        if rows or sessions.merged:
            self.index.write(rows.values(), sessions.merged, self.pipeline.committed_seq)
        if self.baselines.changed:
            self._learned.write(self.baselines.stored())
            self.baselines.changed.clear()
        sessions.changed.clear()
        sessions.residence.evicted.clear()
        sessions.merged.clear()

    # Reading

    def not_ready(self) -> list[str]:
        """Why the service should get no traffic; safe from any thread."""
        return self.readiness.reasons()

    def session(self, key: SessionKey) -> Session | None:
        """The session as it stands, live or from the index; what its runtime answered is laid over it."""
        live = self.sessions.live.get(key)
        return live.session if live is not None else self.index.get(key)
