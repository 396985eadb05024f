"""The control store: every halt, pause and release, the messages they send, and who asked. Durable before it returns."""

import hashlib
import sqlite3
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec
import orjson

from collector.enforcement.action import Answer, Reply, Runtime
from collector.enforcement.database import Database
from collector.enforcement.messages import OPEN, Limits, Message, claim, enqueue, finish, heard, withdraw
from collector.enforcement.rows import Subject, advance, halt_of, insert, loaded, record, stance, stand, standing, subject_of
from collector.enforcement.transitions import LIFTS, OWNED, PROVEN, STOPS, STRENGTH
from collector.errors import Malformed, Refused
from collector.model import Halt, HaltState, Identifiers, Verb
from detectors.model import SessionKey


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what, when. `detail` holds whatever explains it; never a secret."""

    at_ns: int
    actor: str
    action: str
    session: SessionKey | None
    halt_id: str | None
    detail: dict[str, Any]


class ControlStore:
    """Halts and their outbox in one SQLite file. Safe to call from any thread; every method may wait for the disk.

    A session that was merged away is found under its survivor, if anything was ever asked of either. All methods raise
    StoreUnavailable where the disk refuses; nothing of that call is kept then.
    """

    def __init__(self, path: Path | str) -> None:
        """Opens or makes the file. Raises StoreUnavailable, or ConfigError for a file of a newer version."""
        self.database = Database(path)

    def close(self) -> None:
        """Closes the file. Harmless to repeat."""
        self.database.close()

    def request_halt(
        self,
        key: SessionKey,
        verb: Verb,
        *,
        halt_reason: str | None,
        requested_by: str,
        now_ns: int,
        finding: str | None = None,
        note: str = "",
        subject: Subject | None = None,
        runtimes: Iterable[Runtime] = (),
        recorded_generation: int = 0,
    ) -> Halt:
        """Records what is asked of a session and queues it for its runtimes, in one transaction. Idempotent.

        Asked again for what is in force, it returns that. One finding asks for each stop once: after a release, the
        same finding (a replay after a restart) gets its old halt back, and nothing is stopped. Each new request raises
        the generation, also above `recorded_generation`, which telemetry knows of where this file was lost: runtimes ignore
        lower ones. A halt takes the place of a pause; a release of everything undelivered.

        Raises Refused where the request is weaker than what is in force, or nothing is there to be released.
        """
        with self.database.transaction() as c:
            key = standing(c, key)
            generation, active = stance(c, key)
            existing = _same_request(c, key, verb, finding, active)
            if existing is not None:
                detail = {"halt_reason": halt_reason, "finding": finding, "note": note, "repeated": True}
                record(c, now_ns, requested_by, f"request.{verb}", session=key, halt_id=existing.halt_id, detail=detail)
                return existing
            _admit(c, key, verb, active)
            generation = max(generation, recorded_generation) + 1
            halt = Halt(
                halt_id=_halt_id(key, generation),
                session=key,
                generation=generation,
                verb=verb,
                halt_reason=halt_reason,
                finding=finding,
                requested_by=requested_by,
                note=note,
                requested_ns=now_ns,
            )
            _supersede(c, key, now_ns)
            insert(c, halt, subject or Subject())
            stand(c, key, generation, halt.halt_id if verb in STOPS else active.halt_id if active and verb not in LIFTS else None)
            enqueue(c, halt, runtimes, now_ns)
            detail = {"halt_reason": halt_reason, "finding": finding, "note": note}
            record(c, now_ns, requested_by, f"request.{verb}", session=key, halt_id=halt.halt_id, detail=detail)
            return loaded(c, halt.halt_id)

    def merge(
        self,
        absorbed: SessionKey,
        survivor: SessionKey,
        *,
        now_ns: int,
        identifiers: Identifiers | None = None,
        runtimes: Iterable[Runtime] = (),
    ) -> Halt | None:
        """Makes two sessions one. Halts follow, and if either is held the survivor is; the stronger verb wins.

        A halt in force is sent again under a higher generation, since its runtime may know only the other's ids.
        `identifiers` are the survivor's after the merge; without them those of both halts are joined. Harmless to
        repeat. Returns what is in force now.
        """
        with self.database.transaction() as c:
            lost, key = standing(c, absorbed), standing(c, survivor)
            if lost == key:
                return stance(c, key)[1]
            lost_generation, lost_active = stance(c, lost)
            generation, active = stance(c, key)
            if not generation and not lost_generation:
                # Most sessions merge early and are never halted: no row, and so no wait for the disk.
                return None
            c.execute("UPDATE merges SET survivor = ? WHERE survivor = ?", (str(key), str(lost)))
            c.execute("INSERT INTO merges (absorbed, survivor) VALUES (?, ?)", (str(lost), str(key)))
            c.execute("DELETE FROM stances WHERE session = ?", (str(lost),))
            c.execute("UPDATE halts SET session = ? WHERE session = ?", (str(key), str(lost)))
            held = [halt for halt in (active, lost_active) if halt is not None]
            generation = max(generation, lost_generation)
            if not held:
                stand(c, key, generation, None)
                return None
            winner = max(held, key=lambda halt: STRENGTH[halt.verb])
            joined = _join(c, [winner, *(halt for halt in held if halt is not winner)], identifiers, lost)
            _supersede(c, key, now_ns, keep=winner.halt_id)
            stand(c, key, generation + 1, winner.halt_id)
            c.execute(
                "UPDATE halts SET generation = ?, subject = ? WHERE halt_id = ?",
                (generation + 1, msgspec.json.encode(joined).decode(), winner.halt_id),
            )
            record(c, now_ns, "overcurrent", "merge", session=key, halt_id=winner.halt_id, detail={"absorbed": str(lost)})
            return _assert_again(c, winner.halt_id, runtimes, now_ns)

    def reassert(self, halt_id: str, *, now_ns: int, runtimes: Iterable[Runtime] = ()) -> Halt:
        """Sends a disobeyed halt again, as a new message: steps arrived although it was answered. Raises NotFound.

        One that is no longer in force, or that no owner ever answered (its messages are still tried), is returned unchanged.
        """
        with self.database.transaction() as c:
            halt = loaded(c, halt_id)
            answered = halt.state in OWNED or halt.state is HaltState.DISOBEYED
            if not answered or stance(c, halt.session)[1] != halt:
                return halt
            advance(c, halt, HaltState.DISOBEYED, now_ns)
            record(c, now_ns, "overcurrent", "reassert", session=halt.session, halt_id=halt_id)
            return _assert_again(c, halt_id, runtimes, now_ns)

    def quiet(self, halt_id: str, *, now_ns: int) -> Halt:
        """Notes that the session fell silent: it stopped, whatever its runtime says. Raises NotFound."""
        with self.database.transaction() as c:
            halt = loaded(c, halt_id)
            advance(c, halt, HaltState.QUIET, now_ns)
            if halt.state is HaltState.QUIET:
                withdraw(c, halt_id)
            return loaded(c, halt_id)

    def acknowledge(self, halt_id: str, status: str, *, now_ns: int, actor: str = "runtime") -> Halt:
        """Takes a runtime's own word. Raises NotFound, or Malformed for a status outside the contract.

        A superseded halt stays superseded; that somebody answered it is in the audit trail.
        """
        spoken = {Reply.STOPPING, Reply.STOPPED, Reply.UNKNOWN_SESSION, Reply.UNSUPPORTED}
        if status not in spoken:
            raise Malformed(f"status must be one of {', '.join(sorted(spoken))}, got {status[:40]!r}")
        with self.database.transaction() as c:
            halt = loaded(c, halt_id)
            heard(c, halt, Reply(status), now_ns, f"{actor}: {status}")
            record(c, now_ns, actor, "acknowledge", session=halt.session, halt_id=halt_id, detail={"status": status})
            return loaded(c, halt_id)

    def get(self, halt_id: str) -> Halt:
        """The halt as it stands. Raises NotFound."""
        with self.database.reading() as c:
            return loaded(c, halt_id)

    def halts(self, key: SessionKey) -> list[Halt]:
        """Everything ever asked of the session, oldest first, its merged ones included."""
        with self.database.reading() as c:
            rows = c.execute("SELECT * FROM halts WHERE session = ? ORDER BY requested_ns, generation", (str(standing(c, key)),))
            return [halt_of(row) for row in rows]

    def active(self, key: SessionKey) -> Halt | None:
        """The halt or pause that holds the session now."""
        with self.database.reading() as c:
            return stance(c, standing(c, key))[1]

    def active_all(self) -> list[Halt]:
        """Every halt and pause in force, oldest first: what a restarted service must know before it takes telemetry."""
        with self.database.reading() as c:
            rows = c.execute("SELECT h.* FROM stances s JOIN halts h ON h.halt_id = s.active_halt ORDER BY h.requested_ns, h.halt_id")
            return [halt_of(row) for row in rows]

    def answered(self) -> list[Halt]:
        """The halts and pauses in force that an owner took, and that nothing proves yet."""
        with self.database.reading() as c:
            rows = c.execute(
                "SELECT h.* FROM stances s JOIN halts h ON h.halt_id = s.active_halt WHERE h.state IN ('acknowledged', 'disobeyed')"
            )
            return [halt_of(row) for row in rows]

    def generation(self, key: SessionKey) -> int:
        """How often something was asked of the session; 0 for one that was left alone."""
        with self.database.reading() as c:
            return stance(c, standing(c, key))[0]

    def counts(self) -> dict[HaltState, int]:
        """Number of requests to stop or change a session in each state; every state is there. Releases are not among them."""
        with self.database.reading() as c:
            rows = c.execute("SELECT state, count(*) AS n FROM halts WHERE verb NOT IN ('release', 'requeue') GROUP BY state")
            found = {row["state"]: row["n"] for row in rows}
        return {state: found.get(state, 0) for state in HaltState}

    def outbox_size(self) -> int:
        """Messages that still wait for an answer."""
        with self.database.reading() as c:
            return int(c.execute(f"SELECT count(*) FROM outbox WHERE state IN {OPEN}").fetchone()[0])  # noqa: S608 — a constant

    def outbox_oldest_ns(self) -> int | None:
        """Since when the oldest of them waits, in nanoseconds since the epoch. None: none waits."""
        with self.database.reading() as c:
            row = c.execute(f"SELECT min(created_ns) FROM outbox WHERE state IN {OPEN}").fetchone()  # noqa: S608 — a constant
            return None if row[0] is None else int(row[0])

    def note(self, actor: str, action: str, *, now_ns: int, session: SessionKey | None = None, detail: dict[str, Any]) -> None:
        """Adds to the audit trail what has no row of its own, such as a request that was refused."""
        with self.database.transaction() as c:
            record(c, now_ns, actor, action, session=session, detail=detail)

    def audit(self, *, session: SessionKey | None = None, limit: int = 100) -> list[AuditEntry]:
        """The newest entries first, of one session or of all."""
        with self.database.reading() as c:
            rows = c.execute(
                "SELECT * FROM audit WHERE ?1 IS NULL OR session = ?1 ORDER BY id DESC LIMIT ?2",
                (None if session is None else str(session), limit),
            ).fetchall()
        return [
            AuditEntry(
                at_ns=row["at_ns"],
                actor=row["actor"],
                action=row["action"],
                session=None if row["session"] is None else SessionKey.parse(row["session"]),
                halt_id=row["halt_id"],
                detail=orjson.loads(row["detail"]),
            )
            for row in rows
        ]

    def retarget(self, runtimes: Collection[Runtime], *, now_ns: int, restarted: bool = False) -> None:
        """Fits the outbox to the configured runtimes: what is unanswered meets the new ones.

        Messages to a runtime that is configured no longer are set aside; they return with it. With `restarted`, what an
        earlier process had claimed falls due at once.
        """
        with self.database.transaction() as c:
            if restarted:
                c.execute("UPDATE outbox SET state = 'pending', next_attempt_ns = ? WHERE state = 'claimed'", (now_ns,))
            urls = {runtime.url for runtime in runtimes}
            waiting = c.execute(f"SELECT DISTINCT url FROM outbox WHERE state IN {OPEN}").fetchall()  # noqa: S608 — a constant
            c.executemany(
                f"UPDATE outbox SET state = 'removed' WHERE url = ? AND state IN {OPEN}",  # noqa: S608 — a constant
                [(row["url"],) for row in waiting if row["url"] not in urls],
            )
            standing_requests = c.execute(
                "SELECT h.* FROM halts h LEFT JOIN stances s ON s.active_halt = h.halt_id "
                "WHERE h.state IN ('requested', 'delivered', 'undeliverable', 'unsupported', 'disobeyed') "
                "AND (s.active_halt IS NOT NULL OR h.verb IN ('release', 'requeue'))"
            ).fetchall()
            for halt in map(halt_of, standing_requests):
                enqueue(c, halt, runtimes, now_ns)

    def claim(self, url: str, *, now_ns: int, lease_ns: int, limit: int) -> list[Message]:
        """Claims due messages for one runtime and records the attempts. An unfinished claim falls due after `lease_ns`."""
        with self.database.transaction() as c:
            return claim(c, url, now_ns, lease_ns, limit)

    def finish(self, message: Message, answer: Answer, *, now_ns: int, retry_ns: int, limits: Limits) -> None:
        """Records what came of an attempt and, where it must be repeated, makes it due at `retry_ns`."""
        with self.database.transaction() as c:
            finish(c, message, answer, now_ns=now_ns, retry_ns=retry_ns, limits=limits)

    def next_due(self, url: str) -> int | None:
        """When the next message for this runtime falls due, in nanoseconds since the epoch. None: none waits."""
        with self.database.reading() as c:
            row = c.execute(f"SELECT min(next_attempt_ns) FROM outbox WHERE url = ? AND state IN {OPEN}", (url,)).fetchone()  # noqa: S608
            return None if row[0] is None else int(row[0])


def _halt_id(key: SessionKey, generation: int) -> str:
    return f"hlt_{hashlib.blake2b(f'{key}|{generation}'.encode(), digest_size=11).hexdigest()}"


def _same_request(c: sqlite3.Connection, key: SessionKey, verb: Verb, finding: str | None, active: Halt | None) -> Halt | None:
    if active is not None and active.verb is verb:
        return active
    if finding is not None and verb not in LIFTS:  # only people release, and they mean it each time
        row = c.execute(
            "SELECT * FROM halts WHERE finding = ? AND verb = ? AND session = ? ORDER BY requested_ns LIMIT 1", (finding, verb, str(key))
        ).fetchone()
        if row is not None:
            return halt_of(row)
    halt = _newest(c, key)
    if halt is None or active is not None:
        return None
    if verb in LIFTS and halt.verb is verb:
        return halt
    undone = halt.state in {HaltState.REQUESTED, HaltState.DELIVERED, HaltState.UNDELIVERABLE}
    return halt if verb is Verb.COMPACT and halt.verb is verb and undone else None


def _admit(c: sqlite3.Connection, key: SessionKey, verb: Verb, active: Halt | None) -> None:
    if active is None and verb in LIFTS:
        raise Refused("the session is neither halted nor paused: there is nothing to release")
    if verb in LIFTS:
        return
    if active is not None and STRENGTH[verb] < STRENGTH[active.verb]:
        raise Refused(f"the session is under a {active.verb} ({active.halt_id}), which is stronger than a {verb}: release it first")
    newest = _newest(c, key)
    if verb is Verb.COMPACT and newest is not None and newest.verb in LIFTS and newest.state not in OWNED:
        # Its higher generation would make the runtime ignore the release, and so keep a session that was let go.
        raise Refused(f"the release {newest.halt_id} is still on its way: compact when the runtime has taken it")


def _newest(c: sqlite3.Connection, key: SessionKey) -> Halt | None:
    row = c.execute("SELECT * FROM halts WHERE session = ? ORDER BY generation DESC LIMIT 1", (str(key),)).fetchone()
    return None if row is None else halt_of(row)


def _supersede(c: sqlite3.Connection, key: SessionKey, now_ns: int, keep: str = "") -> None:
    """Ends what is unproven. Proof stays on record: a confirmed halt was a confirmed halt, whatever came later."""
    rows = c.execute("SELECT * FROM halts WHERE session = ? AND halt_id <> ? AND state <> 'superseded'", (str(key), keep)).fetchall()
    for halt in map(halt_of, rows):
        withdraw(c, halt.halt_id)
        done = PROVEN if halt.verb in STOPS else OWNED
        if halt.state not in done:
            advance(c, halt, HaltState.SUPERSEDED, now_ns)


def _assert_again(c: sqlite3.Connection, halt_id: str, runtimes: Iterable[Runtime], now_ns: int) -> Halt:
    withdraw(c, halt_id)
    c.execute("UPDATE halts SET assertion = assertion + 1 WHERE halt_id = ?", (halt_id,))
    enqueue(c, loaded(c, halt_id), runtimes, now_ns)
    return loaded(c, halt_id)


def _join(c: sqlite3.Connection, halts: list[Halt], identifiers: Identifiers | None, absorbed: SessionKey) -> Subject:
    subjects = [subject_of(c, halt.halt_id) for halt in halts]
    if identifiers is None:
        names = ("trace_ids", "conversation_ids", "service_names", "service_instance_ids")
        joined = {name: list(dict.fromkeys(one for subject in subjects for one in getattr(subject.identifiers, name))) for name in names}
        identifiers = Identifiers(**{name: ids[: Identifiers.LIMIT] for name, ids in joined.items()})
    earlier = dict.fromkeys([*(one for subject in subjects for one in subject.merged_from), absorbed.session_id])
    types = [subject.agent_type for subject in subjects if subject.agent_type != "unknown"]
    return msgspec.structs.replace(
        subjects[0], identifiers=identifiers, merged_from=list(earlier)[-Identifiers.LIMIT :], agent_type=types[0] if types else "unknown"
    )
