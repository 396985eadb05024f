"""Scenarios of workflows: pieces of work that run through several sessions."""

from collections.abc import Callable
from decimal import Decimal

from benchmarks.detection.together import Plot, goes_wrong, misleads
from detectors import testing


def _hand(plot: Plot, agent: str, session: int, asked: str, answered: str) -> None:
    plot.step(testing.agent(agent, asked, answered), session)


def _opening(plot: Plot) -> None:
    """Agents in sessions of their own, each of which does something."""
    writer = plot.writer
    for session, agent in enumerate(writer.agents(4)):
        _hand(plot, agent, session, writer.text(1), writer.text(3))


def _round(period: int, *, fresh: bool) -> Callable[[Plot], None]:
    def goes_round(plot: Plot) -> None:
        writer = plot.writer
        agents, subject, aspect = writer.agents(period), writer.subject(), writer.aspect()
        _opening(plot)
        known = [(writer.ask(subject, aspect), writer.answer(subject, aspect)) for _ in range(period)]
        plot.trouble()
        for number in range(12 * period):
            place = number % period
            asked, answered = (writer.ask(subject, aspect), writer.answer(subject, aspect)) if fresh else known[place]
            _hand(plot, agents[place], place, asked, answered)

    goes_round.__name__ = f"round_of_{period}_sessions_{'fresh' if fresh else 'same'}"
    goes_round.__doc__ = f"{period} agents in as many sessions hand the same thing round in {'fresh' if fresh else 'the same'} words."
    return goes_round


for _period in (2, 3, 4):
    for _fresh in (False, True):
        goes_wrong("ping_pong")(_round(_period, fresh=_fresh))


@misleads("ping_pong")
def a_planner_hands_out_work(plot: Plot) -> None:
    """One agent asks three others in turn, each time about something else, and hears something new."""
    writer = plot.writer
    planner, *others = writer.agents(4)
    for number in range(45):
        subject = writer.subject()
        place = number % 3
        _hand(plot, planner, 3, writer.text(1, subject), writer.ask(subject, writer.aspect()))
        _hand(plot, others[place], place, writer.ask(subject, writer.aspect()), writer.text(3, subject))


@misleads("ping_pong")
def two_that_get_somewhere(plot: Plot) -> None:
    """A writer and a reviewer, and each review is about another part."""
    writer = plot.writer
    first, second = writer.agents(2)
    for _ in range(30):
        part = writer.item()
        _hand(plot, first, 0, f"write {part}", writer.text(3))
        _hand(plot, second, 1, f"review {part}", writer.text(2))


def _calls(plot: Plot, count: int, cost: str, sessions: int) -> None:
    for number in range(count):
        said = plot.writer.text(1)
        plot.step(testing.llm("gpt-4o", said, agent=plot.writer.own["agents"][0], cost_usd=cost), number % sessions)


@goes_wrong("workflow_spend")
def many_small_sessions(plot: Plot) -> None:
    """Ever new sessions, a few cents each; together they spend the budget."""
    plot.budget_usd = Decimal(5)
    _calls(plot, 60, "0.05", len(plot.sessions))
    plot.trouble()
    _calls(plot, 60, "0.05", len(plot.sessions))


@goes_wrong("workflow_spend")
def four_that_never_end(plot: Plot) -> None:
    """Four sessions that go on and on."""
    plot.budget_usd = Decimal(20)
    _calls(plot, 120, "0.12", 4)
    plot.trouble()
    _calls(plot, 80, "0.12", 4)


@misleads("workflow_spend")
def six_tenths_of_the_budget(plot: Plot) -> None:
    """A large piece of work that stays well within what it may cost."""
    plot.budget_usd = Decimal(20)
    _calls(plot, 100, "0.12", 4)


@misleads("workflow_spend")
def dear_without_a_budget(plot: Plot) -> None:
    """Nobody set a limit."""
    _calls(plot, 60, "2.00", 6)
