from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.enforcement.control import ControlStore
from collector.errors import StoreUnavailable
from collector.model import Session, SessionState
from collector.store.session_index import SessionIndex
from detectors.model import SessionKey

AT_NS = 1_700_000_000 * 10**9


def key(name: str, *, tenant: str = "default", namespace: str = "") -> SessionKey:
    return SessionKey(tenant, namespace, name)


def session(name: str, at: int = 0, *, tenant: str = "default", namespace: str = "", **fields: object) -> Session:
    return Session(key=key(name, tenant=tenant, namespace=namespace), last_seen_ns=AT_NS + at, **fields)  # type: ignore[arg-type]


@pytest.fixture
def control(tmp_path: Path) -> Iterator[ControlStore]:
    made = ControlStore(tmp_path / "control.sqlite")
    yield made
    made.close()


@pytest.fixture
def index(control: ControlStore) -> SessionIndex:
    return SessionIndex(control.database)


def names(sessions: list[Session]) -> list[str]:
    return [one.key.session_id for one in sessions]


def test_a_session_comes_back_as_it_was(index: SessionIndex) -> None:
    odd = session("ü/\0 '", agents=["a"], cost_bases={"computed": 2}, merged_from=["default//x"], state=SessionState.HALTING)
    index.write([(odd, 0)], {}, 7)
    assert index.get(odd.key) == odd
    assert index.get(key("nobody")) is None
    assert index.find("ü/\0 '") == [odd.key]
    assert index.seq == 7


def test_the_newest_row_of_a_session_counts_and_the_number_never_falls(index: SessionIndex) -> None:
    index.write([(session("a", steps=1), 0)], {}, 9)
    index.write([(session("a", steps=2), 0)], {}, 3)
    found = index.get(key("a"))
    assert found is not None
    assert found.steps == 2
    assert index.seq == 9


def test_of_two_sessions_that_took_each_other_over_the_later_survivor_stands(index: SessionIndex) -> None:
    index.write([(session("a"), 0), (session("b"), 0)], {key("a"): key("b")}, 1)
    assert (index.survivor(key("a")), index.survivor(key("b"))) == (key("b"), None)
    index.write([(session("a"), 0)], {key("b"): key("a")}, 2)
    assert (index.survivor(key("a")), index.survivor(key("b"))) == (None, key("a"))
    assert (index.get(key("a")) is None, index.get(key("b")) is None) == (False, True)


def test_pages_hold_every_session_once_newest_first(index: SessionIndex) -> None:
    index.write([(session(f"s{n:02}", at=n // 4), 0) for n in range(23)], {}, 1)
    seen: list[str] = []
    after = None
    while page := index.page(limit=5, after=after):
        seen += names(page)
        after = (page[-1].last_seen_ns, str(page[-1].key))
    assert len(seen) == 23
    assert seen == [f"s{n:02}" for n in sorted(range(23), key=lambda n: (-(n // 4), n))]


def test_filters_are_all_in_force(index: SessionIndex) -> None:
    index.write(
        [
            (session("a", 1, agent_type="x"), 0),
            (session("b", 2, agent_type="y", state=SessionState.COMPLETED), 0),
            (session("c", 3, agent_type="x", state=SessionState.COMPLETED), 0),
        ],
        {},
        1,
    )
    assert names(index.page(agent_type="x")) == ["c", "a"]
    assert names(index.page(state=SessionState.COMPLETED)) == ["c", "b"]
    assert names(index.page(state=SessionState.COMPLETED, agent_type="x")) == ["c"]
    assert names(index.page(since_ns=AT_NS + 2)) == ["c", "b"]
    assert names(index.page(keys=[key("a"), key("b")])) == ["b", "a"]
    assert index.page(keys=[]) == []


def test_one_bare_id_may_name_many_sessions(index: SessionIndex) -> None:
    twins = [session("twin", tenant="acme"), session("twin", namespace="dev"), session("twin")]
    index.write([(one, 0) for one in twins], {}, 1)
    assert set(index.find("twin")) == {one.key for one in twins}
    assert index.find("Twin") == []


def test_a_merged_session_is_found_under_its_survivor(index: SessionIndex) -> None:
    index.write([(session("trace"), 0), (session("s1"), 0)], {}, 1)
    index.write([], {key("trace"): key("s1")}, 2)
    assert index.get(key("trace")) is None
    assert index.survivor(key("trace")) == key("s1")
    assert index.survivor(key("s1")) is None
    assert index.find("trace") == [key("trace")]
    assert names(index.page()) == ["s1"]


def test_a_merged_session_began_when_its_last_survivor_did(index: SessionIndex) -> None:
    index.write([(session("first", first_seq=3), 0)], {}, 20)
    index.write([(session("second", first_seq=3), 0)], {key("first"): key("second")}, 30)
    assert index.since(key("first")) == 2
    index.write([(session("third", first_seq=3), 0)], {key("second"): key("third")}, 40)
    assert index.since(key("first")) == 2
    assert index.since(key("nobody")) == 40


def test_sessions_with_open_findings_are_known_newest_first(index: SessionIndex) -> None:
    index.write([(session("a", 1), 2), (session("b", 2), 0), (session("c", 3), 1)], {}, 1)
    assert index.with_open_findings(9) == [key("c"), key("a")]
    assert index.with_open_findings(1) == [key("c")]
    index.write([(session("c", 3), 0)], {}, 2)
    assert index.with_open_findings(9) == [key("a")]


def test_what_a_closed_store_refuses_is_not_half_written(index: SessionIndex, control: ControlStore, tmp_path: Path) -> None:
    index.write([(session("a"), 0)], {}, 1)
    control.close()
    with pytest.raises(StoreUnavailable):
        index.write([(session("b"), 0)], {key("a"): key("b")}, 2)
    with pytest.raises(StoreUnavailable):
        index.get(key("a"))
    again = ControlStore(tmp_path / "control.sqlite")
    reopened = SessionIndex(again.database)
    assert names(reopened.page()) == ["a"]
    assert reopened.seq == 1
    again.close()
