"""Healthy scenarios written without sight of any detector, after agents that programme, test and run services.

They were scored once before any detector was changed for them. Each half has its own frameworks: other tools, arguments and texts.
They join the corpus when `corpus.py` imports this module and quiet_unseen_services.py.
"""

from typing import Any, TypeVar

from benchmarks.detection.labelled import Draft
from benchmarks.detection.quiet import many, negative

T = TypeVar("T")


def either(draft: Draft, tune: T, test: T) -> T:
    """What the half of the session has."""
    return tune if draft.writer.half == "tune" else test


def shell(draft: Draft, command: str, printed: str, *, failed: bool = False) -> None:
    """A command line run by a programming agent, as one of two frameworks tells it."""
    arguments: Any = either(
        draft, {"command": command, "description": command.split(maxsplit=1)[0]}, {"command": command, "is_input": "false"}
    )
    draft.call(either(draft, "Bash", "execute_bash"), arguments, printed, failed=failed)


def edit(draft: Draft, path: str) -> None:
    """A place in a file replaced."""
    writer = draft.writer
    old, new = f"    {writer.word()} = {writer.word()}({writer.number()})", f"    {writer.word()} = {writer.word()}_{writer.word()}()"
    draft.call(
        either(draft, "Edit", "edit_file"),
        either(
            draft,
            {"file_path": f"/app/{path}", "old_string": old, "new_string": new},
            {"path": path, "diff": f"<<<<\n{old}\n====\n{new}\n>>>>"},
        ),
        either(draft, f"The file /app/{path} has been updated successfully.", "Edit applied."),
    )


def commit(draft: Draft) -> str:
    return f"{draft.dice.getrandbits(160):040x}"


@negative
def replaced_in_each_file(draft: Draft) -> None:
    """One replacement made in file after file on the command line, which prints nothing."""
    writer = draft.writer
    old, new = f"{writer.word()}_{writer.word()}", f"{writer.word()}_{writer.word()}"
    for number in many(draft, 8, 25):
        path = f"src/{writer.word()}/{writer.word()}{number}.py"
        shell(draft, f"cd /work && sed -i 's/{old}/{new}/g' {path}", either(draft, "(no output)", ""))


@negative
def tests_alike_but_for_a_count(draft: Draft) -> None:
    """A change, and the whole suite again: a long report that is the same but for what still fails."""
    writer = draft.writer
    path = f"src/{writer.word()}.py"
    passing = "\n".join(f"tests/test_{writer.word()}_{number}.py {'.' * (number % 7 + 3)}" for number in range(25))
    left, total = draft.dice.randint(5, 9), writer.number(400) + 20
    while left:
        edit(draft, path)
        took = draft.dice.randint(1400, 1600) / 100
        report = f"collected {total} items\n{passing}\n===== {left} failed, {total - left} passed in {took}s ====="
        shell(draft, either(draft, "python -m pytest -q 2>&1 | tail -40", "pytest -x -q"), report)
        left -= draft.dice.choice((0, 1, 1, 1))
    shell(draft, "git diff --stat", f" {path} | {writer.number(40)} ++--\n 1 file changed")


@negative
def one_compiler_error_after_another(draft: Draft) -> None:
    """The compiler stops at its first error; it is mended, and the compiler stops at the next."""
    writer = draft.writer
    for _ in many(draft, 5, 12):
        path, line = f"src/{writer.word()}.{either(draft, 'ts', 'rs')}", writer.number(400)
        found = either(
            draft,
            f"{path}({line},{writer.number(60)}): error TS2339: Property '{writer.word()}' does not exist on type '{writer.name()}'.",
            f"error[E0308]: mismatched types\n --> {path}:{line}:7\nerror: could not compile `app` due to 1 previous error",
        )
        shell(draft, either(draft, "npx tsc --noEmit", "cargo build 2>&1 | tail -20"), found)
        edit(draft, path)
    shell(draft, either(draft, "npx tsc --noEmit", "cargo build 2>&1 | tail -20"), either(draft, "", "    Finished dev [unoptimized]"))


@negative
def ever_fewer_warnings(draft: Draft) -> None:
    """A linter that tells how many warnings are left, and no more than that."""
    writer, left = draft.writer, draft.writer.number(60) + 20
    while left > 0:
        edit(draft, f"lib/{writer.word()}/{writer.word()}.py")
        shell(draft, either(draft, "ruff check . --statistics | tail -1", "npx eslint . | tail -1"), f"Found {left} errors.")
        left -= draft.dice.randint(3, 14)
    shell(draft, "git commit -am 'Lint'", f"[main {commit(draft)[:7]}] Lint")


@negative
def plan_after_each_index(draft: Draft) -> None:
    """One slow statement explained again after every attempt to make it fast, all with the only tool there is."""
    writer = draft.writer
    table, other, column = writer.word(), writer.word(), writer.word()
    query = f"EXPLAIN ANALYZE SELECT o.id, c.name FROM {table} o JOIN {other} c ON c.id = o.{column}_id WHERE o.state = 'open'"  # noqa: S608
    cost, time = float(draft.dice.randint(30_000, 90_000)), float(draft.dice.randint(900, 4000))
    tool, argument = either(draft, "query_database", "execute_sql"), either(draft, "sql", "statement")
    for number in many(draft, 4, 8):
        plan = (
            f"Hash Join  (cost=120.40..{cost:.2f} rows=4210 width=68) (actual time=2.114..{time:.3f} rows=4192 loops=1)\n"
            f"  Hash Cond: (o.{column}_id = c.id)\n  ->  {'Seq' if number < 2 else 'Index'} Scan on {table} o\n"
            f"Planning Time: 0.512 ms\nExecution Time: {time + 1.2:.3f} ms"
        )
        draft.call(tool, {argument: query}, plan)
        draft.call(tool, {argument: f"CREATE INDEX idx_{writer.word()}_{number} ON {table} ({writer.word()}, state)"}, "CREATE INDEX")
        cost, time = cost * draft.dice.uniform(0.4, 0.97), time * draft.dice.uniform(0.4, 0.97)


@negative
def bisected_history(draft: Draft) -> None:
    """Half of what is left of the history ruled out each time."""
    writer, left = draft.writer, draft.dice.randint(200, 3000)
    shell(draft, f"git bisect start HEAD {commit(draft)[:9]}", f"Bisecting: {left} revisions left to test after this")
    while left:
        bad = draft.dice.random() < 0.5
        shell(draft, "make check >/dev/null 2>&1; echo exit $?", f"exit {2 if bad else 0}")
        left //= 2
        told = f"Bisecting: {left} revisions left to test after this (roughly {left.bit_length()} steps)\n[{commit(draft)}] {writer.fact()}"
        shell(draft, f"git bisect {'bad' if bad else 'good'}", told)
    shell(draft, "git bisect log | tail -1", f"# first bad commit: [{commit(draft)}] {writer.fact()}")


@negative
def tuned_parameters(draft: Draft) -> None:
    """One training run after the other; the score moves in its third digit."""
    writer, tool = draft.writer, either(draft, "train_model", "run_trial")
    data = f"{writer.word()}.parquet"
    for _ in many(draft, 10, 30):
        parameters = {
            "learning_rate": round(10 ** draft.dice.uniform(-5, -1), 6),
            "layers": draft.dice.randint(2, 8),
            "dropout": draft.dice.choice((0.0, 0.1, 0.2, 0.3)),
        }
        score = {"status": "completed", "val_auc": round(draft.dice.uniform(0.81, 0.85), 3), "early_stopped": draft.dice.random() < 0.2}
        draft.call(tool, {"data": data, "params": parameters}, score)


@negative
def replicas_become_ready(draft: Draft) -> None:
    """A rollout looked at every few seconds: one replica after the other becomes ready, some after two looks."""
    writer, total, ready = draft.writer, draft.dice.randint(8, 14), 0
    name = f"{writer.word()}-{writer.word()}"
    shell(draft, f"kubectl apply -f {name}.yaml", f"deployment.apps/{name} configured")
    while ready < total:
        told = either(
            draft,
            f"NAME   READY   UP-TO-DATE   AVAILABLE\n{name}   {ready}/{total}   {total}   {ready}",
            f"Waiting for deployment {name!r} rollout to finish: {ready} of {total} updated replicas are available...",
        )
        shell(draft, either(draft, f"sleep 10; kubectl get deployment {name}", f"kubectl rollout status deploy/{name} --timeout=5s"), told)
        ready += draft.dice.choice((0, 1, 1, 2))
    shell(draft, f"kubectl get pods -l app={name} -o name", "\n".join(f"pod/{name}-{writer.nonce()[:5]}" for _ in range(total)))
    draft.work(2)


@negative
def todo_list_kept(draft: Draft) -> None:
    """A list of tasks written anew whenever one is done; the answer to it is always the same."""
    writer = draft.writer
    tasks = [writer.fact() for _ in range(draft.dice.randint(5, 9))]
    receipt = either(
        draft,
        "Todos have been modified successfully. Ensure that you continue to use the todo list to track your progress.",
        "Task list saved.",
    )
    states = either(draft, ("completed", "in_progress", "pending"), ("done", "doing", "todo"))
    for at in range(len(tasks)):
        listed = [{"content": task, "status": states[(number >= at) + (number > at)]} for number, task in enumerate(tasks)]
        draft.call(either(draft, "TodoWrite", "update_plan"), {either(draft, "todos", "plan"): listed}, receipt)
        for _ in many(draft, 1, 3):
            edit(draft, f"src/{writer.word()}/{writer.word()}.py")


@negative
def file_read_in_windows(draft: Draft) -> None:
    """One long file read window by window."""
    writer, path, start = draft.writer, f"/app/src/{draft.writer.word()}.py", 1
    for _ in many(draft, 8, 20):
        size = either(draft, 60, 40)
        lines = [f"{start + number:6}\t{writer.word()} = {writer.word()}({writer.word()})" for number in range(size)]
        arguments: Any = either(
            draft,
            {"file_path": path, "offset": start, "limit": size},
            {"command": "view", "path": path, "view_range": [start, start + size - 1]},
        )
        draft.call(either(draft, "Read", "str_replace_editor"), arguments, "\n".join(lines))
        start += size


@negative
def canary_takes_more(draft: Draft) -> None:
    """A share of the traffic moved to a new version step by step, and after each step the same look, which is fine."""
    writer, name, share = draft.writer, f"{draft.writer.word()}-v{draft.writer.number(90)}", 0
    while share < 100:
        share = min(100, share + draft.dice.choice((5, 10, 15)))
        moved = either(draft, "ok", {"ok": True})
        draft.call(either(draft, "set_traffic_weight", "shift_traffic"), {"version": name, "percent": share}, moved)
        draft.call(
            either(draft, "get_error_rate", "compare_versions"),
            {"version": name, "window": "5m"},
            either(draft, f"0.0{draft.dice.randint(1, 4)} %, within limits", "no significant difference"),
        )
    draft.call(either(draft, "promote", "finish_release"), {"version": name}, f"{name} {writer.pick(writer.all['done'])}")


@negative
def backfilled_days(draft: Draft) -> None:
    """A job started for one day after the other."""
    writer, month, first = draft.writer, draft.dice.randint(1, 12), draft.dice.randint(1, 8)
    name = f"{writer.word()}_daily"
    for day in many(draft, 10, 20):
        draft.call(
            either(draft, "trigger_dag_run", "start_job"),
            {"name": name, "date": f"2026-{month:02}-{first + day:02}"},
            either(draft, {"state": "queued", "dag_id": name, "note": None, "external_trigger": True}, "Job accepted."),
        )


@negative
def minutely_reading(draft: Draft) -> None:
    """A guard that takes one reading a minute and finds nothing wrong with it."""
    service = f"{draft.writer.word()}-{draft.writer.word()}"
    base, hour = draft.dice.randint(80, 300), draft.dice.randint(0, 23)
    for minute in many(draft, 10, 30):
        latency = base + draft.dice.randint(-9, 9)
        draft.call(
            either(draft, "get_metric", "query_gauge"),
            {"service": service, "metric": "latency_p95_ms"},
            {"value": latency, "at": f"2026-05-11T{hour:02}:{minute:02}:00Z"},
        )
        draft.say(either(draft, "Healthy.", f"{service} is healthy; next check in a minute."))
        draft.call(either(draft, "wait", "sleep_for"), {"seconds": 60}, either(draft, "waited 60 s", "ok"), silent=True)


@negative
def analysis_in_one_tool(draft: Draft) -> None:
    """Code that begins alike each time, since every call starts afresh, with other last lines; often nothing but a picture comes back."""
    writer = draft.writer
    head = f"import pandas as pd\nimport matplotlib.pyplot as plt\ndf = pd.read_csv('{writer.word()}.csv', parse_dates=['day'])\n"
    for number in many(draft, 10, 25):
        column, by = f"{writer.word()}_{writer.word()}", writer.word()
        if draft.dice.random() < 0.5:
            code = f"df.groupby('{by}')['{column}'].plot()\nplt.savefig('p{number}.png')"
            printed = either(draft, "", "<Figure size 640x480>")
        else:
            value = draft.dice.uniform(0, 900)
            code, printed = f"print(df['{column}'].{writer.pick(['mean', 'median', 'std'])}())", f"{value:.4f}"
        draft.call(either(draft, "python", "run_code"), {"code": head + code}, printed)
