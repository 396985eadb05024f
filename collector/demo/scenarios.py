"""What the demonstration's agents do, as data: who calls which tool or model, with what, and what comes back."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple


class Call(NamedTuple):
    """One tool call, or with `tool` None one message from an agent to another."""

    agent: str
    tool: str | None
    arguments: dict[str, Any] | str
    result: str
    input_tokens: int = 0
    error: str | None = None
    says: str = ""


class Scenario(NamedTuple):
    """`calls` never ends where the agent would not: the runtime stops it, or `patience` calls are over."""

    name: str
    agent: str
    story: str
    calls: Callable[[], Iterator[Call]]
    patience: int = 40
    trips: bool = False
    """Whether the armed detectors have to halt it."""


def _healthy() -> Iterator[Call]:
    agent = "demo-support"
    yield Call(
        agent,
        "get_order",
        {"order_id": "A-1001"},
        json.dumps({"order": "A-1001", "item": "espresso machine", "paid": 249.0, "state": "delivered"}),
    )
    yield Call(
        agent, "search_policy", {"query": "return of opened appliances"}, "Opened appliances: return within 14 days, 15 % restocking fee."
    )
    yield Call(agent, "search_policy", {"query": "damaged on delivery"}, "Damage reported within 3 days: full refund, pickup at our cost.")
    yield Call(agent, "list_photos", {"order_id": "A-1001"}, "2 photos: cracked water tank; dented corner of the box.")
    yield Call(agent, "create_refund", {"order_id": "A-1001", "percent": 100}, json.dumps({"refund": "R-881", "amount": 249.0}))
    yield Call(agent, "book_pickup", {"refund": "R-881", "day": "Tuesday"}, "Pickup booked, confirmation 55-120.")
    yield Call(agent, "send_email", {"to": "customer", "subject": "Your refund R-881"}, "queued as message 7731")


_SEARCHES: Final = (
    "rotate signing key without downtime",
    "how to rotate a signing key without downtime",
    "rotate signing keys with no downtime guide",
    "zero downtime signing key rotation",
    "signing key rotation, no downtime, steps",
    "official guide: rotate signing key without downtime",
)


def _soft_loop() -> Iterator[Call]:
    while True:
        for query in _SEARCHES:
            yield Call(
                "demo-researcher",
                "search_docs",
                {"query": query, "limit": 10},
                "3 results: Account security overview; Password reset; Contact support.",
            )


_REVIEWS: Final = (
    ("Please verify the quarterly figures in section 2.", "Section 2 needs another analysis before I can verify it."),
    ("I analysed section 2 again; please verify.", "Thank you. Section 2 still needs another analysis before I can verify it."),
    ("Section 2 is analysed once more; please verify it.", "Noted. Please analyse section 2 again, then I can verify it."),
)


def _ping_pong() -> Iterator[Call]:
    while True:
        for ask, answer in _REVIEWS:
            yield Call("Analyzer", None, ask, answer)
            yield Call("Verifier", None, answer, ask)


def _retry_storm() -> Iterator[Call]:
    while True:
        arguments = {"customer": "C-77", "include_archived": True}
        message = "ValidationError: include_archived is not a parameter of get_invoices (known: customer, since, limit)"
        yield Call("demo-billing", "get_invoices", arguments, message, error=message)


def _context_overflow() -> Iterator[Call]:
    for number in range(1, 200):
        notes = " ".join(f"finding{number}-{part}" for part in range(40))
        yield Call("demo-reader", "read_chapter", {"chapter": number}, f"Chapter {number}: {notes}", input_tokens=9_000 * number)


SCENARIOS: Final[dict[str, Scenario]] = {
    scenario.name: scenario
    for scenario in (
        Scenario("healthy", "demo-support", "answers a customer, seven different calls, done", _healthy),
        Scenario("soft-loop", "demo-researcher", "asks the same thing in other words, and learns nothing new", _soft_loop, trips=True),
        Scenario("retry-storm", "demo-billing", "repeats a call whose parameter does not exist", _retry_storm, trips=True),
        Scenario("ping-pong", "demo-pipeline", "Analyzer and Verifier hand the same request back and forth", _ping_pong, trips=True),
        Scenario("context-overflow", "demo-reader", "reads on until its context window is full", _context_overflow, 16),
    )
}
ARMED: Final = ("exact_loop", "soft_loop", "ping_pong", "retry_storm")
"""Detectors that a service started for the demonstration lets halt."""
