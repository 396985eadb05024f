"""The objects of the API as its OpenAPI document shows them. `render` makes them; unknown is null."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from collector.model import HaltState, SessionState, Verb
from collector.taxonomy import HALT_REASONS
from detectors.model import CostBasis, EvidenceLevel, Severity, StepKind

Time = Annotated[str, Field(description="RFC 3339, UTC", json_schema_extra={"format": "date-time"})]
Money = Annotated[str, Field(description="US dollars, a decimal string", pattern=r"^-?\d+(\.\d+)?$")]


def _known_reason(reason: str) -> str:
    if reason not in HALT_REASONS:
        raise ValueError(f"must be one of {', '.join(HALT_REASONS)}")
    return reason


HaltReason = Annotated[str, AfterValidator(_known_reason), Field(json_schema_extra={"enum": list(HALT_REASONS)})]


class Answered(BaseModel):
    """Base of what the service answers."""

    model_config = ConfigDict(extra="forbid")


class Asked(BaseModel):
    """Base of what is sent to the service: an unknown key is an error, or a typing mistake would go unnoticed."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Identifiers(Answered):
    """Everything the telemetry called a session by."""

    trace_ids: list[str]
    conversation_ids: list[str]
    service_names: list[str] = Field(alias="service.name")
    service_instance_ids: list[str] = Field(alias="service.instance.id")


class Session(Answered):
    """One agent session as it stands."""

    session_id: str
    tenant: str
    namespace: str
    workflow_id: str | None
    agent_type: str
    agents: list[str]
    service_name: str | None
    state: SessionState
    halt_reason: str | None
    generation: int = Field(description="Grows with every halt, pause and release")
    identifiers: Identifiers
    merged_from: list[str]
    started_at: Time | None
    last_seen_at: Time | None
    steps: int
    llm_calls: int
    tool_calls: int
    tool_errors: int
    input_tokens: int | None
    output_tokens: int | None
    cached_input_tokens: int | None
    cost_usd: Money | None
    cost_basis: CostBasis | None = Field(description="That of all model calls, or `mixed`")
    context_utilization: float | None = Field(description="Share of the model's window that the last call filled")
    budget_remaining_usd: Money | None
    dialects: list[str]


class Step(Answered):
    """One finished thing an agent did. Which of the last fields are there depends on `kind`."""

    seq: int = Field(description="Commit sequence: never changes; pages use it")
    step: int = Field(description="Number in event order, from 1")
    session_id: str
    kind: StepKind
    agent: str | None
    name: str | None = Field(description="Of the model or the tool")
    started_at: Time | None
    ended_at: Time | None
    trace_id: str | None
    span_id: str | None
    parent_span_id: str | None
    dialect: str
    error: bool | None = Field(description="Null where nothing says how it ended")
    error_class: str | None
    error_type: str | None
    error_message: str | None
    provider: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = Field(default=None, description="Of cache_write_tokens; null where nobody says for how long")
    input_audio_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    output_audio_tokens: int | None = None
    cost_usd: Money | None = None
    cost_basis: CostBasis | None = Field(
        default=None,
        description="Whose figure `cost_usd` is: what the `provider` charges, `computed` by list prices with all counts known, "
        "`estimated` where something is assumed or by the sender, or nobody's",
    )
    context_utilization: float | None = None
    finish_reasons: list[str] | None = None
    call_id: str | None = None
    arguments: str | None = None
    result: str | None = None
    argument_similarity: float | None = None
    result_novelty: float | None = None


class Versions(Answered):
    """What a verdict was reached under."""

    policy: str
    prices: str
    baselines: str


class Finding(Answered):
    """What a detector concluded, with the proof."""

    id: str
    session_id: str | None
    workflow_id: str | None
    sessions: list[str] = Field(description="Who takes part: the session itself, or those of the workflow")
    agent_type: str
    detector: str
    halt_reason: str | None
    severity: Severity
    halt_eligible: bool
    score: float
    step: int = Field(description="Number of the step it was found at, counted over the session's steps from 1; 0: not known")
    first_step: int = Field(description="Number of the step where the pattern began")
    step_seq: int = Field(description="`seq` of the step it was found at")
    first_step_seq: int = Field(description="`seq` of the step where the pattern began")
    span_id: str | None
    trace_id: str | None
    at: Time | None
    evidence_level: EvidenceLevel
    summary: str
    evidence: dict[str, Any]
    threshold: dict[str, float]
    mode: str
    episode: int
    versions: Versions


class Halt(Answered):
    """One request to the runtime about one session, and what became of it."""

    halt_id: str
    session_id: str
    generation: int
    verb: Verb
    halt_reason: str | None
    finding: str | None
    requested_by: str
    note: str | None
    state: HaltState
    requested_at: Time | None
    delivered_at: Time | None
    acknowledged_at: Time | None
    stopped_at: Time | None
    attempts: int
    last_error: str | None


class SessionPage(Answered):
    """Newest activity first."""

    sessions: list[Session]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null at the end")


class SessionDetail(Session):
    """A session with what was found and done about it."""

    findings: list[Finding]
    halts: list[Halt]


class Workflow(Answered):
    """All sessions of one piece of work, and what was found about it as a whole."""

    workflow_id: str
    started_at: Time | None
    last_seen_at: Time | None
    steps: int
    cost_usd: Money | None = Field(description="Known cost of all sessions; null where none has any")
    cost_basis: CostBasis | None
    budget_usd: Money | None = Field(description="The smallest `budgets.workflow_usd` of the agent types that take part")
    budget_remaining_usd: Money | None
    sessions: list[Session] = Field(description="The latest of them where there are many")
    findings: list[Finding]


class StepPage(Answered):
    """Steps in commit order."""

    steps: list[Step]


class FindingPage(Answered):
    """Newest first."""

    findings: list[Finding]


class Rule(Answered):
    """One detector and how far it may go."""

    detector: str
    summary: str
    halt_reason: str | None
    scope: Literal["session", "workflow", "fleet"]
    mode: str
    armed: bool = Field(description="Whether its critical findings halt sessions")


class RulePage(Answered):
    """Every detector."""

    rules: list[Rule]


class SessionQuery(Asked):
    """Which sessions are wanted."""

    state: SessionState | None = None
    agent_type: str | None = None
    finding: str | None = Field(default=None, description="Only sessions with a finding of this detector")
    since: AwareDatetime | None = Field(default=None, description="Only sessions active since then")
    limit: int = Field(default=100, ge=1, le=1000)
    cursor: str | None = None


class StepQuery(Asked):
    """Which steps are wanted."""

    after: int = Field(default=0, ge=0, description="Only steps with a larger `seq`")
    limit: int = Field(default=1000, ge=1, le=5000)


class FindingQuery(Asked):
    """Which findings are wanted."""

    session: str | None = None
    detector: str | None = None
    severity: Severity | None = None
    open: bool = Field(default=False, description="Only those whose episode has not ended")
    since: AwareDatetime | None = None
    limit: int = Field(default=100, ge=1, le=1000)


class OperatorRequest(Asked):
    """Why a session is halted, paused or let go. The actor is the token's name, never a field."""

    reason: HaltReason | None = None
    note: str = Field(default="", max_length=4000)
    raise_budget_usd: Decimal | None = Field(
        default=None, gt=0, max_digits=15, decimal_places=6, description="With resume and release only: added to the session's budget"
    )


class Acknowledgement(Asked):
    """A runtime's own word about a halt."""

    status: Literal["stopping", "stopped", "unknown_session", "unsupported"]
