"""The real process, killed while agents send."""

import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest

from collector.model import Request
from tests.e2e.programs import Service

from .test_restart import STORY


def _came_to(service: Service) -> dict[str, Any]:
    sessions = service.get("sessions", limit=1000)["sessions"]
    numbers = ("steps", "llm_calls", "tool_calls", "tool_errors", "input_tokens", "output_tokens", "cost_usd", "halt_reason")
    found = {}
    for session in sessions:
        detail = service.get(f"sessions/{session['session_id']}")
        found[session["session_id"]] = (
            [session[name] for name in numbers],
            # The clock is years ahead of the story, and a slow machine gives it time to tell: silence is not what this is about.
            sorted(
                (finding["id"], finding["severity"], finding["halt_eligible"])
                for finding in detail["findings"]
                if finding["detector"] != "abandoned"
            ),
            [(halt["verb"], halt["halt_reason"], halt["finding"]) for halt in detail["halts"]],
        )
    return found


def _load(service: Service, requests: list[Request], acknowledged: list[int], first: int) -> None:
    """Sends until the service is gone; notes what was acknowledged."""
    try:
        for place in range(first, len(requests)):
            service.send(requests[place])
            acknowledged.append(place)
    except httpx2.HTTPError:
        pass


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_killed_while_agents_send_it_loses_nothing_and_halts_once(tmp_path: Path) -> None:
    config = {"detectors": {"exact_loop": {"mode": "halt"}, "soft_loop": {"mode": "halt"}}}
    with Service(tmp_path / "whole", config) as service:
        for sent in STORY:
            service.send(sent)
        expected = _came_to(service)
    assert any(halts for _, _, halts in expected.values())

    sent = 0
    for after in (7, 16):
        with Service(tmp_path / "killed", config) as service:
            acknowledged: list[int] = []
            # What was sent last before the kill is sent again: its answer may have been lost.
            loader = threading.Thread(target=_load, args=(service, STORY[: sent + 25], acknowledged, max(0, sent - 2)))
            loader.start()
            while len(acknowledged) < after and loader.is_alive():
                loader.join(0.01)
            service.kill()
            loader.join()
            sent = max([sent, *(place + 1 for place in acknowledged)])
    with Service(tmp_path / "killed", config) as service:
        for late in STORY[max(0, sent - 2) :]:
            service.send(late)
        assert _came_to(service) == expected
        assert service.stop() == 0
