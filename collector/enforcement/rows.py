"""The rows of halts, stances and the audit trail. The functions run inside the caller's transaction."""

import sqlite3
from typing import Any

import msgspec
import orjson

from collector.enforcement.transitions import NEXT
from collector.errors import NotFound
from collector.model import Halt, HaltState, Identifiers, Session, Verb
from detectors.model import SessionKey


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What a runtime is told about the session, as it stood when the halt was requested. `cost_usd` is a decimal string."""

    agent_type: str = "unknown"
    workflow_id: str | None = None
    identifiers: Identifiers = msgspec.field(default_factory=Identifiers)
    merged_from: list[str] = []
    summary: str = ""
    steps: int | None = None
    cost_usd: str | None = None
    console_url: str | None = None


def as_subject(session: Session | None, summary: str) -> Subject:
    """What is known of the session now; None for one not seen yet."""
    if session is None:
        return Subject(summary=summary)
    return Subject(
        agent_type=session.agent_type,
        workflow_id=session.workflow_id,
        identifiers=session.identifiers,
        merged_from=[SessionKey.parse(name).session_id for name in session.merged_from],
        summary=summary,
        steps=session.steps,
        cost_usd=None if session.cost_usd is None else format(session.cost_usd, "f"),
    )


def halt_of(row: sqlite3.Row) -> Halt:
    """Reads a row of `halts`."""
    return Halt(
        halt_id=row["halt_id"],
        session=SessionKey.parse(row["session"]),
        generation=row["generation"],
        verb=Verb(row["verb"]),
        halt_reason=row["halt_reason"],
        finding=row["finding"],
        requested_by=row["requested_by"],
        note=row["note"],
        state=HaltState(row["state"]),
        requested_ns=row["requested_ns"],
        delivered_ns=row["delivered_ns"],
        acknowledged_ns=row["acknowledged_ns"],
        stopped_ns=row["stopped_ns"],
        attempts=row["attempts"],
        last_error=row["last_error"],
    )


def load(c: sqlite3.Connection, halt_id: str) -> Halt | None:
    """The halt as it stands, None where there is none."""
    row = c.execute("SELECT * FROM halts WHERE halt_id = ?", (halt_id,)).fetchone()
    return None if row is None else halt_of(row)


def advance(c: sqlite3.Connection, halt: Halt, state: HaltState, now_ns: int, error: str | None = None) -> None:
    """Moves a halt to `state` where that may follow, and notes the time and the error. Elsewhere only the error is noted."""
    if error is not None:
        c.execute("UPDATE halts SET last_error = ? WHERE halt_id = ?", (error, halt.halt_id))
    if state not in NEXT[halt.state]:
        return
    c.execute("UPDATE halts SET state = ? WHERE halt_id = ?", (state, halt.halt_id))
    if state in {HaltState.DELIVERED, HaltState.ACKNOWLEDGED, HaltState.CONFIRMED_STOPPED, HaltState.UNSUPPORTED}:
        c.execute("UPDATE halts SET delivered_ns = coalesce(delivered_ns, ?) WHERE halt_id = ?", (now_ns, halt.halt_id))
    if state in {HaltState.ACKNOWLEDGED, HaltState.CONFIRMED_STOPPED}:
        c.execute(
            "UPDATE halts SET acknowledged_ns = coalesce(acknowledged_ns, ?), last_error = NULL WHERE halt_id = ?", (now_ns, halt.halt_id)
        )
    if state in {HaltState.CONFIRMED_STOPPED, HaltState.QUIET}:
        c.execute("UPDATE halts SET stopped_ns = coalesce(stopped_ns, ?) WHERE halt_id = ?", (now_ns, halt.halt_id))
    halt.state = state


def standing(c: sqlite3.Connection, key: SessionKey) -> SessionKey:
    """The session that stands for `key` after all merges; itself where there were none."""
    row = c.execute("SELECT survivor FROM merges WHERE absorbed = ?", (str(key),)).fetchone()
    return key if row is None else SessionKey.parse(row["survivor"])


def stance(c: sqlite3.Connection, key: SessionKey) -> tuple[int, Halt | None]:
    """The session's generation, and the halt or pause that holds it."""
    row = c.execute("SELECT generation, active_halt FROM stances WHERE session = ?", (str(key),)).fetchone()
    if row is None:
        return 0, None
    return row["generation"], None if row["active_halt"] is None else load(c, row["active_halt"])


def stand(c: sqlite3.Connection, key: SessionKey, generation: int, active_halt: str | None) -> None:
    """Writes where the session stands."""
    c.execute(
        "INSERT INTO stances (session, generation, active_halt) VALUES (?1, ?2, ?3) "
        "ON CONFLICT (session) DO UPDATE SET generation = ?2, active_halt = ?3",
        (str(key), generation, active_halt),
    )


def insert(c: sqlite3.Connection, halt: Halt, subject: Subject) -> None:
    """Adds a halt."""
    c.execute(
        "INSERT INTO halts (halt_id, session, generation, verb, halt_reason, finding, requested_by, note, state, requested_ns, subject) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            halt.halt_id,
            str(halt.session),
            halt.generation,
            halt.verb,
            halt.halt_reason,
            halt.finding,
            halt.requested_by,
            halt.note,
            halt.state,
            halt.requested_ns,
            msgspec.json.encode(subject).decode(),
        ),
    )


def loaded(c: sqlite3.Connection, halt_id: str) -> Halt:
    """The halt as it stands. Raises NotFound."""
    halt = load(c, halt_id)
    if halt is None:
        raise NotFound(f"no halt {halt_id[:80]!r}")
    return halt


def record(
    c: sqlite3.Connection,
    now_ns: int,
    actor: str,
    action: str,
    *,
    session: SessionKey | None = None,
    halt_id: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Adds a line to the audit trail."""
    c.execute(
        "INSERT INTO audit (at_ns, actor, action, session, halt_id, detail) VALUES (?, ?, ?, ?, ?, ?)",
        (now_ns, actor, action, None if session is None else str(session), halt_id, orjson.dumps(detail or {}).decode()),
    )


def subject_of(c: sqlite3.Connection, halt_id: str) -> Subject:
    """What the halt's runtimes are told about the session."""
    row = c.execute("SELECT subject FROM halts WHERE halt_id = ?", (halt_id,)).fetchone()
    return msgspec.json.decode(row["subject"], type=Subject)
