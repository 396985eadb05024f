"""Vercel's AI SDK."""

from decimal import Decimal
from typing import Any, ClassVar, Final

from collector.dialects import messages
from collector.dialects.base import Fragment
from collector.dialects.genai_keys import other_tier, provider, usage
from collector.dialects.messages import Exchange
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.steps import Usage, inclusive
from collector.dialects.usage_json import billed_usd, written
from collector.dialects.values import as_dict, as_id, as_int, as_list, as_text, as_usd, first_int
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import StepKind

_OPERATION: Final = "ai.operationId"
_FREE: Final = ("ai.telemetry.metadata.", "ai.settings.context.")
_SESSION_NAMES: Final = ("sessionid", "conversationid", "threadid", "chatid", "session")
"""What applications call it, without case and separators, the surest first."""


class VercelAI(OtelGenAI):
    """AI SDK 4 to 7: its own `ai.*` keys beside GenAI ones; from 7 on the GenAI conventions.

    Recognises: `ai.operationId`, or scopes `ai` and, from 7 on, `gen_ai`.
    Keys: model calls are `ai.*.doGenerate` and `.doStream`: `ai.prompt.messages`, `ai.response.text`, `.toolCalls`; tools
    `ai.toolCall` with `ai.toolCall.name`, `.id`, `.args`, `.result`. The spans around them are agents.
    Input that a tool rejects never becomes a tool span: it shows in the next prompt as `tool-result` of `error-text`.
    Tokens: input includes cached, output includes reasoning; with Anthropic up to version 5 the input EXCLUDES what is
    cached, which is added here; with OpenAI 5 never sends the cached count. What Vercel's gateway, OpenRouter and xAI charge
    stands in `ai.response.providerMetadata`. Spans around the calls repeat the last call's usage (4, 5) or the sum (6, 7): never read.
    Session: whatever the application calls it under `ai.telemetry.metadata.` (4 to 6) or `ai.settings.context.` (7, on
    agent and step spans only).
    Turn: one `ai.generateText`, `ai.streamText` or `invoke_agent`.
    Known gaps: 5 with OpenAI loses the cached count; in 7 failed attempts are invisible.
    Versions seen: 4.3, 6.0, 7.0.
    Switch: `experimental_telemetry: {isEnabled: true, metadata: {sessionId}}`.
    """

    name: ClassVar[str] = "vercel_ai"
    marks: ClassVar[tuple[str, ...]] = (_OPERATION,)
    marked_scopes: ClassVar[frozenset[str]] = frozenset({"ai", "gen_ai"})

    def recognises(self, span: Span) -> bool:
        return _OPERATION in span.attributes or span.scope_name in {"ai", "gen_ai"}

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name in {"ai", "gen_ai"} and super().recognises_log(record)

    def kind(self, span: Span) -> StepKind | None:
        operation = span.attributes.get(_OPERATION)
        if not isinstance(operation, str):
            return super().kind(span)
        if operation == "ai.toolCall":
            return StepKind.TOOL
        if operation.endswith((".doGenerate", ".doStream")):
            return StepKind.LLM
        return StepKind.RETRIEVAL if operation.endswith((".doEmbed", ".doRerank")) else StepKind.AGENT

    def identity(self, attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
        session, others = super().identity(attributes)
        named: dict[str, str] = {}
        for key, value in attributes.items():
            if key.startswith(_FREE):
                name = key.rpartition(".")[2].lower().replace("_", "").replace("-", "")
                found = as_id(value) if name in _SESSION_NAMES else None
                if found is not None:
                    named[name] = found
        ids = [session, *(named[name] for name in _SESSION_NAMES if name in named), *others]
        known = list(dict.fromkeys(found for found in ids if found))
        return (known[0] if known else None), tuple(known[1:])

    def agent_name(self, span: Span) -> str | None:
        return super().agent_name(span) or as_text(span.attributes.get("ai.telemetry.functionId"))

    def provider(self, attributes: Attributes) -> str | None:
        found = provider(attributes)
        # "openai.responses": the vendor, then which of its interfaces.
        return found.partition(".")[0] if found else None

    def usage(self, attributes: Attributes) -> Usage:
        known = usage(attributes)
        metadata = as_dict(attributes.get("ai.response.providerMetadata"))
        vendor = next(iter(metadata.values()), None)
        own = vendor if isinstance(vendor, dict) else {}
        raw = as_dict(own.get("usage"))
        read = first_int(attributes, "ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens")
        write = first_int(attributes, "ai.usage.inputTokenDetails.cacheWriteTokens")
        if read is None and known.cached_input_tokens is None:
            read = first_int(own, "cachedPromptTokens", "cacheReadInputTokens")
            read = as_int(raw.get("cache_read_input_tokens")) if read is None else read
        if write is None and known.cache_write_tokens is None:
            write = first_int(own, "cacheCreationInputTokens")
            write = as_int(raw.get("cache_creation_input_tokens")) if write is None else write
        reasoning = first_int(attributes, "ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens")
        told, said = known.input_tokens, known.output_tokens
        if told is None:
            told = first_int(attributes, "ai.usage.inputTokens", "ai.usage.promptTokens")
        if said is None:
            said = first_int(attributes, "ai.usage.outputTokens", "ai.usage.completionTokens")
        read = known.cached_input_tokens if read is None else read
        write = known.cache_write_tokens if write is None else write
        disjoint = self.provider(attributes) == "anthropic" and "ai.usage.inputTokenDetails.noCacheTokens" not in attributes
        if disjoint and told is not None and _OPERATION in attributes:
            told += (read or 0) + (write or 0)
        if reasoning is None:
            reasoning = known.reasoning_tokens if known.reasoning_tokens is not None else as_int(own.get("reasoningTokens"))
        found = inclusive(told, said, read=read, write=write, reasoning=reasoning, write_1h=written(raw))
        billed = _billed(metadata) if metadata else None
        return found if billed is None and known.stated_usd is None else found._replace(billed_usd=billed, stated_usd=known.stated_usd)

    def service_tier(self, attributes: Attributes) -> str | None:
        vendor = next(iter(as_dict(attributes.get("ai.response.providerMetadata")).values()), None)
        own = vendor if isinstance(vendor, dict) else {}
        told = other_tier(own.get("serviceTier")) or other_tier(as_dict(own.get("usage")).get("service_tier"))
        return told or super().service_tier(attributes)

    def content(self, span: Span) -> Exchange:
        attributes = span.attributes
        if _OPERATION not in attributes:
            return super().content(span)
        text, calls = attributes.get("ai.response.text"), as_list(attributes.get("ai.response.toolCalls"))
        parts: list[Any] = [{"type": "tool-call", **call} for call in calls if isinstance(call, dict)]
        if as_text(text):
            parts.insert(0, {"type": "text", "text": text})
        said = [messages.read({"role": "assistant", "content": parts})] if parts else []
        return messages.exchange(messages.trailing(attributes.get("ai.prompt.messages")), said)

    def call(self, span: Span) -> tuple[Any, Any]:
        told, result = super().call(span)
        get = span.attributes.get
        return told if told is not None else get("ai.toolCall.args"), result if result is not None else get("ai.toolCall.result")

    def tool(self, span: Span) -> Fragment | None:
        attributes = span.attributes
        if "ai.toolCall.name" not in attributes:
            return super().tool(span)
        renamed = {"gen_ai.tool.name": attributes.get("ai.toolCall.name"), "gen_ai.tool.call.id": attributes.get("ai.toolCall.id")}
        copy = Span(
            **{field: getattr(span, field) for field in span.__struct_fields__ if field != "attributes"}, attributes=attributes | renamed
        )
        return super().tool(copy)


def _billed(metadata: dict[str, Any]) -> Decimal | None:
    """What Vercel's gateway, xAI or OpenRouter says it charged, each in the metadata of its own provider.

    The gateway says 0 where the key is the customer's own.
    """
    gateway, xai = as_dict(metadata.get("gateway")), as_dict(metadata.get("xai"))
    charged = as_usd(gateway.get("cost")) or billed_usd({"cost_in_usd_ticks": xai.get("costInUsdTicks")})
    if charged:
        return charged
    usage = as_dict(as_dict(metadata.get("openrouter")).get("usage"))
    behind = as_dict(usage.get("costDetails")).get("upstreamInferenceCost")
    return billed_usd({"cost": usage.get("cost"), "is_byok": usage.get("isByok"), "cost_details": {"upstream_inference_cost": behind}})
