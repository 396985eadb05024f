"""The contract of the telemetry store. One suite in tests/store holds every implementation to it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec
import pyarrow as pa

from collector.telemetry_data import LogRecord
from detectors.model import Event, Finding, SessionKey


class Commit(msgspec.Struct, kw_only=True):
    """Everything that one group of requests adds: raw telemetry, and the events made of it.

    `arrival_ns` is None in replay. `spans` and `logs` are the columns of `collector.store.columns`.
    """

    seq: int
    arrival_ns: int | None
    spans: Sequence[pa.RecordBatch] = ()
    logs: Sequence[pa.RecordBatch] = ()
    events: Sequence[Event] = ()


class FindingQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which findings are wanted. None means any."""

    sessions: tuple[SessionKey, ...] | None = None
    workflow_id: str | None = None
    detector: str | None = None
    severity: str | None = None
    since_ns: int | None = None
    limit: int = 100


class Store(Protocol):
    """Keeps raw telemetry, the recorded event stream and findings. One thread writes; anyone reads.

    Returned objects are the caller's own.
    """

    def append(self, commit: Commit) -> None:
        """Writes all of `commit` in one transaction and returns only when it would survive a crash.

        Raises StoreUnavailable where it could not, ValueError where no disk could store these rows; nothing of the commit is
        kept then.
        """

    def append_findings(self, findings: Sequence[Finding]) -> None:
        """Writes each emission of a finding durably. Raises StoreUnavailable."""

    def last_seq(self) -> int:
        """The largest sequence number ever committed; 0 in an empty store."""

    def span_keys(self, limit: int) -> Iterator[tuple[str, str, str]]:
        """Yields (tenant, trace id, span id) of the newest `limit` spans, in no particular order."""

    def parents(self, limit: int) -> Iterator[tuple[str, str, str, str]]:
        """Yields (tenant, trace id, span id, parent span id) of the newest `limit` spans that have a parent."""

    def log_keys(self, limit: int) -> Iterator[bytes]:
        """Yields the keys of the newest `limit` log records."""

    def logs_without_span(self, limit: int) -> list[tuple[str, LogRecord]]:
        """(tenant, record) of those of the newest `limit` log records of spans whose span is not stored, in commit order."""

    def events(self, sessions: Iterable[SessionKey], *, after_seq: int = 0, limit: int | None = None) -> list[Event]:
        """The events recorded under these very keys, in commit order; with `limit`, the first so many."""

    def tail(self, limit: int) -> list[Event]:
        """The newest `limit` events of all sessions, in commit order."""

    def of_kinds(self, kinds: Iterable[str], limit: int) -> list[Event]:
        """The newest `limit` events with one of these tags, in commit order."""

    def sessions_after(self, seq: int) -> list[SessionKey]:
        """The sessions with an event after `seq`, in order of their first such event."""

    def findings(self, query: FindingQuery) -> list[Finding]:
        """The newest emission of each matching finding, newest first."""

    def emissions(self, sessions: Iterable[SessionKey], *, after_seq: int = 0) -> set[tuple[str, str, bool]]:
        """(finding id, severity, halt_eligible) of every emission for these very sessions at a step after `after_seq`."""

    def expire(self, before_ns: int, max_bytes: int | None = None) -> int:
        """Lets go of what was committed before `before_ns` (arrival time), and of the oldest while all takes more than `max_bytes`.

        Goes by whole stretches of time, and never takes the newest. Returns how many rows that was.
        """

    def close(self) -> None:
        """Releases files. Safe to call twice."""
