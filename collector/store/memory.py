"""The store contract in lists: for replay and tests."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from collector.store.base import Commit, FindingQuery
from collector.telemetry_data import LogRecord
from detectors.model import Event, Finding, SessionKey


class MemoryStore:
    """Keeps events and findings for as long as the process lives. Raw telemetry is not kept: its source is at hand."""

    def __init__(self) -> None:
        self._stream: list[Event] = []
        self._events: dict[SessionKey, list[Event]] = defaultdict(list)
        self._findings: dict[str, Finding] = {}
        self.emitted: list[Finding] = []
        """Every emission of a finding, in order."""
        self._seq = 0
        self._span_keys: list[tuple[str, str, str]] = []
        self._parents: list[tuple[str, str, str, str]] = []
        self._log_keys: list[bytes] = []

    def append(self, commit: Commit) -> None:
        self._stream += commit.events
        for event in commit.events:
            self._seq = max(self._seq, event.seq)
            session: SessionKey | None = getattr(event, "session", None)
            if session is not None:
                self._events[session].append(event)
        self._seq = max(self._seq, commit.seq)
        for rows in commit.spans:
            columns = [rows.column(name).to_pylist() for name in ("tenant", "trace_id", "span_id", "parent_span_id")]
            spans = list(zip(*columns, strict=True))
            self._span_keys += [span[:3] for span in spans]
            self._parents += [span for span in spans if span[3]]
        for rows in commit.logs:
            self._log_keys += (key for key in rows.column("log_key").to_pylist() if key is not None)

    def append_findings(self, findings: Sequence[Finding]) -> None:
        self.emitted += findings
        for finding in findings:
            self._findings.pop(finding.id, None)
            self._findings[finding.id] = finding

    def last_seq(self) -> int:
        return self._seq

    def span_keys(self, limit: int) -> Iterator[tuple[str, str, str]]:
        yield from self._span_keys[-limit:]

    def parents(self, limit: int) -> Iterator[tuple[str, str, str, str]]:
        yield from self._parents[-limit:]

    def log_keys(self, limit: int) -> Iterator[bytes]:
        yield from self._log_keys[-limit:]

    def logs_without_span(self, limit: int) -> list[tuple[str, LogRecord]]:  # noqa: ARG002 — the contract
        return []  # raw telemetry is not kept

    def events(self, sessions: Iterable[SessionKey], *, after_seq: int = 0, limit: int | None = None) -> list[Event]:
        found = [event for key in sessions for event in self._events.get(key, ()) if event.seq > after_seq]
        found.sort(key=lambda event: event.seq)
        return found if limit is None else found[:limit]

    def known(self, keys: Iterable[SessionKey]) -> set[SessionKey]:
        """Those of `keys` under which anything was recorded."""
        return {key for key in keys if key in self._events}

    def tail(self, limit: int) -> list[Event]:
        return self._stream[-limit:] if limit else []

    def of_kinds(self, kinds: Iterable[str], limit: int) -> list[Event]:
        wanted = set(kinds)
        found = [event for event in self._stream if event.__struct_config__.tag in wanted]
        return found[-limit:] if limit else []

    def sessions_after(self, seq: int) -> list[SessionKey]:
        firsts = {key: min((e.seq for e in events if e.seq > seq), default=None) for key, events in self._events.items()}
        return sorted((key for key, first in firsts.items() if first is not None), key=lambda key: firsts[key] or 0)

    def findings(self, query: FindingQuery) -> list[Finding]:
        wanted = [
            finding
            for finding in reversed(self._findings.values())
            if (query.sessions is None or finding.session in query.sessions)
            and (query.workflow_id is None or finding.workflow_id == query.workflow_id)
            and (query.detector is None or finding.detector == query.detector)
            and (query.severity is None or finding.severity == query.severity)
            and (query.since_ns is None or finding.at_ns >= query.since_ns)
        ]
        return wanted[: query.limit]

    def emissions(self, sessions: Iterable[SessionKey], *, after_seq: int = 0) -> set[tuple[str, str, bool]]:
        wanted = set(sessions)
        return {(f.id, str(f.severity), f.halt_eligible) for f in self.emitted if f.session in wanted and f.step_seq > after_seq}

    def expire(self, before_ns: int, max_bytes: int | None = None) -> int:  # noqa: ARG002 — a replay keeps what it was given
        return 0

    def close(self) -> None:
        pass
