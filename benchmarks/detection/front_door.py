"""Labelled sessions through the front door: written as OTLP, read by `overcurrent replay`, findings mapped back to steps."""

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from benchmarks.detection.labelled import CEILING_USD, Labelled
from benchmarks.detection.running import Fire, Run, without_content
from detectors.model import Severity, Step, StepKind

_SPANS_A_REQUEST = 8
_BETWEEN_SESSIONS_NS = 60_000_000_000


def watch_all(sessions: Iterable[Labelled], *, strip: bool = False) -> list[Run]:
    """Runs the sessions through `overcurrent replay`, those left out that need more than their telemetry to be judged."""
    known = [session for session in sessions if session.steps and not session.circumstances]
    with tempfile.TemporaryDirectory() as folder:
        recording, config = Path(folder) / "sessions.jsonl", Path(folder) / "overcurrent.yaml"
        with recording.open("wb") as out:
            for number, session in enumerate(known):
                for request in _requests(session, number * _BETWEEN_SESSIONS_NS, strip=strip):
                    out.write(msgspec.json.encode(request) + b"\n")
        config.write_text(yaml.safe_dump(_config(known)), encoding="utf8")
        command = [sys.executable, "-m", "collector.cli", "replay", "--format", "json", "--config", str(config), str(recording)]
        done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode not in {0, 1} or b"Traceback" in done.stderr:
        raise RuntimeError(f"replay failed: {done.stderr.decode(errors='replace')[-500:]}")
    return _runs(known, done.stdout)


def _runs(sessions: list[Labelled], output: bytes) -> list[Run]:
    places = {step.span_id: (session.id, index) for session in sessions for index, step in enumerate(session.steps)}
    fires: dict[str, list[Fire]] = {}
    for line in output.splitlines():
        row: dict[str, Any] = msgspec.json.decode(line)
        if row["type"] != "finding" or row["session_id"] is None or row["span_id"] not in places:
            continue  # what is about a fleet or a workflow is not judged here
        session_id, index = places[row["span_id"]]
        fire = Fire(
            detector=row["detector"],
            cause=row["halt_reason"] or row["detector"],
            at=index,
            severity=Severity(row["severity"]),
            halt_eligible=row["halt_eligible"],
            evidence=row["evidence_level"],
            score=row["score"],
            strength=row["evidence"]["strength"],
        )
        fires.setdefault(session_id, []).append(fire)
    return [Run(session, tuple(fires.get(session.id, ()))) for session in sessions]


def _service(session: Labelled) -> str:
    """Sessions with the same budget and polling tools make an agent type, told by its service."""
    if not session.polling_tools and session.ceiling_usd is None:
        return "bench"
    return "-".join(["bench", *sorted(session.polling_tools), *(["budget"] if session.ceiling_usd is not None else [])]).replace("_", "-")


def _config(sessions: Iterable[Labelled]) -> dict[str, Any]:
    types: dict[str, Any] = {}
    for session in sessions:
        name = _service(session)
        if name in types:
            continue
        own: dict[str, Any] = {"match": {"service_name": name}, "budgets": {}}
        if session.polling_tools:
            own["tools"] = {"polling": sorted(session.polling_tools)}
        if session.ceiling_usd is not None:
            own["budgets"] = {"session_usd": float(CEILING_USD)}
        types[name] = own
    return {"agent_types": types}


def _requests(session: Labelled, shift_ns: int, *, strip: bool) -> Iterator[dict[str, Any]]:
    trace = session.steps[0].trace_id
    root = f"{trace[16:24]}ffffffff"
    spans = [_span(session, without_content(step) if strip else step, root, shift_ns) for step in session.steps]
    whole = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.conversation.id": session.id}
    start, end = session.steps[0].started_ns + shift_ns, session.steps[-1].ended_ns + shift_ns
    spans.append({"traceId": trace, "spanId": root, "name": "invoke_workflow bench", **_rest(whole, start, end)})
    resource = {"attributes": _attributes({"service.name": _service(session)})}
    for at in range(0, len(spans), _SPANS_A_REQUEST):
        yield {
            "resourceSpans": [
                {"resource": resource, "scopeSpans": [{"scope": {"name": "bench"}, "spans": spans[at : at + _SPANS_A_REQUEST]}]}
            ]
        }


def _rest(attributes: dict[str, Any], start: int, end: int) -> dict[str, Any]:
    return {
        "kind": 1,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(end),
        "attributes": _attributes(attributes),
        "status": {},
    }


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in values.items()
        if value is not None
    ]


def _messages(role: str, text: str | None) -> str | None:
    return None if text is None else msgspec.json.encode([{"role": role, "parts": [{"type": "text", "content": text}]}]).decode()


def _span(session: Labelled, step: Step, root: str, shift_ns: int) -> dict[str, Any]:
    values: dict[str, Any] = {"gen_ai.conversation.id": session.id, "gen_ai.agent.name": step.agent or "agent"}
    if step.kind is StepKind.TOOL:
        operation, name = "execute_tool", step.name
        values |= {
            "gen_ai.tool.name": name,
            "gen_ai.tool.call.id": f"call-{step.span_id}",
            "gen_ai.tool.call.arguments": step.arguments,
            "gen_ai.tool.call.result": step.result,
        }
    else:
        operation, name = ("chat", step.model) if step.kind is StepKind.LLM else ("invoke_agent", step.agent)
        values |= {
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": step.model,
            "gen_ai.input.messages": _messages("user", step.input_text),
            "gen_ai.output.messages": _messages("assistant", step.output_text),
            "gen_ai.usage.input_tokens": step.input_tokens,
            "gen_ai.usage.output_tokens": step.output_tokens,
        }
    values["gen_ai.operation.name"] = operation
    if step.error:
        values["error.type"] = step.error_type
    span: dict[str, Any] = {"traceId": step.trace_id, "spanId": step.span_id, "parentSpanId": root, "name": f"{operation} {name}"}
    span |= _rest(values, step.started_ns + shift_ns, step.ended_ns + shift_ns)
    if step.error:
        span["status"] = {"code": 2, "message": step.error_message or ""}
    return span
