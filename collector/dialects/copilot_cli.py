"""GitHub Copilot CLI."""

from typing import ClassVar

from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.steps import SUCCESS, UNKNOWN_ENDING, Ending
from collector.dialects.values import as_int, first_id
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import StepKind


class CopilotCLI(OtelGenAI):
    """GitHub Copilot CLI: current GenAI conventions.

    Recognises: scope `github.copilot`.
    Keys: as `OtelGenAI`. Input messages hold only what is new in the turn, not the history. A shell command that
    failed has status UNSET and `process.exit.code` other than 0. Every failed attempt of a model call is a span of its own.
    Tokens: input includes cached (absent where 0), output includes reasoning. `invoke_agent` repeats the totals: never read.
    `github.copilot.cost` counts premium requests, not money.
    Session: `gen_ai.conversation.id`; `github.copilot.interaction_id` names one turn of it.
    Turn: one `invoke_agent`, named by `github.copilot.interaction_id`.
    Known gaps: with default flags neither messages nor arguments nor results.
    Versions seen: 1.0.102.
    Switch: the content capture flag, OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true.
    """

    name: ClassVar[str] = "copilot_cli"
    scopes: ClassVar[tuple[str, ...]] = ("github.copilot",)

    def recognises(self, span: Span) -> bool:
        return span.scope_name == "github.copilot" and "gen_ai.operation.name" in span.attributes

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name == "github.copilot" and super().recognises_log(record)

    def identity(self, attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
        session, others = super().identity(attributes)
        turn = first_id(attributes, "github.copilot.interaction_id")
        return session, (*others, turn) if turn else others

    def leaves_out_zeros(self, span: Span) -> bool:
        del span
        return True

    def ending(self, span: Span) -> Ending:
        found = super().ending(span)
        code = span.attributes.get("process.exit.code")
        if found.error is not None or code is None or self.kind(span) is not StepKind.TOOL:
            return found
        exit_code = as_int(code)
        if exit_code == 0:
            return SUCCESS
        if exit_code is None and not isinstance(code, int):
            return UNKNOWN_ENDING
        return Ending(error=True, error_type="exit_code", error_message=f"the command ended with exit code {code}")
