"""Healthy scenarios of batches and checks in the shapes that services really have: one receipt for all, one state looked at often."""

import base64

from benchmarks.detection.labelled import Draft
from benchmarks.detection.quiet import many, negative


@negative
def bulk_mail(draft: Draft) -> None:
    """One letter to many people; the service answers every one with the same receipt."""
    writer = draft.writer
    receipt, subject = writer.pick(writer.all["receipts"]), f"{draft.subject}: {draft.aspect}"
    for _ in many(draft, 8, 25):
        first, last = writer.name(), writer.name()
        body = f"Dear {first}, {writer.all['letter'].format(s=draft.subject, a=draft.aspect)}"
        draft.call(writer.tool("mail"), {"to": f"{first}.{last}@{last}.example".lower(), "subject": subject, "body": body}, receipt)


@negative
def migrated_rows(draft: Draft) -> None:
    """Row after row changed by a statement of its own, one row affected each time."""
    writer = draft.writer
    table, column, said = writer.word(), writer.word(), writer.pick(writer.all["rows_changed"])
    for _ in many(draft, 10, 30):
        statement = f"UPDATE {table} SET {column} = '{writer.name()}' WHERE id = {writer.number(99999)}"  # noqa: S608 — never run
        draft.call(writer.tool("rows"), {"statement": statement}, said)


@negative
def labelled_issues(draft: Draft) -> None:
    """One issue after the other given one of a few labels; the answer describes the repository, always alike."""
    writer = draft.writer
    labels = [writer.word() for _ in range(4)]
    answer = {
        "ok": True,
        "repository": f"{writer.name()}/{writer.word()}",
        "visibility": "private",
        "default_branch": "main",
        "message": writer.pick(writer.all["labelled"]),
    }
    for _ in many(draft, 8, 25):
        draft.call(writer.tool("label"), {"issue": writer.number(), "label": writer.pick(labels)}, answer)


@negative
def invitations(draft: Draft) -> None:
    """People invited one by one, by their names alone, with one long answer to each."""
    writer = draft.writer
    receipt = writer.pick(writer.all["receipts"])
    for _ in many(draft, 8, 20):
        draft.call(writer.tool("invite"), {"person": f"{writer.name()} {writer.name()}", "role": "guest"}, receipt)


@negative
def queue_drains(draft: Draft) -> None:
    """The depth of a queue looked at until it is empty."""
    writer, queue, depth = draft.writer, draft.writer.word(), draft.writer.number(900)
    unit = writer.word()
    while depth:
        draft.call(writer.tool("depth"), {"queue": queue}, f"{depth} {unit} left in {queue}")
        depth = max(0, depth - draft.dice.randint(20, 90))
    draft.call(writer.tool("depth"), {"queue": queue}, f"0 {unit} left in {queue}")
    draft.work(2)


@negative
def chunks_uploaded(draft: Draft) -> None:
    """A file sent in parts, each part acknowledged alike."""
    writer = draft.writer
    receipt, upload = writer.pick(writer.all["part_received"]), f"{writer.word()}-{writer.number()}"
    for part in many(draft, 8, 25):
        data = base64.b64encode(draft.dice.randbytes(90)).decode()
        draft.call(writer.tool("chunk"), {"upload": upload, "part": part + 1, "data": data}, receipt)


@negative
def back_off(draft: Draft) -> None:
    """Several times in long work a call fails twice, a while is waited, and it succeeds."""
    writer = draft.writer
    for _ in many(draft, 2, 4):
        draft.work(draft.dice.randint(2, 5))
        arguments, message = {writer.unit: writer.item()}, writer.failure("timeout")
        for attempt in range(2):
            draft.call(writer.tool("read"), arguments, message, failed=True)
            draft.call(writer.tool("sleep"), {"seconds": 5 * 3**attempt}, "ok")
        draft.call(writer.tool("read"), arguments, writer.text(5))


@negative
def every_host(draft: Draft) -> None:
    """One command run on one machine after the other; all of them print the same."""
    writer = draft.writer
    service, banner = writer.word(), "\n".join(writer.text(1) for _ in range(3))
    for _ in many(draft, 8, 20):
        host = f"{writer.word()}{writer.number(99)}.{writer.name().lower()}.example"
        draft.call(writer.tool("shell"), {"command": f"ssh {host} 'systemctl restart {service} && systemctl is-active {service}'"}, banner)


@negative
def checked_commits(draft: Draft) -> None:
    """Commit after commit taken over with the one tool there is, and the same checks after each, which pass each time."""
    writer = draft.writer
    passed = f"Ran {writer.number(400)} checks of {writer.word()} and {writer.word()}. {writer.pick(writer.all['clean'])}"
    for _ in many(draft, 6, 14):
        commit = f"{draft.dice.getrandbits(28):07x}"
        draft.call(writer.tool("shell"), {"command": f"git cherry-pick {commit}"}, f"[main {commit}] {writer.fact()}")
        draft.call(writer.tool("shell"), {"command": "make check"}, passed)


@negative
def stock_after_each_sale(draft: Draft) -> None:
    """Something sold, and what is left of it looked up, until nothing is."""
    writer, item, left = draft.writer, draft.writer.item(), draft.dice.randint(6, 14)
    while left:
        left -= 1
        buyer = f"{writer.name()} {writer.name()}"
        draft.call(writer.tool("sell"), {"item": item, "buyer": buyer, "pieces": 1}, writer.pick(writer.all["done"]))
        draft.call(writer.tool("stock"), {"item": item}, {"item": item, "left": left, "place": draft.subject})


@negative
def thrown_dice(draft: Draft) -> None:
    """A die thrown many times, since the series is what is wanted.

    No coin: seven equal tosses from the start come once in 64 times, are no other than a loop, and would be halted.
    """
    for _ in many(draft, 12, 30):
        draft.call(draft.writer.tool("throw"), {"dice": 1}, f"a {draft.dice.randint(1, 6)}")
