"""One of the two files is lost or replaced: what the other knows keeps numbers and generations from beginning anew."""

import shutil
from pathlib import Path

from collector.model import SessionState, Verb
from detectors.model import SessionKey, Step

from .agents import llm, request
from .services import core, crash, drop

KEY = SessionKey("default", "", "s")


def test_without_the_control_store_generations_go_on_and_a_halted_session_is_halted(tmp_path: Path) -> None:
    first = core(tmp_path / "first")
    first.process([request(llm("a", session="s"))])
    for verb in (Verb.HALT, Verb.RELEASE, Verb.HALT):
        told = first.halting.request(KEY, verb, halt_reason=None, requested_by="operator")
    assert told.generation == 3
    crash(first, tmp_path / "after")
    drop(first)
    for file in (tmp_path / "after").glob("control.sqlite*"):
        file.unlink()
    again = core(tmp_path / "after")
    session = again.session(KEY)
    assert session is not None
    assert (session.state, session.llm_calls) == (SessionState.HALTING, 1)
    later = again.halting.request(KEY, Verb.HALT, halt_reason=None, requested_by="operator")
    assert later.generation == 4
    assert later.halt_id != told.halt_id
    assert again.halting.request(KEY, Verb.RELEASE, halt_reason=None, requested_by="operator").generation == 5
    again.close()


def test_without_the_telemetry_store_numbers_go_on(tmp_path: Path) -> None:
    first = core(tmp_path / "first")
    first.process([request(llm("a", session="s"), llm("b", session="s"))])
    first.flush()
    last = first.store.last_seq()
    crash(first, tmp_path / "after")
    drop(first)
    for file in (tmp_path / "after").glob("telemetry.duckdb*"):
        file.unlink()
    shutil.rmtree(tmp_path / "after" / "telemetry")
    again = core(tmp_path / "after")
    assert again.index.get(KEY) is not None
    again.process([request(llm("c", session="t"))])
    again.flush()
    (step,) = (event for event in again.store.tail(9) if isinstance(event, Step))
    assert step.seq > last
    assert again.index.get(SessionKey("default", "", "t")) is not None
    again.close()
