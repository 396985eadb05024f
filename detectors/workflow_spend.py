"""A workflow that nears, or has spent, its budget: all of its sessions together."""

from collections import deque
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from detectors.base import CLEAR, Answer, Context, Detector, Scope, Signal
from detectors.model import EvidenceLevel, Severity, Step, StepKind
from detectors.step_features import StepFeatures


class WorkflowSpendConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a workflow's spend matters. The budget itself is `agent_types.<name>.budgets.workflow_usd`."""

    warn_share: Annotated[float, Meta(gt=0, le=1)] = 0.8
    """Share of the budget that is spent from which to warn, 0–1."""
    warn_calls_left: Annotated[int, Meta(ge=0, le=100_000)] = 10
    """Forecast of model calls until the budget is spent from which to warn, whatever the share."""
    window_calls: Annotated[int, Meta(ge=2, le=64)] = 32
    """Model calls whose cost the forecast rests on."""


class WorkflowSpend(Detector[WorkflowSpendConfig]):
    """The sessions of one workflow together near the workflow's budget, or have spent it.

    **Why it costs.** Each session may stay within its own budget while the work goes on in ever new sessions, or in a few that
    never end: four agents spent 47,000 USD in eleven days that way.

    **When it is wrong.** It fires on one large task that is worth its price, and counts sessions in that only share a trace or a
    conversation id with the work. It misses calls whose price is unknown, what is not connected by traces, links, hand-offs or
    shared ids, and everything where no budget is set. Spent for certain is spent: only the forecast can be wrong.

    **Parameters** (`Config`): `warn_share` (share, 0–1), `warn_calls_left`, `window_calls` (model calls).

    **Examples.** Ten cents a call, and a budget of 2 USD:

    >>> from decimal import Decimal
    >>> from detectors.testing import llm, run, session
    >>> calls = session(*(llm(cost_usd="0.10") for _ in range(24)))
    >>> fired = run(WorkflowSpend, calls, ceiling_usd=Decimal(2))
    >>> [(step.seq, signal.severity.value, signal.halt_eligible, signal.evidence["calls_left"]) for step, signal in fired]
    [(10, 'warning', False, 10), (20, 'critical', True, 0)]

    No budget:

    >>> run(WorkflowSpend, calls)
    []

    **References.** Budgets as caps with thresholds before them: FinOps Foundation, "FinOps Framework" (2024), capability
    Budgeting.
    """

    name: ClassVar[str] = "workflow_spend"
    halt_reason: ClassVar[str | None] = "cost_runaway"
    scope: ClassVar[Scope] = "workflow"
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.LLM})
    Config: ClassVar[type[msgspec.Struct]] = WorkflowSpendConfig

    __slots__ = (
        "_calls",
        "_open",
    )

    def __init__(self, config: WorkflowSpendConfig) -> None:
        super().__init__(config)
        self._calls: deque[tuple[float, int, int]] = deque(maxlen=config.window_calls)
        """Cost in US dollars, end in nanoseconds, sequence number."""
        self._open = False

    def observe(self, step: Step, features: StepFeatures, context: Context) -> Answer:  # noqa: ARG002 — costs say it all
        """Compares what the workflow has cost with its budget."""
        if step.cost_usd is None:
            return None
        self._calls.append((float(step.cost_usd), step.ended_ns, step.seq))
        budget = context.ceiling_usd
        if budget is None or budget <= 0:
            return self._over()
        config, spent = self.config, float(context.cost_usd)
        share, each = spent / float(budget), sum(cost for cost, _, _ in self._calls) / len(self._calls)
        left = max(0, int((float(budget) - spent) / each + 1e-9)) if each > 0 else None
        nears = left is not None and left <= config.warn_calls_left and len(self._calls) > 1
        if share < config.warn_share and not nears:
            return self._over()
        self._open = True
        critical = share >= 1.0
        minutes = self._minutes(left)
        when = "" if critical or left is None else f", the rest pays for {left} more calls (about {minutes} minutes)"
        return Signal(
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            score=min(1.0, share / 2),
            summary=f"The workflow has spent {spent:.2f} of its {budget:.2f} USD{when}.",
            evidence={
                "cost_usd": str(context.cost_usd),
                "budget_usd": str(budget),
                "share": round(share, 4),
                "usd_per_call": round(each, 6),
                "calls_left": left,
                "minutes_left": minutes,
            },
            threshold={"budget_usd": float(budget)}
            if critical
            else {"warn_calls_left": float(config.warn_calls_left)}
            if share < config.warn_share
            else {"warn_share": config.warn_share},
            first_step_seq=self._calls[0][2],
            halt_eligible=critical,
            evidence_level=EvidenceLevel.STRUCTURE,
        )

    def _over(self) -> Answer:
        if not self._open:
            return None
        self._open = False
        return CLEAR

    def _minutes(self, left: int | None) -> float | None:
        if left is None or len(self._calls) < 2:
            return None
        apart_ns = max(0, self._calls[-1][1] - self._calls[0][1]) / (len(self._calls) - 1)
        return round(left * apart_ns / 60e9, 1)
