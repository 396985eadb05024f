"""A disk that is full, hangs, fails, loses power or cannot be written: nothing is acknowledged that is not kept, and it says so."""

import secrets
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from collector.store.partitions import opened
from tests.e2e.programs import OVERCURRENT, environment, wait_for
from tests.receiver.wire import WIRES, Story, Wire, story

from .conftest import Drilled
from .disk import Disk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
UNAVAILABLE, EXHAUSTED = 14, 8


def _text() -> str:
    """What fills a disk: it cannot be compressed, and was not said before."""
    return secrets.token_urlsafe(150_000)


def _spans(stories: Iterable[Story]) -> Counter[str]:
    return Counter(
        span.span_id.hex()
        for told in stories
        for resource in told.request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    )


def _stored(data_dir: Path) -> Counter[str]:
    with opened(data_dir / "telemetry.duckdb") as connection:
        return Counter(row[0] for row in connection.execute("SELECT span_id FROM spans").fetchall())


def _until_refused(wire: Wire, taken: list[Story], limit: int = 1_000) -> Story:
    for _ in range(limit):
        told = story(4, **{"gen_ai.output.messages": _text()})
        answer = wire.send(told.request)
        if answer.code:
            assert answer.code == UNAVAILABLE
            assert answer.retry_after_s is not None
            assert "nothing was stored" in answer.message
            return told
        taken.append(told)
    pytest.fail("the disk did not fill up")


@pytest.mark.parametrize("protocol", WIRES)
def test_a_full_disk_refuses_and_goes_on_when_there_is_room(
    protocol: str, make_disk: Callable[[int], Disk], make_service: Callable[..., Drilled]
) -> None:
    disk = make_disk(64)
    service = make_service(disk.path / "data")
    wire, taken = service.wire(protocol), [story()]
    assert wire.send(taken[0].request).code == 0
    filler = disk.fill(leave=3 * 2**20)
    refused = _until_refused(wire, taken)
    wait_for("it says that it is not ready", lambda: "No space left" in service.not_ready())
    assert (service.metric("overcurrent_spans_rejected_total", reason="unavailable") or 0) >= 1
    assert "No space left" in service.said()
    for _ in range(3):
        assert wire.send(refused.request).code == UNAVAILABLE
    filler.unlink()
    wait_for("a retry is taken", lambda: wire.send(refused.request).code == 0)
    taken.append(refused)
    wait_for("it is ready again", lambda: not service.not_ready())
    service.exact(*taken)
    wire.close()
    assert service.stop() == 0
    assert _stored(service.data_dir) == _spans(taken)


def test_killed_while_the_disk_is_full_it_has_what_it_acknowledged(
    make_disk: Callable[[int], Disk], make_service: Callable[..., Drilled]
) -> None:
    disk = make_disk(64)
    service = make_service(disk.path / "data")
    wire, taken = service.wire(), [story()]
    assert wire.send(taken[0].request).code == 0
    filler = disk.fill(leave=3 * 2**20)
    refused = _until_refused(wire, taken)
    service.kill()
    filler.unlink()
    service.start()
    again = service.wire()
    assert again.send(refused.request).code == 0
    service.exact(*taken, refused)
    assert service.stop() == 0
    assert _stored(service.data_dir) == _spans([*taken, refused])


def test_power_lost_it_has_what_it_acknowledged(make_disk: Callable[[int], Disk], make_service: Callable[..., Drilled]) -> None:
    disk = make_disk(64)
    service = make_service(disk.path / "data")
    wire, taken = service.wire(), [story() for _ in range(60)]
    for told in taken:
        assert wire.send(told.request).code == 0
    disk.lose_power()
    late = story()
    answer = wire.send(late.request)
    assert (answer.code, answer.retry_after_s is not None) == (UNAVAILABLE, True)
    wait_for("it says that it is not ready", service.not_ready)
    service.kill()
    disk.unmount()
    disk.mount()
    service.start()
    assert service.wire().send(late.request).code == 0
    service.exact(*taken, late)
    assert service.stop() == 0
    assert _stored(service.data_dir) == _spans([*taken, late])


def _code(wire: Wire, told: Story) -> int | None:
    """The status of the answer; None where a second brought none."""
    try:
        return wire.send(told.request, timeout_s=1).code
    except grpc.RpcError as error:
        return None if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED else -1


def test_a_disk_that_hangs_is_told_and_nothing_acknowledged_meanwhile(
    stack: ExitStack, make_disk: Callable[[int], Disk], make_service: Callable[..., Drilled]
) -> None:
    disk = make_disk(64)
    service = make_service(disk.path / "data", receivers={"max_request_bytes": "1MiB", "queue_bytes": "1MiB"})
    wire, before = service.wire(), story()
    assert wire.send(before.request).code == 0
    stack.enter_context(disk.frozen())  # thawed before the service is stopped, whatever happens
    waiting = [story(4, **{"gen_ai.output.messages": "what the model said " * 2_000}) for _ in range(8)]
    answers = {_code(wire, told) for told in waiting}
    assert answers <= {None, EXHAUSTED}
    assert None in answers
    wait_for("it says that it is not ready", lambda: "has not come round" in service.not_ready())
    disk.thaw()
    for told in waiting:
        wait_for("a retry is taken", lambda told=told: wire.send(told.request).code == 0)  # type: ignore[misc]
    wait_for("it is ready again", lambda: not service.not_ready())
    service.exact(before, *waiting)
    assert service.stop() == 0
    assert _stored(service.data_dir) == _spans([before, *waiting])


@pytest.mark.parametrize("dies", [False, True], ids=["goes on", "is killed"])
def test_a_slow_disk_makes_senders_wait_and_nothing_else(
    *, dies: bool, make_disk: Callable[[int], Disk], make_service: Callable[..., Drilled]
) -> None:
    disk = make_disk(64)
    service = make_service(disk.path / "data")
    wires = [service.wire() for _ in range(4)]
    taken: list[Story] = []

    def send(wire: Wire) -> None:
        for _ in range(12):
            told = story()
            assert wire.send(told.request).code == 0
            taken.append(told)

    with disk.slow(), ThreadPoolExecutor(len(wires)) as senders:
        for sent in [senders.submit(send, wire) for wire in wires]:
            sent.result()
        assert not service.not_ready()
        service.exact(*taken)  # it is not behind with what it acknowledged
    if dies:
        service.kill()
        service.start()
        service.exact(*taken)
    assert " ERROR " not in service.said()
    assert service.stop() == 0
    assert _stored(service.data_dir) == _spans(taken)


def _refuses_to_start(data_dir: Path) -> str:
    ports = [part for option in ("--otlp-grpc", "--otlp-http", "--listen") for part in (option, "127.0.0.1:0")]
    done = subprocess.run(
        [OVERCURRENT, "serve", "--data-dir", str(data_dir), *ports],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_data_folder_that_cannot_be_written_is_named_at_the_start(
    make_disk: Callable[[int], Disk], make_service: Callable[..., Drilled]
) -> None:
    disk = make_disk(64)
    service = make_service(disk.path / "data")
    told = story()
    assert service.wire().send(told.request).code == 0
    assert service.stop() == 0
    disk.read_only()
    said = _refuses_to_start(service.data_dir)
    assert str(service.data_dir) in said
    assert "ead-only file system" in said
    disk.writable()
    service.start()
    service.exact(told)


def test_a_new_data_folder_on_a_read_only_disk_is_named_at_the_start(make_disk: Callable[[int], Disk]) -> None:
    disk = make_disk(16)
    disk.read_only()
    said = _refuses_to_start(disk.path / "data")
    assert str(disk.path / "data") in said
    assert "ead-only file system" in said
