"""Finding → metric → rule → alert → notification → halt → runtime, through real Prometheus and Alertmanager.

An armed detector halts by itself, at once. Alertmanager is the second way to the same halt: it asks again and again for as
long as the finding is open, and so reaches what was found while the detector was not armed.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from tests.e2e.agent import Agent, same_search_in_other_words
from tests.e2e.conftest import Watch, config
from tests.e2e.programs import Service, wait_for
from tests.e2e.runtime import Runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LOOP_CALLS = 14
"""More than enough of the same search for a finding that may halt."""


def loop(agent: Agent, calls: int) -> None:
    searches = same_search_in_other_words()
    for _ in range(calls):
        agent.call(next(searches))
    agent.flush()


def assert_alert_travels(watch: Watch, *, paged: bool) -> None:
    """Each link between the metric and the notification."""
    prometheus = watch.prometheus
    of_loop = '{detector="soft_loop", agent_type="research", severity="critical"}'
    wait_for("Prometheus has scraped the open finding", lambda: prometheus.query(f"overcurrent_open_findings{of_loop} == 1"))
    firing = 'ALERTS{alertname="OvercurrentSoftLoopHalt", alertstate="firing", agent_type="research", detector="soft_loop"}'
    wait_for("Prometheus fires", lambda: prometheus.query(firing))
    (alert,) = wait_for("Alertmanager has the alert", lambda: watch.alertmanager.alerts("overcurrent-halt"))
    assert (alert["action"], alert["agent_type"], alert["detector"]) == ("halt", "research", "soft_loop")
    # What the receiver may name: no session, since no metric does.
    assert set(alert) == {"alertname", "action", "agent_type", "detector", "severity", "team"}
    pages = [labels["alertname"] for labels in watch.alertmanager.alerts("page")]
    assert ("OvercurrentSoftLoopCritical" in pages) is paged


def audit(service: Service, action: str) -> list[dict[str, Any]]:
    """What the audit trail holds of this action, oldest first."""
    file = service.data_dir / "control.sqlite"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM audit WHERE action = ? ORDER BY id", (action,))]


def test_alertmanager_halts_what_was_found_before_the_detector_was_armed(
    start_service: Callable[..., Service], start_watch: Callable[[Service], Watch], start_agent: Callable[..., Agent], runtime: Runtime
) -> None:
    service = start_service()
    watch = start_watch(service)
    agent = start_agent("http", service.http)
    loop(agent, LOOP_CALLS)
    assert_alert_travels(watch, paged=False)
    wait_for("the request is refused", lambda: audit(service, "alertmanager.not_armed"))
    assert service.get(f"sessions/{agent.session_id}")["state"] == "running"

    # The finding was reported once, in shadow: nothing but Alertmanager asks again.
    service.reload(config(runtime.url, soft_loop="halt"))
    assert agent.halted.wait(30), service.said()
    wait_for("the session is halted", lambda: service.get(f"sessions/{agent.session_id}")["state"] == "halted")
    (halt,) = service.get(f"sessions/{agent.session_id}")["halts"]
    (finding,) = [one for one in service.get("findings?detector=soft_loop")["findings"] if one["halt_eligible"]]
    told = {"state": "confirmed_stopped", "halt_reason": "soft_loop", "note": "Alertmanager: OvercurrentSoftLoopHalt"}
    assert halt.items() >= {**told, "requested_by": "anonymous", "finding": finding["id"]}.items()
    (message,) = runtime.halts(agent)
    assert message.data["halt_id"] == halt["halt_id"]
    assert runtime.forged == 0
    wait_for("Alertmanager was answered", lambda: audit(service, "alertmanager.halted"))
    assert watch.alertmanager.notified(failed=True) == 0

    # A person's release stands, however often Alertmanager has repeated itself.
    sent = watch.alertmanager.notified()
    service.post(f"sessions/{agent.session_id}/release", {"note": "it was a test"})
    wait_for("Prometheus sees the finding closed", lambda: not watch.prometheus.query("overcurrent_open_findings > 0"))
    wait_for("Alertmanager has said so", lambda: not watch.alertmanager.alerts("overcurrent-halt") and watch.alertmanager.notified() > sent)
    assert service.get(f"sessions/{agent.session_id}")["state"] == "running"


def test_armed_detector_needs_no_alertmanager_and_is_not_disturbed_by_it(
    start_service: Callable[..., Service], start_watch: Callable[[Service], Watch], start_agent: Callable[..., Agent], runtime: Runtime
) -> None:
    service = start_service(soft_loop="halt")
    watch = start_watch(service)
    agent = start_agent("http", service.http)
    agent.run(same_search_in_other_words())
    assert agent.halted.is_set()
    assert_alert_travels(watch, paged=True)
    wait_for("Alertmanager asks, and again", lambda: len(audit(service, "alertmanager.halted")) >= 2)
    (halt,) = service.get(f"sessions/{agent.session_id}")["halts"]
    assert halt["requested_by"] == "detector:soft_loop"
    assert len(runtime.halts(agent)) == 1


def test_in_shadow_the_request_is_recorded_and_refused_until_the_operator_arms(
    start_service: Callable[..., Service], start_watch: Callable[[Service], Watch], start_agent: Callable[..., Agent], runtime: Runtime
) -> None:
    service = start_service()
    watch = start_watch(service)
    agent = start_agent("grpc", service.grpc)
    loop(agent, LOOP_CALLS)
    assert_alert_travels(watch, paged=False)
    refused = wait_for("the request is recorded", lambda: audit(service, "alertmanager.not_armed"))
    assert '"agent_type":"research"' in refused[0]["detail"]
    assert "mode shadow" in refused[0]["detail"]
    assert watch.alertmanager.notified(failed=True) == 0
    session = service.get(f"sessions/{agent.session_id}")
    assert (session["state"], session["halts"], runtime.messages) == ("running", [], [])
    # Counted all the same: on this record a person decides to arm.
    assert service.metric("overcurrent_halts_total", agent_type="research", halt_reason="soft_loop", mode="shadow") == 1

    service.stop()
    service.start(config(runtime.url, soft_loop="halt"))
    assert agent.halted.wait(30), service.said()
    (halt,) = service.get(f"sessions/{agent.session_id}")["halts"]
    assert halt["halt_reason"] == "soft_loop"
    assert len(runtime.halts(agent)) == 1
    wait_for("what was refused is now granted", lambda: audit(service, "alertmanager.halted"))
    assert len(service.get(f"sessions/{agent.session_id}")["halts"]) == 1
