"""Which tests are slow, where the same test is slow for some of its parameters only or a whole folder is."""

from typing import Final

import pytest
from hypothesis import settings

# How long an example takes says something about the machine, not about what is tested.
settings.register_profile("overcurrent", deadline=None)
settings.load_profile("overcurrent")

_SLOW: Final = (
    # Thousands of generated sessions, documents or histories.
    "tests/benchmarks/",
    "tests/dialects/test_any_order.py",
    "tests/dialects/test_content_off.py",
    "test_columns_and_messages_say_the_same_of_anything",
    "test_a_growing_history_is_stored_once",
    "test_a_crash_forgets_no_judgement",
    "test_random_",
    "test_every_history_keeps_the_order",
    "test_the_founding_case_is_caught",
    "test_a_crash_tells_nothing_twice",
    "tests/core/test_restart.py",
    "test_translating_changes_nothing",
    "check_bounded_memory",
    "check_survives_pickling",
    # They wait for a time-out, a limit of many megabytes, or other threads.
    "kill_webhook-ends_by_itself",
    "test_a_silent_runtime_holds_up_nobody_else",
    "test_bombs_and_large_bodies",
    "test_a_bomb_never_holds",
    "test_threads_and_scrapes",
)
"""Parts of test ids: each took longer than a second, or many of a kind do together. `make test` runs them all."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(part in item.nodeid for part in _SLOW):
            item.add_marker(pytest.mark.slow)
