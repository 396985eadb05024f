"""Objects of the contract whose behaviour comes with the budget gate, the dead-letter queue and the approval gate.

They stand here so that what is recorded today (halts, generations, reservations in the event stream) fits what will read it.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from detectors.model import SessionKey


class DeadLetterState(StrEnum):
    """Where a dead letter stands with the people who review it."""

    OPEN = "open"
    CLAIMED = "claimed"
    RESOLVED = "resolved"


class Resolution(StrEnum):
    """What a reviewer decided. Nothing is retried without one."""

    REQUEUE = "requeue"
    RESUME = "resume"
    DISCARD = "discard"
    FALSE_KILL = "false_kill"


class DeadLetter(msgspec.Struct, kw_only=True):
    """A halted session, parked for a person, with its evidence as it stood at the halt."""

    id: str
    session: SessionKey
    halt_id: str
    evidence: dict[str, Any]
    state: DeadLetterState = DeadLetterState.OPEN
    resolution: Resolution | None = None


class ApprovalState(StrEnum):
    """An approval is used once, or expires."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    USED = "used"


class Approval(msgspec.Struct, kw_only=True):
    """A person's word on one irreversible call: bound to the tool and to its canonical arguments."""

    id: str
    session: SessionKey
    tool: str
    arguments_sha256: str
    expires_ns: int
    state: ApprovalState = ApprovalState.PENDING


class GateVerdict(StrEnum):
    """The gate's answer before a call."""

    ALLOW = "allow"
    DENY = "deny"
    HOLD = "hold"


class Remaining(msgspec.Struct, frozen=True, kw_only=True):
    """What is left at each level, in US dollars; None where there is no cap."""

    task_usd: Decimal | None = None
    session_usd: Decimal | None = None
    workflow_usd: Decimal | None = None
    fleet_usd: Decimal | None = None


class GateDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A decision is data, not an error. `idempotency_key` is None for a call without an id of its own."""

    decision: GateVerdict
    halt_reason: str | None = None
    message: str = ""
    reservation_id: str | None = None
    reserved_usd: Decimal | None = None
    idempotency_key: str | None = None
    approval_id: str | None = None
    remaining: Remaining = Remaining()
