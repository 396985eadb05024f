"""Recorded payloads and what is expected of them. `python -m tests.dialects.captures` writes the expectations anew: read the diff."""

import json
import sys
from collections.abc import Iterator
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

FOLDER = Path(__file__).parent.parent / "captures"
SCENARIOS = sorted(path.parent for path in FOLDER.glob("*/*/facts.json"))
_SIGNALS: dict[str, Signal] = {"traces": "traces", "logs": "logs"}
_ENCODINGS: dict[str, Encoding] = {"pb": "protobuf", "json": "json"}
_LEFT_OUT = {
    "seq",
    "session",
    "started_ns",
    "ended_ns",
    "trace_id",
    "span_id",
    "parent_span_id",
    "dialect",
    "service_name",
    "service_instance",
    "asks",
}


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


def fragments(folder: Path) -> list[Fragment]:
    found = (fragment_of(item) if isinstance(item, Span) else fragment_of_log(item) for item in items(folder))
    return [fragment for fragment in found if fragment is not None]


def assembled(folder: Path) -> list[Step]:
    """The steps that the recorded requests come to, in order of time."""
    return steps(Run().send_each(*requests(folder)))


def steps(run: Run) -> list[Step]:
    """Every step that counts at the end, in order of time."""
    return sorted(steps_of(run.events), key=lambda step: (step.started_ns, step.ended_ns, step.span_id, step.call_id or ""))


def facts(folder: Path) -> dict[str, Any]:
    """What the agent really did, as the model server that it talked to saw it."""
    found: dict[str, Any] = json.loads((folder / "facts.json").read_text())
    return found


def _short(value: Any) -> Any:
    return value if not isinstance(value, str) or len(value) <= 120 else f"{value[:100]}… ({len(value)})"


def summary(fragment: Fragment) -> dict[str, Any]:
    """A fragment without its ids and times, and without what is absent."""
    step = fragment.step
    found = {} if step is None else {field: _short(getattr(step, field)) for field in step.__struct_fields__ if field not in _LEFT_OUT}
    found |= {
        "session_id": fragment.session_id,
        "supplements": bool(fragment.supplements) or None,
        "root": fragment.is_root or None,
        "twin": fragment.twin_key is not None or None,
        "asks": [[ask.name, ask.arguments] for ask in fragment.asks],
        "answers": [[_short(answer.result), answer.error] for answer in fragment.answers],
        "joins": len(fragment.joins) or None,
        "schemas": [tool for tool, _ in fragment.tool_schemas],
    }
    return {key: value for key, value in found.items() if value not in (None, [], ()) or value is False}


def written(found: list[dict[str, Any]]) -> str:
    """One fragment a line, so that a diff shows which changed."""
    return "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False, default=list) for item in found) + "\n]\n"


if __name__ == "__main__":
    for scenario in SCENARIOS:
        (scenario / "expected.json").write_text(written([summary(fragment) for fragment in fragments(scenario)]))
    sys.stdout.write(f"{len(SCENARIOS)} written\n")
