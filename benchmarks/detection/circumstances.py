"""Scenarios that depend on more than the steps: what is usual for the agent type, a halt that was asked for, time that passes."""

from benchmarks.detection.labelled import Draft
from benchmarks.detection.loops import positive
from benchmarks.detection.quiet import negative


def _tools_only(draft: Draft) -> None:
    draft.speaking = draft.models = False


@positive("max_steps")
def far_more_steps_than_usual(draft: Draft) -> None:
    """Ordinary-looking work that goes on for several times as long as its type ever needs."""
    _tools_only(draft)
    usual = draft.dice.randint(14, 20)
    draft.usual(steps=usual)
    draft.work(usual)
    draft.trouble()
    draft.work(usual * draft.dice.randint(4, 7))


@positive("timeout")
def far_longer_than_usual(draft: Draft) -> None:
    """Ordinary-looking work that takes several times as long as its type ever does."""
    _tools_only(draft)
    usual = draft.dice.randint(32, 40)
    draft.usual(duration_s=usual)
    draft.work(usual // 2)
    draft.trouble()
    draft.work(usual * 3)


@positive("cost_runaway")
def spends_far_more_than_usual(draft: Draft) -> None:
    """Flat cost, no budget, and in sum many times what a session of its type costs."""
    _tools_only(draft)
    draft.tokens = 30_000
    usual = 0.2
    draft.usual(cost_usd=2 * usual)
    spent = 0.0
    while spent < 40 * usual:
        draft.tokens = draft.dice.randint(80_000, 84_000)
        draft.say(draft.writer.text(1), spoken=200)
        draft.work(1)
        spent += float(draft.steps[-2].cost_usd or 0)
        if draft.onset is None and spent > 5 * usual:
            draft.trouble()


@positive("zombie")
def goes_on_after_the_halt(draft: Draft) -> None:
    """Halted, and still at work minutes later."""
    _tools_only(draft)
    draft.work(draft.dice.randint(4, 10))
    draft.halted_after = len(draft.steps) - 1
    draft.work(16)
    draft.trouble()
    draft.work(12)


@positive("abandoned")
def falls_silent(draft: Draft) -> None:
    """A tool was asked for, and nothing was heard of the session since."""
    draft.work(draft.dice.randint(4, 12))
    draft.trouble()
    draft.ask(draft.writer.tool("run"))
    draft.silence_s = draft.dice.randint(1000, 4000)


@negative
def large_as_usual(draft: Draft) -> None:
    """A long session of a type whose sessions are long."""
    _tools_only(draft)
    calls = draft.dice.randint(60, 90)
    draft.usual(steps=calls, duration_s=2 * calls + 10)
    draft.work(calls)


@negative
def twice_the_usual(draft: Draft) -> None:
    """A task half as large again as its type's largest: no reason to page anybody."""
    _tools_only(draft)
    draft.usual(steps=40, duration_s=130)
    draft.work(58)


@negative
def spends_twice_the_usual(draft: Draft) -> None:
    """Flat cost, and in sum twice what a session of its type costs."""
    _tools_only(draft)
    draft.usual(cost_usd=2.0)
    for _ in range(20):
        draft.tokens = draft.dice.randint(38_000, 42_000)
        draft.say(draft.writer.text(1), spoken=100)
        draft.work(1)


@negative
def stops_after_the_halt(draft: Draft) -> None:
    """Halted, and the calls that were under way come to their end."""
    _tools_only(draft)
    draft.work(draft.dice.randint(6, 12))
    draft.halted_after = len(draft.steps) - 1
    draft.work(draft.dice.randint(1, 6))


@negative
def idle_after_the_answer(draft: Draft) -> None:
    """The person does not come back for an hour: nothing is open."""
    draft.work(draft.dice.randint(4, 10))
    draft.say(draft.writer.text(2), asked="continue")
    draft.silence_s = 3600


@negative
def slow_tool(draft: Draft) -> None:
    """A tool that takes ten minutes."""
    draft.work(draft.dice.randint(4, 10))
    draft.ask(draft.writer.tool("run"))
    draft.silence_s = 600
