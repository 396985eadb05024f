"""Maps that forget: what is remembered of the past is bounded, in entries or in bytes, whatever comes."""

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Remembers at least the last `limit` keys that were set and at most twice as many, in two generations.

    Forgetting a whole generation at once costs less by entry, in time and in bytes, than an order of all entries.
    """

    __slots__ = ("_limit", "_old", "_young")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: K) -> V | None:
        found = self._young.get(key)
        return self._old.get(key) if found is None else found

    def set(self, key: K, value: V) -> None:
        self._young[key] = value
        if len(self._young) > self._limit:
            self._old, self._young = self._young, {}


class Weighed(Generic[K, V]):
    """Forgets what was set first, beyond `count` entries or `size` bytes; the newest always stays.

    `weigh` says how many bytes a value takes. It must say the same of a value as long as that is held.
    """

    __slots__ = ("_count", "_entries", "_limit", "_weigh", "get", "size")

    def __init__(self, count: int, size: int, weigh: Callable[[V], int]) -> None:
        self._count = count
        self._limit = size
        self._weigh = weigh
        self._entries: OrderedDict[K, V] = OrderedDict()
        self.get = self._entries.get
        self.size = 0
        """Bytes held."""

    def __len__(self) -> int:
        return len(self._entries)

    def set(self, key: K, value: V) -> None:
        """Sets `key`; one that was set before keeps its age."""
        entries, weigh = self._entries, self._weigh
        before = entries.get(key)
        self.size += weigh(value) if before is None else weigh(value) - weigh(before)
        entries[key] = value
        while len(entries) > self._count or (self.size > self._limit and len(entries) > 1):
            self.size -= weigh(entries.popitem(last=False)[1])

    def pop(self, key: K) -> V | None:
        found = self._entries.pop(key, None)
        if found is not None:
            self.size -= self._weigh(found)
        return found


def remember(mapping: dict[K, V], key: K, value: V, limit: int) -> None:
    """Sets `key` as the newest, and forgets the oldest entries beyond `limit`, an eighth of them at a time."""
    mapping.pop(key, None)
    mapping[key] = value
    if len(mapping) > limit + limit // 8:
        for old in list(islice(mapping, len(mapping) - limit)):
            del mapping[old]
