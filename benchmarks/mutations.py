"""Recorded export requests, damaged: values, fields and keys of the messages themselves, and bytes. The same dice make the same input."""

import copy
import gzip
import json
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import zstandard
from google.protobuf.descriptor import FieldDescriptor
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from benchmarks.otlp import ID_KEYS, LEVELS, MESSAGES, as_json, from_json, pieces
from collector.model import Encoding, Request, Signal
from collector.recordings import requests

CAPTURES: Final = Path(__file__).parent.parent / "tests" / "dialects" / "golden"
_SIGNALS: Final[tuple[Signal, ...]] = ("traces", "logs", "metrics")
_ENCODINGS: Final[tuple[Encoding, ...]] = ("protobuf", "json")
_TIMES: Final = ("end_time_unix_nano", "time_unix_nano")
_SPANS_A_REQUEST: Final = 4
_SALTS: Final = 40
"""Traces that are under way at a time: new requests often speak of one that others spoke of."""

TEXTS: Final = (
    *("", " ", "\x00", "a\x00b", "\n" * 50, "null", "[]", "{}", '{"a":', "[" * 300, '"', "NaN", "-1", "1e999", "0x10", "true", "٣", "½"),
    *("\ufeff", "\ud7ff\ue000", "\U0010ffff", "\u202e", "é" * 300, "x" * 70_000, "a/b/c", "%s%n", "'; DROP TABLE spans; --", "9" * 400),
    *("{" * 40 + "}" * 40, '{"parts": [{"type": "tool_call", "id": 1, "arguments": "{"}]}', "1" * 5_000, '[{"role": 3}]', "gen_ai.choice"),
)
NUMBERS: Final = (0, 1, -1, 2, 31, 32, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 4 * 10**18)
DOUBLES: Final = (0.0, -0.0, 1.5, -1.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"), 1e19, 0.1)
STRANGE: Final = (None, True, False, [], {}, [[]], [None], {"": None}, 2**70, -(2**70), 1e400, -0.0, *NUMBERS[:8], *TEXTS[:12])
"""JSON values that stand where others are expected."""


@dataclass(frozen=True)
class Input:
    """One request as a receiver gets it. `compression` is a Content-Encoding, or None."""

    kind: str
    signal: Signal
    encoding: Encoding
    body: bytes
    compression: str | None = None


class Mutator:
    """Makes inputs without end from recordings and dice."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Reads every recorded request below `folder`. Raises OSError."""
        self._dice = random.Random(seed)  # noqa: S311 — repeatable, not secret
        self._scenarios: list[list[tuple[Signal, Any]]] = []
        self.newest_ns = 0
        """Of the times recorded: when it all happened."""
        keys: set[str] = set()
        for scenario in sorted(path.parent for path in folder.glob("*/*/facts.json")):
            found = [piece for request in requests(scenario) for piece in _tagged(request)]
            if not found:
                continue
            self._scenarios.append(found)
            for _, piece in found:
                for message in _messages(piece):
                    fields = message.DESCRIPTOR.fields_by_name
                    if "attributes" in fields:
                        keys.update(pair.key for pair in message.attributes)
                    self.newest_ns = max([self.newest_ns, *(getattr(message, name) for name in _TIMES if name in fields)])
        self._keys = sorted(keys)
        self._salts = [self._dice.randbytes(16) for _ in range(_SALTS)]

    def input(self) -> Input:
        """The next one."""
        dice = self._dice
        choice = dice.random()
        if choice < 0.04:
            return Input("raw bytes", dice.choice(_SIGNALS), dice.choice(_ENCODINGS), dice.randbytes(dice.randrange(200)))
        if choice < 0.08:
            body = _dumps(self._document(5)).encode("utf8", "replace")
            return Input("random JSON", dice.choice(_SIGNALS), "json", body)
        signal, message = self._request()
        if choice < 0.13:
            return Input("as recorded", signal, "protobuf", message.SerializeToString())
        if choice < 0.55:
            for _ in range(1 + dice.randrange(4)):
                self._mutate_message(message)
            return self._finish("protobuf", signal, "protobuf", message.SerializeToString())
        document = as_json(message)
        for _ in range(1 + dice.randrange(4)):
            self._mutate_json(document)
        return self._finish("JSON", signal, "json", _dumps(document).encode("utf8", "surrogatepass" if dice.random() < 0.02 else "replace"))

    def _finish(self, kind: str, signal: Signal, encoding: Encoding, body: bytes) -> Input:
        """Sometimes damages the bytes, sends them as something else, or compresses them."""
        dice = self._dice
        chance = dice.random()
        if chance < 0.15:
            return Input(f"{kind}, damaged bytes", signal, encoding, self._damaged(body))
        if chance < 0.17:
            return Input(f"{kind}, as another signal", dice.choice(_SIGNALS), dice.choice(_ENCODINGS), body)
        if chance < 0.22:
            compression = dice.choice(["gzip", "deflate", "zstd"])
            packed = {"gzip": _gzip, "deflate": zlib.compress, "zstd": zstandard.compress}[compression](body)
            return Input(f"{kind}, damaged {compression}", signal, encoding, self._damaged(packed), compression)
        return Input(kind, signal, encoding, body)

    def _damaged(self, body: bytes) -> bytes:
        dice = self._dice
        if not body:
            return body
        found = bytearray(body)
        for _ in range(dice.randrange(1, 5)):
            at = dice.randrange(len(found))
            match dice.randrange(4):
                case 0:
                    found[at] ^= 1 << dice.randrange(8)
                case 1:
                    found[at:at] = dice.randbytes(dice.randrange(1, 6))
                case 2:
                    del found[at : at + dice.randrange(1, 20)]
                case _:
                    found[at] = dice.choice(b'\x00\xff\x80"{[\\')
            if not found:
                break
        return bytes(found[: dice.randrange(len(found) + 1)]) if dice.random() < 0.2 else bytes(found)

    def _request(self) -> tuple[Signal, Any]:
        """A few neighbouring items of one recording, with ids of one of the traces under way."""
        dice = self._dice
        scenario = dice.choice(self._scenarios)
        start = dice.randrange(len(scenario))
        signal = scenario[start][0]
        message = MESSAGES[signal]()
        if dice.random() < 0.1:
            self._salts[dice.randrange(_SALTS)] = dice.randbytes(16)
        salt = dice.choice(self._salts)
        for other, piece in scenario[start : start + dice.randint(1, _SPANS_A_REQUEST)]:
            if other == signal:
                message.MergeFrom(piece)
        for item in _items(message, signal):
            for name in ("trace_id", "span_id", "parent_span_id"):
                if getattr(item, name, b""):
                    setattr(item, name, bytes(a ^ b for a, b in zip(getattr(item, name), salt, strict=False)))
            for pair in item.attributes:  # else all that was recorded of one agent would be one session
                if pair.key.endswith(("id", "Id")) and pair.value.string_value:
                    pair.value.string_value += salt[:2].hex()
        return signal, message

    # Messages

    def _mutate_message(self, message: Any) -> None:
        dice = self._dice
        part = dice.choice(list(_messages(message)))
        if isinstance(part, AnyValue):
            part.CopyFrom(self._any_value(3))
            return
        field = dice.choice(part.DESCRIPTOR.fields)
        if field.is_repeated:
            self._mutate_repeated(part, field)
        elif field.message_type is not None:
            part.ClearField(field.name)
        else:
            setattr(part, field.name, self._scalar(field, getattr(part, field.name)))

    def _mutate_repeated(self, part: Any, field: FieldDescriptor) -> None:
        dice, items = self._dice, getattr(part, field.name)
        if field.message_type is None or not len(items):
            return
        at = dice.randrange(len(items))
        match dice.randrange(6):
            case 0:
                del items[at]
            case 1:
                items.add().CopyFrom(items[at])
            case 2:
                items.add()
            case 3 if len(items) < 100 and dice.random() < 0.05:
                for _ in range(1_100):
                    items.add().CopyFrom(items[at])
            case _ if field.name == "attributes":
                pair = dice.choice(items)
                if dice.random() < 0.5:
                    pair.key = dice.choice([*self._keys, *TEXTS[:8]])
                else:
                    pair.value.CopyFrom(self._any_value(3, pair.value.string_value))
            case _:
                items[at].Clear()

    def _scalar(self, field: FieldDescriptor, now: Any) -> Any:
        dice = self._dice
        if field.type == FieldDescriptor.TYPE_STRING:
            return self._text(now)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return dice.choice(
                [b"", bytes(len(now)), bytes(16), bytes(8), b"\xff" * 16, now[:-1], now + b"\x00", dice.randbytes(16), dice.randbytes(8)]
            )
        if field.type == FieldDescriptor.TYPE_BOOL:
            return not now
        if field.type in {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}:
            return dice.choice(DOUBLES)
        low, high = _RANGES.get(field.type, (0, 2**31 - 1))
        return min(max(dice.choice(NUMBERS), low), high)

    def _text(self, now: str) -> str:
        dice = self._dice
        if now[:1] in {"{", "["} and dice.random() < 0.7:
            try:
                document = json.loads(now)
            except (ValueError, RecursionError):
                return now[: dice.randrange(len(now))]
            holder = [document]
            for _ in range(dice.randint(1, 3)):
                self._mutate_json(holder)
            return _dumps(holder[0] if holder else None).encode("utf8", "replace").decode()
        if now and dice.random() < 0.4:
            at = dice.randrange(len(now))
            return dice.choice([now[:at], now[at:], now * 2, now[:at] + "\x00" + now[at:], now.upper(), f" {now} "])
        return dice.choice(TEXTS)

    def _any_value(self, depth: int, text: str = "") -> AnyValue:
        dice = self._dice
        match dice.randrange(9):
            case 0:
                return AnyValue()
            case 1:
                return AnyValue(bool_value=dice.random() < 0.5)
            case 2:
                return AnyValue(int_value=min(max(dice.choice(NUMBERS), -(2**63)), 2**63 - 1))
            case 3:
                return AnyValue(double_value=dice.choice(DOUBLES))
            case 4:
                return AnyValue(bytes_value=dice.randbytes(dice.randrange(20)))
            case 5 if depth:
                found = AnyValue()
                found.array_value.values.extend(self._any_value(depth - 1) for _ in range(dice.randrange(4)))
                return found
            case 6 if depth:
                found = AnyValue()
                for _ in range(dice.randrange(4)):
                    pair = found.kvlist_value.values.add()
                    pair.key = dice.choice([*TEXTS[:12], "role", "content", "parts", "type", "arguments", "id", "name", "usage"])
                    pair.value.CopyFrom(self._any_value(depth - 1))
                return found
            case 7 if depth == 3 and dice.random() < 0.1:
                found = inner = AnyValue()
                for _ in range(dice.choice([33, 60, 95])):
                    inner = inner.array_value.values.add() if dice.random() < 0.5 else inner.kvlist_value.values.add().value
                return found
            case _:
                return AnyValue(string_value=self._text(text))

    # Documents

    def _document(self, depth: int) -> Any:
        dice = self._dice
        if not depth or dice.random() < 0.2:
            return copy.deepcopy(dice.choice(STRANGE))
        if dice.random() < 0.4:
            return [self._document(depth - 1) for _ in range(dice.randrange(4))]
        names = [
            "resourceSpans",
            "resource_logs",
            "scopeSpans",
            "spans",
            "logRecords",
            "resource",
            "attributes",
            "key",
            "value",
            "traceId",
            "body",
        ]
        return {dice.choice([*names, "arrayValue", "values", "intValue"]): self._document(depth - 1) for _ in range(dice.randrange(5))}

    def _mutate_json(self, document: Any) -> None:
        """Changes one place of a tree of lists and objects."""
        dice = self._dice
        places = [place for place in _containers(document) if place]
        if not places:
            return
        place = dice.choice(places)
        key: Any = dice.randrange(len(place)) if isinstance(place, list) else dice.choice(list(place))
        match dice.randrange(6):
            case 0:
                del place[key]
            case 1 if isinstance(place, dict):
                renamed = dice.choice([_snake(key), key.upper(), *self._keys, *TEXTS[:6], *ID_KEYS])
                place[renamed] = place.pop(key)
            case 1 | 2 if isinstance(place, list):
                place.insert(key, copy.deepcopy(place[dice.randrange(len(place))]))
            case 3 if isinstance(place[key], str):
                place[key] = self._text(place[key])
            case 4:
                place[key] = self._document(2)
            case _:
                place[key] = copy.deepcopy(dice.choice(STRANGE))


_RANGES: Final = {
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: (0, 2**32 - 1),
}


def _messages(message: Any) -> Iterator[Any]:
    """The message and every message in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                yield from _messages(inner)


def _tagged(request: Request) -> Iterator[tuple[Signal, Any]]:
    """Each span or log record of a recorded request as a message of its own, with its signal."""
    if request.signal == "metrics":
        return
    signal = request.signal
    whole = MESSAGES[signal].FromString(request.body) if request.encoding == "protobuf" else from_json(orjson.loads(request.body), signal)
    yield from ((signal, piece) for piece in pieces(whole, signal))


def _items(message: Any, signal: Signal) -> Iterator[Any]:
    """Spans or log records of a request."""
    resources, groups, items = LEVELS[signal]
    for by_resource in getattr(message, resources):
        for by_scope in getattr(by_resource, groups):
            yield from getattr(by_scope, items)


def _containers(document: Any) -> Iterator[Any]:
    if isinstance(document, (list, dict)):
        yield document
        for inner in document if isinstance(document, list) else document.values():
            yield from _containers(inner)


def _dumps(document: Any) -> str:
    try:
        return orjson.dumps(document).decode()
    except (TypeError, ValueError):  # what orjson refuses to write, others write: NaN, integers of any length
        return json.dumps(document)


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name)
