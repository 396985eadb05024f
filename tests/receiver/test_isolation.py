"""One request over which processing fails: the others are committed, and it is not sent for ever."""

from collections.abc import Sequence

import pytest

from collector.errors import Internal, Malformed, OvercurrentError, StoreUnavailable
from collector.model import Outcome, Request
from collector.receiver.isolation import TRIES, Isolation


def request(body: bytes) -> Request:
    return Request(signal="traces", encoding="protobuf", body=body)


class Fragile:
    """Commits each group whole, or fails over what it holds."""

    def __init__(self) -> None:
        self.committed: list[bytes] = []
        self.calls = 0

    def __call__(self, requests: Sequence[Request]) -> Sequence[Outcome | OvercurrentError]:
        self.calls += 1
        for one in requests:
            if one.body.startswith(b"poison"):
                raise ValueError("never seen before")
            if one.body == b"full":
                raise StoreUnavailable("the disk is full")
        self.committed += [one.body for one in requests]
        return [Malformed("no") if one.body == b"bad" else Outcome(accepted=1) for one in requests]


def test_a_group_without_trouble_is_processed_once() -> None:
    fragile = Fragile()
    assert Isolation(fragile)([request(b"a"), request(b"b")]) == [Outcome(accepted=1)] * 2
    assert fragile.calls == 1


@pytest.mark.parametrize("size", [2, 3, 10, 512])
@pytest.mark.parametrize("place", [0, 1, -1])
def test_the_others_of_a_group_are_committed_in_order(size: int, place: int) -> None:
    fragile = Fragile()
    bodies = [str(number).encode() for number in range(size)]
    bodies[place] = b"poison"
    answers = Isolation(fragile)([request(body) for body in bodies])
    assert fragile.committed == [body for body in bodies if body != b"poison"]
    assert [isinstance(answer, StoreUnavailable) for answer in answers] == [body == b"poison" for body in bodies]
    assert fragile.calls <= 4 * size**0.5 + 4


def test_each_answer_belongs_to_its_request() -> None:
    answers = Isolation(Fragile())([request(body) for body in (b"a", b"bad", b"poison 1", b"b", b"poison 2")])
    assert [type(answer) for answer in answers] == [Outcome, Malformed, StoreUnavailable, Outcome, StoreUnavailable]


def test_a_request_that_always_fails_is_refused_for_good_and_others_are_not() -> None:
    isolation = Isolation(Fragile())
    answers = [isolation([request(b"poison")])[0] for _ in range(TRIES)]
    assert [type(answer) for answer in answers] == [StoreUnavailable] * (TRIES - 1) + [Internal]
    assert isinstance(isolation([request(b"poison, another")])[0], StoreUnavailable)


def test_a_store_that_refuses_says_nothing_about_the_request() -> None:
    isolation = Isolation(Fragile())
    for _ in range(2 * TRIES):
        with pytest.raises(StoreUnavailable):
            isolation([request(b"full"), request(b"a")])
