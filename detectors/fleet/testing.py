"""Builders for tests and examples of fleet detectors."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from detectors.fleet.base import FleetDetector
from detectors.fleet.host import FleetHost
from detectors.model import Evaluation, Finding, SchemaRegistered, SessionKey, Step
from detectors.testing import session


def spread(steps: Sequence[Step], *, sessions: int) -> list[Step]:
    """Puts steps one after the other, two seconds each, in so many sessions in turn."""
    keys = [SessionKey("default", "", f"s{number + 1}") for number in range(sessions)]
    return [msgspec.structs.replace(step, session=keys[place % sessions]) for place, step in enumerate(session(*steps))]


def run(
    kind: type[FleetDetector[Any]], events: Iterable[Step | SchemaRegistered | Evaluation], agent_type: str = "planner"
) -> list[Finding]:
    """Drives one detector over events and returns what is found."""
    host = FleetHost("default", detectors=(kind,))
    found: list[Finding] = []
    for event in events:
        if isinstance(event, Step):
            found += host.observe(event, agent_type)
        elif isinstance(event, SchemaRegistered):
            found += host.registered(event)
        else:
            found += host.evaluated(event, agent_type)
    return found
