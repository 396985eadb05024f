"""Strands Agents' own instrumentation."""

from typing import Any, ClassVar

from collector.dialects import messages
from collector.dialects.otel_genai import DETAILS, OtelGenAI
from collector.dialects.steps import SUCCESS, Ending
from collector.telemetry_data import LogRecord, Span


class Strands(OtelGenAI):
    """Strands: GenAI conventions of 1.36, with content in span events.

    Recognises: scope `strands.telemetry.tracer`, or `gen_ai.system`/`gen_ai.provider.name` = `strands-agents`.
    Keys: as `OtelGenAI`; a tool's arguments stand in the event `gen_ai.tool.message` (`content`), its result in
    `gen_ai.choice` (`message`); with the opt-in to the latest conventions in attributes. `gen_ai.tool.status` tells
    success from error. The provider is the framework's own name and says nothing.
    Tokens: input includes cached; reasoning is not sent. `invoke_agent` repeats totals, and sums them over the whole life of
    the agent object: never read. `prompt_tokens`/`completion_tokens` repeat the same counts on the same span.
    Session: `session.id` out of `trace_attributes`, on all spans (2025 releases: on the root only).
    Turn: one `invoke_agent` or `invoke_swarm` root.
    Known gaps: no response id; a swarm's own span has no session.
    Versions seen: strands-agents 1.62.
    Switch: `trace_attributes={"session.id": …}`.
    """

    name: ClassVar[str] = "strands"

    def recognises(self, span: Span) -> bool:
        if span.scope_name.startswith("strands."):
            return "gen_ai.operation.name" in span.attributes
        return "strands-agents" in (span.attributes.get("gen_ai.provider.name"), span.attributes.get("gen_ai.system"))

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name.startswith("strands.") and super().recognises_log(record)

    def ending(self, span: Span) -> Ending:
        status = span.attributes.get("gen_ai.tool.status")
        found = super().ending(span)
        if status == "error" and found.error is not True:
            return Ending(error=True)
        return SUCCESS if status == "success" and found.error is None else found

    def call(self, span: Span) -> tuple[Any, Any]:
        arguments, result = super().call(span)
        for event in span.events:
            if event.name == "gen_ai.tool.message" and arguments is None:
                arguments = event.attributes.get("content")
            elif event.name == "gen_ai.choice" and result is None:
                result = event.attributes.get("message")
            elif event.name == DETAILS:
                asked = messages.messages(event.attributes.get("gen_ai.input.messages"))
                told = messages.messages(event.attributes.get("gen_ai.output.messages"))
                arguments = next((ask.arguments for one in asked for ask in one.asks), None) if arguments is None else arguments
                result = next((answer.result for one in told for answer in one.answers), None) if result is None else result
        return arguments, result
