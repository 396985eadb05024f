"""From a looping agent to its end, the service alone: real SDK, real sockets, real signatures."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agent import Agent, Call, exporter, same_search_in_other_words
from tests.e2e.conftest import config
from tests.e2e.programs import Rotel, Service, free_port, wait_for
from tests.e2e.runtime import Runtime

pytestmark = pytest.mark.slow


def settled(service: Service, agent: Agent, state: str) -> dict[str, Any]:
    """The session once it is in that state."""

    def look() -> dict[str, Any] | None:
        session = service.session(agent.session_id)
        return session if session is not None and session["state"] == state else None

    return wait_for(f"session {agent.session_id} is {state}", look)


def assert_halted(service: Service, runtime: Runtime, agent: Agent) -> None:
    """Whoever asks is told the same: the runtime, the API, the command line, the metrics."""
    assert agent.halted.is_set(), service.said()
    (message,) = runtime.halts(agent)
    assert runtime.forged == 0
    assert (message.data["agent_type"], message.data["halt_reason"]) == ("research", "soft_loop")
    assert message.data["identifiers"]["trace_ids"] == [agent.trace_id]

    session = settled(service, agent, "halted")
    (halt,) = session["halts"]
    assert (halt["halt_id"], halt["state"], halt["requested_by"]) == (message.data["halt_id"], "confirmed_stopped", "detector:soft_loop")
    assert halt["finding"] in {finding["id"] for finding in session["findings"] if finding["detector"] == "soft_loop"}

    shown = service.command("show", agent.session_id)
    assert (shown["state"], shown["halt_reason"]) == ("halted", "soft_loop")
    assert [one["session_id"] for one in service.command("sessions", "--state", "halted")["sessions"]] == [agent.session_id]

    wait_for("the gauges follow", lambda: service.metric("overcurrent_halts", state="confirmed_stopped") == 1)
    wait_for("the session counts as halted", lambda: service.metric("overcurrent_sessions", agent_type="research", state="halted") == 1)
    assert service.metric("overcurrent_halts_total", agent_type="research", halt_reason="soft_loop", mode="halt") == 1
    assert service.metric("overcurrent_webhook_deliveries_total", outcome="stopped") == 1
    assert service.metric("overcurrent_webhook_outbox") == 0


def assert_stays_halted(service: Service, runtime: Runtime, agent: Agent) -> None:
    """What arrives later is recorded, and lifts nothing."""
    agent.call(next(same_search_in_other_words()))
    agent.finish()
    wait_for("the late steps are recorded", lambda: service.get(f"sessions/{agent.session_id}")["tool_calls"] == agent.calls)
    session = service.get(f"sessions/{agent.session_id}")
    assert session["state"] == "halted"
    assert len(session["halts"]) == len(runtime.halts(agent)) == 1


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_armed_loop_is_stopped_and_stays_stopped(
    protocol: str, start_service: Callable[..., Service], start_agent: Callable[..., Agent], runtime: Runtime
) -> None:
    service = start_service(soft_loop="halt")
    agent = start_agent(protocol, service.grpc if protocol == "grpc" else service.http)
    agent.run(same_search_in_other_words())
    assert_halted(service, runtime, agent)
    assert_stays_halted(service, runtime, agent)


def test_halt_outlives_the_service(start_service: Callable[..., Service], start_agent: Callable[..., Agent], runtime: Runtime) -> None:
    service = start_service(soft_loop="halt")
    agent = start_agent("http", service.http)
    agent.run(same_search_in_other_words())
    settled(service, agent, "halted")
    agent.flush()  # its exporter gives up on what it cannot send for ten seconds
    assert service.stop() == 0
    service.start(config(runtime.url, soft_loop="halt"))
    assert_stays_halted(service, runtime, agent)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_armed_loop_behind_an_agent_of_another_make_is_stopped(  # noqa: PLR0917 — fixtures
    protocol: str,
    start_service: Callable[..., Service],
    start_agent: Callable[..., Agent],
    runtime: Runtime,
    stack: ExitStack,
    tmp_path: Path,
) -> None:
    service = start_service(soft_loop="halt")
    rotel = stack.enter_context(Rotel(tmp_path, service, protocol=protocol))
    agent = start_agent(protocol, rotel.grpc if protocol == "grpc" else rotel.http)
    agent.run(same_search_in_other_words())
    assert_halted(service, runtime, agent)
    assert_stays_halted(service, runtime, agent)
    received = service.metric("overcurrent_spans_received_total", signal="traces", protocol=protocol)
    assert received == service.metric("overcurrent_spans_received_total", signal="traces") == agent.spans


def test_halt_waits_for_a_runtime_that_comes_late(stack: ExitStack, tmp_path: Path) -> None:
    port = free_port()
    service = stack.enter_context(Service(tmp_path, config(f"http://127.0.0.1:{port}/halts", soft_loop="halt")))
    agent = stack.enter_context(Agent(exporter("http", service.http)))
    calls = same_search_in_other_words()
    for _ in range(14):
        agent.call(next(calls))
    agent.flush()
    wait_for("a failed attempt", lambda: service.metric("overcurrent_webhook_deliveries_total", outcome="failed"))
    (halt,) = service.get(f"sessions/{agent.session_id}")["halts"]
    assert (halt["state"], service.get(f"sessions/{agent.session_id}")["state"]) == ("requested", "halting")

    runtime = stack.enter_context(Runtime(port))
    runtime.adopt(agent)
    agent.run(calls)
    assert agent.halted.is_set()
    (halt,) = settled(service, agent, "halted")["halts"]
    assert halt["state"] == "confirmed_stopped"
    assert halt["attempts"] > 1
    assert len(runtime.halts(agent)) == 1


def hold(file: Path, held: threading.Event, release: threading.Event) -> None:
    """Keeps the control store to itself, as a program does that copies it."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=10)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        held.set()
        release.wait(60)
        connection.execute("ROLLBACK")


def test_halt_that_could_not_be_recorded_is_made_later(
    start_service: Callable[..., Service], start_agent: Callable[..., Agent], runtime: Runtime
) -> None:
    service = start_service(soft_loop="halt")
    agent = start_agent("http", service.http)
    calls = same_search_in_other_words()
    agent.call(next(calls))
    agent.flush()
    held, release = threading.Event(), threading.Event()
    holder = threading.Thread(target=hold, args=(service.data_dir / "control.sqlite", held, release))
    holder.start()
    try:
        assert held.wait(10)
        for _ in range(14):
            agent.call(next(calls))
        agent.flush()
        wait_for("the control store refuses", lambda: "database is locked" in service.said())
        assert runtime.messages == []
    finally:
        release.set()
        holder.join()
    assert agent.halted.wait(30), service.said()
    assert_halted(service, runtime, agent)


def test_healthy_agent_is_left_alone(start_service: Callable[..., Service], start_agent: Callable[..., Agent], runtime: Runtime) -> None:
    service = start_service(exact_loop="halt", soft_loop="halt", context_overflow="halt", cost_runaway="halt")
    agent = start_agent("grpc", service.grpc)
    topics = ("glacier ice volume", "tram timetable Basel", "bread proofing humidity", "lens coating chemistry", "owl nesting boxes")
    agent.run(
        Call("search_docs", {"query": topic}, f"{topic}: {number} entries, first by {author}")
        for number, (topic, author) in enumerate(zip(topics, ("Meier", "Okafor", "Lindqvist", "Tanaka", "Ruiz"), strict=True), 2)
    )
    agent.finish()
    wait_for("every call is recorded", lambda: (service.session(agent.session_id) or {}).get("tool_calls") == agent.calls == 5)
    session = service.get(f"sessions/{agent.session_id}")
    assert (session["findings"], session["halts"], runtime.messages) == ([], [], [])
    assert session["cost_usd"] is not None
