"""What /readyz says, and when it is said in the log."""

import logging

import pytest

from collector.readiness import CONTROL, STUCK_S, TELEMETRY, Readiness


def test_what_fails_is_said_until_it_works() -> None:
    readiness = Readiness()
    assert readiness.reasons() == []
    readiness.fails(TELEMETRY, "No space left on device")
    readiness.fails(CONTROL, "database is locked")
    assert readiness.failing(TELEMETRY)
    said = readiness.reasons()
    assert [("telemetry store" in one, "control store" in one) for one in said] == [(True, False), (False, True)]
    assert "No space left on device" in said[0]
    assert "database is locked" in said[1]
    readiness.works(TELEMETRY)
    assert [one for one in readiness.reasons() if "telemetry store" in one] == []
    readiness.works(CONTROL)
    assert readiness.reasons() == []


def test_the_log_has_one_line_for_the_beginning_and_one_for_the_end(caplog: pytest.LogCaptureFixture) -> None:
    readiness = Readiness()
    readiness.works(TELEMETRY)
    for _ in range(5):
        readiness.fails(TELEMETRY, "No space left on device")
    readiness.works(TELEMETRY)
    readiness.works(TELEMETRY)
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert "No space left on device" in caplog.text
    assert "docs/operations.md" in caplog.text


def test_a_thread_that_does_not_come_round_is_noticed() -> None:
    now = [100.0]
    readiness = Readiness(clock_s=lambda: now[0])
    now[0] += 10 * STUCK_S
    assert readiness.reasons() == []  # it was not started yet
    readiness.went_round()
    now[0] += STUCK_S
    assert readiness.reasons() == []
    now[0] += 1
    assert "has not come round for 11 s" in readiness.reasons()[0]
    readiness.went_round()
    assert readiness.reasons() == []
