"""The shape of a tool's results: which fields they have, and of which type. Learned, and compared with what comes later."""

from collections import deque
from typing import Any, Final

import msgspec

from detectors.model import SessionKey

_DEPTH: Final = 3
"""Levels of fields that are looked at."""
_FIELDS: Final = 64
"""Results with more fields are not looked at: their names are data."""
_BYTES: Final = 65_536
"""Results longer than this are not looked at."""
_RECENT: Final = 20
"""Results compared that are remembered."""
_SPARE: Final = 7
"""Once its shape is known and holds, one result in so many of a tool is compared: an odd number, since servers often take turns."""
ANY: Final = "any"
"""The type of a field that had several."""

Shape = dict[str, str]
"""Path of a field → its type in JSON: `object`, `array`, `number`, `string`, `boolean`, `null`; the whole result has the path ``."""


def shape_of(text: str) -> Shape | None:
    """Lists the fields of a result. None where it says nothing: it is too long, has too many fields, or is cut off.

    Of an array the first item stands for all. Text that is not JSON is a `string`.

    >>> shape_of('{"hits": [{"id": 7, "title": "a"}], "next": null}')
    {'': 'object', 'hits': 'array', 'hits[]': 'object', 'hits[].id': 'number', 'hits[].title': 'string', 'next': 'null'}
    """
    if len(text) > _BYTES:
        return None
    start = text.lstrip()[:1]
    if start not in {"{", "["}:
        return {"": "string"}
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    shape: Shape = {}
    _walk("", found, 0, shape)
    return shape if len(shape) < _FIELDS else None


def _walk(path: str, value: Any, depth: int, shape: Shape) -> None:
    if len(shape) >= _FIELDS:
        return
    shape[path] = _type(value)
    if depth >= _DEPTH:
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            _walk(f"{path}.{name[:80]}" if path else name[:80], inner, depth + 1, shape)
    elif isinstance(value, list) and value:
        _walk(f"{path}[]", value[0], depth, shape)


def _type(value: Any) -> str:
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    if isinstance(value, bool):
        return "boolean"
    return "null" if value is None else "string" if isinstance(value, str) else "number"


class Change(msgspec.Struct, frozen=True):
    """What is different about one result: fields that are gone, and fields of another type (path, was, is)."""

    gone: tuple[str, ...] = ()
    other: tuple[tuple[str, str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.gone or self.other)


class Compared(msgspec.Struct, frozen=True):
    """One result that was compared."""

    seq: int
    session: SessionKey
    change: Change


class ResultShape:
    """The fields that every result of one tool has had, and the latest results compared with them."""

    __slots__ = ("_different", "_fields", "_passed", "_recent", "learned", "sessions")

    def __init__(self) -> None:
        self._fields: Shape | None = None
        self.learned = 0
        """Results that the shape was learned from."""
        self.sessions: set[SessionKey] = set()
        """Sessions that these came from."""
        self._recent: deque[Compared] = deque(maxlen=_RECENT)
        self._different = 0
        """How many of the recent ones are different."""
        self._passed = 0

    def due(self) -> bool:
        """Whether the next result is to be compared: each one while something is different, else one in a few."""
        self._passed += 1
        return self._different > 0 or self._passed % _SPARE == 0

    def learn(self, shape: Shape, session: SessionKey) -> None:
        """Narrows the shape down to what this result has too."""
        self.learned += 1
        self.sessions.add(session)
        if self._fields is None:
            self._fields = dict(shape)
            return
        self._forgive(self.compare(shape))
        for path, kind in shape.items():
            if self._fields.get(path) == "null":
                self._fields[path] = kind

    def compare(self, shape: Shape) -> Change:
        """What is missing in a result, and what has another type. Fields of an absent or empty array are not missed."""
        fields = self._fields or {}
        gone: list[str] = []
        other: list[tuple[str, str, str]] = []
        for path, was in fields.items():
            now = shape.get(path)
            if now is None:
                if not path.endswith("[]") and shape.get(_parent(path)) == "object":
                    gone.append(path)
            elif now != was and "null" not in {now, was} and was != ANY:
                other.append((path, was, now))
        return Change(tuple(gone), tuple(other))

    @property
    def structured(self) -> bool:
        """Whether results were always objects, or always arrays."""
        return (self._fields or {}).get("") in {"object", "array"}

    def note(self, seq: int, session: SessionKey, change: Change) -> None:
        """Remembers how a result compared. What was different and did not last is no part of the shape."""
        recent = self._recent
        if len(recent) == _RECENT and recent[0].change:
            self._different -= 1
            self._forgive(recent[0].change)
        recent.append(Compared(seq, session, change))
        self._different += bool(change)

    def _forgive(self, change: Change) -> None:
        if self._fields is None:
            return
        for path in change.gone:
            self._fields.pop(path, None)
        for path, _, _ in change.other:
            if path in self._fields:
                self._fields[path] = ANY

    def changed(self) -> list[Compared]:
        """Results that are different, the earliest first; empty unless they are at least half of those since the first."""
        recent = list(self._recent)
        while recent and not recent[0].change:
            del recent[0]
        return [one for one in recent if one.change] if 2 * self._different >= len(recent) else []

    def steady(self) -> bool:
        """Whether none of the latest results is different."""
        return not self._different

    def settled(self) -> bool:
        """Whether all of the latest results are different: that is the usual shape from now on."""
        return self._different == _RECENT

    def forget(self) -> None:
        """Learns anew."""
        self._fields = None
        self.learned = self._different = 0
        self.sessions.clear()
        self._recent.clear()


def _parent(path: str) -> str:
    return path.rpartition(".")[0]
