"""Healthy scenarios in which hardly any word is new after a while, and yet each result as a whole, or what was asked, is another."""

import json
from datetime import UTC, datetime, timedelta

from benchmarks.detection.labelled import Draft
from benchmarks.detection.quiet import many, negative
from benchmarks.detection.writer import Writer

_BEGIN = datetime(2026, 3, 2, tzinfo=UTC)


def _words(writer: Writer, count: int) -> list[str]:
    return writer.dice.sample([str(word) for word in writer.own["vocabulary"]], count)


def _report(writer: Writer, names: list[str], *, why: bool, most: int = 4) -> str:
    """A few of the tests fail, told with their counts; `why` says what each expected."""
    dice, form = writer.dice, writer.all["tested"]
    failing = dice.sample(names, dice.randint(1, min(most, len(names))))
    line = form["why"] if why else form["line"]
    told = [line.format(t=name, x=dice.randint(1, 9), y=dice.randint(1, 9)) for name in failing]
    return "\n".join([*told, form["sum"].format(k=len(failing), m=dice.randint(10, 16), s=f"{dice.randint(0, 9)}.{dice.randint(10, 99)}")])


@negative
def edit_test_few_words(draft: Draft) -> None:
    """One file edited and the tests run, many times: from six to twenty tests of which others fail each time."""
    writer, item = draft.writer, draft.writer.item()
    names = [f"test_{word}" for word in _words(writer, draft.dice.randint(6, 20))]
    why, status = draft.dice.random() < 0.5, draft.dice.choice(("", "\nexit code 1"))
    answer = writer.pick([*writer.all["acks"], *writer.all["edited"]])
    for _ in many(draft, 12, 40):
        draft.call(writer.tool("write"), {writer.unit: item, "content": writer.text(1)}, answer)
        draft.call(writer.tool("run"), {"target": "all"}, _report(writer, names, why=why) + status)


@negative
def edit_read_test_few_words(draft: Draft) -> None:
    """The same with small edits, made of words that stand in the file, which is read before each."""
    writer, dice, item = draft.writer, draft.dice, draft.writer.item()
    words = _words(writer, 14)
    names = [f"test_{word}" for word in words]
    lines = [" ".join(dice.choices(words, k=5)) for _ in range(8)]
    for _ in many(draft, 10, 25):
        draft.call(writer.tool("read"), {writer.unit: item}, "\n".join(lines))
        at = dice.randrange(len(lines))
        lines[at] = " ".join(dice.choices(words, k=5))
        draft.call(writer.tool("write"), {writer.unit: item, "line": at, "content": lines[at]}, "ok")
        draft.call(writer.tool("run"), {"target": "all"}, _report(writer, names, why=False))


@negative
def edit_test_in_one_tool(draft: Draft) -> None:
    """The same by command lines: edits that print nothing, and always the same command for the tests."""
    writer, item = draft.writer, draft.writer.item()
    names = [f"test_{word}" for word in _words(writer, draft.dice.randint(6, 20))]
    for _ in many(draft, 12, 40):
        draft.call(writer.tool("shell"), {"command": f"python edit.py {item} {writer.word()} {writer.word()}"}, "")
        draft.call(writer.tool("shell"), {"command": "make test 2>&1 | tail -5"}, _report(writer, names, why=True))


@negative
def one_failure_of_few(draft: Draft) -> None:
    """Edits and tests, of which one fails each time, one of three to six."""
    writer, item = draft.writer, draft.writer.item()
    names = [f"test_{word}" for word in _words(writer, draft.dice.randint(3, 6))]
    for _ in many(draft, 12, 30):
        draft.call(writer.tool("write"), {writer.unit: item, "content": writer.text(1)}, "ok")
        draft.call(writer.tool("run"), {"target": "all"}, _report(writer, names, why=False, most=1))


@negative
def type_errors_fixed(draft: Draft) -> None:
    """Types put right one after the other: messages differ in lines and in a handful of types."""
    writer, dice, item = draft.writer, draft.dice, draft.writer.item()
    form, types = writer.all["type_error"], ("int", "str", "None", "float", "list")
    failed = dice.random() < 0.5
    for _ in many(draft, 10, 30):
        draft.call(writer.tool("shell"), {"command": f"python edit.py {item} {writer.word()} {writer.word()}"}, "")
        found = [form.format(p=item, n=dice.randint(1, 60), x=dice.choice(types), y=dice.choice(types)) for _ in range(dice.randint(1, 3))]
        draft.call(draft.writer.tool("lint"), {}, "\n".join([*found, f"{len(found)} in 1"]), failed=failed)


@negative
def agents_edit_and_test(draft: Draft) -> None:
    """An agent that changes a program and one that tests it, in turn, in the same few words."""
    writer, (author, tester) = draft.writer, draft.writer.agents(2)
    names = [f"test_{word}" for word in _words(writer, draft.dice.randint(8, 20))]
    forms, said = writer.all["agents_test"], writer.all["agents_test"]["begin"]
    for _ in many(draft, 8, 20):
        draft.hand(author, said, forms["changed"].format(x=writer.pick(names)[5:], y=writer.pick(names)[5:]))
        failing = draft.dice.sample(names, draft.dice.randint(1, 3))
        said = forms["failing"].format(t=", ".join(failing), k=len(failing), n=len(names))
        draft.hand(tester, forms["again"], said)


@negative
def lists_of_names(draft: Draft) -> None:
    """A few people at a time, as a list of names, a list of objects or a line of text, with one long receipt for all."""
    writer, receipt = draft.writer, draft.writer.pick(draft.writer.all["receipts"])
    shape = draft.dice.choice(("names", "people", "text"))
    for _ in many(draft, 8, 25):
        people = [(writer.name(), writer.name()) for _ in range(draft.dice.randint(2, 3))]
        named = [" ".join(each) for each in people]
        arguments = {
            "names": {"names": named},
            "people": {"people": [{"first": first, "last": last} for first, last in people], "role": "guest"},
            "text": ", ".join(named),
        }[shape]
        draft.call(writer.tool("invite"), arguments, receipt)


@negative
def windows_of_time(draft: Draft) -> None:
    """One window of time after the other looked through, with one long answer to all, or two."""
    writer, dice = draft.writer, draft.dice
    said = dice.sample(writer.all["uneventful"], dice.randint(1, 2))
    form, step = dice.choice((("stamp", timedelta(hours=1)), ("date", timedelta(days=1)), ("epoch", timedelta(hours=6))))
    for number in many(draft, 16, 30):
        ends = [_BEGIN + step * number, _BEGIN + step * (number + 1)]
        told = {
            "stamp": [f"{end:%Y-%m-%dT%H:%M:%SZ}" for end in ends],
            "date": [f"{end:%Y-%m-%d}" for end in ends],
            "epoch": [int(end.timestamp()) for end in ends],
        }[form]
        draft.call(writer.tool("events"), {"from": told[0], "to": told[1], "about": draft.subject}, dice.choice(said))


@negative
def accounts_in_order(draft: Draft) -> None:
    """One account looked up after the other; each is as it should be, told at length."""
    writer, answer = draft.writer, draft.writer.pick(draft.writer.all["in_order"])
    for _ in many(draft, 16, 40):
        draft.call(writer.tool("account"), {"account": f"acc-{writer.number()}"}, answer)


@negative
def trained_from_a_grid(draft: Draft) -> None:
    """Parameters from a small grid tried out; scores of two digits, all told in the same long words."""
    writer, dice = draft.writer, draft.dice
    for _ in many(draft, 15, 40):
        tried = {"rate": dice.choice((0.1, 0.01, 0.001)), "depth": dice.randint(2, 6), "dropout": dice.choice((0, 0.1, 0.2, 0.5))}
        draft.call(
            writer.tool("train"), tried, writer.all["trained"].format(x=dice.randint(0, 9), y=dice.randint(0, 9), z=dice.randint(1, 9))
        )


@negative
def sorted_in_one_form(draft: Draft) -> None:
    """A model that sorts one text after the other: each stands before the same instructions, and the answers are few."""
    writer, labels = draft.writer, [draft.writer.word() for _ in range(4)]
    for _ in many(draft, 10, 40):
        answer = json.dumps({"label": writer.pick(labels), "confidence": draft.dice.randint(50, 99) / 100})
        draft.say(answer, asked=writer.all["sort_form"].format(text=writer.text(2), labels=", ".join(map(str, labels))))


@negative
def person_asked(draft: Draft) -> None:
    """A person asked one thing after the other, who says yes or no."""
    writer, (yes, no) = draft.writer, draft.writer.all["yes_no"]
    for _ in range(20):
        question = f"Is it {draft.dice.choice(('a kind of', 'larger than', 'made of', 'found near'))} {writer.word()}?"
        draft.call(writer.tool("person"), {"question": question}, draft.dice.choice((yes, no)))


@negative
def variations(draft: Draft) -> None:
    """One picture after the other made from the same words and another seed."""
    writer, prompt = draft.writer, draft.writer.text(1)
    for _ in many(draft, 8, 20):
        draft.call(writer.tool("imagine"), {"prompt": prompt, "seed": writer.number(99999)}, writer.all["imagined"])


@negative
def board_of_signs(draft: Draft) -> None:
    """A game whose board is drawn in signs."""
    writer, dice, board = draft.writer, draft.dice, ["."] * 25
    for _ in many(draft, 12, 40):
        board[dice.randrange(25)] = dice.choice("#.@*")
        drawn = "\n".join("".join(board[row : row + 5]) for row in range(0, 25, 5))
        draft.call(writer.tool("play"), {"action": dice.choice(("up", "down", "left", "right"))}, drawn)


@negative
def sense_and_act(draft: Draft) -> None:
    """What is around looked at, and one of three moves made, each acknowledged in a word."""
    writer, dice = draft.writer, draft.dice
    clear, blocked = writer.all["ways"]
    for _ in many(draft, 15, 50):
        draft.call(writer.tool("sense"), {}, {side: dice.choice((clear, blocked)) for side in ("front", "left", "right")})
        draft.call(writer.tool("act"), {"action": dice.choice(("forward", "left", "right"))}, writer.all["done"][0])


@negative
def screens_left_out(draft: Draft) -> None:
    """The screen looked at after each click; the telemetry leaves pictures out."""
    writer, dice = draft.writer, draft.dice
    for _ in many(draft, 8, 30):
        draft.call(writer.tool("screen"), {}, writer.all["left_out"])
        draft.call(writer.tool("press"), {"x": dice.randint(0, 1000), "y": dice.randint(0, 700)}, "")


@negative
def orders_between_prices(draft: Draft) -> None:
    """A price looked at, and one of a few orders placed, always acknowledged alike."""
    writer, dice = draft.writer, draft.dice
    for _ in many(draft, 10, 30):
        draft.call(writer.tool("price"), {"of": "A"}, {"price": dice.randint(1000, 1100) / 10})
        draft.call(
            writer.tool("order"), {"of": "A", "side": dice.choice(("buy", "sell")), "count": dice.choice((1, 5, 10))}, writer.all["filled"]
        )


@negative
def facts_remembered(draft: Draft) -> None:
    """Facts made of a dozen words put down one after the other; the receipt says that there were no errors."""
    writer, dice, words = draft.writer, draft.dice, _words(draft.writer, 12)
    for _ in many(draft, 10, 30):
        draft.call(
            writer.tool("observe"), {"about": dice.choice(words), "text": " ".join(dice.choices(words, k=4))}, writer.all["put_down"]
        )
