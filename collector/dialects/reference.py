"""Writes docs/dialects.md out of what the dialects say about themselves: `python -m collector.dialects.reference`."""

import inspect
import re
import sys
from pathlib import Path
from typing import Final

from collector.dialects import DIALECTS, evaluations

HEADINGS: Final = ("Recognises", "Keys", "Tokens", "Session", "Turn", "Known gaps", "Versions seen", "Switch")
PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "dialects.md"
_START: Final = re.compile(rf"^({'|'.join(HEADINGS)}):")

_ROWS: Final = (
    ("OpenTelemetry openai-v2", "otel_genai"),
    ("OpenTelemetry openai-agents-v2", "openai_agents_otel"),
    ("VS Code Copilot Chat", "otel_genai"),
    ("Anthropic SDK", "anthropic_sdk"),
    (
        "OpenInference: LangChain, LangGraph (Python, JS), OpenAI Agents (Python, JS), LlamaIndex, CrewAI, agno, smolagents, DSPy",
        "openinference",
    ),
    ("OpenLLMetry (Traceloop): OpenAI, Anthropic, LangChain, OpenAI Agents, CrewAI, MCP; LangGraph JS", "openllmetry"),
    ("OpenLIT", "openlit"),
    ("Pydantic AI, formats 1 to 6", "pydantic_ai"),
    ("Logfire: OpenAI, Anthropic, OpenAI Agents", "logfire"),
    ("LangSmith", "langsmith"),
    ("Langfuse (Python 3 and 5, JS)", "langfuse"),
    ("MLflow", "mlflow"),
    ("Strands Agents", "strands"),
    ("Google ADK", "google_adk"),
    ("Microsoft Agent Framework", "agent_framework"),
    ("Microsoft AutoGen", "autogen"),
    ("Haystack", "haystack"),
    ("LiteLLM proxy", "litellm"),
    ("Vercel AI SDK 4 to 7", "vercel_ai"),
    ("Mastra", "mastra"),
    ("MCP client and server", "mcp"),
    ("Claude Code", "claude_code"),
    ("Codex CLI", "codex_cli"),
    ("Gemini CLI", "gemini_cli"),
    ("Qwen Code", "qwen_code"),
    ("GitHub Copilot CLI", "copilot_cli"),
    ("OpenCode", "opencode"),
    ("OpenClaw", "openclaw"),
    ("Goose", "goose"),
)

_HAYSTACK: Final = (
    "two spans a run; calls stand only in the text of the run's output, which cannot be told from those of another "
    "instrumentation beside it. Use Haystack's own tracing"
)
UNKNOWN: Final = (
    ("Haystack through OpenInference", "model and tool calls", _HAYSTACK),
    ("LlamaIndex through OpenInference", "tokens", "not sent while streaming, its default. Such calls are unmetered"),
    ("LangChain through MLflow", "reasoning tokens", "only in the state of the graph's node, not on the model call"),
    ("openai-v2, Responses API", "everything", "the instrumentation sends no spans for it"),
    ("OpenLIT without content", "tools", "neither messages nor tool spans are sent"),
    ("OpenLLMetry decorators without content", "names of tools", "a decorated function may be a tool or dispatch to tools"),
    ("OpenLLMetry for CrewAI", "hidden tools", "no tool spans: calls show through the next prompt"),
    ("Claude Code", "tool calls that its validation rejects", "no record of them; raw API bodies are not read"),
    ("Claude Code", "reasoning tokens", "not told apart by the API"),
    ("Any agent that is killed", "the last calls", "they were not exported"),
    ("OpenCode", "the last model call", "the process ends before it is exported"),
    ("AutoGen", "model, cached and reasoning tokens", "not in the messages"),
    ("Google ADK by default", "arguments and results of tools", "content is off by default"),
)


def sections(dialect: object) -> dict[str, str]:
    """What a dialect's docstring says under each heading; "" holds the first line."""
    found: dict[str, str] = {}
    heading = ""
    for line in inspect.cleandoc(type(dialect).__doc__ or "").splitlines():
        start = _START.match(line)
        heading = heading if start is None else start[1]
        text = (line if start is None else line[start.end() :]).strip()
        if text:
            found[heading] = f"{found[heading]} {text}" if heading in found else text
    return found


def page() -> str:
    """The whole of docs/dialects.md."""
    known = {dialect.name: sections(dialect) for dialect in DIALECTS}
    lines = [
        "# Dialects",
        "",
        "<!-- Made by `python -m collector.dialects.reference` from the docstrings in collector/dialects. Do not edit. -->",
        "",
        "How Overcurrent reads what agents and instrumentations send. A figure that cannot be known is null, never a guess. For",
        "all: input tokens are shown with everything cached, output tokens with all reasoning, whichever way they were sent.",
        "",
        "| framework | tokens | session | unknown | switch to turn on |",
        "|---|---|---|---|---|",
        *(f"| [{title}](#{name}) | {_cell(known[name], 'Tokens')} | {_cell(known[name], 'Session')} "
          f"| {_cell(known[name], 'Known gaps')} | {_cell(known[name], 'Switch')} |" for title, name in _ROWS),
        "",
        "## What stays unknown, and why",
        "",
        "| where | what | why |",
        "|---|---|---|",
        *(f"| {where} | {what} | {why} |" for where, what, why in UNKNOWN),
        "",
        "## Tool calls",
        "",
        "A tool call is taken from its own record; else from the model's request and the outcome in the next prompt. Records",
        "without a call id are matched to requests by name, arguments and time. A call whose name only sounds like a hand-off",
        "(`transfer_to_savings`) is a tool; it is a hand-off where the framework says so or made up the name",
        "(`transfer_to_agent`, `transfer_to_<x>_agent`, `handoff to <x>`).",
        "",
        "## Judgements",
        "",
        *inspect.cleandoc(evaluations.__doc__ or "").splitlines(),
    ]  # fmt: skip
    for dialect in DIALECTS:
        found = known[dialect.name]
        lines += ["", f"## {dialect.name}", "", found.get("", ""), ""]
        lines += [f"- **{heading}**: {found[heading]}" for heading in HEADINGS if heading in found]
    return "\n".join(lines) + "\n"


def _cell(found: dict[str, str], heading: str) -> str:
    return found.get(heading, "").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE} written\n")
