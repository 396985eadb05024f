"""Packs a commit for storage: rows for what is searched, and compressed blocks for all that is only read back.

A block holds what a few sessions said in one commit. A step repeats what its span says, and spans of a session repeat each
other: next to each other, the repetition costs next to nothing. docs/adr/016 has the measurements.
"""

import itertools
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zstandard
from numpy.typing import NDArray

from collector.store.base import Commit
from collector.store.contents import LONG_CHARACTERS, LOOK_BYTES, Contents
from detectors.model import Evaluation, Event, GateCheck, SessionKey, Step, StepAmended, StepRetracted

BLOCK_BYTES: Final = 128 * 2**10
"""Bytes before compression from which on a block is full: about a hundred spans, read back in a fraction of a millisecond."""
SPAN_ROW: Final = (
    "tenant",
    "trace_id",
    "span_id",
    "parent_span_id",
    "name",
    "kind",
    "start_ns",
    "end_ns",
    "status_code",
    "service_name",
)
"""Columns of a span that SQL can see; the others are in its block."""
LOG_ROW: Final = ("tenant", "log_key", "time_ns", "severity", "event_name", "trace_id", "span_id", "service_name")
"""The same for log records."""
_LONG_EVENTS: Final = frozenset({Step, StepAmended, StepRetracted, GateCheck, Evaluation})
"""Events that can hold long texts are in the blocks. All others are notes beside them, read without unpacking."""
LONG_KINDS: Final = frozenset(str(kind.__struct_config__.tag) for kind in _LONG_EVENTS)
_EVENT_BYTES: Final = 400
"""What a step says beside what its span says, roughly."""


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


SPAN_REST: Final = _schema(
    trace_state=pa.string(),
    status_message=pa.string(),
    scope_name=pa.string(),
    scope_version=pa.string(),
    resource=pa.string(),
    attributes=pa.string(),
    events=pa.string(),
    links=pa.string(),
    dropped=pa.uint32(),
    long=pa.binary(),
)
"""Columns of a span in its block. Blocks hold no schema: another one needs another migration."""
LOG_REST: Final = _schema(
    observed_ns=pa.uint64(),
    severity_text=pa.string(),
    scope_name=pa.string(),
    scope_version=pa.string(),
    resource=pa.string(),
    body=pa.string(),
    attributes=pa.string(),
    dropped=pa.uint32(),
    long=pa.binary(),
)
"""The same of log records."""

Numbers = NDArray[np.int64]

_pack = msgspec.msgpack.Encoder(decimal_format="string").encode
_note = msgspec.json.Encoder(decimal_format="string").encode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


class Packed(NamedTuple):
    """Tables as they are inserted, and how many blocks they hold."""

    tables: dict[str, pa.Table]
    blocks: int


class _Draft(NamedTuple):
    """What goes into one block: events by session, and ranges of the ordered spans and of the log records."""

    events: dict[SessionKey, list[Event]]
    spans: tuple[int, int]
    logs: tuple[int, int]
    long: bool
    """Something in it is so large that long texts are looked for."""


class Packer:
    """Packs the commits of one partition. Belongs to the writing thread."""

    def __init__(self, next_block: int = 0) -> None:
        """`next_block` is the number that the partition's next block gets."""
        self.next_block = next_block
        self._contents = Contents()
        self._compress = zstandard.ZstdCompressor(level=1, write_checksum=True).compress

    def keep(self, packed: Packed) -> None:
        """What `pack` returned is stored."""
        self.next_block += packed.blocks
        self._contents.keep()

    def forget(self) -> None:
        """What `pack` returned was not stored."""
        self._contents.forget()

    def pack(self, commit: Commit) -> Packed:
        """The commit as tables of rows and blocks, at least one. `keep` or `forget` follows."""
        self._contents.forget()
        spans, logs = _joined(commit.spans), _joined(commit.logs)
        notes: list[Event] = [event for event in commit.events if type(event) not in _LONG_EVENTS]
        order, drafts = _drafts(commit.events, spans, logs)
        if spans is not None:
            spans = spans.take(order)
        added: list[list[str]] = [[] for _ in drafts]
        spans_rest = self._rest(spans, SPAN_REST, [draft.spans for draft in drafts], added)
        logs_rest = self._rest(logs, LOG_REST, [draft.logs for draft in drafts], added)
        rows: list[tuple[Any, ...]] = []
        for place, draft in enumerate(drafts):
            short, long = self._events(draft, self.next_block + place, added[place])
            body = _pack((short, long, _part(spans_rest, draft.spans), _part(logs_rest, draft.logs), added[place]))
            rows.append((self.next_block + place, commit, draft, notes, self._compress(body)))
            notes = []
        tables = {"blocks": _table(rows)}
        for name, batch, columns, ranges in (
            ("spans", spans, SPAN_ROW, [draft.spans for draft in drafts]),
            ("logs", logs, LOG_ROW, [draft.logs for draft in drafts]),
        ):
            if batch is not None:
                tables[name] = self._rows(commit, batch, columns, ranges)
        return Packed(tables, len(rows))

    def _rows(self, commit: Commit, batch: pa.RecordBatch, columns: Sequence[str], ranges: Sequence[tuple[int, int]]) -> pa.Table:
        sizes = [last - first for first, last in ranges]
        known = {
            "commit_seq": pa.repeat(pa.scalar(commit.seq, type=pa.int64()), batch.num_rows),
            "arrival_ns": pa.repeat(pa.scalar(commit.arrival_ns, type=pa.int64()), batch.num_rows),
            "block": pa.array(np.repeat(np.arange(self.next_block, self.next_block + len(sizes)), sizes)),
        }
        return pa.table(known | {name: batch.column(name) for name in columns})

    def _events(self, draft: _Draft, number: int, added: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Events by session, those with long texts apart."""
        events = {_named(key): told for key, told in draft.events.items()}
        if not draft.long:
            return events, {}
        short: dict[str, Any] = {}
        long: dict[str, Any] = {}
        for key, told in events.items():
            for event in told:
                body = _pack(event)
                if len(body) < LOOK_BYTES:
                    short.setdefault(key, []).append(msgspec.Raw(body))
                else:
                    long.setdefault(key, []).append(self._contents.without_long(msgspec.to_builtins(event), number, added))
        return short, long

    def _rest(
        self,
        batch: pa.RecordBatch | None,
        schema: pa.Schema,
        ranges: Sequence[tuple[int, int]],
        added: Sequence[list[str]],
    ) -> pa.RecordBatch | None:
        """The columns that SQL does not see, and those long texts of the attributes that are stored by content."""
        if batch is None:
            return None
        attributes, long = batch.column("attributes"), None
        sizes = _sizes(attributes)
        large = sizes.to_pylist()
        if max(large) >= LOOK_BYTES:
            texts: list[Any] = attributes.to_pylist()
            references: list[bytes | None] = [None] * len(texts)
            for place, (first, last) in enumerate(ranges):
                for row in range(first, last):
                    if large[row] >= LOOK_BYTES:
                        texts[row], references[row] = self._parted(texts[row], self.next_block + place, added[place])
            attributes, long = pa.array(texts, type=pa.string()), pa.array(references, type=pa.binary())
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        columns |= {"attributes": attributes, "long": pa.nulls(batch.num_rows, pa.binary()) if long is None else long}
        return pa.record_batch([columns[name] for name in schema.names], schema=schema)

    def _parted(self, text: str, number: int, added: list[str]) -> tuple[str, bytes | None]:
        """Attributes in JSON without those that are long, and these as MessagePack of (name, reference)."""
        references = []
        values = _decode_object(text)
        for name, value in list(values.items()):
            raw = bytes(value)
            if len(raw) >= LONG_CHARACTERS and raw.startswith(b'"'):
                references.append((name, self._contents.reference(_decode_text(raw), number, added)))
                del values[name]
        return (_note(values).decode(), _pack(references)) if references else (text, None)


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch | None:
    batches = [batch for batch in batches if batch.num_rows]
    return None if not batches else batches[0] if len(batches) == 1 else pa.concat_batches(batches)  # type: ignore[attr-defined]


def _part(batch: pa.RecordBatch | None, place: tuple[int, int]) -> bytes | None:
    first, last = place
    if batch is None or first == last:
        return None
    part: bytes = batch.slice(first, last - first).serialize().to_pybytes()
    return part


def _drafts(events: Sequence[Event], spans: pa.RecordBatch | None, logs: pa.RecordBatch | None) -> tuple[Numbers, list[_Draft]]:
    """The order of the spans, and how all is divided: session by session, so that one that is read back is in few blocks."""
    told: dict[Any, list[Event]] = {}
    sessions: dict[str, SessionKey] = {}
    for event in events:
        kind = type(event)
        if kind in _LONG_EVENTS:
            key = event.session  # type: ignore[union-attr]
            if key in told:
                told[key].append(event)
            else:
                told[key] = [event]
            if kind is Step:
                sessions[event.trace_id] = key  # type: ignore[union-attr]
    places = {key: place for place, key in enumerate(told)}
    ranks = _ranks(spans, sessions, places)
    order = np.argsort(ranks, kind="stable")
    weights: list[int] = _weights(spans)[order].tolist()  # numpy takes longer over the few spans of a session
    ends = np.cumsum(np.bincount(ranks, minlength=len(places))).tolist()
    filling = _Filling()
    start = 0
    for whose, end in zip(places, ends, strict=True):
        of_session = told.get(whose, [])
        parts = 1 + sum(weights[start:end]) // BLOCK_BYTES  # more than one only where a session sent a lot at once
        for part in range(parts):
            here = of_session[len(of_session) * part // parts : len(of_session) * (part + 1) // parts]
            upto = start + (end - start) * (part + 1) // parts
            filling.add(here, whose, weights[filling.span : upto])
        start = end
    filling.add_logs(_weights(logs).tolist())
    return order, filling.drafts


class _Filling:
    """Blocks that are being filled, one after the other."""

    def __init__(self) -> None:
        self.drafts: list[_Draft] = []
        self.span = 0
        """The next span."""
        self._log = 0
        self._begin()

    def _begin(self) -> None:
        self._events: dict[SessionKey, list[Event]] = {}
        self._first_span, self._first_log = self.span, self._log
        self._size = 0
        self._long = False

    def add(self, events: list[Event], whose: Any, weights: list[int]) -> None:
        """The next spans, and events of their session."""
        self.span += len(weights)
        self._size += sum(weights) + _EVENT_BYTES * len(events)
        self._long = self._long or max(weights, default=0) >= LOOK_BYTES
        if events:
            self._events[whose] = events
        if self._size >= BLOCK_BYTES:
            self._end()

    def add_logs(self, weights: list[int]) -> None:
        """All log records, and the end."""
        for weight in weights:
            self._log += 1
            self._size += weight
            self._long = True  # what log records say is in their bodies, too
            if self._size >= BLOCK_BYTES:
                self._end()
        if self._events or self.span > self._first_span or self._log > self._first_log or not self.drafts:
            self._end()

    def _end(self) -> None:
        spans, logs = (self._first_span, self.span), (self._first_log, self._log)
        self.drafts.append(_Draft(self._events, spans, logs, self._long))
        self._begin()


def _ranks(spans: pa.RecordBatch | None, sessions: dict[str, SessionKey], places: dict[Any, int]) -> Numbers:
    """Which group each span belongs to: that of its trace's session, else one of its trace, which is added to `places`."""
    if spans is None:
        return np.zeros(0, dtype=np.int64)
    traces = spans.column("trace_id").dictionary_encode()
    groups = [places.setdefault(sessions.get(trace, trace), len(places)) for trace in map(str, traces.dictionary.to_pylist())]
    ranks: Numbers = np.array(groups, dtype=np.int64)[traces.indices.to_numpy()]
    return ranks


def _sizes(column: "pa.Array[Any]") -> Any:
    return pc.binary_length(column)  # type: ignore[call-overload]


def _weights(batch: pa.RecordBatch | None) -> Numbers:
    """Bytes of each row in a block, roughly."""
    if batch is None:
        return np.zeros(0, dtype=np.int64)
    weights: Numbers = _sizes(batch.column("attributes")).to_numpy().astype(np.int64)
    return weights


def between(names: Iterable[str]) -> str:
    """Names with a line feed before, between and after them, so that one is found by searching for `between` of it alone."""
    return "\n" + "".join(f"{name}\n" for name in names)


_named = lru_cache(maxsize=10_000)(str)


def _table(rows: "Sequence[tuple[int, Commit, _Draft, list[Event], bytes]]") -> pa.Table:
    """The rows of `blocks`."""
    columns: dict[str, list[Any]] = {name: [] for name, _ in _COLUMNS}
    for number, commit, draft, notes, body in rows:
        events = [*itertools.chain.from_iterable(draft.events.values()), *notes]
        kinds: list[Any] = list(map(type, events))
        seqs = [event.seq for event in events] or [commit.seq]
        keys = dict.fromkeys([*draft.events, *(getattr(note, "session", None) for note in notes)])
        values = (
            number,
            commit.seq,
            min(seqs),
            max(seqs),
            commit.arrival_ns,
            between(_named(key) for key in keys if key is not None),
            between(str(kind.__struct_config__.tag) for kind in dict.fromkeys(kinds)),
            len(events),
            kinds.count(Step),
            _note(notes).decode() if notes else None,
            body,
        )
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return pa.table({name: pa.array(columns[name], type=kind) for name, kind in _COLUMNS})


_COLUMNS: Final = (
    ("block", pa.int64()),
    ("commit_seq", pa.int64()),
    ("first_seq", pa.int64()),
    ("last_seq", pa.int64()),
    ("arrival_ns", pa.int64()),
    ("sessions", pa.string()),
    ("kinds", pa.string()),
    ("events", pa.int32()),
    ("steps", pa.int32()),
    ("notes", pa.string()),
    ("body", pa.binary()),
)
