"""Recorded payloads and what is expected of them. `python -m tests.dialects.captures` writes the expectations anew: read the diff."""

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from collector.decode import decode
from collector.dialects import fragment_of, fragment_of_log
from collector.dialects.base import Fragment
from collector.model import Encoding, Request, Signal
from collector.session_sums import steps_of
from collector.telemetry_data import LogRecord, Span
from detectors.model import Step
from tests.core.agents import Run

FOLDER = Path(__file__).parent / "golden"
SCENARIOS = sorted(path.parent for path in FOLDER.glob("*/*/facts.json"))
_SIGNALS: dict[str, Signal] = {"traces": "traces", "logs": "logs"}
_ENCODINGS: dict[str, Encoding] = {"pb": "protobuf", "json": "json"}
_EXACT = (
    "kind", "name", "agent", "provider", "model", "input_tokens", "cached_input_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "output_tokens", "reasoning_tokens", "cost_basis", "finish_reasons", "error", "error_class",
    "call_id", "dialect",
)  # fmt: skip
_SHOWN = 60


def name_of(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def requests(folder: Path) -> Iterator[Request]:
    """The recorded request bodies, in order of arrival."""
    for path in sorted(folder.iterdir()):
        parts = path.name.split(".")
        if len(parts) == 3 and parts[1] in _SIGNALS:
            yield Request(signal=_SIGNALS[parts[1]], encoding=_ENCODINGS[parts[2]], body=path.read_bytes())


def items(folder: Path) -> list[Span | LogRecord]:
    found: list[Span | LogRecord] = []
    for request in requests(folder):
        decoded = decode(request)
        found += decoded.spans
        found += decoded.logs
    return found


@cache
def fragments(folder: Path) -> list[Fragment]:
    """What the dialects make of each item by itself. To be looked at only: an assembler would fill the steps in."""
    found = (fragment_of(item) if isinstance(item, Span) else fragment_of_log(item) for item in items(folder))
    return [fragment for fragment in found if fragment is not None]


def steps(run: Run) -> list[Step]:
    """Every step that counts at the end, in order of time."""
    return sorted(steps_of(run.events), key=lambda step: (step.started_ns, step.ended_ns, step.span_id, step.call_id or ""))


@cache
def facts(folder: Path) -> dict[str, Any]:
    """What the agent really did, as the model server that it talked to saw it."""
    found: dict[str, Any] = json.loads((folder / "facts.json").read_text())
    return found


def outcome(run: Run) -> list[dict[str, Any]]:
    """The steps that stand at the end, each with the facts that must be exact and without what is absent."""
    found = []
    for step in steps(run):
        told = {field: getattr(step, field) for field in _EXACT if getattr(step, field) not in (None, (), "")}
        told["session"] = run.assembler.survivor(step.session).session_id
        told["cost_usd"] = None if step.cost_usd is None else str(step.cost_usd)
        told |= {field: _short(getattr(step, field)) for field in ("arguments", "result")}
        found.append({field: value for field, value in told.items() if value is not None})
    return found


def _short(value: str | None) -> str | None:
    return value if value is None or len(value) <= _SHOWN else value[:_SHOWN] + "…"


def written(found: list[dict[str, Any]]) -> str:
    """One step a line, so that a diff shows which changed."""
    return "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False, default=str) for item in found) + "\n]\n"


if __name__ == "__main__":
    for scenario in SCENARIOS:
        (scenario / "expected.json").write_text(written(outcome(Run().send_each(*requests(scenario)))))
    sys.stdout.write(f"{len(SCENARIOS)} written\n")
