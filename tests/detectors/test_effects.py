"""What a call is given to run, and whether that changes something."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.effects import changes_something, reads_as, steps_on
from detectors.model import Step
from detectors.soft_loop import SoftLoop
from detectors.testing import run, session, tool


@pytest.mark.parametrize(
    ("name", "given_to_run", "changes"),
    [
        ("query_database", "CREATE UNIQUE INDEX CONCURRENTLY i ON orders (state)", True),
        ("query_database", "DROP MATERIALIZED VIEW IF EXISTS v", True),
        ("query_database", "VACUUM ANALYZE orders", True),
        ("run_sql", "GRANT SELECT ON orders TO reader", True),
        ("run_sql", "SET work_mem = '64MB'", True),
        ("run_sql", "SELECT 1; DELETE FROM orders WHERE id = 3", True),
        ("query_database", "EXPLAIN ANALYZE SELECT * FROM orders", False),
        ("query_database", "SELECT created, index FROM orders -- create", False),
        ("web_search", "create index postgres", False),
        ("search_docs", "drop table if exists", False),
        ("search_docs", "vacuum cleaner", False),
        ("bash", "cd /srv && git commit -am wip", True),
        ("bash", "FOO=1 sudo mv a b", True),
        ("execute_command", "kubectl -n shop rollout restart deploy/web", True),
        ("run_shell", "pip install -q requests", True),
        ("Bash", "sed -i 's/a/b/' x.py", True),
        ("Bash", "echo hello > notes.txt", True),
        ("Bash", "ls | tee list.txt", True),
        ("bash", "git log --oneline | head", False),
        ("bash", "kubectl rollout status deploy/web", False),
        ("bash", "grep -rn 'git commit' docs 2>/dev/null", False),
        ("bash", "cat install.txt 2>&1", False),
        ("bash", "make test", False),
        ("search_code", "git commit", False),
    ],
)
def test_first_words_of_statements_and_commands(name: str, given_to_run: str, changes: bool) -> None:
    assert changes_something(name, json.dumps({"command": given_to_run, "timeout": 5})) is changes
    assert changes_something(name, given_to_run) is changes


@pytest.mark.parametrize(
    ("name", "arguments", "on"),
    [
        ("scroll_down", "{}", True),
        ("browser.next", "", True),
        ("computer", '{"action": "key", "text": "Page_Down"}', True),
        ("move", '{"direction": "east", "distance": 1}', True),
        ("open_page", '{"url": "https://a.example/next"}', False),
        ("press_button", '{"id": 7}', False),
        ("click", '{"index": 7}', False),
        ("search", '{"q": "which way is up"}', False),
    ],
)
def test_a_step_on_is_told_by_name_or_argument(name: str, arguments: str, on: bool) -> None:
    assert steps_on(name, arguments) is on


def test_what_changes_something_asks_nothing() -> None:
    assert reads_as("query_database", '{"sql": "CREATE INDEX a ON t (b)"}') == (False, True)
    assert reads_as("query_database", '{"sql": "SELECT b FROM t"}') == (True, False)
    assert reads_as("write_file", '{"path": "a"}') == (False, True)


@given(st.text(max_size=400), st.text(max_size=400))
def test_any_text_can_be_read(name: str, arguments: str) -> None:
    reads_as(name, arguments)


def _tuned(changed: bool) -> Iterator[Step]:
    for round_ in range(8):
        cost = 90_000 - (round_ * 7_000 if changed else 0)
        yield tool(
            "query_database",
            {"sql": "EXPLAIN SELECT * FROM orders JOIN items"},
            f"Hash Join over sequential scans, cost=0..{cost}",
        )
        yield tool("query_database", {"sql": f"CREATE INDEX i{round_} ON orders (c{round_ * 31})"}, "CREATE INDEX")


def test_a_look_that_changes_after_every_act_is_no_loop() -> None:
    assert run(SoftLoop, session(*_tuned(changed=True))) == []
    assert all(signal.severity.value == "warning" for _, signal in run(SoftLoop, session(*_tuned(changed=False))))
