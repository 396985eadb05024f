"""Rows of the measured tables that no recording shows, as they are described: steps, tokens, tools and session."""
# ruff: noqa: E501 - one row of a table a line

from collector.telemetry_data import SpanEvent
from detectors.model import StepKind
from tests.dialects.spans import made
from tests.dialects.test_frameworks import TOKENS, final, of

CLAUDE = "com.anthropic.claude_code.tracing"


def test_claude_codes_detailed_tracing_tells_what_tools_returned() -> None:
    session = {"session.id": "s"}
    told = "[TOOL RESULT: toolu_1]\nREADME.md\n\nconfig.yml\n\n---\n\n[TOOL RESULT: toolu_2]\n<tool_use_error>No such tool</tool_use_error>\n\n---\n\n[USER]\nGo on.\n\n<system-reminder>\nx\n</system-reminder>"
    steps, _ = final(
        made({**session, "tool_name": "Bash", "tool_use_id": "toolu_1"}, name="claude_code.tool", scope=CLAUDE, span_id="b" * 16),
        made({**session, "tool_name": "Edit", "tool_use_id": "toolu_2"}, name="claude_code.tool", scope=CLAUDE, span_id="c" * 16),
        made({**session, "model": "claude-sonnet-4-5", "new_context": told}, name="claude_code.llm_request", scope=CLAUDE, at=2),
    )
    assert [(step.name, step.result, step.error) for step in of(StepKind.TOOL, steps)] == [
        ("Bash", "README.md\n\nconfig.yml", None),
        ("Edit", "<tool_use_error>No such tool</tool_use_error>", True),
    ]
    assert of(StepKind.LLM, steps)[0].input_text == "Go on."


def test_what_claude_code_read() -> None:
    event = SpanEvent(name="tool.output", attributes={"file_path": "a", "content": "# Demo"}, time_ns=0)
    steps, _ = final(made({"session.id": "s", "tool_name": "Read", **TOKENS}, name="claude_code.tool", scope=CLAUDE, events=[event]))
    assert steps[0].result == "# Demo"
