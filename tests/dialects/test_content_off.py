"""Every golden payload as its framework sends it with content switched off: structure, tokens and names are still there."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pytest

from collector.decode import decode
from collector.dialects import fragment_of, fragment_of_log
from collector.telemetry_data import LogRecord, Span
from detectors.model import Step, StepKind
from tests.dialects.captures import SCENARIOS, name_of, requests
from tests.dialects.test_frameworks import final, of

CONTENT: Final = re.compile(
    r"gen_ai\.(input\.messages|output\.messages|system_instructions|tool\.(definitions|call\.(arguments|result))|(prompt|completion)($|\.)"
    r"|task\.(input|output)|content)|llm\.((input|output)_messages|tools|prompts|request\.functions|invocation_parameters|[a-z]+\.choices$)"
    r"|traceloop\.entity\.(input|output)|(input|output)\.(value|mime_type)|tool\.parameters|metadata\.usage_metadata$"
    r"|(pydantic_ai\.)?all_messages|events$|final_result|tool_(arguments|response|input|parameters)|gcp\.vertex\.agent\.(llm_re|tool_(call_args|re))"
    r"|ai\.(prompt|response\.(text|toolCalls|object|reasoning|messages)|toolCall\.(args|result))|langfuse\.(observation|trace)\.(input|output)"
    r"|mlflow\.span(Inputs|Outputs)|mastra\.[a-z_]+\.(input|output)|mastra\.metadata\.(body|headers)|request_data|response_data|raw_input|response$"
    r"|(input|output|prompt|arguments|message|full_command|file_path|user_prompt|function_args|response_text|request_text|new_context)$"
    r"|haystack\.[a-z_.]+\.(input|output)|agent\.(messages|prompt)|mcp\.(request\.argument|response\.value)"
)
IN_CONTENT = {
    "autogen__native": "messages hold the model calls",
    "haystack__native": "tokens and models stand in the replies",
    "haystack__openinference": "all calls stand in the run's output",
    "google-adk__native-2025": "a failed or silent call is known by its request",
}
"""Where the framework's own switch takes the model calls' figures away too."""
PROMPTS_TELL = (
    *("agent-framework__native", "anthropic-sdk", "autogen__native", "crewai__openllmetry", "gemini-cli", "google-adk", "langgraph-js"),
    *(
        "haystack__openinference",
        "langchain__openllmetry",
        "litellm-proxy",
        "mastra",
        "mcp__native",
        "openai-sdk",
        "smolagents",
        "vercel-ai",
    ),
)
"""Where calls have no record of their own, some or all: without prompts they are unknown."""


def without_content(attributes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if not CONTENT.match(key)}


def silenced(item: Span | LogRecord) -> Span | LogRecord:
    """The item without what the content switches take away."""
    fields = {field: getattr(item, field) for field in item.__struct_fields__}
    fields["attributes"] = without_content(item.attributes)
    if isinstance(item, LogRecord):
        return LogRecord(**fields | {"body": item.body if isinstance(item.body, str) else None})
    fields["events"] = [event for event in item.events if event.name == "exception"]
    return Span(**fields)


def items(folder: Path) -> list[Span | LogRecord]:
    decoded = [decode(request) for request in requests(folder)]
    return [item for one in decoded for item in (*one.spans, *one.logs)]


def calls(steps: list[Step]) -> Counter[Any]:
    return Counter((one.model, one.input_tokens, one.output_tokens, one.error) for one in of(StepKind.LLM, steps) if one.error is not None)


def tools(steps: list[Step]) -> Counter[Any]:
    return Counter(one.name for one in steps if one.kind in {StepKind.TOOL, StepKind.HANDOFF} and one.name)


def unlike(pairs: Iterable[str], folder: Path) -> bool:
    return any(folder.parent.name.startswith(pair) for pair in pairs)


@pytest.mark.parametrize("folder", [folder for folder in SCENARIOS if folder.name != "handoff"], ids=name_of)
def test_structure_tokens_and_names_stay(folder: Path) -> None:
    told = items(folder)
    full, bare = final(*told)[0], final(*map(silenced, told))[0]
    assert not any(step.arguments or step.result or step.input_text or step.output_text for step in bare)
    assert not calls(bare) - calls(full), "nothing is made up"
    assert not tools(bare) - tools(full), "nothing is made up"
    if not unlike(IN_CONTENT, folder):
        assert [one.input_tokens for one in of(StepKind.LLM, bare)] == [one.input_tokens for one in of(StepKind.LLM, full)]
        assert [one.output_tokens for one in of(StepKind.LLM, bare)] == [one.output_tokens for one in of(StepKind.LLM, full)]
    if not unlike(PROMPTS_TELL, folder):
        assert tools(bare) == tools(full)


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_who_a_span_belongs_to_is_no_content(folder: Path) -> None:
    for item in items(folder):
        one, other = (fragment_of(each) if isinstance(each, Span) else fragment_of_log(each) for each in (item, silenced(item)))
        if one is not None and other is not None and one.session_id:
            assert other.session_id == one.session_id


def test_the_pattern_takes_content_only() -> None:
    kept = ("gen_ai.request.model", "gen_ai.usage.input_tokens", "gen_ai.tool.name", "gen_ai.tool.call.id", "session.id", "llm.model_name",
            "llm.token_count.prompt", "tool.name", "langfuse.observation.type", "langfuse.observation.usage_details", "event.name",
            "mlflow.spanType", "ai.response.finishReason", "input_token_count", "output_tokens", "response_id")  # fmt: skip
    assert [key for key in kept if CONTENT.match(key)] == []
    assert json.dumps(without_content({"gen_ai.prompt": "x", "gen_ai.prompt.0.role": "user"})) == "{}"
