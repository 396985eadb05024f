"""More healthy scenarios written without sight of any detector: agents that serve people, browse, move, and call services."""

import base64
from typing import Any

from benchmarks.detection.labelled import Draft
from benchmarks.detection.quiet import many, negative
from benchmarks.detection.quiet_unseen import either


def opaque(draft: Draft, size: int) -> str:
    """An id that says nothing."""
    return base64.urlsafe_b64encode(draft.dice.randbytes(size)).decode()


@negative
def opaque_cursors(draft: Draft) -> None:
    """The same long query with another cursor each time; what comes back is ids."""
    writer, after = draft.writer, None
    fields = f"{writer.word()} {writer.word()} {writer.word()}"
    query = f"query($after: String) {{ repository {{ issues(first: 4, after: $after) {{ nodes {{ id {fields} }} pageInfo }} }} }}"
    for _ in many(draft, 8, 25):
        nodes = [{"id": opaque(draft, 12), "state": "OPEN", "assignee": None} for _ in range(4)]
        following = opaque(draft, 18)
        draft.call(
            either(draft, "graphql", "api_request"),
            either(draft, {"query": query, "variables": {"after": after}}, {"method": "POST", "path": "/graphql", "body": [query, after]}),
            {"nodes": nodes, "pageInfo": {"hasNextPage": True, "endCursor": following}},
        )
        after = following


@negative
def offset_in_address(draft: Draft) -> None:
    """The next part of a list by an offset within the address."""
    writer, step = draft.writer, draft.dice.choice((25, 50, 100))
    base = f"https://api.{writer.name().lower()}.example/v2/{writer.word()}?state=active&sort=created&limit={step}"
    for number in many(draft, 8, 25):
        rows = ",".join(f'{{"id":{writer.number(99999)},"state":"active","amount":"{writer.number(90)}.00"}}' for _ in range(3))
        body = f'{{"offset":{number * step},"limit":{step},"data":[{rows}]}}'
        draft.call(either(draft, "http_get", "fetch_url"), {"url": f"{base}&offset={number * step}"}, body)


@negative
def embedded_in_batches(draft: Draft) -> None:
    """Documents embedded twenty at a time, told by their ids in a list of lists; every batch succeeds."""
    size = draft.dice.choice((8, 16, 20))
    for _ in many(draft, 8, 25):
        batch: Any = [[f"doc-{draft.writer.number(99999)}", draft.dice.randint(0, 9)] for _ in range(size)]
        draft.call(
            either(draft, "embed_documents", "index_chunks"),
            either(draft, {"chunks": batch, "model": "text-embedding-3-small"}, {"items": batch}),
            either(draft, {"embedded": size, "failed": 0, "errors": []}, f"Indexed {size} of {size} chunks."),
        )


@negative
def messages_received(draft: Draft) -> None:
    """A worker with one tool, which gives it one message at a time and now and then none."""
    writer = draft.writer
    for _ in many(draft, 10, 25):
        if draft.dice.random() < 0.15:
            draft.call(either(draft, "receive_message", "poll_queue"), {}, either(draft, {"messages": []}, "queue is empty"))
            continue
        body = {"id": writer.nonce(), "body": writer.fact(), "attempt": 1}
        draft.call(either(draft, "receive_message", "poll_queue"), {}, either(draft, {"messages": [body]}, f"{body['id']}: {body['body']}"))
        draft.say(f"{writer.pick(['spam', 'sales', 'support'])}")


@negative
def same_answer_to_each_customer(draft: Draft) -> None:
    """A kiosk: ever other people ask one of a few things, and each gets the prescribed answer."""
    writer, name = draft.writer, draft.writer.name()
    answers = [
        either(draft, f"Welcome to {name}! We are open from 9 to 18 on working days.", f"Hello from {name}. Our hours are 8 to 20, daily."),
        either(draft, f"Please find {draft.subject} on the first floor.", f"You get help with {draft.subject} at desk 4."),
    ]
    for _ in many(draft, 8, 25):
        asked = f"{writer.pick(['Hi', 'Hello', 'Good morning', 'Excuse me'])}, {writer.name()} here. {writer.fact()}"
        draft.say(draft.dice.choice(answers), asked=asked)


@negative
def supervisor_asks_three_in_turn(draft: Draft) -> None:
    """A supervisor that names the next worker in the same few words; three workers in a fixed order, with other work each time."""
    writer, (supervisor, *workers) = draft.writer, draft.writer.agents(4)
    for _ in many(draft, 4, 8):
        subject = f"{writer.subject()} of {writer.name()}"
        for worker in workers:
            draft.say(either(draft, f'{{"next": "{worker}"}}', f"Next: {worker}"), agent=supervisor, asked=writer.fact(subject))
            draft.hand(worker, f"{subject}: {writer.aspect()}", writer.text(3, subject))
    draft.say(either(draft, '{"next": "FINISH"}', "Next: END"), agent=supervisor)


@negative
def rounds_of_review(draft: Draft) -> None:
    """A reviewer who finds something else each time, and an author who mends it and says so in the same words."""
    writer, (author, reviewer) = draft.writer, draft.writer.agents(2)
    path, answer = writer.item(), either(draft, "All comments addressed, please review again.", "Fixed. Ready for another look.")
    review = f"{path}: {writer.text(2)}"
    for _ in many(draft, 4, 8):
        draft.hand(author, review, answer)
        for _ in many(draft, 1, 3):
            draft.call(writer.tool("write"), {writer.unit: path, "content": writer.text(2)}, writer.pick(writer.all["acks"]), agent=author)
        review = f"{path}: {writer.text(draft.dice.randint(1, 3))}"
        draft.hand(reviewer, answer, review)
    draft.hand(author, review, answer)
    draft.hand(reviewer, answer, either(draft, "LGTM", "Approved."))


@negative
def clicked_through(draft: Draft) -> None:
    """A long form on a page: elements told by index, typed into or clicked on in turn."""
    writer = draft.writer
    for index in many(draft, 10, 25):
        if index % 3 == 2:
            draft.call(
                either(draft, "click_element_by_index", "click"),
                either(draft, {"index": index}, {"bid": f"a{index}"}),
                either(draft, f"Clicked button with index {index}: Next", ""),
            )
        else:
            text = writer.name()
            draft.call(
                either(draft, "input_text", "fill"),
                either(draft, {"index": index, "text": text}, {"bid": f"a{index}", "value": text}),
                either(draft, f"Input {text} into index {index}", ""),
            )


@negative
def robot_moves(draft: Draft) -> None:
    """A robot that goes one field at a time, along rows and back, and is told where it is."""
    rows, columns = draft.dice.randint(3, 6), draft.dice.randint(4, 8)
    for row in range(rows):
        for number in range(columns - 1):
            column = number + 1 if row % 2 == 0 else columns - 2 - number
            direction = "east" if row % 2 == 0 else "west"
            told = either(draft, {"x": column, "y": row, "bumper": False}, f"moved, now at {column}/{row}")
            draft.call(either(draft, "move", "drive"), {"direction": direction, "distance": 1}, told)
        draft.call(either(draft, "move", "drive"), {"direction": "north", "distance": 1}, either(draft, {"y": row + 1}, f"row {row + 1}"))


@negative
def chess_game(draft: Draft) -> None:
    """A game: the board looked at, a move made, and the same word for every lawful move."""
    dice, lines = draft.dice, [list("rnbqkbnr"), list("pppppppp"), *([*"........"] for _ in range(4)), list("PPPPPPPP"), list("RNBQKBNR")]
    for _ in many(draft, 10, 25):
        board = "\n".join("".join(line) for line in lines)
        draft.call(either(draft, "get_board", "show_position"), {}, board)
        moves = []
        for side in (str.isupper, str.islower):
            start = dice.choice([(row, column) for row in range(8) for column in range(8) if side(lines[row][column])])
            free = [(row, column) for row in range(8) for column in range(8) if lines[row][column] == "."]
            target = dice.choice(free)
            moves.append("".join("abcdefgh"[column] + str(8 - row) for row, column in (start, target)))
            lines[target[0]][target[1]], lines[start[0]][start[1]] = lines[start[0]][start[1]], "."
        draft.call(either(draft, "make_move", "play"), {"move": moves[0]}, either(draft, {"legal": True}, f"opponent plays {moves[1]}"))


@negative
def localised_keys(draft: Draft) -> None:
    """The short texts of a program put into another language, key by key."""
    writer = draft.writer
    _, nothing = writer.foreign(writer.pick(sorted(writer.all["languages"])))
    for _ in many(draft, 8, 25):
        key = f"{writer.word()}.{writer.word()}.{writer.pick(['title', 'label', 'hint', 'error'])}"
        draft.call(
            either(draft, "set_translation", "write_segment"),
            {"key": key, "locale": either(draft, "de-DE", "fr-FR"), "value": f"{writer.name()} {writer.pick(nothing)}"},
            either(draft, {"updated": 1, "created": 0, "warnings": []}, "segment confirmed"),
        )


@negative
def expense_reports(draft: Draft) -> None:
    """Every item of an expense report looked at and approved."""
    writer = draft.writer
    for number in writer.dice.sample(range(1000, 9999), draft.dice.randint(6, 16)):
        item = {"id": number, "amount": f"{writer.number(300)}.{writer.number(90):02}", "category": writer.word(), "receipt": True}
        draft.call(either(draft, "get_expense", "open_claim_item"), {"id": number}, item)
        draft.call(
            either(draft, "approve_expense", "decide_claim_item"),
            either(draft, {"id": number}, {"id": number, "decision": "approve"}),
            either(draft, {"status": "approved"}, "Decision recorded; the employee is told by mail."),
        )


@negative
def session_expires_often(draft: Draft) -> None:
    """A log-in that lasts for a few calls only: refused, logged in again, and the same call succeeds; several times."""
    writer, user = draft.writer, f"svc-{draft.writer.word()}"
    for _ in many(draft, 3, 6):
        for _ in many(draft, 1, 4):
            draft.call(writer.tool("read"), {writer.unit: writer.item()}, writer.text(3))
        arguments = {writer.unit: writer.item()}
        refusal = either(draft, "401 Unauthorized: session expired", "HTTP 401: login required")
        draft.call(writer.tool("read"), arguments, refusal, failed=True)
        draft.call(either(draft, "login", "authenticate"), {"user": user}, either(draft, {"token": "***", "expires_in": 60}, "logged in"))
        draft.call(writer.tool("read"), arguments, writer.text(3))


@negative
def throttled_often(draft: Draft) -> None:
    """Too fast every few calls: told to wait, waits, and the same call succeeds; again and again through a long list."""
    writer, tool = draft.writer, draft.writer.tool("list")
    refusal = either(draft, "Error 429: rate limit of 5 calls a minute reached. Retry after 30 s.", "ThrottlingException: Rate exceeded")
    page = 0
    for _ in many(draft, 4, 7):
        for _ in many(draft, 2, 5):
            page += 1
            draft.call(tool, {"page": page}, {"page": page, "rows": [writer.fact() for _ in range(3)]})
        page += 1
        draft.call(tool, {"page": page}, refusal, failed=True)
        draft.call(either(draft, "wait", "sleep_for"), {"seconds": 30}, either(draft, "waited 30 s", "ok"))
        draft.call(tool, {"page": page}, {"page": page, "rows": [writer.fact() for _ in range(3)]})


@negative
def few_suppliers_have_it(draft: Draft) -> None:
    """One article looked for at many suppliers, told by number; one in six has it."""
    writer, article = draft.writer, f"{draft.writer.name()} {draft.writer.number()}"
    for supplier in writer.dice.sample(range(100, 999), draft.dice.randint(10, 25)):
        has = draft.dice.random() < 0.17
        offers = [{"price": writer.number(300), "days": writer.number(20)}] if has else []
        draft.call(
            either(draft, "search_supplier", "catalog_lookup"),
            {"supplier_id": supplier, "article": article},
            either(draft, {"total": len(offers), "offers": offers}, f"offers: {offers}" if offers else "not stocked"),
        )


@negative
def memories_kept(draft: Draft) -> None:
    """What a person tells, kept fact by fact."""
    writer = draft.writer
    for _ in many(draft, 8, 20):
        draft.call(
            either(draft, "save_memory", "core_memory_append"),
            either(draft, {"text": writer.fact()}, {"label": "human", "content": writer.fact()}),
            either(draft, "ok", None),
        )
