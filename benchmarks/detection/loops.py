"""Scenarios of sessions that loop. Each writes one session into a draft and says where the loop begins."""

import json
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Final

from benchmarks.detection.labelled import Draft

Scenario = Callable[[Draft], None]

POSITIVE: Final[dict[str, tuple[tuple[str, ...], Scenario]]] = {}
"""Name → causes of which one should be named, the most precise first, and the scenario."""


def positive(*expects: str) -> Callable[[Scenario], Scenario]:
    """Registers a scenario in which something goes wrong."""

    def register(scenario: Scenario) -> Scenario:
        POSITIVE[scenario.__name__] = (expects, scenario)
        return scenario

    return register


def rounds(draft: Draft, least: int = 6, most: int = 16) -> range:
    return range(draft.dice.randint(least, most))


def before(draft: Draft) -> None:
    draft.work(draft.dice.randint(0, 8))


@positive("exact_loop")
def exact_same(draft: Draft) -> None:
    """The same call with the same result."""
    before(draft)
    writer = draft.writer
    arguments, result = {writer.unit: writer.item()}, writer.text(draft.dice.randint(1, 4))
    draft.trouble()
    for _ in rounds(draft):
        draft.call(writer.tool("read"), arguments, result)


@positive("exact_loop")
def exact_volatile(draft: Draft) -> None:
    """The same call, but for a nonce; the same result, but for times and ids."""
    before(draft)
    writer = draft.writer
    item, known = writer.item(), writer.text(2)
    draft.trouble()
    for _ in rounds(draft):
        arguments = {writer.unit: item, "request_id": writer.nonce()}
        draft.call(writer.tool("read"), arguments, f"{known} trace {writer.nonce()} at {writer.moment()}, took {writer.number(900)} ms")


@positive("exact_loop")
def exact_interleaved(draft: Draft) -> None:
    """The same call with the same result, a note written after every other."""
    before(draft)
    writer = draft.writer
    arguments, result = {writer.argument: f"{draft.subject} {draft.aspect}"}, writer.fill(writer.pick(writer.all["stale"]))
    draft.trouble()
    for number in rounds(draft, 7, 14):
        draft.call(writer.tool("search"), arguments, result)
        if number % 2:
            draft.call(writer.tool("write"), {writer.unit: "notes", "content": f"still looking at {draft.aspect}"}, "ok")


@positive("exact_loop", "soft_loop")
def soft_key_order(draft: Draft) -> None:
    """The same request, keys in another order, blanks and capitals changed, a limit toggled."""
    before(draft)
    writer, dice = draft.writer, draft.dice
    question, result = f"{draft.subject} {draft.aspect}", writer.fill(writer.pick(writer.all["stale"]))
    draft.trouble()
    for _ in rounds(draft):
        pairs = [
            (writer.argument, dice.choice((question, question.title(), f" {question}"))),
            ("limit", dice.choice((10, 20))),
            ("lang", "en"),
        ]
        dice.shuffle(pairs)
        draft.call(writer.tool("search"), json.dumps(dict(pairs)), result)


@positive("soft_loop")
def soft_words(draft: Draft) -> None:
    """The same question with a word changed at a time, the same useless hits."""
    before(draft)
    writer, dice = draft.writer, draft.dice
    words = [*draft.subject.split(), draft.aspect, writer.word()]
    result = writer.fill(writer.pick(writer.all["stale"]))
    draft.trouble()
    for _ in rounds(draft):
        dice.shuffle(words)
        words[-1] = writer.word()
        draft.call(writer.tool("search"), {writer.argument: " ".join(words)}, result)


@positive("soft_loop")
def soft_paraphrase(draft: Draft) -> None:
    """The same question in wholly other words, the same useless hits."""
    before(draft)
    writer = draft.writer
    result = writer.fill(writer.pick(writer.all["stale"]))
    draft.trouble()
    for question in islice(writer.wordings(draft.subject, draft.aspect), len(rounds(draft))):
        draft.call(writer.tool("search"), {writer.argument: question}, result)


@positive("soft_loop")
def soft_nothing(draft: Draft) -> None:
    """The same question in other words, nothing found, said with the question in it."""
    before(draft)
    writer = draft.writer
    draft.trouble()
    for question in islice(writer.wordings(draft.subject, draft.aspect), len(rounds(draft))):
        draft.call(writer.tool("search"), {writer.argument: question}, f"{writer.pick(writer.all['nothing'])} ({question})")


@positive("soft_loop")
def soft_patterns(draft: Draft) -> None:
    """Two of the same few words at a time, put together as a pattern in ever other ways; nothing matches."""
    before(draft)
    writer, dice = draft.writer, draft.dice
    words = list(dict.fromkeys((*draft.subject.split(), *draft.aspect.split(), writer.word(), writer.word())))
    sign, said = dice.choice((" ", ".*", "|")), writer.pick(writer.all["nothing"])
    draft.trouble()
    for _ in rounds(draft, 8, 16):
        draft.call(writer.tool("search"), {writer.argument: sign.join(dice.sample(words, 2))}, said)


@positive("soft_loop")
def soft_foreign(draft: Draft) -> None:
    """The same question in other words of another language."""
    before(draft)
    writer = draft.writer
    questions, nothing = writer.foreign(writer.pick(sorted(writer.all["languages"])))
    said = writer.pick(nothing)
    draft.trouble()
    for question in islice(questions, len(rounds(draft))):
        draft.call(writer.tool("search"), {writer.argument: question}, said)


@positive("soft_loop")
def soft_shuffled(draft: Draft) -> None:
    """Other words, the same hits in another order and with fresh scores."""
    before(draft)
    writer, dice = draft.writer, draft.dice
    hits = [f"{writer.name()} on {writer.word()} and {writer.word()}" for _ in range(4)]
    draft.trouble()
    for question in islice(writer.wordings(draft.subject, draft.aspect), len(rounds(draft))):
        shown = dice.sample(hits, dice.randint(3, 4))
        draft.call(writer.tool("search"), {writer.argument: question}, [{"title": hit, "score": round(dice.random(), 3)} for hit in shown])


@positive("soft_loop", "no_progress")
def soft_two_tools(draft: Draft) -> None:
    """The question goes to a search and to a person in turn, in other words; neither knows."""
    before(draft)
    writer = draft.writer
    said = [writer.fill(writer.pick(writer.all["stale"])), writer.pick(writer.all["nothing"])]
    questions = writer.wordings(draft.subject, draft.aspect)
    draft.trouble()
    for number in rounds(draft, 8, 18):
        slot, key = (("search", writer.argument), ("ask", "message"))[number % 2]
        draft.call(writer.tool(slot), {key: next(questions)}, said[number % 2])


def _exchange(draft: Draft, period: int, texts: Iterator[tuple[str, str]]) -> None:
    agents = draft.writer.agents(period)
    draft.trouble()
    for agent in islice(cycle(agents), period * draft.dice.randint(4, 7)):
        draft.hand(agent, *next(texts))


def _fresh(draft: Draft) -> Iterator[tuple[str, str]]:
    writer = draft.writer
    while True:
        yield writer.ask(draft.subject, draft.aspect), writer.answer(draft.subject, draft.aspect)


def _ping_pong(period: int) -> None:
    def same(draft: Draft) -> None:
        before(draft)
        known = [next(_fresh(draft)) for _ in range(period)]
        _exchange(draft, period, cycle(known))

    def fresh(draft: Draft) -> None:
        before(draft)
        _exchange(draft, period, _fresh(draft))

    def tools(draft: Draft) -> None:
        before(draft)
        writer = draft.writer
        slots = draft.dice.sample(("search", "read", "run", "status", "list", "ask"), period)
        calls = [(writer.tool(slot), {writer.unit: writer.item()}, writer.text(1)) for slot in slots]
        draft.trouble()
        for call in islice(cycle(calls), period * draft.dice.randint(4, 7)):
            draft.call(*call)

    same.__doc__ = f"{period} agents hand the same thing round in the same words."
    fresh.__doc__ = f"{period} agents hand the same thing round in fresh words."
    tools.__doc__ = f"{period} tools take turns, each with the same call and result."
    for kind, scenario in (("agents", same), ("fresh", fresh), ("tools", tools)):
        scenario.__name__ = f"ping_pong_{kind}_{period}"
        positive("ping_pong")(scenario)


for _period in range(2, 7):
    _ping_pong(_period)


@positive("ping_pong")
def ping_pong_handoff_tools(draft: Draft) -> None:
    """Two agents transfer to each other by tool, a sentence of thought before each."""
    before(draft)
    first, second = draft.writer.agents(2)
    draft.trouble()
    for number in rounds(draft, 10, 18):
        me, other = (first, second) if number % 2 else (second, first)
        draft.say(draft.writer.ask(draft.subject, draft.aspect), agent=me)
        draft.call(
            draft.writer.tool("transfer") + other, {}, f"{other}: {draft.writer.pick(draft.writer.all['done'])}", agent=me, silent=True
        )


@positive("ping_pong")
def ping_pong_models(draft: Draft) -> None:
    """Two agents whose model calls answer each other, without any tool or hand-off span."""
    before(draft)
    agents = draft.writer.agents(2)
    asked = draft.writer.ask(draft.subject, draft.aspect)
    draft.trouble()
    for number in rounds(draft, 12, 20):
        make = draft.writer.answer if number % 2 else draft.writer.ask
        said = make(draft.subject, draft.aspect)
        draft.say(said, asked=asked, agent=agents[number % 2])
        asked = said
