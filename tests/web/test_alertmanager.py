import json
from typing import Any

import httpx2
import pytest

from collector.errors import Refused, StoreUnavailable
from collector.model import Halt, HaltState, Verb
from collector.web.alertmanager import NotificationAnswer
from detectors.model import SessionKey

from .conftest import FakeAudit
from .service import AT_NS, FakeService, finding

KEY = SessionKey("default", "prod", "s1")
OTHER = SessionKey("default", "prod", "twin")


def notification(*alerts: dict[str, Any]) -> dict[str, Any]:
    """As Alertmanager 0.27 sends it."""
    return {
        "version": "4",
        "groupKey": '{}/{action="halt"}:{alertname="AgentSoftLoop"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "overcurrent",
        "groupLabels": {"alertname": "AgentSoftLoop"},
        "commonLabels": {"alertname": "AgentSoftLoop", "severity": "critical"},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": list(alerts),
    }


def alert(*, status: str = "firing", **labels: str) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": "AgentSoftLoop", "action": "halt", "agent_type": "research", "detector": "soft_loop", **labels},
        "annotations": {"summary": "Agents repeat themselves", "runbook_url": "https://example.test/runbook"},
        "startsAt": "2026-01-01T00:00:00.000Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus:9090/graph",
        "fingerprint": "5ef77f1f8a3ecf8d",
    }


async def post(client: httpx2.AsyncClient, *alerts: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await client.post("/api/v1/alertmanager", json=notification(*alerts))
    assert answer.status_code == 200
    NotificationAnswer.model_validate(answer.json())
    answers: list[dict[str, Any]] = answer.json()["alerts"]
    return answers


@pytest.fixture
def armed(service: FakeService) -> FakeService:
    service.modes["soft_loop"] = "halt"
    service.found = [finding(KEY, 1), finding(KEY, 2), finding(OTHER, 3), finding(None, 4), finding(OTHER, 5, agent_type="ops")]
    return service


async def test_armed_it_halts_the_sessions_with_an_open_finding_and_no_others(
    client: httpx2.AsyncClient, armed: FakeService, audit: FakeAudit
) -> None:
    [answer] = await post(client, alert())
    assert answer["outcome"] == "halted"
    assert answer["fingerprint"] == "5ef77f1f8a3ecf8d"
    assert [halt["session_id"] for halt in answer["halts"]] == ["s1", "twin"]
    assert armed.requests() == [
        {
            "key": key,
            "verb": Verb.HALT,
            "halt_reason": "soft_loop",
            "requested_by": "anonymous",
            "finding": found,
            "note": "Alertmanager: AgentSoftLoop",
        }
        for key, found in ((KEY, "fnd_1"), (OTHER, "fnd_3"))
    ]
    [line] = audit.lines
    assert (line["actor"], line["action"], line["now_ns"]) == ("anonymous", "alertmanager.halted", AT_NS)
    assert line["detail"]["halts"] == ["hlt_1", "hlt_2"]


@pytest.mark.parametrize("mode", ["shadow", "alert", "compact", "pause"])
async def test_unarmed_it_records_and_refuses(client: httpx2.AsyncClient, armed: FakeService, audit: FakeAudit, mode: str) -> None:
    armed.modes["soft_loop"] = mode
    [answer] = await post(client, alert())
    assert answer["outcome"] == "not_armed"
    assert f"mode {mode}" in answer["message"]
    assert armed.requests() == []
    [line] = audit.lines
    assert line["action"] == "alertmanager.not_armed"
    assert line["detail"]["detector"] == "soft_loop"


@pytest.mark.parametrize(
    ("sent", "outcome", "recorded"),
    [
        (alert(status="resolved"), "ignored", False),
        (alert(action="page"), "ignored", False),
        (alert(detector="no_such_pattern"), "unknown_detector", True),
        (alert(detector=""), "unsupported", True),
        (alert(agent_type=""), "unsupported", True),
        (alert(scope="fleet"), "unsupported", True),
        (alert(agent_type="conversational"), "nothing_open", True),
    ],
)
async def test_whatever_else_is_sent_halts_nothing(
    *, client: httpx2.AsyncClient, armed: FakeService, audit: FakeAudit, sent: dict[str, Any], outcome: str, recorded: bool
) -> None:
    [answer] = await post(client, sent)
    assert (answer["outcome"], answer["halts"]) == (outcome, [])
    assert armed.requests() == []
    assert bool(audit.lines) is recorded


async def test_each_alert_is_answered_in_its_place(client: httpx2.AsyncClient, armed: FakeService) -> None:
    answers = await post(client, alert(status="resolved"), alert(), alert(detector="no_such"))
    assert [answer["outcome"] for answer in answers] == ["ignored", "halted", "unknown_detector"]
    assert len(armed.requests()) == 2


async def test_no_alerts_is_no_mistake(client: httpx2.AsyncClient) -> None:
    assert await post(client) == []


@pytest.mark.parametrize(
    "body", [{**notification(alert()), "version": "5"}, {"version": "4"}, {**notification(), "alerts": [{"status": "x"}]}, []]
)
async def test_another_format_is_refused(client: httpx2.AsyncClient, armed: FakeService, body: object) -> None:
    answer = await client.post("/api/v1/alertmanager", json=body)
    assert answer.status_code == 400
    assert armed.requests() == []


@pytest.mark.parametrize("where", ["alertname", "detector", "agent_type", "scope"])
async def test_half_a_character_is_refused(client: httpx2.AsyncClient, armed: FakeService, where: str) -> None:
    body = json.dumps(notification(alert(**{where: "\ud800"})))
    answer = await client.post("/api/v1/alertmanager", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert armed.requests() == []


async def test_a_disk_that_refuses_makes_alertmanager_try_again(client: httpx2.AsyncClient, armed: FakeService) -> None:
    armed.error = StoreUnavailable("disk full")
    answer = await client.post("/api/v1/alertmanager", json=notification(alert()))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


async def test_one_refused_session_does_not_hide_the_others(
    client: httpx2.AsyncClient, armed: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = armed.request

    def refusing(key: SessionKey, verb: Verb, **arguments: Any) -> Halt:
        if key == KEY:
            raise Refused("not this one")
        halt = request(key, verb, **arguments)
        halt.state = HaltState.SUPERSEDED
        return halt

    monkeypatch.setattr(armed, "request", refusing)
    [answer] = await post(client, alert())
    assert [(halt["state"], halt["message"]) for halt in answer["halts"]] == [
        ("refused", "not this one"),
        ("superseded", "halted for this finding before, and released by a person since"),
    ]
