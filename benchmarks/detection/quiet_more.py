"""More healthy scenarios that look like loops: equal calls, equal outcomes or equal agents, and yet work gets done."""

from benchmarks.detection.labelled import Draft
from benchmarks.detection.quiet import many, negative


@negative
def scrolling(draft: Draft) -> None:
    """The same button pressed again and again; the page shows more each time."""
    writer = draft.writer
    for _ in many(draft, 8, 20):
        draft.call(writer.tool("run"), {"selector": "#more"}, writer.text(draft.dice.randint(2, 5)))


@negative
def work_queue(draft: Draft) -> None:
    """The next task fetched with the same empty call, done, and acknowledged."""
    writer = draft.writer
    for _ in many(draft, 6, 15):
        task = writer.number(99999)
        draft.call(draft.writer.tool("next"), {}, {"task": task, "text": writer.fact()})
        draft.call(draft.writer.tool("finish"), {"task": task, "outcome": writer.text(1)}, "ok")


@negative
def clean_check_after_each_edit(draft: Draft) -> None:
    """Another file edited each time, and the same check, clean each time."""
    writer = draft.writer
    clean = writer.pick(writer.all["clean"])
    for item in writer.items(draft.dice.randint(6, 14)):
        draft.call(writer.tool("write"), {writer.unit: item, "content": writer.text(2)}, "ok")
        draft.call(draft.writer.tool("lint"), {}, clean)


@negative
def rate_limited(draft: Draft) -> None:
    """Turned away for haste two or three times, waits longer each time, and gets through; then on with the work."""
    writer = draft.writer
    draft.work(3)
    arguments = {writer.unit: writer.item()}
    for number in range(draft.dice.randint(2, 3)):
        draft.call(writer.tool("read"), arguments, writer.pick(writer.all["too_many"]), failed=True)
        draft.call(draft.writer.tool("sleep"), {"seconds": 2 ** (number + 1)}, "ok")
    draft.call(writer.tool("read"), arguments, writer.text(4))
    draft.work(6)


@negative
def clock_between(draft: Draft) -> None:
    """The time asked for between pieces of work."""
    writer = draft.writer
    for _ in many(draft, 4, 9):
        draft.call(draft.writer.tool("clock"), {}, writer.moment())
        draft.work(draft.dice.randint(1, 3))


@negative
def delegation_acknowledged(draft: Draft) -> None:
    """A coordinator that hands out another task each time, always answered with one word."""
    writer = draft.writer
    worker, answer = writer.agents(2)[1], writer.pick(writer.all["done"])
    for item in writer.items(draft.dice.randint(6, 14)):
        draft.hand(worker, f"Take care of {item}: {writer.fact()}", answer)


@negative
def pipeline_of_agents(draft: Draft) -> None:
    """Three agents in a fixed order for each of several items, each with a result of its own."""
    writer, agents = draft.writer, draft.writer.agents(3)
    for item in writer.items(draft.dice.randint(4, 9)):
        text = f"{item}: {writer.text(2)}"
        for agent in agents:
            answer = f"{item}: {writer.text(3)}"
            draft.hand(agent, text, answer)
            text = answer


@negative
def transfers_with_work(draft: Draft) -> None:
    """Two agents who transfer to each other, and each does something new before it hands over."""
    first, second = draft.writer.agents(2)
    for number in many(draft, 5, 10):
        me, other = (first, second) if number % 2 else (second, first)
        draft.agent = me
        draft.work(draft.dice.randint(2, 4))
        draft.call(
            draft.writer.tool("transfer") + other, {}, f"{other}: {draft.writer.pick(draft.writer.all['done'])}", agent=me, silent=True
        )


@negative
def short_answers(draft: Draft) -> None:
    """A person who answers a questionnaire: other questions, yes or no."""
    writer = draft.writer
    for number in many(draft, 8, 18):
        draft.say(
            f"Question {number + 2}: is {writer.aspect()} of {writer.subject()} known to {writer.name()}?", asked=writer.pick(["yes", "no"])
        )


@negative
def absent_everywhere(draft: Draft) -> None:
    """One pattern looked for in one place after the other; it is in none."""
    writer = draft.writer
    pattern, said = f"{writer.word()} {writer.word()}", writer.pick(writer.all["nothing"])
    for item in writer.items(draft.dice.randint(8, 20)):
        draft.call(writer.tool("search"), {writer.argument: pattern, writer.unit: item}, said)


@negative
def every_combination(draft: Draft) -> None:
    """Each of some kinds looked up with each of some properties, and nothing is there."""
    writer, said = draft.writer, draft.writer.pick(draft.writer.all["nothing"])
    kinds, properties = (draft.dice.sample(writer.own["vocabulary"], count) for count in (4, 3))
    for kind in kinds:
        for which in properties:
            draft.call(writer.tool("search"), {writer.argument: f"{kind} {which}"}, said)


@negative
def nobody_listed(draft: Draft) -> None:
    """One full name after the other looked up in a list on which none is."""
    writer, said = draft.writer, draft.writer.pick(draft.writer.all["nothing"])
    families = [writer.name() for _ in range(5)]
    for _ in many(draft, 8, 20):
        draft.call(writer.tool("search"), {writer.argument: f"{writer.name()} {writer.pick(families)}"}, said)


@negative
def sampling(draft: Draft) -> None:
    """The same draw again and again, since many are wanted; the outcomes are few.

    Until two outcomes differ nothing tells it from a loop: one in 64 begins with four that are equal, and would be paged for.
    """
    for _ in many(draft, 10, 25):
        draft.call(draft.writer.tool("sample"), {"from": "urn"}, {"colour": draft.dice.choice(("red", "green", "blue", "white"))})


@negative
def reworded_once(draft: Draft) -> None:
    """A question that finds nothing and is put in other words, which finds it; several times."""
    writer = draft.writer
    for _ in many(draft, 3, 5):
        questions = writer.wordings(writer.subject(), writer.aspect())
        draft.call(writer.tool("search"), {writer.argument: next(questions)}, writer.pick(writer.all["nothing"]))
        draft.call(writer.tool("search"), {writer.argument: next(questions)}, writer.text(4))
        draft.work(draft.dice.randint(2, 4))


@negative
def form_described_alike(draft: Draft) -> None:
    """Field after field filled in, and the whole page described after each: all that changes is what was typed."""
    writer = draft.writer
    fields = [f"{writer.word()} {number}" for number in range(draft.dice.randint(6, 12))]
    values = dict.fromkeys(fields, "")
    for field in fields:
        values[field] = f"{writer.name()} {writer.number()}"
        page = "; ".join(f"{name}: {value or 'empty'}" for name, value in values.items())
        draft.call(writer.tool("write"), {"field": field, "value": values[field]}, f"Form of {draft.subject}. {page}")
