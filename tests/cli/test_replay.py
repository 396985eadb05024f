"""Recordings in every form they are kept in, and what replay says of them."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.otlp import as_json
from collector.web.schemas import Finding, Session, Step
from tests.core.agents import Made, agent, llm, loop, request, tool
from tests.dialects.captures import FOLDER as GOLDEN

from .conftest import Command

HEALTHY = [llm("a", session="s"), tool("b", "search", {"q": 1}, "found", session="s", at=2)]
LOOP = [*loop("t", rounds=12), agent("t root", trace="t", session="looping", lasts=500)]


def protobuf(spans: list[Made]) -> bytes:
    return request(*spans).body


def otlp_json(spans: list[Made]) -> bytes:
    return json.dumps(as_json(ExportTraceServiceRequest.FromString(protobuf(spans)))).encode()


def lines(spans: list[Made]) -> bytes:
    return b"\n".join(otlp_json([span]) for span in spans) + b"\n\n"


FORMS: dict[str, Callable[[list[Made]], bytes]] = {
    "a.traces.pb": protobuf,
    "a.traces.bin": protobuf,
    "a.traces.json": otlp_json,
    "a.jsonl": lines,
    "a.ndjson": lines,
    "a.json": otlp_json,
    "a.traces.pb.gz": lambda spans: gzip.compress(protobuf(spans)),
    "a.jsonl.gz": lambda spans: gzip.compress(lines(spans)),
    "a.traces.json.zst": lambda spans: zstandard.compress(otlp_json(spans)),
    "a.jsonl.zst": lambda spans: zstandard.compress(lines(spans[:3])) + zstandard.compress(lines(spans[3:])),
}


def of(kind: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["type"] == kind]


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_recording_says_the_same(overcurrent: Command, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FORMS[name](LOOP))
    ran = overcurrent("replay", "--format", "json", tmp_path / name)
    assert (ran.status, ran.err) == (1, "")
    (session,) = of("session", ran.lines)
    assert (session["session_id"], session["llm_calls"], session["tool_calls"]) == ("looping", 12, 12)
    assert any(row["detector"] == "exact_loop" and row["severity"] == "critical" for row in of("finding", ran.lines))


def test_a_name_that_says_nothing_needs_the_signal(overcurrent: Command, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(protobuf(HEALTHY))
    ran = overcurrent("replay", tmp_path / "body")
    assert ran.status == 1
    assert "give --signal" in ran.err
    assert overcurrent("replay", "--signal", "traces", "--format", "json", tmp_path / "body").lines[-1]["steps"] == 2


def test_a_folder_is_its_recordings_in_name_order(overcurrent: Command, tmp_path: Path) -> None:
    (tmp_path / "2.traces.pb").write_bytes(protobuf(HEALTHY[1:]))
    (tmp_path / "1.jsonl.gz").write_bytes(gzip.compress(lines(HEALTHY[:1])))
    (tmp_path / "notes.txt").write_text("not telemetry")
    (tmp_path / "expected.json").write_text("[]")
    ran = overcurrent("replay", "--steps", "--format", "json", tmp_path)
    assert (ran.status, ran.err) == (0, "")
    assert [(row["kind"], row["step"]) for row in of("step", ran.lines)] == [("llm", 1), ("tool", 2)]


def test_lines_are_exactly_the_objects_of_the_contract(overcurrent: Command, tmp_path: Path) -> None:
    (tmp_path / "a.traces.pb").write_bytes(protobuf(LOOP))
    ran = overcurrent("replay", "--steps", "--format", "json", tmp_path)
    rows = ran.lines
    kinds = [row.pop("type") for row in rows]
    assert set(kinds) == {"finding", "step", "session"}
    assert kinds == sorted(kinds, key=["finding", "step", "session"].index)
    models = {"finding": Finding, "step": Step, "session": Session}
    for kind, row in zip(kinds, rows, strict=True):
        models[kind].model_validate(row)
        assert set(row) <= set(models[kind].model_fields) | {f.alias for f in models[kind].model_fields.values() if f.alias}


def test_findings_carry_the_name_of_their_time_and_sessions_the_final_one(overcurrent: Command, tmp_path: Path) -> None:
    for number, made in enumerate(LOOP):
        (tmp_path / f"{number:02}.traces.pb").write_bytes(protobuf([made]))
    rows = overcurrent("replay", "--format", "json", tmp_path).lines
    (session,) = of("session", rows)
    assert session["session_id"] == "looping"
    assert {row["session_id"] for row in of("finding", rows)} == set(session["merged_from"])


def test_what_the_last_records_tell_is_looked_at(overcurrent: Command) -> None:
    """Spans first, log records with how each call ended last, and nothing after them."""
    ran = overcurrent("replay", "--format", "json", GOLDEN / "claude-code" / "retrystorm")
    assert [row["detector"] for row in of("finding", ran.lines)] == ["retry_storm"]


def test_replay_is_deterministic(overcurrent: Command, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(LOOP))
    runs = {overcurrent("replay", "--steps", "--format", "json", tmp_path).out for _ in range(3)}
    assert len(runs) == 1


def test_text_is_for_people_and_drives_no_terminal(overcurrent: Command, tmp_path: Path) -> None:
    (tmp_path / "a.traces.pb").write_bytes(protobuf([llm("a", session="x\x1b[2J"), tool("b", "\x1b]0;t\x07", session="x\x1b[2J")]))
    ran = overcurrent("replay", "--steps", tmp_path)
    assert ran.status == 0
    assert "2 steps: 1 model calls, 1 tool calls" in ran.out
    assert "\x1b[2J" not in ran.out
    assert "\x07" not in ran.out


BROKEN: dict[str, tuple[str, bytes]] = {
    "not protobuf": ("a.traces.pb", b"\xff\xff\xff"),
    "not gzip": ("a.traces.pb.gz", b"plain"),
    "cut off": ("a.traces.pb.gz", gzip.compress(b"x" * 1000)[:-9]),
    "not zstd": ("a.traces.pb.zst", b"plain"),
    "not OTLP": ("a.jsonl", b'{"hello": 1}\n'),
    "not JSON": ("a.jsonl", b"hello\n"),
    "half a line": ("a.traces.json", b'{"resourceSpans": ['),
    "empty": ("a.jsonl", b""),
}


@pytest.mark.parametrize(("name", "content"), BROKEN.values(), ids=BROKEN)
def test_a_broken_recording_is_one_line_that_names_it(overcurrent: Command, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    ran = overcurrent("replay", tmp_path / name)
    assert ran.status in {0, 1}
    assert ran.err.startswith("overcurrent: ")
    assert name in ran.err
    assert len(ran.err.splitlines()) == 1
    assert "Traceback" not in ran.err


def test_a_path_that_is_not_there(overcurrent: Command, tmp_path: Path) -> None:
    ran = overcurrent("replay", tmp_path / "missing")
    assert (ran.status, len(ran.err.splitlines())) == (1, 1)
    assert "no such file" in ran.err


def test_one_bad_line_does_not_hide_the_others(overcurrent: Command, tmp_path: Path) -> None:
    (tmp_path / "a.traces.pb").write_bytes(b"\xff\xff")
    (tmp_path / "b.traces.pb").write_bytes(protobuf(HEALTHY))
    ran = overcurrent("replay", "--format", "json", tmp_path)
    assert [row["session_id"] for row in of("session", ran.lines)] == ["s"]
    assert len(ran.err.splitlines()) == 1
