"""Maps that forget: what is remembered of the past is bounded, in entries or in bytes, whatever comes."""

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final, Generic, TypeVar

_GENERATIONS: Final = 8

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Remembers at least the last `limit` keys that were set and at most twice as many, in two generations.

    Forgetting a whole generation at once costs less by entry, in time and in bytes, than an order of all entries.
    """

    __slots__ = ("_limit", "old", "young")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.young: dict[K, V] = {}
        self.old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self.young) + len(self.old)

    def get(self, key: K) -> V | None:
        found = self.young.get(key)
        return self.old.get(key) if found is None else found

    def set(self, key: K, value: V) -> None:
        self.young[key] = value
        if len(self.young) > self._limit:
            self.old, self.young = self.young, {}


class Weighed(Generic[K, V]):
    """Remembers what was set last: at most `count` entries and about `size` bytes, and of both at least seven eighths.

    `weigh` says how many bytes a value takes. What is forgotten is forgotten by generations: nothing is weighed twice.
    """

    __slots__ = ("_count", "_generations", "_size", "_weigh", "_weights")

    def __init__(self, count: int, size: int, weigh: Callable[[V], int]) -> None:
        self._count = max(1, count // _GENERATIONS)
        self._size = size // _GENERATIONS
        self._weigh = weigh
        self._generations: deque[dict[K, V]] = deque([{}])
        self._weights: deque[int] = deque([0])

    def __len__(self) -> int:
        return sum(map(len, self._generations))

    @property
    def size(self) -> int:
        """Bytes held; what was replaced or taken counts until its generation is forgotten."""
        return sum(self._weights)

    def get(self, key: K) -> V | None:
        for generation in self._generations:
            found = generation.get(key)
            if found is not None:
                return found
        return None

    def add(self, key: K, value: V) -> None:
        """Sets a key that is not there."""
        young = self._generations[0]
        if len(young) >= self._count or self._weights[0] > self._size:
            young = self._open()
        young[key] = value
        self._weights[0] += self._weigh(value)

    def set(self, key: K, value: V) -> None:
        """Sets a key, which makes it the newest."""
        self.pop(key)
        self.add(key, value)

    def pop(self, key: K) -> V | None:
        for generation in self._generations:
            found = generation.pop(key, None)
            if found is not None:
                return found
        return None

    def _open(self) -> dict[K, V]:
        young: dict[K, V] = {}
        self._generations.appendleft(young)
        self._weights.appendleft(0)
        if len(self._generations) > _GENERATIONS:
            self._generations.pop()
            self._weights.pop()
        return young


def remember(mapping: dict[K, V], key: K, value: V, limit: int) -> None:
    """Sets `key` as the newest, and forgets the oldest entries beyond `limit`, an eighth of them at a time."""
    mapping.pop(key, None)
    mapping[key] = value
    if len(mapping) > limit + limit // 8:
        for old in list(islice(mapping, len(mapping) - limit)):
            del mapping[old]
