"""What a session adds up to: its steps as they stand, counted one by one, taken back where corrected, summed where two are one."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from collector.model import Identifiers, Session, SessionState
from detectors.model import Event, Step, StepAmended, StepKind, StepRetracted

_FREE: Final = Decimal(0)


def add(ids: list[str], value: str | None) -> None:
    """Appends a value not yet there; past the limit the newest replace the oldest but the first."""
    if value is None or (ids and ids[-1] == value) or value in ids:
        return
    ids.append(value)
    if len(ids) > Identifiers.LIMIT:
        del ids[1]


def count(session: Session, step: Step, sign: int) -> None:
    """Adds (or takes back) what one step counts for."""
    kind = step.kind
    if kind is StepKind.AGENT:
        return
    session.steps += sign
    if kind is StepKind.LLM:
        session.llm_calls += sign
        if (tokens := step.input_tokens) is not None:
            session.input_tokens = (session.input_tokens or 0) + sign * tokens
        if (tokens := step.output_tokens) is not None:
            session.output_tokens = (session.output_tokens or 0) + sign * tokens
        if (tokens := step.cached_input_tokens) is not None:
            session.cached_input_tokens = (session.cached_input_tokens or 0) + sign * tokens
        if (cost := step.cost_usd) is not None:
            session.cost_usd = (session.cost_usd or _FREE) + (cost if sign > 0 else -cost)
        if (basis := step.cost_basis) is not None:
            session.cost_bases[basis] = session.cost_bases.get(basis, 0) + sign
    elif kind is StepKind.TOOL:
        session.tool_calls += sign
        if step.error is True:
            session.tool_errors += sign


def describe(session: Session, step: Step) -> None:
    """Adds what the step says the session is called, and where it runs."""
    names = session.identifiers
    if step.trace_id:
        add(names.trace_ids, step.trace_id)
    if step.service_name is not None and session.service_name is None:
        session.service_name = step.service_name
    add(names.service_names, step.service_name)
    add(names.service_instance_ids, step.service_instance)
    if step.dialect not in session.dialects:
        session.dialects.append(step.dialect)


def absorb(into: Session, gone: Session) -> None:
    """Adds the sums and names of `gone` to `into`."""
    for field in ("steps", "llm_calls", "tool_calls", "tool_errors"):
        setattr(into, field, getattr(into, field) + getattr(gone, field))
    for field in ("input_tokens", "output_tokens", "cached_input_tokens", "cost_usd"):
        values: list[Any] = [value for value in (getattr(into, field), getattr(gone, field)) if value is not None]
        setattr(into, field, sum(values[1:], values[0]) if values else None)
    for basis, calls in gone.cost_bases.items():
        into.cost_bases[basis] = into.cost_bases.get(basis, 0) + calls
    for kind in ("trace_ids", "conversation_ids", "service_names", "service_instance_ids"):
        for value in getattr(gone.identifiers, kind):
            add(getattr(into.identifiers, kind), value)
    for name in gone.merged_from:
        add(into.merged_from, name)
    for name in gone.agents:
        add(into.agents, name)
    into.dialects += [name for name in gone.dialects if name not in into.dialects]
    into.service_name = into.service_name or gone.service_name
    into.workflow_id = into.workflow_id or gone.workflow_id
    into.started_ns = min(filter(None, (into.started_ns, gone.started_ns)), default=0)
    into.first_seq = min(into.first_seq, gone.first_seq)
    if gone.last_seen_ns > into.last_seen_ns:
        into.last_seen_ns = gone.last_seen_ns
        into.context_utilization = gone.context_utilization
    if gone.state.sticky and not into.state.sticky:
        into.state, into.halt_reason, into.generation = gone.state, gone.halt_reason, max(into.generation, gone.generation)
    elif not into.state.sticky and gone.state is SessionState.COMPLETED:
        into.state = gone.state


def steps_of(events: Iterable[Event]) -> list[Step]:
    """The steps as they stand after `events`: amended ones amended, retracted ones gone, in commit order."""
    steps: dict[int, Step] = {}
    for event in events:
        if isinstance(event, Step):
            steps[event.seq] = event
        elif isinstance(event, StepAmended):
            steps[event.step.seq] = event.step
        elif isinstance(event, StepRetracted):
            steps.pop(event.was.seq, None)
    return list(steps.values())
