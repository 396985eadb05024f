"""Reading in other processes: the same result, clear answers when one dies, and none left behind."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import psutil
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.errors import Internal, Malformed, StoreUnavailable
from collector.model import Request
from collector.receiver.translators import LARGE_BYTES, Translators
from collector.translate import decode_translation, lay_out, translate
from tests.e2e.programs import Service

SPANS = 200


def large(spans: int = SPANS) -> Request:
    export = ExportTraceServiceRequest()
    scope = export.resource_spans.add().scope_spans.add()
    for number in range(spans):
        span = scope.spans.add(trace_id=(1).to_bytes(16, "big"), span_id=(number + 1).to_bytes(8, "big"), name="chat gpt-5")
        said = {"gen_ai.operation.name": "chat", "gen_ai.conversation.id": "s", "filler": "x" * 400}
        for key, value in said.items():
            span.attributes.add(key=key).value.string_value = value
    return Request(signal="traces", encoding="protobuf", body=export.SerializeToString(), tenant="acme")


async def there(translators: Translators) -> bytes:
    """A translation by another process: until there is one, requests are left to the ingest thread."""
    async with asyncio.timeout(60):
        while True:
            request = await translators.translated(large())
            if request.translated is not None:
                return request.translated
            await asyncio.sleep(0.02)


@pytest.fixture
async def translators() -> AsyncIterator[Translators]:
    made = Translators(1)
    await there(made)
    yield made
    await asyncio.to_thread(made.close)


async def test_another_process_says_the_same(translators: Translators) -> None:
    request = await translators.translated(large())
    assert request.body == b""
    assert request.translated is not None
    here = translate(large())
    lay_out([here])
    assert decode_translation(request.translated) == here


async def test_small_requests_and_those_of_a_pool_without_processes_stay_here(translators: Translators) -> None:
    small = Request(signal="traces", encoding="protobuf", body=b"x" * (LARGE_BYTES - 1))
    assert await translators.translated(small) is small
    request = large()
    assert await Translators(0).translated(request) is request


async def test_what_cannot_be_read_is_refused_as_it_is_here(translators: Translators) -> None:
    request = Request(signal="traces", encoding="protobuf", body=b"\xff" * LARGE_BYTES)
    with pytest.raises(Malformed) as here:
        translate(request)
    with pytest.raises(Malformed) as there:
        await translators.translated(request)
    assert there.value.message == here.value.message


async def test_a_process_that_dies_costs_one_retry(translators: Translators) -> None:
    (worker,) = [process for process in psutil.Process().children(recursive=True) if _reads(process, os.getpid())]
    worker.send_signal(signal.SIGSTOP)
    under_way = asyncio.create_task(translators.translated(large()))
    await asyncio.sleep(0.1)
    worker.kill()
    with pytest.raises(StoreUnavailable, match="try again"):
        await under_way
    assert decode_translation(await there(translators)).outcome.accepted == SPANS


async def test_a_request_over_which_processes_die_twice_is_refused_and_only_that(translators: Translators) -> None:
    deadly = large(20_000)
    with killing(psutil.Process()) as killed:
        with pytest.raises(StoreUnavailable, match="try again"):
            await translators.translated(deadly)
        with pytest.raises(Internal, match="ended twice"):
            await translators.translated(deadly)
        assert len(killed) == 2
        with pytest.raises(Internal, match="ended twice"):
            await translators.translated(deadly)
        assert len(killed) == 2, "no process is asked again"
    assert decode_translation(await there(translators)).outcome.accepted == SPANS


async def test_what_was_read_beside_it_is_read_again_by_itself_and_forgiven(translators: Translators) -> None:
    (worker,) = [process for process in psutil.Process().children(recursive=True) if _reads(process, os.getpid())]
    worker.kill()
    with pytest.raises(StoreUnavailable):
        await translators.translated(large())
    request = await translators.translated(large())
    assert request.translated is not None, "not by the ingest thread, which the same might kill"
    assert decode_translation(request.translated).outcome.accepted == SPANS
    assert await there(translators) == request.translated, "and then by the pool again"


@pytest.mark.slow
def test_a_service_outlives_a_request_over_which_processes_die_and_counts_it(tmp_path: Path) -> None:
    deadly = large(20_000)
    with Service(tmp_path, {"receivers": {"translate_processes": 1}}) as service:
        assert service.process is not None
        own = psutil.Process(service.process.pid)
        while not [process for process in own.children(recursive=True) if _reads(process, own.pid)]:
            service.send(large())
        with killing(own) as killed:
            for status in (503, 500, 500):
                with pytest.raises(httpx2.HTTPStatusError) as refused:
                    service.send(deadly)
                assert refused.value.response.status_code == status
        assert len(killed) == 2
        service.send(large())
        assert service.get("sessions")["sessions"][0]["steps"] == SPANS
        assert service.metric("overcurrent_spans_rejected_total", reason="internal") == 2


@contextmanager
def killing(parent: psutil.Process) -> Iterator[set[int]]:
    """As the kernel does where memory is short: ends each process that reads for `parent`. Gives the ids of those that it ended."""
    killed: set[int] = set()
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.005):
            for process in parent.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if process.pid not in killed and _reads(process, parent.pid):
                        process.kill()
                        killed.add(process.pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


def _reads(process: psutil.Process, service: int) -> bool:
    """Whether it is one of the pool's: the fork server has made it, and is not it."""
    parent = process.parent()
    return parent is not None and parent.pid != service


@pytest.mark.slow
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_no_process_outlives_the_service(tmp_path: Path, end: str) -> None:
    with Service(tmp_path, {"receivers": {"translate_processes": 2}}) as service:
        assert service.process is not None
        own = psutil.Process(service.process.pid)
        deadline = time.monotonic() + 60
        while len(children := own.children(recursive=True)) < 3:
            service.send(large())
            assert time.monotonic() < deadline
        assert service.get("sessions")["sessions"][0]["steps"] == SPANS
        service.kill() if end == "kill" else service.stop()
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not alive
