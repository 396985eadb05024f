"""The outbox as rows: what is due, who has claimed it, what came of it. The functions run inside the caller's transaction."""

import hashlib
import sqlite3
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import orjson

from collector.enforcement.action import Answer, Reply, Runtime
from collector.enforcement.rows import Subject, advance, load, subject_of
from collector.enforcement.times import rfc3339
from collector.enforcement.transitions import LIFTS, OWNED, STOPS
from collector.model import Halt, HaltState

KEPT_ATTEMPTS: Final = 50
"""Attempts remembered of one message; a receiver that is dead for a week makes ten thousand."""
OPEN: Final = "('pending', 'claimed')"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One claimed message. `attempt` counts from 1."""

    message_id: str
    halt_id: str
    url: str
    body: bytes
    attempt: int
    created_ns: int


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """When an unproven message becomes a person's business, and when one that stops nobody is given up."""

    escalate_attempts: int = 5
    escalate_ns: int = 60 * 1_000_000_000
    give_up_ns: int = 86_400 * 1_000_000_000
    """For releases and compactions. A halt or pause is never given up."""


def heard(c: sqlite3.Connection, halt: Halt, reply: Reply, now_ns: int, detail: str | None = None) -> None:
    """Takes a runtime's own word, however it came: as the answer to a message, or on its own."""
    stops = halt.verb in STOPS
    match reply:
        case Reply.STOPPED if stops:
            advance(c, halt, HaltState.CONFIRMED_STOPPED, now_ns)
        case Reply.STOPPING | Reply.STOPPED:
            advance(c, halt, HaltState.ACKNOWLEDGED, now_ns)
        case Reply.UNPROVEN if not stops:
            # No status of the contract fits "I let it go on": that the runtime took the message must do.
            advance(c, halt, HaltState.ACKNOWLEDGED, now_ns)
        case Reply.UNPROVEN:
            advance(c, halt, HaltState.DELIVERED, now_ns, detail)
        case Reply.UNSUPPORTED:
            advance(c, halt, HaltState.UNSUPPORTED, now_ns, detail)
        case Reply.UNKNOWN_SESSION | Reply.FAILED:
            advance(c, halt, halt.state, now_ns, detail)


def enqueue(c: sqlite3.Connection, halt: Halt, runtimes: Iterable[Runtime], now_ns: int) -> int:
    """Adds one message for each runtime that may own the session. Returns how many runtimes that is.

    A runtime that has this very message already gets no second one. Without any runtime the halt is undeliverable.
    """
    subject = subject_of(c, halt.halt_id)
    assertion = c.execute("SELECT assertion FROM halts WHERE halt_id = ?", (halt.halt_id,)).fetchone()[0]
    matching = {runtime.url for runtime in runtimes if runtime.runs(subject.agent_type)}
    body = orjson.dumps(_body(halt, subject))
    for url in sorted(matching):
        c.execute(
            "INSERT INTO outbox (message_id, halt_id, url, body, created_ns, next_attempt_ns, state) VALUES (?, ?, ?, ?, ?, ?, 'pending') "
            "ON CONFLICT (message_id) DO UPDATE SET state = 'pending', next_attempt_ns = excluded.next_attempt_ns WHERE state = 'removed'",
            (_message_id(halt.halt_id, assertion, url), halt.halt_id, url, body, now_ns, now_ns),
        )
    if not matching:
        why = f"no runtime is configured for agent type {subject.agent_type!r}: add one under actions.runtimes"
        advance(c, halt, HaltState.UNDELIVERABLE, now_ns, why)
    return len(matching)


def withdraw(c: sqlite3.Connection, halt_id: str) -> None:
    """Takes back what has not been answered. An attempt under way may still arrive; its generation is lower by then."""
    c.execute(f"UPDATE outbox SET state = 'superseded' WHERE halt_id = ? AND state IN {OPEN}", (halt_id,))  # noqa: S608 — a constant


def claim(c: sqlite3.Connection, url: str, now_ns: int, lease_ns: int, limit: int) -> list[Message]:
    """Claims due messages for one runtime, those never tried first, and records the attempt before it is made.

    A claim that is not finished falls due again when its lease ends, so a crash loses nothing.
    """
    due = c.execute(
        f"SELECT * FROM outbox WHERE url = ? AND next_attempt_ns <= ? AND state IN {OPEN} "  # noqa: S608 — a constant
        "ORDER BY attempts > 0, next_attempt_ns, message_id LIMIT ?",
        (url, now_ns, limit),
    ).fetchall()
    claimed = []
    for row in due:
        taken = c.execute(
            f"UPDATE outbox SET state = 'claimed', next_attempt_ns = ?, attempts = attempts + 1 "  # noqa: S608 — a constant
            f"WHERE message_id = ? AND attempts = ? AND state IN {OPEN}",
            (now_ns + lease_ns, row["message_id"], row["attempts"]),
        )
        if taken.rowcount != 1:
            continue
        attempt = row["attempts"] + 1
        c.execute("INSERT INTO attempts (message_id, attempt, started_ns) VALUES (?, ?, ?)", (row["message_id"], attempt, now_ns))
        c.execute("DELETE FROM attempts WHERE message_id = ? AND attempt <= ?", (row["message_id"], attempt - KEPT_ATTEMPTS))
        c.execute("UPDATE halts SET attempts = attempts + 1 WHERE halt_id = ?", (row["halt_id"],))
        claimed.append(
            Message(
                message_id=row["message_id"],
                halt_id=row["halt_id"],
                url=row["url"],
                body=row["body"],
                attempt=attempt,
                created_ns=row["created_ns"],
            )
        )
    return claimed


def finish(c: sqlite3.Connection, message: Message, answer: Answer, *, now_ns: int, retry_ns: int, limits: Limits) -> None:
    """Records what came of an attempt, moves the halt, and decides whether the message is tried again at `retry_ns`."""
    c.execute(
        "UPDATE attempts SET ended_ns = ?, outcome = ?, detail = ? WHERE message_id = ? AND attempt = ?",
        (now_ns, answer.reply, answer.detail, message.message_id, message.attempt),
    )
    halt = load(c, message.halt_id)
    if halt is None:
        return
    heard(c, halt, answer.reply, now_ns, answer.detail)
    state = _next(halt, message, answer.reply, now_ns, limits)
    if (state == "pending" and _late(message, now_ns, limits)) or (state == "abandoned" and halt.verb not in STOPS):
        advance(c, halt, HaltState.UNDELIVERABLE, now_ns)
    # Not where it was superseded while the attempt was under way, nor where the lease ran out and another has claimed it.
    c.execute(
        f"UPDATE outbox SET state = ?1, next_attempt_ns = ?2, last_error = ?3 "  # noqa: S608 — a constant
        f"WHERE message_id = ?4 AND state IN {OPEN} AND (attempts = ?5 OR ?1 = 'answered')",
        (state, retry_ns, answer.detail, message.message_id, message.attempt),
    )


def _next(halt: Halt, message: Message, reply: Reply, now_ns: int, limits: Limits) -> str:
    if reply in {Reply.STOPPING, Reply.STOPPED}:
        return "answered"
    if halt.verb in STOPS:
        if halt.state not in OWNED:
            return "pending"
        # Somebody else owns the session. One who was never reached may run a part of it, so is tried a while longer.
        if reply is Reply.UNKNOWN_SESSION:
            return "answered"
        return "abandoned" if _late(message, now_ns, limits) else "pending"
    if reply in {Reply.UNPROVEN, Reply.UNSUPPORTED}:
        return "answered"
    if halt.state not in OWNED or (halt.verb in LIFTS and reply is Reply.FAILED):
        return "abandoned" if now_ns - message.created_ns >= limits.give_up_ns else "pending"
    return "answered"


def _late(message: Message, now_ns: int, limits: Limits) -> bool:
    return message.attempt >= limits.escalate_attempts or now_ns - message.created_ns >= limits.escalate_ns


def _message_id(halt_id: str, assertion: int, url: str) -> str:
    """Derived, so that a crash between two transactions cannot make a second message of the first."""
    return f"msg_{hashlib.blake2b(f'{halt_id}|{assertion}|{url}'.encode(), digest_size=16).hexdigest()}"


def _body(halt: Halt, subject: Subject) -> dict[str, Any]:
    ids = subject.identifiers
    return {
        "type": f"session.{halt.verb}",
        "timestamp": rfc3339(halt.requested_ns),
        "data": {
            "halt_id": halt.halt_id,
            "generation": halt.generation,
            "session_id": halt.session.session_id,
            "workflow_id": subject.workflow_id,
            "identifiers": {
                "trace_ids": ids.trace_ids,
                "conversation_ids": ids.conversation_ids,
                "service.name": ids.service_names,
                "service.instance.id": ids.service_instance_ids,
                "merged_from": subject.merged_from,
            },
            "agent_type": subject.agent_type,
            "halt_reason": halt.halt_reason,
            "summary": subject.summary,
            "steps": subject.steps,
            "cost_usd": subject.cost_usd,
            "checkpoint": None,
            "dead_letter_id": None,
            "console_url": subject.console_url,
        },
    }
