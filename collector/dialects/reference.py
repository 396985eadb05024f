"""Writes docs/dialects.md out of what the dialects say about themselves: `python -m collector.dialects.reference`."""

import inspect
import re
import sys
from pathlib import Path
from typing import Final, NamedTuple

from collector.dialects import DIALECTS, evaluations

HEADINGS: Final = ("Recognises", "Keys", "Tokens", "Session", "Turn", "Known gaps", "Versions seen", "Switch")
PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "dialects.md"


def _pairs(prefix: str, suffixes: str) -> tuple[str, ...]:
    return tuple(prefix + suffix for suffix in suffixes.split(" "))


_START: Final = re.compile(rf"^({'|'.join(HEADINGS)}):")


class Framework(NamedTuple):
    """A row of the table: what the reader calls it, the dialect that reads it, the recorded pairs that tests hold it to."""

    title: str
    dialect: str
    pairs: tuple[str, ...]


FRAMEWORKS: Final = (
    Framework("OpenTelemetry openai-v2", "otel_genai", _pairs("openai-sdk__otel-v2-", "2025 latest latest-responses old")),
    Framework("OpenTelemetry openai-agents-v2", "openai_agents_otel", ("openai-agents__otel-v2",)),
    Framework("Anthropic SDK", "anthropic_sdk", ("anthropic-sdk__native", "anthropic-sdk__native-content")),
    Framework("OpenInference: OpenAI SDK", "openinference", ("openai-sdk__openinference", "openai-sdk__openinference-responses")),
    Framework("OpenInference: Anthropic SDK", "openinference", ("anthropic-sdk__openinference", "anthropic-sdk__openinference-stream")),
    Framework(
        "OpenInference: LangChain, LangGraph (Python)", "openinference", _pairs("langchain__openinference", " -stream -genai-semconv")
    ),
    Framework("OpenInference: LangGraph JS", "openinference", ("langgraph-js",)),
    Framework("OpenInference: OpenAI Agents (Python)", "openinference", _pairs("openai-agents__openinference", " -chat")),
    Framework("OpenInference: OpenAI Agents JS", "openinference", ("openai-agents-js",)),
    Framework("OpenInference: LlamaIndex", "openinference", ("llamaindex__openinference",)),
    Framework("OpenInference: CrewAI", "openinference", ("crewai__openinference",)),
    Framework("OpenInference: agno", "openinference", ("agno__openinference",)),
    Framework("OpenInference: DSPy", "openinference", ("dspy__openinference",)),
    Framework("OpenInference: smolagents", "smolagents", ("smolagents__openinference",)),
    Framework("OpenInference: Haystack", "haystack_openinference", ("haystack__openinference",)),
    Framework("OpenLLMetry: OpenAI SDK", "openllmetry", _pairs("openai-sdk__openllmetry", " -2025 -responses")),
    Framework("OpenLLMetry: Anthropic SDK", "openllmetry", _pairs("anthropic-sdk__openllmetry", " -stream")),
    Framework("OpenLLMetry: LangChain, LangGraph", "openllmetry", _pairs("langchain__openllmetry", " -raw -2025")),
    Framework("OpenLLMetry: OpenAI Agents", "openllmetry", _pairs("openai-agents__openllmetry", " -raw")),
    Framework("OpenLLMetry: CrewAI", "openllmetry", ("crewai__openllmetry",)),
    Framework("OpenLLMetry: MCP", "openllmetry", ("mcp__openllmetry",)),
    Framework("OpenLIT", "openlit", ("openai-sdk__openlit", "anthropic-sdk__openlit")),
    Framework(
        "Pydantic AI, formats 1 to 6",
        "pydantic_ai",
        (
            *_pairs("pydantic-ai__native-", "v2 v3 v4 v5 v5-anthropic v5-mixed v6"),
            *_pairs("pydantic-ai__", "old1.0-v1-logs old1.0-v2 old1.0-v3 logfire logfire-scrub"),
        ),
    ),
    Framework(
        "Logfire: OpenAI, Anthropic, OpenAI Agents", "logfire", ("openai-sdk__logfire", "anthropic-sdk__logfire", "openai-agents__logfire")
    ),
    Framework("LangSmith", "langsmith", ("langchain__langsmith-otel",)),
    Framework("Langfuse (Python 3 and 5, JS)", "langfuse", ("langfuse__native-v5", "langchain__langfuse", "langfuse-js")),
    Framework("MLflow", "mlflow", ("mlflow__openai", "langchain__mlflow", "mlflow__openai-genai-semconv")),
    Framework("Strands Agents", "strands", _pairs("strands__native", " -2025 -latest-spanattrs")),
    Framework("Google ADK", "google_adk", _pairs("google-adk__native-", "2025 litellm litellm-latest schema-v1")),
    Framework("Microsoft Agent Framework", "agent_framework", _pairs("agent-framework__native", " -responses")),
    Framework("Microsoft AutoGen", "autogen", ("autogen__native",)),
    Framework("Haystack's own tracing", "haystack", ("haystack__native",)),
    Framework("LiteLLM proxy", "litellm", _pairs("litellm-proxy__otel", " -latest")),
    Framework("Vercel AI SDK 4 to 7", "vercel_ai", _pairs("vercel-ai-", "v4 v5 v5__anthropic v6 v6__openinference v7")),
    Framework("Mastra", "mastra", ("mastra",)),
    Framework("MCP client and server", "mcp", ("mcp__native",)),
    Framework("Claude Code", "claude_code", ("claude-code",)),
    Framework("Codex CLI", "codex_cli", ("codex-cli",)),
    Framework("Gemini CLI", "gemini_cli", ("gemini-cli",)),
    Framework("Qwen Code", "qwen_code", ("qwen-code",)),
    Framework("GitHub Copilot CLI", "copilot_cli", ("copilot-cli",)),
    Framework("VS Code Copilot Chat", "vscode_copilot", ()),
    Framework("OpenCode", "opencode", ("opencode",)),
    Framework("OpenClaw", "openclaw", ()),
    Framework("Goose", "goose", ()),
)
"""A framework without pairs was never recorded: it is read from its documentation."""


class Unknown(NamedTuple):
    """Something that telemetry does not tell. `facts` are names of conformance facts, `recordings` patterns of where they lack."""

    where: str
    what: str
    why: str
    recordings: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()


_TOOLS: Final = ("tool_calls", "tool_names", "tool_arguments")
_TOKENS: Final = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
UNKNOWN: Final = (
    Unknown("Haystack through OpenInference", "times of calls; a run that failed", "calls stand only in the output of the run"),
    Unknown("agno through OpenInference", "reasoning tokens", "stand only in the history of later calls"),
    Unknown("DSPy through OpenInference", "tokens", "not sent", ("dspy__openinference/*",), _TOKENS),
    Unknown("LangChain through OpenLLMetry of 2025", "reasoning tokens", "not sent", ("langchain__openllmetry-2025/*",), _TOKENS[3:]),
    Unknown("Strands of 2025", "cached and reasoning tokens", "not sent", ("strands__native-2025/*",), _TOKENS[1::2]),
    Unknown("AI SDK 5 with OpenAI", "cached and reasoning tokens", "not sent", ("vercel-ai-v5/*",), _TOKENS[1::2]),
    Unknown("MLflow with GenAI conventions", "cached and reasoning tokens", "not sent", ("mlflow__*-semconv/*",), _TOKENS[1::2]),
    Unknown("A call asked for last", "that it was made", "no record and no later prompt tells of it"),
    Unknown(
        "LlamaIndex through OpenInference",
        "tokens",
        "not sent while streaming, its default. Such calls are unmetered",
        ("llamaindex__openinference/*",),
        _TOKENS,
    ),
    Unknown(
        "openai-v2, Responses API",
        "everything",
        "the instrumentation sends no spans for it",
        ("openai-sdk__otel-v2-*-responses/*",),
        ("llm_calls", *_TOOLS, *_TOKENS, "session", "finding"),
    ),
    Unknown(
        "OpenLIT without content",
        "whether tools were called",
        "one call asked for is named; no prompts, no tool spans",
        ("*__openlit/*_nocontent",),
        _TOOLS,
    ),
    Unknown("OpenLLMetry decorators without content", "names of tools", "a decorated function may be a tool or dispatch to tools"),
    Unknown("OpenLLMetry for CrewAI", "hidden tools", "no tool spans: calls show through the next prompt"),
    Unknown(
        "OpenAI Agents through Logfire",
        "arguments and results that hold words such as `auth` or `password`, and loops that only they would show",
        "scrubbed by Logfire before they are sent",
        ("openai-agents__logfire/*",),
        ("tool_arguments", "finding"),
    ),
    Unknown(
        "Claude Code",
        "tool calls that its validation rejects",
        "no record of them; raw API bodies are not read. Detailed tracing tells why they failed, but neither tool nor arguments",
        ("claude-code/retrystorm*",),
        _TOOLS,
    ),
    Unknown(
        "Any, of a model of Anthropic",
        "the exact price of what is written to the cache",
        "whether for five minutes or an hour is told by few; else it is priced as five minutes, the default, and `estimated`",
    ),
    Unknown(
        "Any that does not tell what was read from a cache, such as openai-v2, openai-agents-v2, AutoGen, AI SDK 5 with OpenAI",
        "the discount for it",
        "absent and none cannot be told apart: the cost is that of fresh input and `estimated`, from 64 tokens of input on and where "
        "cached input is cheaper. The true one lies between that of all input cached and this. A cost that the sender states and "
        "that is possible is taken instead",
    ),
    Unknown(
        "Any, of a model that speaks",
        "the price of audio, where neither heard nor spoken tokens are counted",
        "all is priced as text, and `estimated`",
    ),
    Unknown(
        "Any, at a service tier such as priority, flex, batch or fast",
        "the price",
        "only list prices are known: a call that tells its tier is unmetered unless its cost is stated; of one that does not, the "
        "usual is taken to be meant",
    ),
    Unknown(
        "Any, where audio is heard or spoken",
        "the price of audio",
        "few count audio; else it is priced as text. Where it is counted but has no price, or is partly cached: unmetered",
    ),
    Unknown("Claude Code", "reasoning tokens", "not told apart by the API", ("claude-code/*",), _TOKENS[3:]),
    Unknown(
        "Any agent that is killed",
        "the last calls, and loops too short without them",
        "they were not exported",
        ("*/*__killed",),
        ("llm_calls", *_TOOLS, *_TOKENS, "finding"),
    ),
    Unknown("OpenCode", "the last model call", "the process ends before it is exported", ("opencode/*",), ("llm_calls", *_TOOLS, *_TOKENS)),
    Unknown("AutoGen", "model, cached and reasoning tokens", "not in the messages", ("autogen__native/*",), _TOKENS[1::2]),
    Unknown(
        "Google ADK by default",
        "arguments and results of tools",
        "content is off by default",
        ("google-adk__*/*",),
        ("tool_arguments",),
    ),
)
"""`python -m benchmarks.unknown` compares what conformance leaves unknown with this."""


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
          f"| {_cell(known[name], 'Known gaps')} | {_cell(known[name], 'Switch')} |" for title, name, _ in FRAMEWORKS),
        "",
        "## What stays unknown, and why",
        "",
        "| where | what | why |",
        "|---|---|---|",
        *(f"| {row.where} | {row.what} | {row.why} |" for row in UNKNOWN),
        "",
        "## Tasks and turns",
        "",
        "A turn (or task: what one request of a person or program sets off) is what the outermost `agent` step of a trace spans; what",
        "each dialect has for it stands under *Turn* below. Where that begins with *none*, nothing marks turns: the session is all there",
        "is. A turn of a sub-agent is no turn of its own unless it has a trace of its own. A hand-off is a step of its own kind; who",
        "takes over is in the same session, or in one that the trace, a link, a shared id or the parent's id makes part of the workflow.",
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


_ALL: Final = "model calls, tokens, tool calls, sessions"
_NO_SESSION: Final = "model calls, tokens, tool calls"
_EXACT: Final = {
    "otel_genai": "model calls, tokens, tool calls where content is sent",
    "openai_agents_otel": "model calls, input and output tokens, tool calls",
    "anthropic_sdk": "model calls, tokens",
    "openlit": "model calls, tokens, tool calls where content is sent",
    "mlflow": _NO_SESSION,
    "agent_framework": _NO_SESSION,
    "autogen": "model calls, input and output tokens, tool calls",
    "haystack": _NO_SESSION,
    "litellm": "model calls, tokens, tool calls that a later prompt tells of, sessions",
    "mcp": "tool calls",
    "vscode_copilot": "not recorded yet: as documented",
    "openclaw": "not recorded yet: as documented",
    "goose": "not recorded yet: as documented",
}
"""What recordings of a dialect were compared with and found true; `_ALL` where nothing is said."""
README: Final = PAGE.parent.parent / "README.md"
_TABLE: Final = re.compile(
    r"(?<=<!-- frameworks: made by `python -m collector.dialects.reference` -->\n).*?(?=<!-- /frameworks -->)", re.DOTALL
)


def readme(text: str) -> str:
    """README with its table of frameworks as the dialects have it now."""
    known = {dialect.name: sections(dialect) for dialect in DIALECTS}
    rows = ["", "| framework | exact | unknown | switch to turn on |", "| --- | --- | --- | --- |"]
    for name in dict.fromkeys(framework.dialect for framework in FRAMEWORKS):
        titles = "; ".join(framework.title for framework in FRAMEWORKS if framework.dialect == name)
        cells = (titles, _EXACT.get(name, _ALL), _cell(known[name], "Known gaps"), _cell(known[name], "Switch"))
        rows.append(f"| {' | '.join(cell.rstrip('.') for cell in cells)} |")
    table = "\n".join([*rows, "", ""])
    return _TABLE.sub(lambda _: table, text)


def _cell(found: dict[str, str], heading: str) -> str:
    return found.get(heading, "").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
    README.write_text(readme(README.read_text()))
    sys.stdout.write(f"{PAGE} and {README} written\n")
