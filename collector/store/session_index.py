"""The index of sessions in the control store: small rows that change, which the telemetry store does not do well.

It lags the event stream by at most one flush; `seq` says up to where it is complete, so that a restart repairs the rest.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from collector.enforcement.database import Database
from collector.model import Session, SessionState
from detectors.model import SessionKey

_decode = msgspec.json.Decoder(Session).decode
_encode = msgspec.json.encode


class SessionIndex:
    """Reads and writes session rows. Safe from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def seq(self) -> int:
        """Every event up to this one is reflected."""
        with self._database.reading() as connection:
            return int(connection.execute("SELECT seq FROM session_index_state").fetchone()[0])

    def write(self, sessions: Iterable[tuple[Session, int]], merged: Mapping[SessionKey, SessionKey], seq: int) -> None:
        """Writes sessions with the number of their open findings, and merges, in one durable transaction.

        Raises StoreUnavailable.
        """
        rows = [
            (str(s.key), s.key.tenant, s.key.session_id, s.agent_type, s.state.value, s.last_seen_ns, findings, _encode(s).decode())
            for s, findings in sessions
        ]
        with self._database.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            for absorbed, survivor in merged.items():
                connection.execute(
                    "INSERT OR REPLACE INTO merged_sessions VALUES (?, ?, ?)", (str(absorbed), absorbed.session_id, str(survivor))
                )
                connection.execute("DELETE FROM sessions WHERE key = ?", (str(absorbed),))
                # One that was merged long ago and spoke again stands for itself: two that stand for each other would never end.
                connection.execute("DELETE FROM merged_sessions WHERE absorbed = ?", (str(survivor),))
            connection.execute("UPDATE session_index_state SET seq = max(seq, ?)", (seq,))

    def get(self, key: SessionKey) -> Session | None:
        with self._database.reading() as connection:
            row = connection.execute("SELECT body FROM sessions WHERE key = ?", (str(key),)).fetchone()
        return None if row is None else _decode(row[0])

    def known(self, keys: Sequence[SessionKey]) -> set[SessionKey]:
        """Those of `keys`, a few hundred at most, that are in the index or were merged into another session."""
        names = {str(key): key for key in keys}
        marks = ", ".join("?" * len(names))
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT key FROM sessions WHERE key IN ({marks}) UNION SELECT absorbed FROM merged_sessions WHERE absorbed IN ({marks})",  # noqa: S608 — question marks
                [*names, *names],
            ).fetchall()
        return {names[row[0]] for row in rows}

    def since(self, key: SessionKey) -> int:
        """A sequence number before everything recorded of a session: what the index does not know came after what it reflects."""
        with self._database.reading() as connection:
            # The row of a session that was merged is gone; its survivor's begins no later.
            rows = connection.execute(
                "WITH RECURSIVE called(key) AS ("
                " SELECT ? UNION SELECT survivor FROM merged_sessions JOIN called ON absorbed = called.key"
                ") SELECT body FROM sessions JOIN called USING (key)",
                (str(key),),
            ).fetchall()
        return min([self.seq, *(_decode(row[0]).first_seq - 1 for row in rows)])

    def survivor(self, key: SessionKey) -> SessionKey | None:
        """The session that `key` was merged into; None where it was not."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT survivor FROM merged_sessions WHERE absorbed = ?", (str(key),)).fetchone()
        return None if row is None else SessionKey.parse(row[0])

    def find(self, session_id: str) -> list[SessionKey]:
        """Every session of that bare id, merged ones included, in order of their keys."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT key FROM sessions WHERE session_id = ? UNION SELECT absorbed FROM merged_sessions WHERE session_id = ? ORDER BY 1",
                (session_id, session_id),
            ).fetchall()
        return [SessionKey.parse(row[0]) for row in rows]

    def page(
        self,
        *,
        state: SessionState | None = None,
        agent_type: str | None = None,
        keys: Iterable[SessionKey] | None = None,
        since_ns: int | None = None,
        limit: int = 100,
        after: tuple[int, str] | None = None,
    ) -> list[Session]:
        """Newest activity first, `after` being (last_seen_ns, key) of the last row of the page before."""
        where, parameters = ["1"], []
        conditions: list[tuple[str, list[Any]]] = []
        if state is not None:
            conditions.append(("state = ?", [state.value]))
        if agent_type is not None:
            conditions.append(("agent_type = ?", [agent_type]))
        if since_ns is not None:
            conditions.append(("last_seen_ns >= ?", [since_ns]))
        if after is not None:
            conditions.append(("(last_seen_ns < ? OR (last_seen_ns = ? AND key > ?))", [after[0], after[0], after[1]]))
        if keys is not None:
            wanted = [str(key) for key in keys]
            conditions.append((f"key IN ({', '.join('?' * len(wanted))})", list(wanted)))
        for text, values in conditions:
            where.append(text)
            parameters += values
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT body FROM sessions WHERE {' AND '.join(where)} ORDER BY last_seen_ns DESC, key LIMIT ?",  # noqa: S608 — only fixed texts above
                (*parameters, limit),
            ).fetchall()
        return [_decode(row[0]) for row in rows]

    def with_open_findings(self, limit: int) -> list[SessionKey]:
        """Sessions that had a finding open when they were last written, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT key FROM sessions WHERE open_findings > 0 ORDER BY last_seen_ns DESC LIMIT ?", (limit,)
            ).fetchall()
        return [SessionKey.parse(row[0]) for row in rows]
