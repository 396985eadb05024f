import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

import collector.receiver.admission as admission_module
from collector.errors import Malformed, OvercurrentError, Overloaded, StoreUnavailable
from collector.model import Outcome, Request
from collector.receiver.admission import REQUEST_OVERHEAD_BYTES, SMALL_BYTES, Admission

from .conftest import Receivers
from .recorder import Counted, Recorder


def request(body: bytes = b"x") -> Request:
    return Request(signal="traces", encoding="protobuf", body=body)


async def wait_for(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 60)


async def occupied(recorder: Recorder, admission: Admission) -> "asyncio.Task[Outcome]":
    """Holds the worker inside `process` with one request until the gate opens."""
    recorder.gate.clear()
    recorder.entered.clear()
    task = asyncio.create_task(admission.submit(request(b"first")))
    await wait_for(recorder.entered)
    return task


async def test_success_is_answered_after_process_returned(recorder: Recorder, receivers: Receivers) -> None:
    task = await occupied(recorder, receivers.admission)
    assert not task.done()
    assert receivers.admission.depth_bytes == len(b"first") + REQUEST_OVERHEAD_BYTES
    recorder.gate.set()
    assert await task == Outcome(accepted=1)
    assert receivers.admission.depth_bytes == 0


async def test_what_waits_is_committed_together_in_order(recorder: Recorder, receivers: Receivers, telemetry: Counted) -> None:
    first = await occupied(recorder, receivers.admission)
    rest = [asyncio.create_task(receivers.admission.submit(request(bytes([n])))) for n in range(100)]
    await asyncio.sleep(0)
    recorder.gate.set()
    await asyncio.gather(first, *rest)
    assert [len(group) for group in recorder.groups] == [1, 100]
    assert [one.body for one in recorder.groups[1]] == [bytes([n]) for n in range(100)]
    assert telemetry.commits == 2
    assert receivers.admission.depth_bytes == 0


async def test_senders_of_small_requests_that_come_back_together_are_waited_for(
    recorder: Recorder, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission_module, "PAUSE_S", 60.0)
    monkeypatch.setattr(admission_module, "GATHER_S", 60.0)
    first = await occupied(recorder, receivers.admission)
    rest = [asyncio.create_task(receivers.admission.submit(request(bytes([n])))) for n in range(7)]
    await asyncio.sleep(0)
    recorder.gate.set()
    await first
    assert not any(one.done() for one in rest)
    await asyncio.gather(receivers.admission.submit(request(b"again")), *rest)
    assert [len(group) for group in recorder.groups] == [1, 8]


async def test_a_sender_that_does_not_come_back_is_not_waited_for_long(recorder: Recorder, receivers: Receivers) -> None:
    first = await occupied(recorder, receivers.admission)
    rest = [asyncio.create_task(receivers.admission.submit(request(bytes([n])))) for n in range(7)]
    await asyncio.sleep(0)
    recorder.gate.set()
    assert await asyncio.gather(first, *rest) == [Outcome(accepted=1)] * 8


async def test_senders_of_large_requests_do_not_wait_for_each_other(
    recorder: Recorder, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission_module, "PAUSE_S", 3600.0)
    monkeypatch.setattr(admission_module, "GATHER_S", 3600.0)
    recorder.gate.clear()
    tasks = [asyncio.create_task(receivers.admission.submit(request(bytes([n]) * SMALL_BYTES))) for n in range(8)]
    await wait_for(recorder.entered)
    recorder.gate.set()
    assert await asyncio.gather(*tasks) == [Outcome(accepted=1)] * 8


@pytest.mark.parametrize("end", [lambda made: made.call(int).result(60), lambda made: made.drain_and_stop(60)], ids=["call", "stop"])
async def test_neither_calls_nor_the_stop_wait_for_senders(
    end: Callable[[Admission], object], recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission_module, "PAUSE_S", 3600.0)
    monkeypatch.setattr(admission_module, "GATHER_S", 3600.0)
    admission = Admission(recorder, queue_bytes=100_000)
    admission.start()
    first = await occupied(recorder, admission)
    rest = [asyncio.create_task(admission.submit(request(bytes([n])))) for n in range(7)]
    await asyncio.sleep(0)
    recorder.gate.set()
    await first
    await asyncio.to_thread(end, admission)
    assert await asyncio.gather(*rest) == [Outcome(accepted=1)] * 7
    assert await asyncio.to_thread(admission.drain_and_stop, 60)


async def test_groups_are_bounded_by_count_and_bytes(recorder: Recorder) -> None:
    admission = Admission(recorder, queue_bytes=10**6, max_group_requests=3, max_group_bytes=10_000)
    tasks = [asyncio.create_task(admission.submit(request(b"x" * size))) for size in (1, 1, 1, 1, 8_000, 8_000, 20_000)]
    await asyncio.sleep(0)
    admission.start()
    await asyncio.gather(*tasks)
    assert [[len(one.body) for one in group] for group in recorder.groups] == [[1, 1, 1], [1], [8_000], [8_000], [20_000]] or [
        [len(one.body) for one in group] for group in recorder.groups
    ] == [[1, 1, 1], [1, 8_000], [8_000], [20_000]]
    assert admission.drain_and_stop(30)


async def test_a_full_queue_refuses_at_once_and_takes_again_later(recorder: Recorder) -> None:
    admission = Admission(recorder, queue_bytes=10_000, retry_after_s=7)
    admission.start()
    first = await occupied(recorder, admission)
    second = asyncio.create_task(admission.submit(request(b"x" * 7_000)))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as caught:
        await admission.submit(request(b"x" * 7_000))
    assert caught.value.retry_after_s == 7
    recorder.gate.set()
    await asyncio.gather(first, second)
    assert await admission.submit(request(b"x" * 7_000)) == Outcome(accepted=1)
    assert admission.drain_and_stop(30)


async def test_empty_requests_fill_the_queue_too(recorder: Recorder) -> None:
    admission = Admission(recorder, queue_bytes=10 * REQUEST_OVERHEAD_BYTES)
    tasks = [asyncio.create_task(admission.submit(request(b""))) for _ in range(11)]
    await asyncio.sleep(0)
    admission.start()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(result, Overloaded) for result in results) == 1
    assert admission.drain_and_stop(30)


async def test_a_request_that_is_alone_is_let_in_whatever_its_size(recorder: Recorder) -> None:
    admission = Admission(recorder, queue_bytes=10)
    admission.start()
    assert await admission.submit(request(b"x" * 1000)) == Outcome(accepted=1)
    assert admission.drain_and_stop(30)


async def test_bytes_still_being_read_count(recorder: Recorder) -> None:
    admission = Admission(recorder, queue_bytes=10_000)
    admission.start()
    hold = admission.hold()
    hold.set(9_500)
    with pytest.raises(Overloaded):
        await admission.submit(request())
    hold.set(100)
    assert await admission.submit(request()) == Outcome(accepted=1)
    hold.set(0)
    hold.set(0)
    assert admission.depth_bytes == 0
    assert admission.drain_and_stop(30)


async def test_each_request_gets_its_own_answer(recorder: Recorder, receivers: Receivers) -> None:
    recorder.answer = lambda one: Malformed("bad bytes") if one.body == b"bad" else Outcome(accepted=3, rejected=1, message="m")
    first = await occupied(recorder, receivers.admission)
    bad, good = (asyncio.create_task(receivers.admission.submit(request(body))) for body in (b"bad", b"good"))
    await asyncio.sleep(0)
    recorder.gate.set()
    await first
    with pytest.raises(Malformed, match="bad bytes"):
        await bad
    assert await good == Outcome(accepted=3, rejected=1, message="m")


@pytest.mark.parametrize("crash", [ValueError("details of the data"), StoreUnavailable("disk full"), MemoryError()], ids=repr)
async def test_a_crash_fails_the_group_and_the_worker_lives_on(
    crash: Exception, receivers: Receivers, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Request) -> Outcome:
        raise crash

    good, recorder.answer = recorder.answer, fail
    with pytest.raises(StoreUnavailable) as caught:
        await receivers.admission.submit(request())
    assert "details of the data" not in caught.value.message
    assert caplog.records
    recorder.answer = good
    assert await receivers.admission.submit(request()) == Outcome(accepted=1)


async def test_too_few_answers_are_a_crash(caplog: pytest.LogCaptureFixture) -> None:
    def process(_: Sequence[Request]) -> Sequence[Outcome | OvercurrentError]:
        return []

    admission = Admission(process, queue_bytes=10_000)
    admission.start()
    with pytest.raises(StoreUnavailable):
        await admission.submit(request())
    assert "answered 0 of 1" in caplog.text
    assert admission.drain_and_stop(30)


async def test_a_cancelled_request_that_waits_is_not_processed(recorder: Recorder, receivers: Receivers) -> None:
    first = await occupied(recorder, receivers.admission)
    given_up, kept = (asyncio.create_task(receivers.admission.submit(request(body))) for body in (b"given up", b"kept"))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    recorder.gate.set()
    await asyncio.gather(first, kept)
    assert [one.body for one in recorder.requests] == [b"first", b"kept"]
    assert receivers.admission.depth_bytes == 0


async def test_calls_run_on_the_worker_between_groups_ahead_of_requests(recorder: Recorder, receivers: Receivers) -> None:
    first = await occupied(recorder, receivers.admission)
    second = asyncio.create_task(receivers.admission.submit(request(b"second")))
    await asyncio.sleep(0)
    seen = [receivers.admission.call(lambda: (threading.current_thread().name, len(recorder.groups))) for _ in range(2)]
    recorder.gate.set()
    assert [await asyncio.wrap_future(future) for future in seen] == [("overcurrent-ingest", 1)] * 2
    await asyncio.gather(first, second)


async def test_a_call_that_raises_tells_its_caller_only(receivers: Receivers) -> None:
    future = receivers.admission.call(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wrap_future(future)
    assert await receivers.admission.submit(request()) == Outcome(accepted=1)


async def test_senders_are_answered_before_what_was_put_off_is_done(recorder: Recorder) -> None:
    answered = threading.Event()
    looked: list[bool] = []
    admission = Admission(recorder, queue_bytes=10_000, settle=lambda: looked.append(answered.wait(60)))
    admission.start()
    assert await admission.submit(request()) == Outcome(accepted=1)
    answered.set()
    assert await asyncio.to_thread(admission.drain_and_stop, 60)
    assert looked == [True]


async def test_what_was_put_off_may_fail(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("no")

    admission = Admission(recorder, queue_bytes=10_000, settle=fail)
    admission.start()
    assert [await admission.submit(request()) for _ in range(2)] == [Outcome(accepted=1)] * 2
    assert await asyncio.to_thread(admission.drain_and_stop, 60)
    assert "what was put off was not done" in caplog.text


async def test_stopping_processes_what_waits_and_refuses_the_rest(recorder: Recorder) -> None:
    admission = Admission(recorder, queue_bytes=10_000)
    admission.start()
    first = await occupied(recorder, admission)
    second = asyncio.create_task(admission.submit(request(b"second")))
    await asyncio.sleep(0)
    stopped = asyncio.create_task(asyncio.to_thread(admission.drain_and_stop, 60))
    while not admission._stopping:  # noqa: ASYNC110 — the thread tells nobody
        await asyncio.sleep(0.001)
    with pytest.raises(StoreUnavailable, match="stopping"):
        await admission.submit(request())
    with pytest.raises(StoreUnavailable, match="stopping"):
        await asyncio.wrap_future(admission.call(lambda: None))
    recorder.gate.set()
    assert await stopped
    assert [await first, await second] == [Outcome(accepted=1)] * 2


async def test_stopping_out_of_time_tells_who_still_waits(recorder: Recorder) -> None:
    admission = Admission(recorder, queue_bytes=10_000)
    admission.start()
    first = await occupied(recorder, admission)
    second = asyncio.create_task(admission.submit(request(b"second")))
    call = admission.call(lambda: None)
    await asyncio.sleep(0)
    assert not await asyncio.to_thread(admission.drain_and_stop, 0.01)
    with pytest.raises(StoreUnavailable, match="stopping"):
        await second
    with pytest.raises(StoreUnavailable, match="stopping"):
        await asyncio.wrap_future(call)
    recorder.gate.set()
    assert await first == Outcome(accepted=1)
    assert admission.drain_and_stop(60)
    assert [one.body for one in recorder.requests] == [b"first"]


def test_several_event_loops_share_one_admission(recorder: Recorder, receivers: Receivers) -> None:
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda: outcomes.append(asyncio.run(receivers.admission.submit(request())))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes == [Outcome(accepted=1)] * 4
    assert len(recorder.requests) == 4


def test_a_loop_that_closed_meanwhile_does_not_stop_the_worker(
    recorder: Recorder, receivers: Receivers, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.new_event_loop()
    recorder.gate.clear()
    task = loop.create_task(receivers.admission.submit(request()))
    loop.run_until_complete(asyncio.sleep(0))
    assert recorder.entered.wait(60)
    # not cancelled, so that the worker does have an answer to give
    task.get_coro().close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    recorder.gate.set()
    assert asyncio.run(receivers.admission.submit(request())) == Outcome(accepted=1)
    assert "nobody left to hear" in caplog.text
