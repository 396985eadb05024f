"""Recognises telemetry that was sent before: exporters repeat whole batches when an answer is lost."""

import hashlib
from collections.abc import Hashable, Iterable
from typing import Any

import msgspec

from collector.telemetry_data import LogRecord

_REQUEST_IDS = ("request_id", "gen_ai.response.id", "response_id", "gen_ai.response_id")


class RecentKeys:
    """Remembers at least the last `horizon` keys, at most twice as many, in two generations."""

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon
        self._young: set[int] = set()
        self._old: set[int] = set()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def add(self, key: Hashable) -> bool:
        """Takes a key; returns whether it is new."""
        value = hash(key)
        if value in self._young or value in self._old:
            return False
        self._young.add(value)
        if len(self._young) >= self._horizon:
            self._old, self._young = self._young, set()
        return True

    def learn(self, keys: Iterable[Hashable]) -> None:
        """Takes keys of which it does not matter whether they are new, a horizon of them at most."""
        self._young.update(map(hash, keys))
        if len(self._young) >= self._horizon:
            self._old, self._young = self._young, set()

    def discard(self, keys: Iterable[Hashable]) -> None:
        """Forgets keys whose commit failed: their sender will try again."""
        for key in keys:
            self._young.discard(hash(key))
            self._old.discard(hash(key))


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
