"""Whatever conformance leaves unknown has a reason in docs/dialects.md, or the command that compares them says so."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.unknown import reasons
from collector.dialects.reference import PAGE, UNKNOWN
from tests.dialects.captures import SCENARIOS

FACTS = {"llm_calls", "tool_calls", "tool_names", "tool_arguments", "input_tokens", "cached_input_tokens", "output_tokens"}
FACTS |= {"reasoning_tokens", "session", "tool_errors", "finding"}


def result(capture: str, **verdict: str) -> dict[str, object]:
    return {"rows": [{"capture": capture, "verdict": verdict}, {"capture": "broken/normal", "crash": "x"}]}


def test_reasons_are_those_of_the_page() -> None:
    told = list(reasons(result("dspy__openinference/normal", input_tokens="unknown", llm_calls="unknown", output_tokens="right")))
    assert told == [("dspy__openinference/normal", "input_tokens", "not sent"), ("dspy__openinference/normal", "llm_calls", None)]
    assert "not sent" in PAGE.read_text()


def test_rows_speak_of_recordings_and_facts_that_there_are() -> None:
    pairs = {folder.parent.name for folder in SCENARIOS} | {"x"}
    for row in UNKNOWN:
        assert set(row.facts) <= FACTS
        assert bool(row.facts) == bool(row.recordings)
        for pattern in row.recordings:
            assert any(Path(pair).match(pattern.partition("/")[0]) for pair in pairs), pattern


def test_the_command_fails_where_a_reason_lacks(tmp_path: Path) -> None:
    for capture, code in (("dspy__openinference/normal", 0), ("openai-sdk__openinference/normal", 1)):
        file = tmp_path / "conformance.json"
        file.write_text(json.dumps(result(capture, input_tokens="unknown")))
        done = subprocess.run([sys.executable, "-m", "benchmarks.unknown", file], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert f"1 unknown, {code} of them not listed" in done.stdout
