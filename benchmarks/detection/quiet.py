"""Scenarios of healthy sessions that look like loops: repetition with a reason."""

from itertools import islice
from typing import Final

from benchmarks.detection.labelled import CEILING_USD, Draft
from benchmarks.detection.loops import Scenario

NEGATIVE: Final[dict[str, Scenario]] = {}


def negative(scenario: Scenario) -> Scenario:
    """Registers a scenario in which nothing is wrong."""
    NEGATIVE[scenario.__name__] = scenario
    return scenario


def many(draft: Draft, least: int, most: int) -> range:
    return range(draft.dice.randint(least, most))


@negative
def ordinary(draft: Draft) -> None:
    """Different calls with different results."""
    draft.work(draft.dice.randint(6, 30))


@negative
def long_research(draft: Draft) -> None:
    """A long series of searches and pages, every one with something new."""
    writer = draft.writer
    for _ in many(draft, 25, 60):
        subject, aspect = writer.subject(), writer.aspect()
        draft.call(
            writer.tool("search"), {writer.argument: f"{next(writer.wordings(subject, aspect))} {writer.name()}"}, writer.text(4, subject)
        )
        draft.call(writer.tool("read"), {writer.unit: writer.item()}, writer.text(draft.dice.randint(5, 12), subject))


@negative
def refined_search(draft: Draft) -> None:
    """One question in other words, and each wording finds something else."""
    writer = draft.writer
    for question in islice(writer.wordings(draft.subject, draft.aspect), draft.dice.randint(5, 10)):
        draft.call(writer.tool("search"), {writer.argument: question}, writer.text(4, draft.subject))


@negative
def pagination(draft: Draft) -> None:
    """Page after page of a list."""
    writer = draft.writer
    for page in many(draft, 8, 40):
        rows = [{"id": writer.number(99999), "title": writer.fact()} for _ in range(draft.dice.randint(3, 6))]
        draft.call(writer.tool("list"), {"page": page + 1, "size": 5}, {"page": page + 1, "rows": rows})


@negative
def pagination_numbers(draft: Draft) -> None:
    """Pages that differ in ids and figures only."""
    writer, start = draft.writer, draft.writer.number(5000)
    for page in many(draft, 8, 25):
        rows = [{"id": start + 5 * page + row, "amount": writer.number(900), "currency": "EUR"} for row in range(5)]
        draft.call(writer.tool("list"), {"cursor": f"c{start + 5 * page}"}, {"rows": rows})


@negative
def batch_files(draft: Draft) -> None:
    """One file after the other converted, each acknowledged alike."""
    writer = draft.writer
    ack = writer.pick(writer.all["acks"])
    for item in writer.items(draft.dice.randint(8, 30)):
        draft.call(writer.tool("write"), {writer.unit: item, "format": "v2"}, ack)


@negative
def batch_rows(draft: Draft) -> None:
    """Rows inserted one by one, acknowledged alike."""
    writer = draft.writer
    ack = writer.pick(writer.all["acks"])
    for number in many(draft, 10, 40):
        draft.call(writer.tool("write"), {"row": {"id": number, "label": writer.word(), "value": writer.number()}}, ack)


@negative
def batch_long_acknowledgement(draft: Draft) -> None:
    """One item after the other sent off, acknowledged with the same long sentence."""
    writer = draft.writer
    ack = f"The request was accepted by {writer.name()} and will be carried out in the next {writer.word()} window; nothing else to do."
    for item in writer.items(draft.dice.randint(6, 16)):
        draft.call(writer.tool("send"), {writer.unit: item, "text": writer.text(1)}, ack)


@negative
def map_reduce(draft: Draft) -> None:
    """The same question about every item, an answer of its own each, and a summary."""
    writer = draft.writer
    for item in writer.items(draft.dice.randint(8, 20)):
        draft.call(writer.tool("read"), {writer.unit: item}, writer.text(3))
        draft.say(f"{item}: {writer.fact()}", asked=f"Summarise {item} in one sentence.")
    draft.say(writer.text(5))


@negative
def classification(draft: Draft) -> None:
    """Many texts sorted into few classes: other questions, the same answers."""
    writer = draft.writer
    labels = [writer.word() for _ in range(3)]
    for item in writer.items(draft.dice.randint(10, 25)):
        draft.call(draft.writer.tool("classify"), {"id": item, "text": writer.text(1)}, {"label": writer.pick(labels)})


@negative
def grading_by_model(draft: Draft) -> None:
    """A model that grades one text after the other in few words."""
    writer = draft.writer
    for _ in many(draft, 10, 25):
        text = writer.text(2)
        draft.say(
            writer.pick(["Verdict: acceptable, no changes needed.", "Verdict: acceptable with small changes."]), asked=f"Grade this: {text}"
        )


@negative
def distinct_same_answer(draft: Draft) -> None:
    """Different questions that all have the same true answer: there is none."""
    writer, subjects = draft.writer, draft.dice.sample(draft.writer.own["subjects"], 5)
    for subject in subjects:
        draft.call(writer.tool("search"), {writer.argument: f"{subject} {writer.name()}"}, writer.pick(writer.all["nothing"]))
        draft.call(writer.tool("read"), {writer.unit: writer.item()}, writer.text(5, subject))


@negative
def checks_all_clear(draft: Draft) -> None:
    """A check of every host, file or account, each in order."""
    writer = draft.writer
    for item in writer.items(draft.dice.randint(6, 18)):
        draft.call(draft.writer.tool("comply"), {"target": item}, writer.fill(writer.pick(writer.all["passes"])))


@negative
def polling_progress(draft: Draft) -> None:
    """A job whose status moves."""
    writer, job, share = draft.writer, draft.writer.number(), 0
    while share < 100:
        share = min(100, share + draft.dice.randint(2, 11))
        draft.call(writer.tool("status"), {"id": job}, {"state": "running" if share < 100 else "done", "percent": share})
    draft.work(2)


@negative
def polling_declared(draft: Draft) -> None:
    """A status that stays the same for long, of a tool declared as polling, and then the job is done."""
    writer, job = draft.writer, draft.writer.number()
    draft.polling.add(writer.tool("status"))
    status = writer.fill(writer.pick(writer.all["pending"]))
    for _ in many(draft, 15, 40):
        draft.call(writer.tool("status"), {"id": job}, status)
    draft.call(writer.tool("status"), {"id": job}, "finished")
    draft.work(2)


@negative
def polling_short(draft: Draft) -> None:
    """A status asked for a handful of times before the job is done; nobody declared the tool."""
    writer, job = draft.writer, draft.writer.number()
    draft.work(3)
    status = writer.fill(writer.pick(writer.all["pending"]))
    for _ in many(draft, 4, 8):
        draft.call(writer.tool("status"), {"id": job}, status)
    draft.call(writer.tool("status"), {"id": job}, f"finished, {writer.text(1)}")
    draft.work(3)


@negative
def edit_test_progress(draft: Draft) -> None:
    """An edit, the tests, fewer failures, until none is left."""
    writer, item = draft.writer, draft.writer.item()
    names = list(dict.fromkeys(f"test_{writer.word()}_{writer.word()}" for _ in range(draft.dice.randint(5, 9))))
    while names:
        draft.call(writer.tool("write"), {writer.unit: item, "content": writer.text(1)}, writer.pick(writer.all["acks"]))
        draft.call(writer.tool("run"), {"target": "all"}, "\n".join(f"FAILED {name}" for name in names) + f"\n{len(names)} failed")
        names = names[draft.dice.randint(1, 2) :]
    draft.call(writer.tool("run"), {"target": "all"}, "all passed")


@negative
def edit_test_same_count(draft: Draft) -> None:
    """An edit, the tests, one failure each time, but another one."""
    writer, item = draft.writer, draft.writer.item()
    for _ in many(draft, 5, 9):
        draft.call(writer.tool("write"), {writer.unit: item, "content": writer.text(2)}, "ok")
        draft.call(
            writer.tool("run"), {"target": "all"}, f"FAILED test_{writer.word()}: {writer.fact()}\n1 failed, {writer.number(40)} passed"
        )
    draft.call(writer.tool("run"), {"target": "all"}, "all passed")


@negative
def reread_after_edit(draft: Draft) -> None:
    """One file read again after each edit of it: what was written shows."""
    writer, item = draft.writer, draft.writer.item()
    lines = [writer.fact() for _ in range(6)]
    for _ in many(draft, 5, 12):
        draft.call(writer.tool("read"), {writer.unit: item}, "\n".join(lines))
        lines[draft.dice.randrange(6)] = writer.fact()
        draft.call(writer.tool("write"), {writer.unit: item, "content": "\n".join(lines)}, "ok")


@negative
def reread_between(draft: Draft) -> None:
    """The same guide read before each of several different tasks."""
    writer, guide = draft.writer, draft.writer.text(4)
    for _ in many(draft, 3, 5):
        draft.call(writer.tool("read"), {writer.unit: "guide"}, guide)
        draft.work(draft.dice.randint(4, 8))


@negative
def one_tool(draft: Draft) -> None:
    """An agent whose only tool runs commands."""
    writer = draft.writer
    for _ in many(draft, 15, 45):
        command = f"{writer.pick(writer.all['commands'])} {writer.item()}"
        draft.call(draft.writer.tool("shell"), {"command": command}, writer.text(draft.dice.randint(1, 7)))


@negative
def one_tool_silent(draft: Draft) -> None:
    """An agent with one tool, many of whose commands print nothing."""
    writer = draft.writer
    for _ in many(draft, 10, 25):
        item = writer.item()
        quiet = draft.dice.random() < 0.5
        draft.call(
            draft.writer.tool("shell"),
            {"command": f"{'mv' if quiet else 'cat'} {item} {'backup/' if quiet else ''}"},
            "" if quiet else writer.text(4),
        )


@negative
def hub_and_spoke(draft: Draft) -> None:
    """A coordinator that gives other work to each of a few agents, again and again."""
    writer, agents = draft.writer, draft.writer.agents(4)
    for _ in many(draft, 8, 20):
        subject, aspect = writer.subject(), writer.aspect()
        draft.hand(agents[draft.dice.randint(1, 3)], f"{writer.ask(subject, aspect)} Part {writer.name()}.", writer.text(4, subject))
        draft.say(writer.fact(subject), agent=agents[0])


@negative
def review_by_section(draft: Draft) -> None:
    """A writer and a reviewer in turn, a section of its own each time."""
    writer, (author, reviewer) = draft.writer, draft.writer.agents(2)
    for section in many(draft, 5, 12):
        text = writer.text(5)
        draft.hand(author, f"Write section {section + 1} on {writer.subject()}.", text)
        draft.hand(reviewer, f"Review section {section + 1}: {text}", f"Section {section + 1}: {writer.text(2)}")


@negative
def debate(draft: Draft) -> None:
    """Two agents who argue with new reasons each time, and agree in the end."""
    writer, agents = draft.writer, draft.writer.agents(2)
    said = writer.text(2, draft.subject)
    for number in many(draft, 6, 12):
        answer = f"{writer.text(3, draft.subject)} Hence {writer.aspect()}."
        draft.hand(agents[number % 2], said, answer)
        said = answer
    draft.hand(agents[0], said, "Agreed.")


@negative
def conversation(draft: Draft) -> None:
    """A person and a model who talk for long."""
    writer = draft.writer
    for _ in many(draft, 8, 30):
        draft.say(
            writer.text(draft.dice.randint(2, 5)), asked=f"{next(writer.wordings(writer.subject(), writer.aspect()))} ({writer.name()})"
        )


@negative
def retry_succeeds(draft: Draft) -> None:
    """Two failures, a success, and on with the work; twice."""
    writer = draft.writer
    for _ in range(2):
        draft.work(draft.dice.randint(2, 6))
        arguments, message = {writer.unit: writer.item()}, writer.failure(draft.dice.choice(("timeout", "other")))
        for _ in many(draft, 1, 2):
            draft.call(writer.tool("read"), arguments, message, failed=True)
        draft.call(writer.tool("read"), arguments, writer.text(4))
    draft.work(draft.dice.randint(2, 6))


@negative
def schema_corrected(draft: Draft) -> None:
    """A wrong argument, put right at the second or third attempt."""
    writer = draft.writer
    draft.work(2)
    item, parameter = writer.item(), writer.word()
    template = writer.pick(writer.all["failures"]["schema"])
    for wrong in [parameter, writer.word()][: draft.dice.randint(1, 2)]:
        draft.call(writer.tool("run"), {writer.unit: item, wrong: 1}, writer.fill(template, p=wrong), failed=True)
    draft.call(writer.tool("run"), {writer.unit: item}, writer.text(4))
    draft.work(6)


@negative
def token_refreshed(draft: Draft) -> None:
    """One refusal for an expired token, a fresh token, and it works."""
    writer = draft.writer
    draft.work(3)
    arguments = {writer.unit: writer.item()}
    draft.call(writer.tool("read"), arguments, writer.failure("auth"), failed=True)
    draft.call(draft.writer.tool("token"), {}, "ok")
    draft.call(writer.tool("read"), arguments, writer.text(4))
    draft.work(5)


@negative
def scattered_failures(draft: Draft) -> None:
    """Long work in which one call in six fails for a reason of its own."""
    writer = draft.writer
    for _ in many(draft, 12, 30):
        if draft.dice.random() < 0.17:
            message = f"{writer.failure(draft.dice.choice(('timeout', 'schema', 'other')))} {writer.name()} {writer.word()}"
            draft.call(writer.tool("run"), {"target": writer.item()}, message, failed=True)
        else:
            draft.work(1)


@negative
def monitoring(draft: Draft) -> None:
    """The same reading taken again and again; the figures move."""
    writer, item = draft.writer, draft.writer.item()
    for _ in many(draft, 10, 25):
        draft.call(
            draft.writer.tool("metrics"),
            {"target": item},
            {"cpu": writer.number(99), "memory": writer.number(999), "requests": writer.number()},
        )


@negative
def form_filling(draft: Draft) -> None:
    """Field after field filled in, acknowledged alike."""
    writer = draft.writer
    ack = writer.pick(writer.all["acks"])
    for number in many(draft, 8, 18):
        draft.call(writer.tool("write"), {"selector": f"#field-{number}", "value": f"{writer.word()} {writer.number()}"}, ack)
    draft.call(writer.tool("send"), {}, f"Reference {writer.name()}-{writer.number()}")


@negative
def translation(draft: Draft) -> None:
    """One sentence after the other translated."""
    writer = draft.writer
    questions, _ = writer.foreign(writer.pick(sorted(writer.all["languages"])))
    for question in islice(questions, draft.dice.randint(8, 20)):
        draft.call(draft.writer.tool("translate"), {"text": f"{question} {writer.name()}", "to": "en"}, writer.fact())


@negative
def context_compacted(draft: Draft) -> None:
    """A context that fills to two thirds and is compacted, several times."""
    writer = draft.writer
    draft.speaking = draft.models = False
    for _ in many(draft, 20, 40):
        before = draft.tokens
        draft.say(writer.thought(writer.tool("read"), draft.subject, writer.aspect()))
        draft.call(writer.tool("read"), {writer.unit: writer.item()}, writer.text(5))
        draft.tokens = before + draft.dice.randint(6_000, 11_000)
        if draft.tokens > 76_000:
            draft.tokens = draft.dice.randint(8_000, 20_000)


@negative
def cost_grows_and_ends(draft: Draft) -> None:
    """Cost climbs, as in any conversation, and the session ends far from its budget."""
    draft.ceiling = CEILING_USD
    draft.speaking = draft.models = False
    for _ in many(draft, 10, 20):
        draft.tokens += draft.dice.randint(200, 1200)
        draft.say(draft.writer.text(1))
        draft.work(1)


@negative
def cost_high_and_flat(draft: Draft) -> None:
    """Every call is dear, none dearer than the others, and the budget suffices."""
    draft.ceiling = CEILING_USD
    draft.speaking = draft.models = False
    for _ in many(draft, 10, 18):
        draft.tokens = draft.dice.randint(28_000, 32_000)
        draft.say(draft.writer.text(2))
        draft.work(1)
