"""What may be asked of a session and what becomes of it, kept in a real file."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from collector.enforcement.action import Answer, Reply, Runtime
from collector.enforcement.control import ControlStore
from collector.enforcement.messages import Limits
from collector.enforcement.rows import Subject
from collector.enforcement.transitions import NEXT, session_state
from collector.errors import Malformed, NotFound, Refused
from collector.model import Halt, HaltState, SessionState, Verb
from detectors.model import SessionKey

from .asking import KEY, RUNTIME, Ask


def answer(control: ControlStore, reply: Reply, *, now_ns: int = 30 * 10**9, limits: Limits | None = None) -> int:
    """Lets the runtime give `reply` to everything that is due. Returns how many messages that were."""
    due = control.claim(RUNTIME.url, now_ns=now_ns, lease_ns=10**9, limit=100)
    for message in due:
        control.finish(message, Answer(reply=reply, detail=f"said {reply}"), now_ns=now_ns, retry_ns=now_ns, limits=limits or Limits())
    return len(due)


def test_a_halt_holds_the_session_and_waits_in_the_outbox(control: ControlStore, ask: Ask) -> None:
    halt = ask(Verb.HALT)
    assert (halt.state, halt.generation, halt.requested_by, halt.session) == (HaltState.REQUESTED, 1, "ada", KEY)
    assert control.active(KEY) == halt == control.get(halt.halt_id)
    assert control.outbox_size() == 1
    assert session_state(control.active(KEY)) is SessionState.HALTING


def test_asking_again_returns_the_halt_in_force(control: ControlStore, ask: Ask) -> None:
    assert ask(Verb.HALT) == ask(Verb.HALT)
    assert control.generation(KEY) == 1
    assert control.outbox_size() == 1
    assert [entry.detail.get("repeated") for entry in control.audit(session=KEY)] == [True, None]


def test_every_request_raises_the_generation(control: ControlStore, ask: Ask) -> None:
    asked = [ask(verb) for verb in (Verb.COMPACT, Verb.PAUSE, Verb.HALT, Verb.RELEASE, Verb.HALT)]
    assert [halt.generation for halt in asked] == [1, 2, 3, 4, 5]
    assert len({halt.halt_id for halt in asked}) == 5
    assert control.generation(KEY) == 5
    assert [halt.verb for halt in control.halts(KEY)] == [halt.verb for halt in asked]


def test_ids_are_derived_so_that_a_crash_cannot_double_them(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        store = ControlStore(tmp_path / name)
        made.append(store.request_halt(KEY, Verb.HALT, halt_reason=None, requested_by="x", now_ns=1, runtimes=[RUNTIME]).halt_id)
        made.append(store.claim(RUNTIME.url, now_ns=1, lease_ns=1, limit=1)[0].message_id)
        store.close()
    assert made[:2] == made[2:]


def test_a_halt_takes_the_place_of_a_pause(control: ControlStore, ask: Ask) -> None:
    pause = ask(Verb.PAUSE)
    halt = ask(Verb.HALT)
    assert control.get(pause.halt_id).state is HaltState.SUPERSEDED
    assert control.active(KEY) == halt
    assert control.outbox_size() == 1


@pytest.mark.parametrize("weaker", [Verb.PAUSE, Verb.COMPACT])
def test_nothing_weakens_a_halt(control: ControlStore, ask: Ask, weaker: Verb) -> None:
    halt = ask(Verb.HALT)
    with pytest.raises(Refused, match="release it first"):
        ask(weaker)
    assert control.active(KEY) == halt
    assert control.generation(KEY) == 1


def test_a_release_supersedes_what_is_undelivered(control: ControlStore, ask: Ask) -> None:
    halt = ask(Verb.HALT)
    release = ask(Verb.RELEASE)
    assert control.get(halt.halt_id).state is HaltState.SUPERSEDED
    assert control.active(KEY) is None
    assert [message.halt_id for message in control.claim(RUNTIME.url, now_ns=10**12, lease_ns=1, limit=9)] == [release.halt_id]
    assert ask(Verb.RELEASE).halt_id == release.halt_id


def test_proof_stays_on_record_after_a_release(control: ControlStore, ask: Ask) -> None:
    halt = ask(Verb.HALT)
    answer(control, Reply.STOPPED)
    ask(Verb.RELEASE)
    assert control.get(halt.halt_id).state is HaltState.CONFIRMED_STOPPED


def test_there_is_nothing_to_release_where_nothing_is_held(control: ControlStore, ask: Ask) -> None:
    with pytest.raises(Refused, match="nothing to release"):
        ask(Verb.RELEASE)
    assert control.generation(KEY) == 0


def test_a_release_for_the_same_finding_releases_each_time(control: ControlStore, ask: Ask) -> None:
    for _ in range(2):
        ask(Verb.HALT)
        ask(Verb.RELEASE, finding="fnd_1")
        assert control.active(KEY) is None


def test_the_same_finding_never_stops_a_session_twice(control: ControlStore, ask: Ask) -> None:
    first = ask(Verb.HALT, finding="fnd_1")
    ask(Verb.RELEASE)
    again = ask(Verb.HALT, finding="fnd_1")
    assert again.halt_id == first.halt_id
    assert again.state is HaltState.SUPERSEDED
    assert control.active(KEY) is None
    assert ask(Verb.HALT, finding="fnd_2").generation == 3


def test_a_finding_may_escalate_to_a_stronger_verb(ask: Ask) -> None:
    assert [ask(verb, finding="fnd_1").generation for verb in (Verb.COMPACT, Verb.PAUSE, Verb.HALT)] == [1, 2, 3]


def test_a_compaction_on_its_way_is_not_asked_for_twice(control: ControlStore, ask: Ask) -> None:
    first = ask(Verb.COMPACT)
    assert ask(Verb.COMPACT) == first
    answer(control, Reply.UNPROVEN)
    assert control.get(first.halt_id).state is HaltState.ACKNOWLEDGED
    assert ask(Verb.COMPACT).generation == 2
    assert control.active(KEY) is None


def test_a_compaction_does_not_overtake_a_release(control: ControlStore, ask: Ask) -> None:
    ask(Verb.HALT)
    release = ask(Verb.RELEASE)
    with pytest.raises(Refused, match=release.halt_id):
        ask(Verb.COMPACT)
    answer(control, Reply.STOPPING)
    assert ask(Verb.COMPACT).generation == 3
    assert control.get(release.halt_id).state is HaltState.ACKNOWLEDGED


def test_without_a_runtime_the_halt_stands_and_says_why(control: ControlStore, ask: Ask) -> None:
    elsewhere = Runtime(url=RUNTIME.url, secret=SecretStr("s"), agent_types=("ops-*",))
    halt = ask(Verb.HALT, subject=Subject(agent_type="research"), runtimes=(elsewhere,))
    assert halt.state is HaltState.UNDELIVERABLE
    assert halt.last_error == "no runtime is configured for agent type 'research': add one under actions.runtimes"
    assert control.active(KEY) == halt
    control.retarget([RUNTIME], now_ns=5)
    answer(control, Reply.STOPPING)
    assert control.get(halt.halt_id).state is HaltState.ACKNOWLEDGED
    assert control.get(halt.halt_id).last_error is None


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        (Reply.STOPPING, HaltState.ACKNOWLEDGED),
        (Reply.STOPPED, HaltState.CONFIRMED_STOPPED),
        (Reply.UNPROVEN, HaltState.DELIVERED),
        (Reply.UNSUPPORTED, HaltState.UNSUPPORTED),
        (Reply.UNKNOWN_SESSION, HaltState.REQUESTED),
        (Reply.FAILED, HaltState.REQUESTED),
    ],
)
def test_only_an_owner_acknowledges(control: ControlStore, ask: Ask, reply: Reply, state: HaltState) -> None:
    halt = ask(Verb.HALT)
    answer(control, reply)
    after = control.get(halt.halt_id)
    assert after.state is state
    assert after.attempts == 1
    owned = reply in {Reply.STOPPING, Reply.STOPPED}
    assert (after.acknowledged_ns is not None) is owned
    assert control.outbox_size() == (0 if owned else 1)


def test_a_late_answer_does_not_revive_a_superseded_halt(control: ControlStore, ask: Ask) -> None:
    halt = ask(Verb.HALT)
    [message] = control.claim(RUNTIME.url, now_ns=10**12, lease_ns=10**9, limit=1)
    ask(Verb.RELEASE)
    control.finish(message, Answer(reply=Reply.FAILED), now_ns=10**12, retry_ns=10**12, limits=Limits())
    assert control.get(halt.halt_id).state is HaltState.SUPERSEDED
    assert [other.halt_id for other in control.claim(RUNTIME.url, now_ns=10**12, lease_ns=1, limit=9)] == [control.halts(KEY)[1].halt_id]


def test_a_claim_whose_lease_ran_out_is_not_ended_by_its_first_holder(control: ControlStore, ask: Ask) -> None:
    ask(Verb.HALT)
    [first] = control.claim(RUNTIME.url, now_ns=10**12, lease_ns=10, limit=1)
    assert control.claim(RUNTIME.url, now_ns=10**12 + 9, lease_ns=10, limit=1) == []
    [second] = control.claim(RUNTIME.url, now_ns=10**12 + 10, lease_ns=10**9, limit=1)
    assert (second.message_id, second.attempt) == (first.message_id, 2)
    control.finish(first, Answer(reply=Reply.FAILED), now_ns=10**12 + 11, retry_ns=10**12 + 11, limits=Limits())
    assert control.claim(RUNTIME.url, now_ns=10**12 + 12, lease_ns=10, limit=1) == []


def test_a_halt_is_escalated_but_never_given_up(control: ControlStore, ask: Ask) -> None:
    halt = ask(Verb.HALT)
    for _ in range(5):
        assert control.get(halt.halt_id).state is HaltState.REQUESTED
        answer(control, Reply.FAILED)
    day_ns = 86_400 * 10**9
    assert control.get(halt.halt_id).state is HaltState.UNDELIVERABLE
    assert answer(control, Reply.FAILED, now_ns=400 * day_ns) == 1
    assert control.get(halt.halt_id).last_error == "said failed"
    answer(control, Reply.STOPPED, now_ns=401 * day_ns)
    assert control.get(halt.halt_id).state is HaltState.CONFIRMED_STOPPED


def test_a_release_is_given_up_after_a_day(control: ControlStore, ask: Ask) -> None:
    ask(Verb.HALT)
    release = ask(Verb.RELEASE)
    answer(control, Reply.FAILED)
    assert control.outbox_size() == 1
    answer(control, Reply.FAILED, now_ns=90_000 * 10**9)
    assert control.outbox_size() == 0
    assert control.get(release.halt_id).state is HaltState.UNDELIVERABLE


def test_a_runtime_may_speak_on_its_own(control: ControlStore, ask: Ask) -> None:
    halt = ask(Verb.HALT)
    assert control.acknowledge(halt.halt_id, "stopping", now_ns=7, actor="r1").acknowledged_ns == 7
    stopped = control.acknowledge(halt.halt_id, "stopped", now_ns=9, actor="r1")
    assert (stopped.state, stopped.acknowledged_ns, stopped.stopped_ns) == (HaltState.CONFIRMED_STOPPED, 7, 9)
    assert control.acknowledge(halt.halt_id, "stopping", now_ns=11).state is HaltState.CONFIRMED_STOPPED
    assert session_state(control.active(KEY)) is SessionState.HALTED
    with pytest.raises(Malformed, match="stopping, "):
        control.acknowledge(halt.halt_id, "stoped", now_ns=1)
    with pytest.raises(NotFound):
        control.acknowledge("hlt_none", "stopped", now_ns=1)


def test_a_disobeyed_halt_is_sent_again_as_another_message(control: ControlStore, ask: Ask) -> None:
    halt = ask(Verb.HALT)
    [first] = control.claim(RUNTIME.url, now_ns=10**12, lease_ns=1, limit=1)
    assert control.reassert(halt.halt_id, now_ns=10**12, runtimes=[RUNTIME]).state is HaltState.REQUESTED, "nobody disobeyed yet"
    control.finish(first, Answer(reply=Reply.STOPPED), now_ns=10**12, retry_ns=10**12, limits=Limits())
    assert control.reassert(halt.halt_id, now_ns=10**12, runtimes=[RUNTIME]).state is HaltState.DISOBEYED
    [second] = control.claim(RUNTIME.url, now_ns=10**12, lease_ns=1, limit=1)
    assert second.message_id != first.message_id
    assert second.halt_id == first.halt_id


def test_silence_is_proof(control: ControlStore, ask: Ask) -> None:
    halt = ask(Verb.HALT)
    quiet = control.quiet(halt.halt_id, now_ns=50)
    assert (quiet.state, quiet.stopped_ns) == (HaltState.QUIET, 50)
    assert control.outbox_size() == 0


def test_runtimes_come_and_go(control: ControlStore, ask: Ask) -> None:
    halt = ask(Verb.HALT)
    control.retarget([], now_ns=5)
    assert control.outbox_size() == 0
    assert control.get(halt.halt_id).state is HaltState.UNDELIVERABLE
    control.retarget([RUNTIME], now_ns=6)
    assert answer(control, Reply.STOPPED) == 1
    control.retarget([RUNTIME], now_ns=7)
    assert control.outbox_size() == 0, "what is proven is not sent again"


def test_a_waiting_release_meets_new_runtimes_too(control: ControlStore, ask: Ask) -> None:
    ask(Verb.HALT, runtimes=())
    release = ask(Verb.RELEASE, runtimes=())
    control.retarget([RUNTIME], now_ns=6)
    answer(control, Reply.STOPPING)
    assert control.get(release.halt_id).state is HaltState.ACKNOWLEDGED


def test_counts_name_every_state(control: ControlStore, ask: Ask) -> None:
    ask(Verb.HALT)
    assert control.counts() == {state: int(state is HaltState.REQUESTED) for state in HaltState}


def test_everything_is_there_after_reopening(control: ControlStore, ask: Ask, path: Path) -> None:
    halt = ask(Verb.HALT)
    control.note("ada", "alertmanager.refused", now_ns=3, session=KEY, detail={"detector": "x"})
    control.close()
    control.close()
    again = ControlStore(path)
    assert again.active_all() == [halt]
    assert [entry.action for entry in again.audit(session=KEY)] == ["alertmanager.refused", "request.halt"]
    again.close()


def test_a_halt_that_returned_survives_kill_9(path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from collector.enforcement.control import ControlStore\n"
        "from collector.model import Verb\n"
        "from detectors.model import SessionKey\n"
        "store = ControlStore(sys.argv[1])\n"
        "key = SessionKey('default', 'prod', 's/1')\n"
        "store.request_halt(key, Verb.HALT, halt_reason='operator', requested_by='ada', now_ns=1)\n"
        "with store.database.transaction() as c:\n"
        "    c.execute('DELETE FROM stances')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(path)], check=False, cwd=Path(__file__).parents[2])
    assert ended.returncode == -9
    again = ControlStore(path)
    held = again.active(KEY)
    assert held is not None
    assert held.requested_by == "ada"
    again.close()


def test_one_thread_at_a_time(control: ControlStore) -> None:
    def halt(number: int) -> Halt:
        key = SessionKey("default", "", f"s{number % 5}")
        return control.request_halt(key, Verb.HALT, halt_reason=None, requested_by="x", now_ns=number, runtimes=[RUNTIME])

    with ThreadPoolExecutor(8) as pool:
        halts = list(pool.map(halt, range(40)))
    assert len({made.halt_id for made in halts}) == 5
    assert control.outbox_size() == 5


def test_every_state_has_its_successors_and_supersession_is_final() -> None:
    assert set(NEXT) == set(HaltState)
    assert NEXT[HaltState.SUPERSEDED] == frozenset()
    assert all(HaltState.REQUESTED not in following for following in NEXT.values())


@pytest.mark.parametrize(
    ("verb", "state", "session"),
    [
        (Verb.HALT, HaltState.REQUESTED, SessionState.HALTING),
        (Verb.HALT, HaltState.DISOBEYED, SessionState.HALTING),
        (Verb.HALT, HaltState.QUIET, SessionState.HALTED),
        (Verb.PAUSE, HaltState.ACKNOWLEDGED, SessionState.PAUSING),
        (Verb.PAUSE, HaltState.CONFIRMED_STOPPED, SessionState.PAUSED),
    ],
)
def test_the_session_is_in_the_state_its_halt_proves(verb: Verb, state: HaltState, session: SessionState) -> None:
    halt = Halt(halt_id="h", session=KEY, generation=1, verb=verb, halt_reason=None, requested_by="x", state=state)
    assert session_state(halt) is session
    assert session_state(None) is None
