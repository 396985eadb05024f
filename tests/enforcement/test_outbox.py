import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import SecretStr

from collector.enforcement import Action, KillWebhook
from collector.enforcement.action import Answer, Delivery, Reply, Runtime
from collector.enforcement.control import ControlStore
from collector.enforcement.outbox import Outbox, Pace
from collector.enforcement.rows import Subject
from collector.errors import StoreUnavailable
from collector.model import Halt, HaltState, Identifiers, Verb
from detectors.model import SessionKey

from .runtime import Clock, FakeRuntime

KEY = SessionKey("default", "prod", "s/1")


@pytest.fixture
async def webhook() -> AsyncIterator[KillWebhook]:
    made = KillWebhook(timeout_s=5.0)
    yield made
    await made.aclose()


@pytest.fixture
def seen() -> list[Reply]:
    return []


@pytest.fixture
def outbox(control: ControlStore, webhook: KillWebhook, clock: Clock, seen: list[Reply]) -> Outbox:
    """With the longest pauses that the jitter allows, so that they can be counted."""
    return Outbox(control, webhook, clock_ns=clock, uniform=lambda _, high: high, observe=seen.append)


def halt(
    control: ControlStore, clock: Clock, *targets: Runtime, verb: Verb = Verb.HALT, key: SessionKey = KEY, finding: str | None = None
) -> Halt:
    subject = Subject(
        agent_type="research", workflow_id="w1", identifiers=Identifiers(trace_ids=["abc"]), summary="loops", steps=9, cost_usd="1.25"
    )
    return control.request_halt(
        key, verb, halt_reason="exact_loop", requested_by="policy", now_ns=clock(), finding=finding, subject=subject, runtimes=targets
    )


async def until(condition: Callable[[], bool]) -> None:
    """Lets the worker run until something holds; the suite's time-out is the limit."""
    while not condition():  # noqa: ASYNC110 — the worker has no event for every state
        await asyncio.sleep(0.001)


async def test_an_owner_is_told_once_and_believed(
    control: ControlStore, outbox: Outbox, runtime: FakeRuntime, clock: Clock, seen: list[Reply]
) -> None:
    runtime.answers("stopped")
    made = halt(control, clock, runtime.target())
    assert await outbox.deliver_due([runtime.target()]) == 1
    assert await outbox.deliver_due([runtime.target()]) == 0
    assert control.get(made.halt_id).state is HaltState.CONFIRMED_STOPPED
    assert seen == [Reply.STOPPED]
    [request] = runtime.requests
    assert request.verified
    assert request.body["type"] == "session.halt"
    assert request.body["data"] == {
        "halt_id": made.halt_id,
        "generation": 1,
        "session_id": "s/1",
        "workflow_id": "w1",
        "identifiers": {
            "trace_ids": ["abc"],
            "conversation_ids": [],
            "service.name": [],
            "service.instance.id": [],
            "merged_from": [],
        },
        "agent_type": "research",
        "halt_reason": "exact_loop",
        "summary": "loops",
        "steps": 9,
        "cost_usd": "1.25",
        "checkpoint": None,
        "dead_letter_id": None,
        "console_url": None,
    }


async def test_failures_are_retried_with_growing_pauses_under_one_id(
    control: ControlStore, outbox: Outbox, runtime: FakeRuntime, clock: Clock
) -> None:
    runtime.script = ["error", "garbage", "unknown_session", "error"]
    runtime.answers("stopping")
    target = runtime.target()
    made = halt(control, clock, target)
    states = []
    for pause_s in (0.5, 1.0, 2.0, 4.0, 0.0):
        assert await outbox.deliver_due([target]) == 1
        states.append(control.get(made.halt_id).state)
        clock.sleep(pause_s - 0.001)
        assert await outbox.deliver_due([target]) == 0
        clock.sleep(0.001)
    assert states == [
        HaltState.REQUESTED,
        HaltState.DELIVERED,
        HaltState.DELIVERED,
        HaltState.DELIVERED,
        HaltState.ACKNOWLEDGED,
    ]
    assert len(set(runtime.keys)) == 1
    assert all(request.verified for request in runtime.requests)
    assert len({request.headers["webhook-signature"] for request in runtime.requests}) > 1


async def test_a_dead_runtime_is_asked_for_ever_at_the_capped_pace(control: ControlStore, outbox: Outbox, clock: Clock) -> None:
    dead = Runtime(url="http://127.0.0.1:1/", secret=SecretStr("s"))
    made = halt(control, clock, dead)
    for _ in range(100):
        assert await outbox.deliver_due([dead]) == 1
        clock.sleep(60)
    after = control.get(made.halt_id)
    assert (after.state, after.attempts, after.last_error) == (HaltState.UNDELIVERABLE, 100, "http://127.0.0.1:1/: cannot connect")
    with control.database.reading() as c:
        assert c.execute("SELECT count(*), min(attempt) FROM attempts").fetchone()[:] == (50, 51)


async def test_a_busy_runtime_gets_the_pause_it_asked_for(
    control: ControlStore, outbox: Outbox, runtime: FakeRuntime, clock: Clock
) -> None:
    runtime.script = ["busy"]
    halt(control, clock, runtime.target())
    await outbox.deliver_due([runtime.target()])
    clock.sleep(29)
    assert await outbox.deliver_due([runtime.target()]) == 0
    clock.sleep(1)
    assert await outbox.deliver_due([runtime.target()]) == 1


async def test_every_runtime_that_may_own_it_is_asked(control: ControlStore, outbox: Outbox, clock: Clock) -> None:
    with FakeRuntime() as stranger, FakeRuntime() as owner, FakeRuntime() as other:
        stranger.answers("unknown_session")
        targets = [stranger.target(), owner.target("res*"), other.target("ops-*")]
        made = halt(control, clock, *targets)
        assert await outbox.deliver_due(targets) == 2
        assert control.get(made.halt_id).state is HaltState.ACKNOWLEDGED
        clock.sleep(60)
        await outbox.deliver_due(targets)
        assert (len(stranger.requests), len(owner.requests), len(other.requests)) == (2, 1, 0)
        assert control.outbox_size() == 0, "once an owner spoke, a stranger is let alone"


async def test_when_nobody_knows_the_session_a_person_must(
    control: ControlStore, outbox: Outbox, runtime: FakeRuntime, clock: Clock
) -> None:
    runtime.answers("unknown_session")
    made = halt(control, clock, runtime.target())
    for _ in range(5):
        await outbox.deliver_due([runtime.target()])
        clock.sleep(20)
    after = control.get(made.halt_id)
    assert after.state is HaltState.UNDELIVERABLE
    assert after.last_error is not None
    assert after.last_error.endswith(": unknown_session")
    assert control.outbox_size() == 1


async def test_a_part_of_the_session_elsewhere_is_tried_a_while_longer(
    control: ControlStore, outbox: Outbox, runtime: FakeRuntime, clock: Clock
) -> None:
    dead = Runtime(url="http://127.0.0.1:1/", secret=SecretStr("s"))
    targets = [runtime.target(), dead]
    made = halt(control, clock, *targets)
    for _ in range(6):
        await outbox.deliver_due(targets)
        clock.sleep(60)
    assert control.get(made.halt_id).state is HaltState.ACKNOWLEDGED
    assert len(runtime.requests) == 1
    assert control.outbox_size() == 0


async def test_a_release_overtakes_a_halt_that_never_arrived(
    control: ControlStore, outbox: Outbox, runtime: FakeRuntime, clock: Clock
) -> None:
    runtime.script = ["error"]
    target = runtime.target()
    halt(control, clock, target)
    await outbox.deliver_due([target])
    halt(control, clock, target, verb=Verb.RELEASE)
    clock.sleep(600)
    await outbox.deliver_due([target])
    assert runtime.types == ["session.halt", "session.release"]
    assert [request.body["data"]["generation"] for request in runtime.requests] == [1, 2]


async def test_superseded_in_mid_flight_the_answer_changes_nothing(
    control: ControlStore, outbox: Outbox, runtime: FakeRuntime, clock: Clock
) -> None:
    target = runtime.target()
    made = halt(control, clock, target)

    def release() -> None:
        control.request_halt(KEY, Verb.RELEASE, halt_reason=None, requested_by="ada", now_ns=clock())

    runtime.on_request = release
    await outbox.deliver_due([target])
    assert control.get(made.halt_id).state is HaltState.SUPERSEDED
    assert control.active(KEY) is None


async def test_a_restart_in_mid_attempt_makes_the_attempt_again_under_the_same_id(
    path: Path, control: ControlStore, webhook: KillWebhook, runtime: FakeRuntime, clock: Clock
) -> None:
    target = runtime.target()
    made = halt(control, clock, target)
    runtime.script = ["silence"]
    first = Outbox(control, webhook, clock_ns=clock)
    await first.start([target])
    await until(lambda: len(runtime.requests) == 1)
    await first.stop()
    control.close()

    again = ControlStore(path)
    assert again.get(made.halt_id).attempts == 1, "the attempt was recorded before it was made"
    second = Outbox(again, webhook, clock_ns=clock)
    await second.start([target])
    await until(lambda: again.get(made.halt_id).state is HaltState.ACKNOWLEDGED)
    await second.stop()
    assert runtime.keys[0] == runtime.keys[1]
    with again.database.reading() as c:
        assert [row[0] for row in c.execute("SELECT outcome FROM attempts ORDER BY attempt")] == [None, "stopping"]
    again.close()


async def test_a_new_halt_wakes_the_worker(control: ControlStore, outbox: Outbox, runtime: FakeRuntime, clock: Clock) -> None:
    await outbox.start([runtime.target()])
    made = await asyncio.to_thread(halt, control, clock, runtime.target())
    await asyncio.to_thread(outbox.wake)
    await until(lambda: control.get(made.halt_id).state is HaltState.ACKNOWLEDGED)
    await outbox.stop()
    outbox.wake()


async def test_a_silent_runtime_holds_up_nobody_else(control: ControlStore, webhook: KillWebhook, clock: Clock) -> None:
    with FakeRuntime() as silent, FakeRuntime() as alive:
        silent.answers("silence")
        targets = [silent.target("research"), alive.target("research")]
        for number in range(10):
            halt(control, clock, targets[0], key=KEY._replace(session_id=f"silent{number}"))
        made = [halt(control, clock, targets[1], key=KEY._replace(session_id=f"alive{number}")) for number in range(10)]
        outbox = Outbox(control, webhook, clock_ns=clock, pace=Pace(at_once=2))
        await outbox.start(targets)
        await until(lambda: all(control.get(one.halt_id).state is HaltState.ACKNOWLEDGED for one in made))
        await until(lambda: len(silent.requests) == 2)
        await outbox.stop()
        assert len(silent.requests) == 2, "no more than `at_once`"


async def test_the_fresh_halt_goes_before_the_old_failures(
    control: ControlStore, webhook: KillWebhook, runtime: FakeRuntime, clock: Clock
) -> None:
    target = runtime.target()
    runtime.script = ["error"] * 3
    outbox = Outbox(control, webhook, clock_ns=clock)
    for number in range(3):
        halt(control, clock, target, key=KEY._replace(session_id=f"old{number}"))
    await outbox.deliver_due([target])
    clock.sleep(600)
    fresh = halt(control, clock, target)
    assert control.claim(target.url, now_ns=clock(), lease_ns=1, limit=1)[0].halt_id == fresh.halt_id


async def test_another_configuration_reaches_the_new_runtime(
    control: ControlStore, outbox: Outbox, runtime: FakeRuntime, clock: Clock
) -> None:
    dead = Runtime(url="http://127.0.0.1:1/", secret=SecretStr("s"))
    await outbox.start([dead])
    made = halt(control, clock, dead)
    await outbox.configure([runtime.target()])
    await until(lambda: control.get(made.halt_id).state is HaltState.ACKNOWLEDGED)
    await outbox.stop()
    assert control.outbox_size() == 0


class Broken(Action):
    name: ClassVar[str] = "broken"

    async def attempt(self, delivery: Delivery) -> Answer:
        raise RuntimeError(delivery.key)


async def test_an_action_that_breaks_its_promise_loses_no_halt(
    control: ControlStore, clock: Clock, runtime: FakeRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    made = halt(control, clock, runtime.target())
    await Outbox(control, Broken(), clock_ns=clock).deliver_due([runtime.target()])
    assert control.outbox_size() == 1
    assert str(control.get(made.halt_id).last_error).endswith("broken raised RuntimeError")
    assert "broken raised" in caplog.text


async def test_a_disk_that_refuses_for_a_while_does_not_end_the_worker(
    *,
    control: ControlStore,
    webhook: KillWebhook,
    runtime: FakeRuntime,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "collector.enforcement.outbox")
    claim, failures = control.claim, iter([StoreUnavailable("disk full"), StoreUnavailable("disk full")])

    def claim_on_a_bad_disk(url: str, *, now_ns: int, lease_ns: int, limit: int) -> object:
        for error in failures:
            raise error
        return claim(url, now_ns=now_ns, lease_ns=lease_ns, limit=limit)

    made = halt(control, clock, runtime.target())
    monkeypatch.setattr(control, "claim", claim_on_a_bad_disk)
    outbox = Outbox(control, webhook, clock_ns=clock, pace=Pace(base_s=0.001))
    await outbox.start([runtime.target()])
    await until(lambda: control.get(made.halt_id).state is HaltState.ACKNOWLEDGED)
    await outbox.stop()


async def test_an_answer_that_could_not_be_recorded_is_asked_for_again(
    control: ControlStore, webhook: KillWebhook, runtime: FakeRuntime, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(*_: object, **__: object) -> None:
        raise StoreUnavailable("disk full")

    outbox = Outbox(control, webhook, clock_ns=clock)
    made = halt(control, clock, runtime.target())
    with monkeypatch.context() as patch:
        patch.setattr(control, "finish", finish)
        await outbox.deliver_due([runtime.target()])
    clock.sleep(61)
    await outbox.deliver_due([runtime.target()])
    assert control.get(made.halt_id).state is HaltState.ACKNOWLEDGED
    assert len(set(runtime.keys)) == 1


@pytest.mark.parametrize(("attempt", "ceiling"), [(1, 0.5), (2, 1.0), (5, 8.0), (8, 60.0), (10_000, 60.0)])
def test_pauses_double_up_to_the_cap(attempt: int, ceiling: float) -> None:
    assert Pace().pause_s(attempt, None, lambda _, high: high) == ceiling
    assert Pace().pause_s(attempt, None, lambda low, _: low) == 0.0
    assert Pace().pause_s(attempt, 86_400.0, lambda low, _: low) == 60.0, "a wish is bounded too"


async def test_stopping_twice_is_harmless(outbox: Outbox) -> None:
    await outbox.start([])
    await outbox.stop()
    with contextlib.suppress(asyncio.CancelledError):
        await outbox.stop()
