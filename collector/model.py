"""What the service keeps about sessions and halts, beside the vocabulary of `detectors.model`."""

from decimal import Decimal
from enum import StrEnum
from typing import Literal

import msgspec

from detectors.model import CostBasis, SessionKey

Signal = Literal["traces", "logs", "metrics"]
Encoding = Literal["protobuf", "json"]
Protocol = Literal["grpc", "http", "replay"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One export request as it came in, decompressed. `arrival_ns` is None in replay, where nobody saw it arrive."""

    signal: Signal
    encoding: Encoding
    body: bytes
    tenant: str = "default"
    protocol: Protocol = "replay"
    arrival_ns: int | None = None
    translated: bytes | None = None
    """What `collector.translate` made of `body` in another process; then nobody looks at the body any more."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one request: `rejected` of its items were individually bad, `message` says why (empty: none)."""

    accepted: int
    rejected: int = 0
    message: str = ""


class SessionState(StrEnum):
    """Where a session stands. The last four follow a halt or pause and are sticky until a person releases it."""

    RUNNING = "running"
    IDLE = "idle"
    COMPLETED = "completed"
    PAUSING = "pausing"
    PAUSED = "paused"
    HALTING = "halting"
    HALTED = "halted"

    @property
    def sticky(self) -> bool:
        """Whether only a person's release leaves this state."""
        return self in {SessionState.PAUSING, SessionState.PAUSED, SessionState.HALTING, SessionState.HALTED}


class Identifiers(msgspec.Struct, kw_only=True, gc=False):
    """Everything the telemetry called this session by; sent with every halt, since the runtime may know only one."""

    trace_ids: list[str] = []
    conversation_ids: list[str] = []
    service_names: list[str] = []
    service_instance_ids: list[str] = []

    LIMIT = 32
    """Ids kept of each kind; the newest replace the oldest but the first."""


class Session(msgspec.Struct, kw_only=True, gc=False):
    """One agent session as it stands. Money in US dollars, times in nanoseconds since the epoch."""

    key: SessionKey
    workflow_id: str | None = None
    agent_type: str = "unknown"
    agents: list[str] = []
    service_name: str | None = None
    state: SessionState = SessionState.RUNNING
    halt_reason: str | None = None
    generation: int = 0
    identifiers: Identifiers = msgspec.field(default_factory=Identifiers)
    merged_from: list[str] = []
    """Sessions that were merged into this one: the first and the newest, `Identifiers.LIMIT` in all."""
    started_ns: int = 0
    last_seen_ns: int = 0
    first_seq: int = 0
    last_seq: int = 0
    steps: int = 0
    llm_calls: int = 0
    tool_calls: int = 0
    tool_errors: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cost_usd: Decimal | None = None
    cost_bases: dict[str, int] = {}
    """Model calls by where their cost comes from."""
    context_utilization: float | None = None
    budget_usd: Decimal | None = None
    dialects: list[str] = []

    @property
    def cost_basis(self) -> CostBasis | None:
        """The one basis of every priced call, `mixed` where there are several, None before the first."""
        bases = [basis for basis, calls in self.cost_bases.items() if calls]
        return None if not bases else CostBasis(bases[0]) if len(bases) == 1 else CostBasis.MIXED

    @property
    def budget_remaining_usd(self) -> Decimal | None:
        """Budget less known cost; None without a budget."""
        return None if self.budget_usd is None else self.budget_usd - (self.cost_usd or Decimal(0))


class Verb(StrEnum):
    """What is asked of the runtime."""

    HALT = "halt"
    PAUSE = "pause"
    COMPACT = "compact"
    RELEASE = "release"
    REQUEUE = "requeue"


class HaltState(StrEnum):
    """How far a halt got. `acknowledged` and later need the answer of an owner of the session."""

    REQUESTED = "requested"
    DELIVERED = "delivered"
    ACKNOWLEDGED = "acknowledged"
    CONFIRMED_STOPPED = "confirmed_stopped"
    QUIET = "quiet"
    DISOBEYED = "disobeyed"
    UNSUPPORTED = "unsupported"
    UNDELIVERABLE = "undeliverable"
    SUPERSEDED = "superseded"


class Halt(msgspec.Struct, kw_only=True):
    """One request to the runtime about one session, and what became of it."""

    halt_id: str
    session: SessionKey
    generation: int
    verb: Verb
    halt_reason: str | None
    finding: str | None = None
    requested_by: str
    note: str = ""
    state: HaltState = HaltState.REQUESTED
    requested_ns: int = 0
    delivered_ns: int | None = None
    acknowledged_ns: int | None = None
    stopped_ns: int | None = None
    attempts: int = 0
    last_error: str | None = None
