"""Which requests failed before, known by their content: a sender that is told to retry sends the same bytes again."""

import hashlib
import threading
from collections import OrderedDict
from typing import Final

from collector.model import Request

REMEMBERED: Final = 1_000
"""Requests whose failures are counted; beyond it the oldest is forgotten, and has all its tries again."""


class Failures:
    """How often each request failed. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    def of(self, request: Request) -> int:
        """How often it failed so far. Costs nothing as long as nothing failed."""
        if not self._counts:
            return 0
        key = _key(request)
        with self._lock:
            return self._counts.get(key, 0)

    def add(self, request: Request) -> int:
        """Once more. Returns how often that is."""
        key = _key(request)
        with self._lock:
            count = self._counts.pop(key, 0) + 1
            self._counts[key] = count
            if len(self._counts) > REMEMBERED:
                self._counts.popitem(last=False)
        return count

    def forget(self, request: Request) -> None:
        """It did not fail, or has all its tries again."""
        key = _key(request)
        with self._lock:
            self._counts.pop(key, None)


def _key(request: Request) -> bytes:
    return hashlib.blake2b(request.translated or request.body, digest_size=16).digest()
