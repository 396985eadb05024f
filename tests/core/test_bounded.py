"""What is remembered stays within its bounds, and within them nothing is forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from collector.bounded import Recent, Weighed, remember

KEYS = st.lists(st.integers(0, 60), max_size=400)


@given(st.integers(1, 40), KEYS)
def test_recent_keeps_the_limit_and_at_most_twice_as_much(limit: int, keys: list[int]) -> None:
    recent: Recent[int, int] = Recent(limit)
    for place, key in enumerate(keys):
        recent.set(key, place)
        assert len(recent) <= 2 * limit + 1
        newest = list(dict.fromkeys(reversed(keys[: place + 1])))[:limit]
        assert [recent.get(one) for one in newest] == [place - keys[place::-1].index(one) for one in newest]


@given(st.integers(1, 40), KEYS)
def test_remember_keeps_the_newest_and_little_more(limit: int, keys: list[int]) -> None:
    mapping: dict[int, int] = {}
    for place, key in enumerate(keys):
        remember(mapping, key, place, limit)
        assert len(mapping) <= limit + limit // 8
        newest = list(dict.fromkeys(reversed(keys[: place + 1])))
        assert list(mapping)[::-1] == newest[: len(mapping)]
        assert len(mapping) >= min(limit, len(newest))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 500)), max_size=300), st.integers(8, 100), st.integers(100, 5_000))
def test_weighed_keeps_seven_eighths_of_what_fits(pairs: list[tuple[int, int]], count: int, size: int) -> None:
    kept: Weighed[int, int] = Weighed(count, size, lambda weight: weight)
    for place, (key, weight) in enumerate(pairs):
        kept.set(key, weight)
        last = dict(pairs[: place + 1])
        assert len(kept) <= count
        assert sum(value for one in last if (value := kept.get(one)) is not None) <= kept.size <= size + 8 * 501
        newest = list(dict.fromkeys(one for one, _ in reversed(pairs[: place + 1])))
        # Replaced entries count until their generation is forgotten, so what was set is weighed, not what is left.
        sets, weight_set, certain = 0, 0, []
        for one, value in reversed(pairs[: place + 1]):
            sets, weight_set = sets + 1, weight_set + value
            if sets > count // 8 * 7 or weight_set > size // 8 * 7:
                break
            certain.append(one)
        assert all(kept.get(one) == last[one] for one in newest if one in certain)


def test_what_was_taken_is_gone() -> None:
    kept: Weighed[str, int] = Weighed(80, 1_000, lambda weight: weight)
    for name in "abcdefghijklmnopqrstuvwxyz":
        kept.set(name, 7)
    assert kept.pop("a") == kept.pop("z") == 7
    assert kept.get("a") is kept.get("z") is kept.pop("a") is None
    assert len(kept) == 24
