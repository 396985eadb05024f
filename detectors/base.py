"""The contract of a detector. `detectors.checks` holds every registered one to it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar

import msgspec

from detectors.baseline import Baseline
from detectors.model import EvidenceLevel, Severity, Step, StepKind, Tick
from detectors.step_features import StepFeatures


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """What a detector sees at this step: its pattern holds, this badly.

    `score` is 0–1: how strong the pattern is, not how likely it is right (see `detectors.calibration`). `first_step_seq` is
    where the pattern began. `evidence` must let a person check `summary` by hand: sequence numbers, quoted arguments, figures.
    `threshold` names each limit that was passed.
    """

    severity: Severity
    score: float
    summary: str
    evidence: dict[str, Any]
    threshold: dict[str, float]
    first_step_seq: int
    halt_eligible: bool = False
    evidence_level: EvidenceLevel = EvidenceLevel.CONTENT


class Clear:
    """The pattern ended: the open episode closes, and the next signal opens another."""

    def __repr__(self) -> str:
        return "CLEAR"

    def __reduce__(self) -> str:
        return "CLEAR"


CLEAR: Final = Clear()

Answer = Signal | Clear | None
"""None: nothing new to say. Repeating a signal at the same level is harmless: only an escalation is reported."""


_NO_SCHEMAS: Final[Mapping[str, str]] = MappingProxyType({})
_NO_COST: Final = Decimal(0)


class Context:
    """What a detector may know beside the steps: versioned, read-only, of one session.

    The owner updates it before each step; a detector never writes to it.
    """

    __slots__ = (
        "agent_type",
        "baseline",
        "ceiling_usd",
        "cost_usd",
        "grace_until_step",
        "halt_generation",
        "halted_at_ns",
        "llm_calls",
        "polling_tools",
        "schemas",
        "started_ns",
        "steps",
        "tokens",
        "tool_calls",
    )

    def __init__(
        self,
        *,
        agent_type: str = "unknown",
        ceiling_usd: Decimal | None = None,
        polling_tools: frozenset[str] = frozenset(),
        baseline: Baseline | None = None,
        schemas: Mapping[str, str] | None = None,
        halted_at_ns: int | None = None,
        halt_generation: int = 0,
    ) -> None:
        self.agent_type = agent_type
        self.ceiling_usd = ceiling_usd
        """The session's budget in US dollars, if it has one."""
        self.polling_tools = polling_tools
        """Tools the operator declared as polling: repeating them unchanged is their job."""
        self.baseline = baseline
        """What is normal for the agent type, if that is known."""
        self.schemas: Mapping[str, str] = _NO_SCHEMAS if schemas is None else dict(schemas)
        """Tool → JSON Schema of its arguments, as text, where it is known."""
        self.halted_at_ns = halted_at_ns
        """When the runtime was last asked to halt the session, in event time. None: it was not, or was released since."""
        self.halt_generation = halt_generation
        """Grows with every such request."""
        self.steps = 0
        """Counted steps so far, this one included."""
        self.llm_calls = 0
        self.tool_calls = 0
        self.tokens = 0
        """Known input and output tokens so far."""
        self.cost_usd = _NO_COST
        """Known cost so far; unmetered calls add nothing."""
        self.started_ns: int | None = None
        """Start of the earliest step so far."""
        self.grace_until_step = 0

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: dict(value) if name == "schemas" else value for name in self.__slots__ if (value := getattr(self, name, None)) is not None
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        for name, value in state.items():
            setattr(self, name, value)


C = TypeVar("C", bound=msgspec.Struct)

Scope = Literal["session", "workflow", "fleet"]

Need = Literal["baseline", "halt"]
"""Something about the session that a detector cannot do without: what is usual for its type, or that a halt was asked for."""


class Detector(ABC, Generic[C]):
    """Watches the steps of one session and says when they look wrong.

    One instance serves one session and is dropped with it. Every detector keeps these promises:

    * The same steps and config give the same answers: no clock, no I/O, no unseeded randomness.
    * Memory is bounded by the config, not by the length of the session. As there is one of it to every live session, it has
      `__slots__`, and makes what holds steps when there is the first to hold.
    * A Step is never changed. An unknown (None) field neither raises nor fires.
    * State survives pickling between any two steps.
    * Its memory of steps reaches back at most `memory_steps` counted steps, so that replaying the session's recent
      steps into a fresh instance (after an amendment or a merge, see docs/adr/003) restores it.

    Steps arrive in the order their spans *ended* at the sender and were received here: a parent after its children,
    two parallel tools in either order, a late span late.

    `name` names the pattern, not the cure, and equals the file, the configuration key and the metric label.
    `halt_reason` is an entry of rules/taxonomy.yml, or None where the pattern is no reason to halt.
    """

    name: ClassVar[str]
    halt_reason: ClassVar[str | None]
    scope: ClassVar[Scope] = "session"
    kinds: ClassVar[frozenset[StepKind]] = frozenset(StepKind)
    """Kinds of steps it wants to see: others are not shown to it."""
    needs: ClassVar[Need | None] = None
    """What must be known of the session before it is shown any step. It neither answers nor remembers anything before."""
    yields_to: ClassVar[tuple[str, ...]] = ()
    """Detectors that say the same more precisely: while one of them has an open finding as bad, this one keeps quiet."""
    Config: ClassVar[type[msgspec.Struct]]
    memory_steps: ClassVar[int] = 256

    __slots__ = ("config",)

    def __init__(self, config: C) -> None:
        self.config = config

    @abstractmethod
    def observe(self, step: Step, features: StepFeatures, context: Context) -> Answer:
        """Takes in the next step and says whether the pattern holds now.

        Only steps of `kinds` arrive.
        """

    def tick(self, tick: Tick, context: Context) -> Answer:  # noqa: ARG002 — most patterns do not depend on time
        """Called as event time passes without steps. Override to notice silence."""
        return None
