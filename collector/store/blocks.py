"""Reads blocks back: what `packing` made of a commit."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import zstandard

from collector.store.contents import Reference, decode_extension, whole
from collector.store.packing import LOG_REST, SPAN_REST
from detectors.model import Event, SessionKey

_encode = msgspec.json.Encoder(decimal_format="string").encode
_decode_notes = msgspec.json.Decoder(list[Event]).decode


class _Sections(msgspec.Struct, array_like=True):
    """A block, unpacked as far as finding its sections."""

    events: dict[str, msgspec.Raw]
    long_events: dict[str, msgspec.Raw]
    spans: bytes | None
    logs: bytes | None
    contents: msgspec.Raw


class _Numbered(msgspec.Struct):
    """The little of an event that says when it was."""

    seq: int


_decode_sections = msgspec.msgpack.Decoder(_Sections).decode
_decode_events = msgspec.msgpack.Decoder(list[Event]).decode
_decode_numbered = msgspec.msgpack.Decoder(list[_Numbered]).decode
_decode_contents = msgspec.msgpack.Decoder(list[str]).decode
_decode_long = msgspec.msgpack.Decoder(list[tuple[str, Reference]]).decode


class Block:
    """One stored block. `bodies` reads the body of another block of the same partition."""

    def __init__(self, number: int, body: bytes, notes: str | None, bodies: Callable[[int], bytes]) -> None:
        self.number = number
        self._notes = notes
        self._bodies = bodies
        self._sections = _unpack(body)
        self._contents: dict[int, list[str]] = {}

    def events(self, sessions: Collection[SessionKey] | None = None) -> list[Event]:
        """Every event in it, or those recorded under these very sessions, in no particular order."""
        found = [one for one in notes_of(self._notes) if sessions is None or getattr(one, "session", None) in sessions]
        names = None if sessions is None else {str(key) for key in sessions}
        for name, events in self._sections.events.items():
            if names is None or name in names:
                found += _decode_events(events)
        hook = decode_extension(self._content)
        for name, events in self._sections.long_events.items():
            if names is None or name in names:
                found += [msgspec.convert(each, Event) for each in msgspec.msgpack.decode(events, ext_hook=hook)]
        return found

    def placed(self) -> list[tuple[int, SessionKey]]:
        """(sequence number, session) of every event that belongs to a session."""
        found = [(note.seq, getattr(note, "session", None)) for note in notes_of(self._notes)]
        for section in (self._sections.events, self._sections.long_events):
            for name, events in section.items():
                key = SessionKey.parse(name)
                found += [(one.seq, key) for one in _decode_numbered(events)]
        return [(seq, key) for seq, key in found if key is not None]

    def spans(self) -> list[dict[str, Any]]:
        """What the rows of its spans do not say, in their order; names as in `collector.store.columns`."""
        return self._rest(self._sections.spans, SPAN_REST)

    def logs(self) -> list[dict[str, Any]]:
        """The same for log records."""
        return self._rest(self._sections.logs, LOG_REST)

    def _rest(self, part: bytes | None, schema: pa.Schema) -> list[dict[str, Any]]:
        if part is None:
            return []
        rows: list[dict[str, Any]] = pa.ipc.read_record_batch(part, schema).to_pylist()
        for row in rows:
            long = row.pop("long")
            if long is not None:
                texts = {name: whole(reference, self._content) for name, reference in _decode_long(long)}
                row["attributes"] = _encode(msgspec.json.decode(row["attributes"]) | texts).decode()
        return rows

    def _content(self, block: int, place: int) -> str:
        known = self._contents.get(block)
        if known is None:
            sections = self._sections if block == self.number else _unpack(self._bodies(block))
            known = self._contents[block] = _decode_contents(sections.contents)
        return known[place]


def notes_of(stored: str | None) -> Sequence[Event]:
    """The small events beside a block."""
    return _decode_notes(stored) if stored else ()


def _unpack(body: bytes) -> _Sections:
    return _decode_sections(zstandard.ZstdDecompressor().decompress(body))
