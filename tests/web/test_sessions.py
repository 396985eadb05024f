from decimal import Decimal
from urllib.parse import quote

import httpx2
import pytest
from starlette.types import ASGIApp

from collector.model import SessionState, Verb
from collector.web.schemas import FindingPage, Halt, SessionDetail, SessionPage, StepPage, Workflow
from detectors.model import SessionKey, Severity

from .conftest import serving
from .service import AT_NS, FakeService, finding, session

S1 = SessionKey("default", "prod", "s1")
ODD = "a/b c%2F?é"


async def test_lists_sessions_in_the_shape_of_the_contract(client: httpx2.AsyncClient, service: FakeService) -> None:
    answer = await client.get("/api/v1/sessions")
    assert answer.status_code == 200
    page = SessionPage.model_validate(answer.json())
    assert [one.session_id for one in page.sessions] == ["s1", ODD, "twin", "twin"]
    assert page.next_cursor == "next"
    shown = answer.json()["sessions"][0]
    assert shown["cost_usd"] == "1.23"
    assert shown["budget_remaining_usd"] == "3.77"
    assert shown["started_at"] == "2023-11-14T22:13:20.123456Z"
    assert shown["input_tokens"] is None
    assert service.calls[0] == (
        "sessions",
        {"state": None, "agent_type": None, "finding": None, "since_ns": None, "limit": 100, "cursor": None},
    )


async def test_passes_the_filters_on(client: httpx2.AsyncClient, service: FakeService) -> None:
    wanted: dict[str, str | int] = {
        "state": "halted",
        "agent_type": "research",
        "finding": "soft_loop",
        "since": "2023-11-14T22:13:20.123456Z",
        "limit": 7,
        "cursor": "abc",
    }
    assert (await client.get("/api/v1/sessions", params=wanted)).status_code == 200
    assert service.calls[0][1] == {
        "state": SessionState.HALTED,
        "agent_type": "research",
        "finding": "soft_loop",
        "since_ns": AT_NS // 1000 * 1000,
        "limit": 7,
        "cursor": "abc",
    }


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "state=halt", "since=yesterday", "since=2026-01-01T00:00:00", "agenttype=research"]
)
async def test_a_filter_that_means_nothing_is_an_error_not_everything(client: httpx2.AsyncClient, service: FakeService, query: str) -> None:
    answer = await client.get(f"/api/v1/sessions?{query}")
    assert answer.status_code == 400
    assert query.split("=", maxsplit=1)[0] in answer.json()["detail"]
    assert service.calls == []


async def test_shows_a_session_with_what_was_found_and_done(client: httpx2.AsyncClient, service: FakeService) -> None:
    service.found = [finding(S1), finding(SessionKey("default", "prod", "twin"), 2)]
    service.request(S1, Verb.HALT, halt_reason="operator", requested_by="ada", note="")
    answer = await client.get("/api/v1/sessions/s1")
    detail = SessionDetail.model_validate(answer.json())
    assert [one.id for one in detail.findings] == ["fnd_1"]
    assert [one.halt_id for one in detail.halts] == ["hlt_1"]
    assert answer.json()["findings"][0]["evidence"] == {"seqs": [31, 40], "novelty": None, "cost": "0.1"}


@pytest.mark.parametrize("name", [ODD, "default/prod/a%2Fb%20c%252F%3F%C3%A9"])
async def test_an_id_may_hold_any_character(client: httpx2.AsyncClient, service: FakeService, name: str) -> None:
    path = f"/api/v1/sessions/{quote(name, safe='')}"
    assert (await client.get(path)).json()["session_id"] == ODD
    assert (await client.get(f"{path}/steps")).status_code == 200
    assert (await client.post(f"{path}/halt")).json()["session_id"] == ODD
    assert [arguments["session_id"] for call, arguments in service.calls if call == "resolve"] == [name] * 3


async def test_an_id_may_hold_any_character_over_a_real_socket(app: ASGIApp) -> None:
    async with serving(app) as client:
        answer = await client.get(f"/api/v1/sessions/{quote(ODD, safe='')}/steps?after=3")
        assert StepPage.model_validate(answer.json()).steps[0].seq == 4
        assert (await client.get(f"/api/v1/sessions/{ODD.replace('%', '')}/steps")).status_code == 404
        assert (await client.get("/api/v1/sessions/%ff")).status_code == 400


async def test_an_ambiguous_id_lists_its_candidates_and_each_is_accepted(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/api/v1/sessions/twin")
    assert answer.status_code == 409
    candidates = answer.json()["candidates"]
    assert candidates == ["default/prod/twin", "default/dev/twin"]
    shown = await client.get(f"/api/v1/sessions/{quote(candidates[1], safe='')}")
    assert shown.json()["namespace"] == "dev"


async def test_lists_steps_after_a_sequence_number(client: httpx2.AsyncClient, service: FakeService) -> None:
    answer = await client.get("/api/v1/sessions/s1/steps?after=41&limit=2")
    assert [step.seq for step in StepPage.model_validate(answer.json()).steps] == [42, 43]
    assert service.calls[-1] == ("steps", {"key": S1, "after_seq": 41, "limit": 2})


async def test_lists_findings(client: httpx2.AsyncClient, service: FakeService) -> None:
    service.found = [finding(S1), finding(None, 2)]
    everything = await client.get("/api/v1/findings")
    assert [one.session_id for one in FindingPage.model_validate(everything.json()).findings] == ["s1", None]
    await client.get("/api/v1/findings", params={"session": "s1", "detector": "d", "severity": "critical", "open": "true", "limit": 5})
    assert service.calls[-1] == (
        "findings",
        {"session": S1, "detector": "d", "severity": Severity.CRITICAL, "open_only": True, "since_ns": None, "limit": 5},
    )


@pytest.mark.parametrize(("path", "verb"), [("halt", Verb.HALT), ("pause", Verb.PAUSE)])
async def test_stops_a_session(client: httpx2.AsyncClient, service: FakeService, path: str, verb: Verb) -> None:
    answer = await client.post(f"/api/v1/sessions/s1/{path}", json={"reason": "cost_runaway", "note": "enough"})
    assert answer.status_code == 202
    halt = Halt.model_validate(answer.json())
    assert (halt.verb, halt.halt_reason, halt.requested_by, halt.note, halt.state) == (
        verb,
        "cost_runaway",
        "anonymous",
        "enough",
        "requested",
    )
    assert service.requests()[0]["key"] == S1


async def test_without_a_body_the_reason_is_the_operator(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/api/v1/sessions/s1/halt")).json()["halt_reason"] == "operator"


@pytest.mark.parametrize(
    "body",
    [
        {"reason": "because"},
        {"actor": "mallory"},
        {"note": "x" * 4001},
        {"raise_budget_usd": "1"},
        {"raise_budget_usd": "NaN"},
        {"raise_budget_usd": -1},
        [],
        "halt",
    ],
)
async def test_a_body_that_means_something_else_halts_nothing(client: httpx2.AsyncClient, service: FakeService, body: object) -> None:
    answer = await client.post("/api/v1/sessions/s1/halt", json=body)
    assert answer.status_code == 400
    assert service.requests() == []


async def test_a_session_not_seen_yet_may_be_halted_but_not_paused(client: httpx2.AsyncClient, service: FakeService) -> None:
    assert (await client.post("/api/v1/sessions/later/pause")).status_code == 404
    assert (await client.post("/api/v1/sessions/later/halt")).status_code == 202
    assert (await client.post("/api/v1/sessions/default%2Fprod%2Flater/halt")).status_code == 202
    assert (await client.post("/api/v1/sessions/org%2Fteam%2F7/halt")).status_code == 202
    assert [asked["key"] for asked in service.requests()] == [
        SessionKey("default", "", "later"),
        SessionKey("default", "prod", "later"),
        SessionKey("default", "", "org/team/7"),
    ]


@pytest.mark.parametrize(
    ("state", "path", "status"),
    [
        (SessionState.HALTED, "release", 202),
        (SessionState.PAUSED, "release", 202),
        (SessionState.PAUSED, "resume", 202),
        (SessionState.PAUSING, "resume", 202),
        (SessionState.HALTED, "resume", 409),
        (SessionState.HALTING, "resume", 409),
        (SessionState.RUNNING, "resume", 409),
        (SessionState.RUNNING, "release", 409),
    ],
)
async def test_lets_a_session_go(client: httpx2.AsyncClient, service: FakeService, state: SessionState, path: str, status: int) -> None:
    service.known[S1].state = state
    answer = await client.post(f"/api/v1/sessions/s1/{path}", json={"note": "ok", "raise_budget_usd": "2.50"})
    assert answer.status_code == status
    if status == 202:
        assert answer.json()["verb"] == "release"
        assert service.requests()[-1]["raise_budget_usd"] == Decimal("2.50")
        assert service.requests()[-1]["halt_reason"] is None


async def test_takes_the_word_of_a_runtime(client: httpx2.AsyncClient, service: FakeService) -> None:
    await client.post("/api/v1/sessions/s1/halt")
    answer = await client.post("/api/v1/halts/hlt_1/ack", json={"status": "stopping"})
    assert Halt.model_validate(answer.json()).state == "acknowledged"
    assert (await client.post("/api/v1/halts/hlt_9/ack", json={"status": "stopped"})).status_code == 404
    assert (await client.post("/api/v1/halts/hlt_1/ack", json={"status": "gone"})).status_code == 400
    assert service.calls[-1] == ("acknowledge", {"halt_id": "hlt_9", "status": "stopped"})


async def test_a_session_that_vanished_in_between_is_not_found(client: httpx2.AsyncClient, service: FakeService) -> None:
    service.known[S1] = None  # type: ignore[assignment]
    assert (await client.get("/api/v1/sessions/s1")).status_code == 404


async def test_a_workflow_is_its_sessions_and_what_they_cost_together(client: httpx2.AsyncClient, service: FakeService) -> None:
    both = [session(name, workflow_id="wf-1") for name in ("one", "two")]
    service.known |= {one.key: one for one in both}
    service.found = [finding(None, workflow_id="wf-1", sessions=tuple(one.key for one in both))]
    answer = await client.get("/api/v1/workflows/wf-1")
    assert answer.status_code == 200
    Workflow.model_validate(answer.json())
    shown = answer.json()
    assert (shown["cost_usd"], shown["budget_usd"], shown["budget_remaining_usd"], shown["steps"]) == ("2.46", "2.5", "0.04", 24)
    assert [one["session_id"] for one in shown["sessions"]] == ["one", "two"]
    (found,) = shown["findings"]
    assert (found["session_id"], found["sessions"]) == (None, ["one", "two"])
    assert (await client.get("/api/v1/workflows/wf-2")).status_code == 404
