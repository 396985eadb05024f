"""How sessions, steps, findings and halts look in a terminal. Takes the JSON of the contract, so that all commands agree."""

import re
from collections.abc import Iterable
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

_COLOURS: Final = {
    "critical": "bold red",
    "warning": "yellow",
    "info": "dim",
    "halting": "bold red",
    "halted": "bold red",
    "running": "green",
}
# What agents and tools said may hold escape sequences that would drive the reader's terminal.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(value: object, width: int = 60) -> str:
    """One line, no control characters, at most `width` characters; `-` for unknown."""
    if value is None:
        return "-"
    text = _CONTROL.sub("�", " ".join(str(value).split()))
    return text if len(text) <= width else f"{text[: width - 1]}…"


def second(timestamp: str | None) -> str:
    """An RFC 3339 time without its fraction; `-` for unknown."""
    return clean(re.sub(r"\.\d+", "", timestamp) if timestamp else None)


def _cell(value: object, width: int = 60) -> Text:
    text = clean(value, width)
    return Text(text, style=_COLOURS.get(text, ""))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column in {"step", "steps", "cost USD", "in", "out", "score", "context", "similar", "new"}
        # An id that is broken over two lines cannot be copied.
        table.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=column == "session")
    return table


def print_sessions(console: Console, sessions: Iterable[dict[str, Any]]) -> None:
    """A line a session."""
    table = _table("session", "agent type", "state", "steps", "cost USD", "context", "halt reason", "last seen")
    for s in sessions:
        table.add_row(
            _cell(s["session_id"], 40),
            _cell(s["agent_type"], 24),
            _cell(s["state"]),
            _cell(s["steps"]),
            _cell(s["cost_usd"]),
            _cell(percent(s["context_utilization"])),
            _cell(s["halt_reason"]),
            _cell(second(s["last_seen_at"])),
        )
    console.print(table)


def print_session(console: Console, s: dict[str, Any]) -> None:
    """One session as a paragraph."""
    console.print(Text.assemble(("session ", "bold"), clean(s["session_id"], 120), "  ", _cell(s["state"])))
    agents = ", ".join(s["agents"]) or None
    console.print(
        f"  {clean(s['agent_type'])} ({clean(agents)}), service {clean(s['service_name'])}, workflow {clean(s['workflow_id'])}",
        markup=False,
    )
    console.print(
        f"  {s['steps']} steps: {s['llm_calls']} model calls, {s['tool_calls']} tool calls ({s['tool_errors']} failed); "
        f"tokens in {clean(s['input_tokens'])}, out {clean(s['output_tokens'])}; "
        f"{clean(s['cost_usd'])} USD ({clean(s['cost_basis'])}), {clean(s['budget_remaining_usd'])} USD left",
        markup=False,
    )
    if s["halt_reason"]:
        console.print(f"  halt reason: {clean(s['halt_reason'])}", markup=False, style="bold red")


def print_steps(console: Console, steps: Iterable[dict[str, Any]]) -> None:
    """A line a step, tool arguments and what they resemble beside it."""
    table = _table("step", "kind", "name", "in", "out", "cost USD", "similar", "new", "what")
    for s in steps:
        error = s.get("error_message") or s.get("error_type") or "failed"
        what = error if s.get("error") else s.get("arguments") or ", ".join(s.get("finish_reasons") or ())
        table.add_row(
            _cell(s["step"]),
            _cell(s["kind"]),
            _cell(s["name"], 32),
            _cell(s.get("input_tokens")),
            _cell(s.get("output_tokens")),
            _cell(s.get("cost_usd")),
            _cell(percent(s.get("argument_similarity"))),
            _cell(percent(s.get("result_novelty"))),
            Text(clean(what or None, 72), style="red" if s.get("error") else ""),
        )
    console.print(table)


def print_findings(console: Console, findings: Iterable[dict[str, Any]]) -> None:
    """A line a finding, newest state of each."""
    for f in findings:
        eligible = " [may halt]" if f["halt_eligible"] else ""
        line = Text.assemble(
            "  ", _cell(f["severity"]), f" {f['detector']}{eligible} at step {f['step']} ({f['mode']}): ", clean(f["summary"], 400)
        )
        console.print(line)


def print_halts(console: Console, halts: Iterable[dict[str, Any]]) -> None:
    """A line a halt."""
    for h in halts:
        trouble = f": {clean(h['last_error'], 200)}" if h["last_error"] else ""
        console.print(
            f"  {h['verb']} {h['halt_id']} {h['state']} after {h['attempts']} attempts, by {clean(h['requested_by'])}{trouble}",
            markup=False,
        )


def percent(value: float | None) -> str | None:
    """A share as a percentage."""
    return None if value is None else f"{value:.0%}"
