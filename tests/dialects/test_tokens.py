"""What token counts mean, dialect by dialect: every row is 100 input of which 40 were read and 10 written, 20 output of which 5 thought."""
# ruff: noqa: E501 - one row of the table a line

import json
from typing import Any, NamedTuple

import pytest

from collector.dialects.usage_json import usage_of
from tests.dialects.spans import made, record, step


class Meaning(NamedTuple):
    dialect: str
    scope: str
    name: str
    attributes: dict[str, Any]
    tokens: tuple[int | None, int | None, int | None, int | None, int | None]
    """Input, read from the cache, written to it, output, reasoning."""


GEN = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
USED = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20}
OI = {"openinference.span.kind": "LLM", "llm.token_count.prompt": 100, "llm.token_count.completion": 20}
AI = {"ai.operationId": "ai.generateText.doGenerate"}
META = "ai.response.providerMetadata"
ALL = (100, 40, 10, 20, 5)

MEANINGS = [
    Meaning("otel_genai", "", "chat m", {**GEN, **USED, "gen_ai.usage.cache_read.input_tokens": 40, "gen_ai.usage.cache_creation.input_tokens": 10, "gen_ai.usage.reasoning.output_tokens": 5}, ALL),
    Meaning("otel_genai", "", "chat m", {**GEN, **USED, "gen_ai.usage.cache_read.input_tokens": 40, "gen_ai.usage.cache_write.input_tokens": 10}, (100, 40, 10, 20, None)),
    Meaning("otel_genai", "", "1.26", {**GEN, "gen_ai.usage.prompt_tokens": 100, "gen_ai.usage.completion_tokens": 20}, (100, None, None, 20, None)),
    Meaning("otel_genai", "", "as text", {**GEN, "gen_ai.usage.input_tokens": "100", "gen_ai.usage.output_tokens": "20"}, (100, None, None, 20, None)),
    Meaning("otel_genai", "", "Sentry", {**GEN, **USED, "gen_ai.usage.input_tokens.cached": 40, "gen_ai.usage.output_tokens.reasoning": 5}, (100, 40, None, 20, 5)),
    Meaning("otel_genai", "", "disjoint", {**GEN, "gen_ai.usage.input_tokens": 50, "gen_ai.usage.output_tokens": 20, "gen_ai.usage.cache_read.input_tokens": 240}, (290, 240, None, 20, None)),
    Meaning("otel_genai", "", "disjoint by total", {**GEN, "gen_ai.usage.input_tokens": 50, "gen_ai.usage.output_tokens": 20, "gen_ai.usage.cache_read.input_tokens": 40, "gen_ai.usage.cache_creation.input_tokens": 10, "gen_ai.usage.total_tokens": 120}, (100, 40, 10, 20, None)),
    Meaning("otel_genai", "", "streamed without counts", {**GEN}, (None, None, None, None, None)),
    Meaning("anthropic_sdk", "com.anthropic.sdk.python", "anthropic.messages.create", {**GEN, **USED, "gen_ai.usage.cache_read.input_tokens": 40, "gen_ai.usage.cache_write.input_tokens": 10}, (100, 40, 10, 20, None)),
    Meaning("openlit", "openlit.instrumentation.anthropic", "chat m", {**GEN, "gen_ai.provider.name": "anthropic", "gen_ai.usage.input_tokens": 50, "gen_ai.usage.output_tokens": 20, "gen_ai.usage.cache_read.input_tokens": 40, "gen_ai.usage.cache_creation.input_tokens": 10}, (100, 40, 10, 20, None)),
    Meaning("openlit", "openlit.instrumentation.openai", "chat m", {**GEN, **USED, "gen_ai.provider.name": "openai", "gen_ai.usage.cache_read.input_tokens": 40}, (100, 40, None, 20, None)),
    Meaning("openinference", "openinference.instrumentation.x", "m", {**OI, "llm.token_count.prompt_details.cache_read": 40, "llm.token_count.prompt_details.cache_write": 10, "llm.token_count.completion_details.reasoning": 5}, ALL),
    Meaning("openllmetry", "opentelemetry.instrumentation.openai.v1", "openai.chat", {"llm.request.type": "chat", "gen_ai.usage.prompt_tokens": 100, "gen_ai.usage.completion_tokens": 20, "llm.usage.total_tokens": 120, "gen_ai.usage.cache_read_input_tokens": 40, "gen_ai.usage.reasoning_tokens": 5}, (100, 40, None, 20, 5)),
    Meaning("pydantic_ai", "pydantic-ai", "chat m", {**GEN, **USED, "gen_ai.usage.details.cache_read_tokens": 40, "gen_ai.usage.details.reasoning_tokens": 5}, (100, 40, None, 20, 5)),
    Meaning("strands", "strands.telemetry.tracer", "chat", {**GEN, **USED, "gen_ai.usage.prompt_tokens": 100, "gen_ai.usage.completion_tokens": 20, "gen_ai.usage.cache_read_input_tokens": 40}, (100, 40, None, 20, None)),
    Meaning("google_adk", "gcp.vertex.agent", "LiteLLM adds reasoning again", {**GEN, "gen_ai.request.model": "openai/gpt-4o", "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 25, "gen_ai.usage.reasoning.output_tokens": 5}, (100, None, None, 20, 5)),
    Meaning("google_adk", "gcp.vertex.agent", "Gemini", {**GEN, "gen_ai.request.model": "gemini-2.5-pro", **USED, "gen_ai.usage.reasoning.output_tokens": 5}, (100, None, None, 20, 5)),
    Meaning("google_adk", "gcp.vertex.agent", "Gemini, of 2025", {"gen_ai.system": "gcp.vertex.agent", "gen_ai.request.model": "gemini-2.5-pro", "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 15, "gcp.vertex.agent.llm_response": json.dumps({"usage_metadata": {"prompt_token_count": 100, "cached_content_token_count": 40, "candidates_token_count": 15, "thoughts_token_count": 5, "total_token_count": 120}})}, (100, 40, None, 20, 5)),
    Meaning("vercel_ai", "ai", "5 with Anthropic", {**AI, "gen_ai.system": "anthropic.messages", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 50, "gen_ai.usage.output_tokens": 20, META: json.dumps({"anthropic": {"usage": {"cache_read_input_tokens": 40}, "cacheCreationInputTokens": 10}})}, (100, 40, 10, 20, None)),
    Meaning("vercel_ai", "ai", "6 with Anthropic", {**AI, "gen_ai.system": "anthropic.messages", "gen_ai.request.model": "m", **USED, "ai.usage.inputTokenDetails.noCacheTokens": 50, "ai.usage.inputTokenDetails.cacheReadTokens": 40, "ai.usage.inputTokenDetails.cacheWriteTokens": 10, "ai.usage.reasoningTokens": 5}, ALL),
    Meaning("vercel_ai", "ai", "4 with OpenAI", {**AI, "gen_ai.system": "openai.chat", "ai.usage.promptTokens": 100, "ai.usage.completionTokens": 20, META: json.dumps({"openai": {"cachedPromptTokens": 40, "reasoningTokens": 5}})}, (100, 40, None, 20, 5)),
    Meaning("langfuse", "langfuse-sdk", "disjoint", {"langfuse.observation.type": "generation", "langfuse.observation.usage_details": json.dumps({"input": 60, "output": 15, "total": 120, "input_cached_tokens": 40, "output_reasoning_tokens": 5})}, (100, 40, None, 20, 5)),
    Meaning("langfuse", "langfuse-sdk", "OpenAI's", {"langfuse.observation.type": "generation", "langfuse.observation.usage_details": json.dumps({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "prompt_tokens_details": {"cached_tokens": 40}, "completion_tokens_details": {"reasoning_tokens": 5}})}, (100, 40, None, 20, 5)),
    Meaning("mlflow", "mlflow.tracing.provider", "m", {"mlflow.spanType": '"CHAT_MODEL"', "mlflow.chat.tokenUsage": json.dumps({"input_tokens": 100, "output_tokens": 20, "total_tokens": 120, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 10})}, (100, 40, 10, 20, None)),
    Meaning("langsmith", "langsmith", "m", {**GEN, **USED, "langsmith.span.kind": "llm", "langsmith.metadata.usage_metadata": json.dumps({"input_tokens": 100, "output_tokens": 20, "input_token_details": {"cache_read": 40}, "output_token_details": {"reasoning": 5}})}, (100, 40, None, 20, 5)),
    Meaning("mastra", "@mastra/otel-exporter", "chat m", {**GEN, **USED, "mastra.span.type": "model_inference", "gen_ai.usage.cache_read.input_tokens": 40, "gen_ai.usage.reasoning_tokens": 5}, (100, 40, None, 20, 5)),
    Meaning("litellm", "litellm", "support", {"gen_ai.request.model": "m", **USED, "metadata.usage_object": "{'prompt_tokens': 100, 'completion_tokens': 20, 'prompt_tokens_details': {'cached_tokens': 40}, 'completion_tokens_details': {'reasoning_tokens': 5, 'audio_tokens': None}}"}, (100, 40, None, 20, 5)),
    Meaning("haystack", "app", "haystack.agent.step.llm", {"haystack.agent.step.llm.output": json.dumps({"replies": [{"role": "assistant", "meta": {"model": "m", "usage": {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 40}, "completion_tokens_details": {"reasoning_tokens": 5}}}, "content": [{"text": "Hi"}]}]})}, (100, 40, None, 20, 5)),
    Meaning("openclaw", "openclaw", "openclaw.model.call", {"openclaw.tokens.input": 50, "openclaw.tokens.output": 20, "openclaw.tokens.cache_read": 40, "openclaw.tokens.cache_write": 10, "openclaw.tokens.total": 120}, (100, 40, 10, 20, None)),
    Meaning("qwen_code", "qwen-code", "qwen-code.llm_request", {**GEN, **USED, "gen_ai.usage.cache_read.input_tokens": 40}, (100, 40, None, 20, None)),
    Meaning("claude_code", "com.anthropic.claude_code.tracing", "claude_code.llm_request", {"input_tokens": 50, "output_tokens": 20, "cache_read_tokens": 40, "cache_creation_tokens": 10}, (100, 40, 10, 20, None)),
    Meaning("opencode", "opencode", "ai.streamText.doStream", {"ai.operationId": "ai.streamText.doStream", **USED, "ai.usage.inputTokenDetails.cacheReadTokens": 40, "ai.usage.reasoningTokens": 5}, (100, 40, None, 20, 5)),
]  # fmt: skip


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda meaning: f"{meaning.dialect}: {meaning.name}")
def test_span(meaning: Meaning) -> None:
    found = step(made(meaning.attributes, name=meaning.name, scope=meaning.scope))
    assert found.dialect == meaning.dialect
    tokens = (found.input_tokens, found.cached_input_tokens, found.cache_write_tokens, found.output_tokens, found.reasoning_tokens)
    assert tokens == meaning.tokens


PARTS: list[tuple[str, str, dict[str, Any], tuple[int | None, int | None, int | None, int | None, int | None, int | None]]] = [
    # Input, written to the cache, of it for an hour, output; audio of the input and of the output.
    ("com.anthropic.sdk.python", "anthropic.messages.create", {**GEN, **USED, "gen_ai.usage.cache_write.input_tokens": 10, "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": 8, "anthropic.usage.cache_creation.ephemeral_5m_input_tokens": 2}, (100, 10, 8, 20, None, None)),
    ("openinference.instrumentation.anthropic", "Messages", {**OI, "llm.token_count.prompt_details.cache_write": 10, "output.value": json.dumps({"usage": {"cache_creation": {"ephemeral_1h_input_tokens": 8, "ephemeral_5m_input_tokens": 2}}})}, (100, 10, 8, 20, None, None)),
    ("openinference.instrumentation.langchain", "ChatAnthropic", {**OI, "llm.token_count.prompt_details.cache_write": 10, "output.value": json.dumps({"generations": [[{"message": {"lc": 1, "type": "constructor", "kwargs": {"content": "Hi", "usage_metadata": {"input_token_details": {"ephemeral_1h_input_tokens": 8}}}}}]]})}, (100, 10, 8, 20, None, None)),
    ("openinference.instrumentation.openai", "ChatCompletion", {**OI, "llm.token_count.prompt_details.audio": 70, "llm.token_count.completion_details.audio": 15}, (100, None, None, 20, 70, 15)),
    ("ai", "v6", {**AI, "gen_ai.system": "anthropic.messages", **USED, "ai.usage.inputTokenDetails.noCacheTokens": 90, "ai.usage.inputTokenDetails.cacheWriteTokens": 10, META: json.dumps({"anthropic": {"usage": {"cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 8}}}})}, (100, 10, 8, 20, None, None)),
    ("langsmith", "ChatAnthropic", {**GEN, **USED, "langsmith.span.kind": "llm", "langsmith.metadata.usage_metadata": json.dumps({"input_tokens": 100, "output_tokens": 20, "input_token_details": {"cache_creation": 0, "ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 8, "audio": 7}, "output_token_details": {"audio": 3}})}, (100, 10, 8, 20, 7, 3)),
    ("langfuse-sdk", "disjoint", {"langfuse.observation.type": "generation", "langfuse.observation.usage_details": json.dumps({"input": 20, "output": 5, "total": 120, "input_audio": 70, "input_cache_read": 10, "output_audio": 12, "output_reasoning": 3})}, (100, None, None, 20, 70, 12)),
    ("langfuse-sdk", "Anthropic", {"langfuse.observation.type": "generation", "langfuse.observation.usage_details": json.dumps({"input": 90, "output": 20, "total": 120, "input_cache_creation": 0, "input_ephemeral_1h_input_tokens": 8, "input_ephemeral_5m_input_tokens": 2})}, (100, 10, 8, 20, None, None)),
    ("litellm", "support", {"gen_ai.request.model": "m", **USED, "metadata.usage_object": "{'prompt_tokens': 100, 'completion_tokens': 20, 'prompt_tokens_details': {'audio_tokens': 7, 'cache_creation_tokens': 10, 'cache_creation_token_details': {'ephemeral_5m_input_tokens': 10, 'ephemeral_1h_input_tokens': 0}}, 'completion_tokens_details': {'audio_tokens': 3}}"}, (100, 10, 0, 20, 7, 3)),
    ("pydantic-ai", "chat m", {**GEN, **USED, "gen_ai.usage.details.input_audio_tokens": 70, "gen_ai.usage.details.audio_tokens": 15}, (100, None, None, 20, 70, 15)),
    ("openlit", "chat m", {**GEN, **USED, "gen_ai.usage.prompt_tokens_details.cache_write": 10, "gen_ai.usage.completion_tokens_details.audio": 15}, (100, 10, None, 20, None, 15)),
    ("com.anthropic.claude_code.tracing", "claude_code.llm_request", {"input_tokens": 90, "output_tokens": 20, "cache_creation_tokens": 10, "cache_creation_5m_tokens": 2}, (100, 10, 8, 20, None, None)),
    ("com.anthropic.claude_code.tracing", "claude_code.llm_request", {"input_tokens": 90, "output_tokens": 20, "cache_creation_tokens": 10}, (100, 10, None, 20, None, None)),
]  # fmt: skip


@pytest.mark.parametrize(("scope", "name", "attributes", "tokens"), PARTS, ids=lambda value: value if isinstance(value, str) else "")
def test_parts_that_have_a_price_of_their_own(scope: str, name: str, attributes: dict[str, Any], tokens: tuple[int | None, ...]) -> None:
    found = step(made(attributes, name=name, scope=scope))
    written = (found.input_tokens, found.cache_write_tokens, found.cache_write_1h_tokens, found.output_tokens)
    assert (*written, found.input_audio_tokens, found.output_audio_tokens) == tokens


RECORDS = [
    ("codex.sse_event", {"event.kind": "response.completed", "input_token_count": "100", "output_token_count": "20", "cached_token_count": 40, "reasoning_token_count": 5, "tool_token_count": 120}, (100, 40, 20, 5)),
    ("gemini_cli.api_response", {"input_token_count": 100, "output_token_count": 15, "cached_content_token_count": 40, "thoughts_token_count": 5}, (100, 40, 20, 5)),
    ("qwen-code.api_response", {"input_token_count": 100, "output_token_count": 20, "cached_content_token_count": 40, "thoughts_token_count": 5}, (100, 40, 20, 5)),
    ("api_request", {"input_tokens": 60, "output_tokens": 20, "cache_read_tokens": 40}, (100, 40, 20, None)),
]  # fmt: skip
SCOPES = {"codex": "codex_otel", "gemini_cli": "gemini-cli", "qwen-code": "qwen-code", "api_request": "com.anthropic.claude_code.events"}


@pytest.mark.parametrize(("event", "attributes", "tokens"), RECORDS, ids=lambda value: value if isinstance(value, str) else "")
def test_log_record(event: str, attributes: dict[str, Any], tokens: tuple[int | None, ...]) -> None:
    found = step(record({"event.name": event, **attributes}, scope=SCOPES[event.partition(".")[0]]))
    assert (found.input_tokens, found.cached_input_tokens, found.output_tokens, found.reasoning_tokens) == tokens


@pytest.mark.parametrize("value", [None, "", "{", "[]", '{"input": -1}', '{"input": 1.5, "output": true}', {"input": "many"}])
def test_what_is_no_count_is_unknown(value: Any) -> None:
    assert set(usage_of(value)) == {None}
