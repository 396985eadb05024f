"""The table of findings: every emission of each, the newest being what it is now."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from collector.store.base import FindingQuery
from detectors.model import Finding, SessionKey

Read = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""Runs a query with parameters and returns all its rows."""

_encode = msgspec.json.Encoder(decimal_format="string").encode
_decode = msgspec.json.Decoder(Finding).decode


def select(read: Read, query: FindingQuery) -> list[Finding]:
    """The newest emission of each matching finding, newest first."""
    where: list[str] = ["place = 1"]
    parameters: list[Any] = []
    if query.sessions is not None:
        where.append(f"session IN ({_marks(query.sessions)})" if query.sessions else "false")
        parameters += [str(key) for key in query.sessions]
    for condition, value in (
        ("body->>'workflow_id' = ?", query.workflow_id),
        ("detector = ?", query.detector),
        ("severity = ?", query.severity),
        ("at_ns >= ?", query.since_ns),
    ):
        if value is not None:
            where.append(condition)
            parameters.append(value)
    rows = read(
        "SELECT body FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY emission DESC) AS place FROM findings) "  # noqa: S608 — conditions are literals, values are parameters
        f"WHERE {' AND '.join(where)} ORDER BY emission DESC LIMIT ?",
        [*parameters, query.limit],
    )
    return [_decode(row[0]) for row in rows]


def emissions(read: Read, sessions: Iterable[SessionKey], after_seq: int) -> set[tuple[str, str, bool]]:
    """(finding id, severity, halt_eligible) of every emission for these very sessions at a step after `after_seq`."""
    keys = [str(key) for key in sessions]
    if not keys:
        return set()
    rows = read(
        "SELECT DISTINCT id, severity, coalesce(CAST(body->>'halt_eligible' AS BOOLEAN), false) "  # noqa: S608 — only question marks
        f"FROM findings WHERE step_seq > ? AND session IN ({_marks(keys)})",
        [after_seq, *keys],
    )
    return {(str(id_), str(severity), bool(eligible)) for id_, severity, eligible in rows}


def table(findings: Sequence[Finding], first: int) -> pa.Table:
    """Rows for these emissions, numbered from `first`."""
    return pa.table(
        {
            "emission": pa.array(range(first, first + len(findings)), type=pa.int64()),
            "id": _text([f.id for f in findings]),
            "session": _text([None if f.session is None else str(f.session) for f in findings]),
            "detector": _text([f.detector for f in findings]),
            "severity": _text([f.severity for f in findings]),
            "at_ns": pa.array([f.at_ns for f in findings], type=pa.int64()),
            "body": _text([_encode(f) for f in findings]),
            "step_seq": pa.array([f.step_seq for f in findings], type=pa.int64()),
        }
    )


def _text(values: Iterable[Any]) -> "pa.Array[Any]":
    return pa.array(values, type=pa.string())


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
