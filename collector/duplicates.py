"""Recognises telemetry that was sent before: exporters repeat whole batches when an answer is lost."""

import hashlib
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Final, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from collector.telemetry_data import LogRecord

_REQUEST_IDS = ("request_id", "gen_ai.response.id", "response_id", "gen_ai.response_id")


_PARTS: Final = 4
"""Old generations that make up the horizon."""


class RecentKeys:
    """Remembers at least the last `horizon` keys, by their hashes, in generations.

    The young one is a set; when it is full it becomes a sorted array: eight bytes a key in place of some ninety.
    """

    def __init__(self, horizon: int) -> None:
        self._size = -(-horizon // _PARTS)
        self._young: set[int] = set()
        self._old: deque[NDArray[np.int64]] = deque(maxlen=_PARTS)

    def __len__(self) -> int:
        return len(self._young) + sum(map(len, self._old))

    def add(self, keys: Sequence[Hashable]) -> list[bool]:
        """Takes keys; returns of each whether it is new."""
        values = list(map(hash, keys))
        young = self._young
        fresh = []
        for value, known in zip(values, self._in_old(values), strict=True):
            new = not known and value not in young
            if new:
                young.add(value)
            fresh.append(new)
        self._age()
        return fresh

    def learn(self, keys: Iterable[Hashable]) -> None:
        """Takes keys of which it does not matter whether they are new, a horizon of them at most: the newest first."""
        values = np.fromiter(map(hash, keys), dtype=np.int64)
        for first in range(len(values) // self._size * self._size, -1, -self._size):
            self._young.update(values[first : first + self._size].tolist())
            self._age()

    def discard(self, keys: Iterable[Hashable]) -> None:
        """Forgets keys whose commit failed: their sender will try again."""
        values = list(map(hash, keys))
        self._young.difference_update(values)
        if any(self._in_old(values)):
            self._old = deque((old[~np.isin(old, values)] for old in self._old), _PARTS)

    def _in_old(self, values: Sequence[int]) -> list[bool]:
        wanted = np.array(values, dtype=np.int64)
        found = np.zeros(len(values), dtype=np.bool_)
        for old in self._old:
            if len(old):
                places = np.searchsorted(old, wanted)
                found |= old[np.minimum(places, len(old) - 1)] == wanted
        return cast("list[bool]", found.tolist())

    def _age(self) -> None:
        if len(self._young) >= self._size:
            old = np.fromiter(self._young, dtype=np.int64, count=len(self._young))
            old.sort()
            self._old.append(old)
            self._young = set()


def log_key(tenant: str, record: LogRecord) -> bytes:
    """What a log record is recognised by, 16 bytes.

    Its session and `event.sequence`, else its request or response id with the event's name, else all it says. The
    observed time is left out: a collector sets it anew.
    """
    attributes = record.attributes
    name = record.event_name or attributes.get("event.name") or (record.body if isinstance(record.body, str) else "")
    service = record.resource.get("service.instance.id") or record.resource.get("service.name")
    identity: list[Any]
    sequence = attributes.get("event.sequence")
    session = attributes.get("session.id") or attributes.get("gen_ai.conversation.id")
    if sequence is not None and session is not None:
        identity = ["sequence", session, name, sequence, record.time_ns]
    else:
        # A judgement names the response that it is about: several may be about the same.
        about = "gen_ai.evaluation.name" in attributes
        request = None if about else next((attributes[key] for key in _REQUEST_IDS if attributes.get(key)), None)
        identity = (
            ["request", request, name, record.time_ns, record.span_id]
            if request is not None
            else ["content", record.time_ns, record.severity, record.event_name, record.trace_id, record.span_id, record.body, attributes]
        )
    return hashlib.blake2b(msgspec.json.encode([tenant, service, record.scope_name, *identity]), digest_size=16).digest()
