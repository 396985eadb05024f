"""Every row of the measured tables of dialects, and every version of the conventions: what shows that it is read, or why it is not.

A row is shown by a golden recording (its pair) or by a test with a payload made by hand (its name).
"""

import pytest

from tests.dialects import test_frameworks, test_neighbours, test_tokens
from tests.dialects.test_coverage import PAIRS

ROWS: dict[str, str] = {
    # Python
    "pydantic-ai v1, log records": "pydantic-ai__old1.0-v1-logs",
    "pydantic-ai v1, attributes": "test_content_of_early_conventions",
    "pydantic-ai v2": "pydantic-ai__native-v2",
    "pydantic-ai v3": "pydantic-ai__native-v3",
    "pydantic-ai v4": "pydantic-ai__native-v4",
    "pydantic-ai v5": "pydantic-ai__native-v5",
    "pydantic-ai v6, aggregated names off": "pydantic-ai__native-v6",
    "pydantic-ai, Logfire": "pydantic-ai__logfire",
    "pydantic-ai, Logfire with scrubbing": "pydantic-ai__logfire-scrub",
    "openai, otel-v2 by default": "openai-sdk__otel-v2-old",
    "openai, otel-v2 latest": "openai-sdk__otel-v2-latest",
    "openai, otel-v2 latest, events only": "test_openai_v2_with_content_in_events_only",
    "openai, otel-v2 latest, Responses": "openai-sdk__otel-v2-latest-responses",
    "openai, OpenInference": "openai-sdk__openinference",
    "openai, OpenInference, Responses": "openai-sdk__openinference-responses",
    "openai, OpenLLMetry with decorators": "openai-sdk__openllmetry",
    "openai, OpenLLMetry of 2025": "openai-sdk__openllmetry-2025",
    "anthropic, OpenLLMetry of 2025": "test_content_of_early_conventions",
    "langchain, OpenLLMetry of 2025": "langchain__openllmetry-2025",
    "openai-agents, OpenLLMetry of 2025": "test_openai_agents_through_openllmetry_of_2025_has_arguments_in_the_request_only",
    "openai, OpenLIT": "openai-sdk__openlit",
    "openai, Logfire": "openai-sdk__logfire",
    "anthropic, Logfire": "anthropic-sdk__logfire",
    "anthropic, OpenInference": "anthropic-sdk__openinference",
    "anthropic, OpenLLMetry": "anthropic-sdk__openllmetry",
    "anthropic, native": "anthropic-sdk__native",
    "anthropic, OpenLIT": "anthropic-sdk__openlit",
    "langchain, OpenInference": "langchain__openinference",
    "langchain, OpenInference with GenAI keys": "langchain__openinference-genai-semconv",
    "langchain, OpenLLMetry": "langchain__openllmetry",
    "langchain, LangSmith": "langchain__langsmith-otel",
    "langchain, Langfuse": "langchain__langfuse",
    "Langfuse v5": "langfuse__native-v5",
    "Langfuse v3": "test_langfuse_3_names_the_session_on_its_root_only",
    "MLflow, openai": "mlflow__openai",
    "MLflow, langchain": "langchain__mlflow",
    "MLflow with GenAI keys": "mlflow__openai-genai-semconv",
    "MLflow with a session": "test_mlflow_where_it_exports_the_session",
    "openai-agents, OpenInference": "openai-agents__openinference",
    "openai-agents, otel-v2": "openai-agents__otel-v2",
    "openai-agents, OpenLLMetry": "openai-agents__openllmetry",
    "openai-agents, OpenLLMetry raw": "openai-agents__openllmetry-raw",
    "openai-agents, Logfire": "openai-agents__logfire",
    "Strands": "strands__native",
    "Strands of 2025": "strands__native-2025",
    "Strands latest, events; swarm": "test_strands_with_details_in_events",
    "Strands latest, attributes": "strands__native-latest-spanattrs",
    "Google ADK, LiteLLM": "google-adk__native-litellm",
    "Google ADK, LiteLLM latest": "google-adk__native-litellm-latest",
    "Google ADK, Gemini": "test_span",
    "Google ADK, old schema": "google-adk__native-schema-v1",
    "Google ADK of 2025": "google-adk__native-2025",
    "agent-framework": "agent-framework__native",
    "agent-framework, Responses": "agent-framework__native-responses",
    "AutoGen": "autogen__native",
    "CrewAI, OpenInference": "crewai__openinference",
    "CrewAI, OpenLLMetry": "crewai__openllmetry",
    "LlamaIndex": "llamaindex__openinference",
    "smolagents": "smolagents__openinference",
    "Haystack": "haystack__native",
    "Haystack, OpenInference": "haystack__openinference",
    "DSPy": "dspy__openinference",
    "agno": "agno__openinference",
    "LiteLLM proxy": "litellm-proxy__otel",
    "LiteLLM proxy, latest": "litellm-proxy__otel-latest",
    "MCP": "mcp__native",
    "MCP, OpenLLMetry": "mcp__openllmetry",
    # JavaScript and coding agents
    "Claude Code": "claude-code",
    "Claude Code, detailed tracing": "test_claude_codes_detailed_tracing_tells_what_tools_returned",
    "Codex CLI": "codex-cli",
    "Gemini CLI": "gemini-cli",
    "Qwen Code": "qwen-code",
    "Copilot CLI": "copilot-cli",
    "VS Code Copilot Chat": "test_vscode_copilot",
    "OpenCode": "opencode",
    "OpenClaw, Goose": "test_goose_and_openclaw_as_a_whole",
    "AI SDK 4": "vercel-ai-v4",
    "AI SDK 5": "vercel-ai-v5",
    "AI SDK 5, Anthropic": "vercel-ai-v5__anthropic",
    "AI SDK 6": "vercel-ai-v6",
    "AI SDK 6 with OpenInference": "vercel-ai-v6__openinference",
    "AI SDK 7": "vercel-ai-v7",
    "OpenAI Agents JS": "openai-agents-js",
    "OpenAI Agents JS, seen twice": "test_openai_agents_js_seen_by_two_instrumentations_counts_once",
    "LangGraph JS, OpenInference": "langgraph-js",
    "LangGraph JS, Traceloop: model calls twice": "test_two_instrumentations_of_one_call_that_share_no_id_count_once",
    "LangGraph JS, Traceloop: tools": "test_langgraph_js_through_traceloop_names_tools_after_their_class",
    "Mastra": "mastra",
    "Langfuse JS": "langfuse-js",
    "LangSmith JS": "test_langsmiths_javascript_sdk",
    # Conventions
    "1.26, 1.27": "test_content_of_early_conventions",
    "1.28 to 1.36": "openai-sdk__otel-v2-2025",
    "1.37, 1.38": "openai-sdk__otel-v2-latest",
    "1.39": "mcp__native",
    "1.40, 1.41": "test_span",
    "after 1.41": "copilot-cli",
}
NOT_READ = {
    "OpenHands": "its attribute keys are nowhere documented; what it sends through LiteLLM is read as LiteLLM's",
    "Cline": "has no public list of keys",
    "Sentry": "no dialect of its own: its names of tokens are read beside the conventions'",
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_shown_to_be_read(row: str) -> None:
    shown = ROWS[row]
    by_hand = [one for one in (test_frameworks, test_neighbours, test_tokens) if callable(getattr(one, shown, None))]
    assert shown in PAIRS or by_hand


def test_every_golden_pair_and_every_neighbour_stands_for_a_row() -> None:
    variants = ("-stream", "-content", "-raw", "-chat", "-responses", "-anthropic", "-mixed", "old1.0-v2", "old1.0-v3")
    assert not {pair for pair in PAIRS - set(ROWS.values()) if not pair.endswith(variants)}
    assert not set(ROWS) & set(NOT_READ)
