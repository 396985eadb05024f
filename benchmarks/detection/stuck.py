"""Scenarios of sessions that fail again and again, stand still, or eat up their context, money or credentials."""

from itertools import cycle, islice

from benchmarks.detection.labelled import CEILING_USD, Draft
from benchmarks.detection.loops import before, positive, rounds


@positive("retry_storm", "exact_loop")
def retry_same(draft: Draft) -> None:
    """A failing call sent again unchanged."""
    before(draft)
    writer = draft.writer
    arguments, message = {writer.unit: writer.item(), "depth": writer.number(9)}, writer.failure(draft.dice.choice(("timeout", "other")))
    draft.trouble()
    for _ in rounds(draft):
        draft.call(writer.tool("run"), arguments, message, failed=True)


@positive("retry_storm", "exact_loop")
def retry_plain_text(draft: Draft) -> None:
    """The same, but the failure stands in the result and the span says nothing of it."""
    before(draft)
    writer = draft.writer
    arguments, message = {writer.unit: writer.item()}, writer.failure("other")
    draft.trouble()
    for _ in rounds(draft):
        draft.call(writer.tool("run"), arguments, message)


@positive("retry_storm", "soft_loop")
def retry_varied(draft: Draft) -> None:
    """A failing call sent again with other values; the same failure, the value quoted in it."""
    before(draft)
    writer = draft.writer
    message = writer.failure("other")
    draft.trouble()
    for _ in rounds(draft):
        item = writer.item()
        draft.call(writer.tool("run"), {writer.unit: item, "mode": writer.word()}, f"{message} ({item})", failed=True)


@positive("retry_storm", "soft_loop")
def retry_schema(draft: Draft) -> None:
    """A parameter that does not exist, kept through every variation."""
    before(draft)
    writer = draft.writer
    parameter = writer.word()
    template = writer.pick(writer.all["failures"]["schema"])
    draft.trouble()
    for _ in rounds(draft):
        arguments = {writer.unit: writer.item(), parameter: draft.dice.choice((True, "yes", 1, "all", writer.word()))}
        draft.call(writer.tool("read"), arguments, writer.fill(template, p=parameter), failed=True)


@positive("retry_storm", "exact_loop")
def retry_backoff(draft: Draft) -> None:
    """A failing call, a longer sleep, the failing call."""
    before(draft)
    writer = draft.writer
    arguments, message = {writer.unit: writer.item()}, writer.failure("timeout")
    draft.trouble()
    for number in rounds(draft, 6, 12):
        draft.call(writer.tool("run"), arguments, message, failed=True)
        draft.call(draft.writer.tool("sleep"), {"seconds": 2**number}, "ok")


@positive("retry_storm", "no_progress", "ping_pong")
def retry_two_tools(draft: Draft) -> None:
    """A tool and its fallback fail in turn."""
    before(draft)
    writer = draft.writer
    calls = [
        (writer.tool(slot), {writer.unit: writer.item()}, writer.failure(kind)) for slot, kind in (("read", "timeout"), ("search", "other"))
    ]
    draft.trouble()
    for tool, arguments, message in islice(cycle(calls), 2 * len(rounds(draft))):
        draft.call(tool, arguments, message, failed=True)


@positive("credential_failure", "retry_storm", "exact_loop", "soft_loop")
def credentials_expired(draft: Draft) -> None:
    """Calls with other arguments, each refused for want of valid credentials."""
    before(draft)
    writer = draft.writer
    template = writer.pick(writer.all["failures"]["auth"])
    name = writer.name()
    draft.trouble()
    for _ in rounds(draft, 4, 9):
        draft.call(writer.tool("read"), {writer.unit: writer.item()}, writer.fill(template, Name=name), failed=True)


@positive("credential_failure", "no_progress", "retry_storm", "soft_loop")
def credentials_many_tools(draft: Draft) -> None:
    """Several tools behind one credential, all refused."""
    before(draft)
    writer = draft.writer
    message = writer.failure("auth")
    draft.trouble()
    for slot in islice(cycle(("search", "read", "list", "run")), len(rounds(draft, 8, 14))):
        draft.call(writer.tool(slot), {writer.unit: writer.item()}, message, failed=True)


@positive("no_progress", "exact_loop", "soft_loop", "ping_pong")
def rereading(draft: Draft) -> None:
    """The same few things read again and again in changing order, and never acted on."""
    before(draft)
    writer, dice = draft.writer, draft.dice
    known = [({writer.unit: item}, writer.text(3)) for item in writer.items(dice.randint(3, 5))]
    draft.trouble()
    for _ in range(4):
        for arguments, text in dice.sample(known, len(known)):
            draft.call(writer.tool("read"), arguments, text)


@positive("no_progress", "soft_loop")
def standing_still(draft: Draft) -> None:
    """Several tools in changing order, arguments varied, and every result made of words that were all there before."""
    before(draft)
    writer, dice = draft.writer, draft.dice
    known = {slot: [writer.fact() for _ in range(4)] for slot in ("search", "read", "list", "ask")}
    draft.trouble()
    for _ in rounds(draft, 18, 30):
        slot = dice.choice(sorted(known))
        words = dice.sample([*draft.subject.split(), *draft.aspect.split(), "again", "all", "more"], 3)
        draft.call(writer.tool(slot), {writer.argument: " ".join(words)}, " ".join(dice.sample(known[slot], 4)))


@positive("no_progress", "soft_loop")
def planning_forever(draft: Draft) -> None:
    """A model that announces the same plan again and again, and calls nothing."""
    before(draft)
    writer = draft.writer
    plan = writer.thought(writer.tool("read"), draft.subject, draft.aspect)
    draft.trouble()
    for number in rounds(draft, 7, 14):
        draft.say(f"{plan} {('Let me begin', 'I begin now', 'I will begin')[number % 3]}.", asked="continue")


@positive("no_progress", "soft_loop")
def rewriting(draft: Draft) -> None:
    """The same note written anew, a word changed each time, and read back."""
    before(draft)
    writer = draft.writer
    item, note = writer.item(), writer.text(2).split()
    draft.trouble()
    for _ in rounds(draft, 7, 14):
        at = draft.dice.randrange(len(note))
        note[at] = writer.pick(note)
        draft.call(writer.tool("write"), {writer.unit: item, "content": " ".join(note)}, "ok")
        draft.call(writer.tool("read"), {writer.unit: item}, " ".join(note))


@positive("soft_loop", "no_progress")
def pagination_stuck(draft: Draft) -> None:
    """The page number climbs, the page stays the same."""
    before(draft)
    writer = draft.writer
    rows = [f"{item}: {writer.fact()}" for item in writer.items(5)]
    draft.trouble()
    for number in rounds(draft, 7, 20):
        draft.call(writer.tool("list"), {"page": number + 1, "size": 5}, {"rows": rows, "has_more": True})


@positive("exact_loop", "soft_loop", "no_progress")
def cursor_stuck(draft: Draft) -> None:
    """The cursor that comes back is the one that was sent."""
    before(draft)
    writer = draft.writer
    cursor, rows = f"c-{writer.word()}", [writer.fact() for _ in range(4)]
    draft.trouble()
    for _ in rounds(draft, 6, 14):
        draft.call(writer.tool("list"), {"cursor": cursor}, {"rows": rows, "next": cursor})


@positive("exact_loop", "no_progress")
def polling_stalled(draft: Draft) -> None:
    """A status that has not moved for a long time, asked on and on."""
    before(draft)
    writer = draft.writer
    job, status = writer.number(), writer.fill(writer.pick(writer.all["pending"]))
    draft.trouble()
    for _ in rounds(draft, 26, 40):
        draft.call(writer.tool("status"), {"id": job}, status)


@positive("no_progress", "soft_loop", "exact_loop")
def edit_test_stuck(draft: Draft) -> None:
    """An edit, the tests, another edit, the same failing tests."""
    before(draft)
    writer = draft.writer
    item, target = writer.item(), writer.word()
    failing = (
        f"FAILED {target}: expected {writer.number(99)}, got {writer.number(99)}\n{writer.text(2)}\n1 failed, {writer.number(40)} passed"
    )
    draft.trouble()
    for _ in rounds(draft, 6, 12):
        draft.call(writer.tool("write"), {writer.unit: item, "content": writer.text(1)}, writer.pick(writer.all["acks"]))
        draft.call(writer.tool("run"), {"target": target}, f"{failing} in {draft.dice.randint(1, 9)}.{draft.dice.randint(10, 99)}s")


@positive("context_overflow")
def context_fills(draft: Draft) -> None:
    """Long texts are read until the window is full."""
    writer = draft.writer
    draft.speaking = draft.models = False
    step = draft.dice.randint(7_000, 12_000)
    limit = int(0.97 * 128_000)
    while draft.tokens < limit:
        tokens = draft.tokens
        draft.say(writer.thought(writer.tool("read"), draft.subject, writer.aspect()))
        draft.call(writer.tool("read"), {writer.unit: writer.item()}, writer.text(12))
        draft.tokens = min(tokens + step, limit)
        if draft.onset is None and draft.tokens > 0.55 * 128_000:
            draft.trouble()
    draft.say("Let me sum up.")


@positive("context_overflow")
def context_dump(draft: Draft) -> None:
    """A few huge results in the middle of ordinary work, which then goes on."""
    writer = draft.writer
    draft.speaking = draft.models = True
    draft.work(draft.dice.randint(3, 8))
    draft.trouble()
    for share in (0.5, 0.74, 0.85, 0.93, 0.96):
        draft.call(writer.tool("list"), {"all": True, "of": writer.word()}, writer.text(20))
        draft.tokens = int(share * 128_000)
    draft.work(3)


@positive("cost_runaway")
def cost_climbs_to_ceiling(draft: Draft) -> None:
    """Each call costs more than the last, and the budget is in sight."""
    draft.speaking = draft.models = False
    draft.ceiling = CEILING_USD
    draft.growth = draft.dice.uniform(1.10, 1.2)
    spent, calls = 0.0, 0
    draft.trouble()
    while spent < 1.9 and calls < 45:
        draft.tokens = min(draft.tokens, 80_000)
        draft.say(draft.writer.thought(draft.writer.tool("search"), draft.subject, draft.aspect), spoken=draft.dice.randint(200, 400))
        draft.work(1)
        calls += 1
        spent = float(sum(step.cost_usd or 0 for step in draft.steps))


@positive("cost_runaway")
def cost_climbs_unbounded(draft: Draft) -> None:
    """No budget; a call comes to cost twenty times what the first ones did."""
    draft.speaking = draft.models = False
    draft.tokens = 2_000
    draft.growth = 1.13
    draft.trouble()
    for _ in range(32):
        draft.tokens = min(draft.tokens, 84_000)
        draft.say(draft.writer.thought(draft.writer.tool("search"), draft.subject, draft.aspect), spoken=draft.dice.randint(100, 300))
        draft.work(1)
