"""Files that are damaged, cut short or held by somebody else: a start that says so, and what works without them."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.programs import wait_for
from tests.receiver.wire import Story, story

from .conftest import Drilled
from .test_disk import _refuses_to_start, _spans, _stored

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TEXT = "what the model said " * 500


@pytest.fixture
def killed(make_service: Callable[..., Drilled]) -> tuple[Drilled, list[Story]]:
    """A service that was killed, and what it had acknowledged: some of it in the file, some in the log beside it."""
    service = make_service()
    taken = [story(4, **{"gen_ai.output.messages": TEXT}) for _ in range(20)]
    wire = service.wire()
    for told in taken[:10]:
        assert wire.send(told.request).code == 0
    assert service.stop() == 0  # checkpoints
    service.start()
    wire = service.wire()
    for told in taken[10:]:
        assert wire.send(told.request).code == 0
    service.exact(*taken)
    service.kill()
    return service, taken


def _newest(service: Drilled) -> Path:
    """The partition that was being written."""
    return max((service.data_dir / "telemetry").glob("*.duckdb"))


def _log(file: Path) -> Path:
    return file.with_name(file.name + ".wal")


def _damage(file: Path, start: float, length: int = 64) -> None:
    with file.open("r+b") as opened:
        opened.seek(int(file.stat().st_size * start))
        opened.write(b"\xa5" * length)


def _replace(file: Path) -> None:
    file.write_bytes(b"no database " * 500)


def _cut(file: Path, share: float) -> None:
    with file.open("r+b") as opened:
        opened.truncate(int(file.stat().st_size * share))


def _names_the_way_out(said: str, file: Path) -> None:
    assert str(file) in said
    assert "docs/operations.md" in said
    assert len(said.splitlines()) == 1, said


@pytest.mark.parametrize("damage", [_replace, lambda file: _cut(file, 0.3)], ids=["other", "cut"])
def test_a_telemetry_file_that_is_none_is_named_and_left_alone(killed: tuple[Drilled, list[Story]], damage: Callable[[Path], None]) -> None:
    service, _ = killed
    file = _newest(service)
    damage(file)
    before = file.read_bytes()
    _names_the_way_out(_refuses_to_start(service.data_dir), file)
    assert file.read_bytes() == before


def test_without_its_telemetry_file_it_starts_anew_and_numbers_go_on(killed: tuple[Drilled, list[Story]]) -> None:
    """The way out that the manual gives: moved aside, a new file is begun; halts and the list of sessions are kept."""
    service, taken = killed
    last = max(step["seq"] for step in _steps(service, taken[-1]))
    _cut(_newest(service), 0.3)
    service.kill()
    aside = service.folder / "aside"
    aside.mkdir()
    for file in service.data_dir.glob("telemetry*"):
        shutil.move(file, aside)
    service.start()
    assert service.session(taken[0].session) is not None
    told = story()
    assert service.wire().send(told.request).code == 0
    service.exact(told)
    assert min(step["seq"] for step in _steps(service, told)) > last
    assert service.stop() == 0
    assert _stored(service.data_dir) == _spans([told])


def _steps(service: Drilled, told: Story) -> list[dict[str, int]]:
    if service.process is None:
        service.start()
    return list(service.get(f"sessions/{told.session}/steps")["steps"])


def test_a_log_cut_short_loses_only_what_was_cut(killed: tuple[Drilled, list[Story]]) -> None:
    """A log ends in the middle of an entry where power was lost in the middle of a write; what was acknowledged stands before."""
    service, taken = killed
    log = _log(_newest(service))
    with log.open("r+b") as opened:
        opened.truncate(log.stat().st_size - 10)
    service.start()
    service.exact(*taken[:-1])  # each was a commit of its own
    assert service.stop() == 0
    stored = _stored(service.data_dir)
    assert _spans(taken[:-1]).keys() <= stored.keys() <= _spans(taken).keys()
    assert set(stored.values()) == {1}


def test_a_damaged_log_is_named_and_without_it_the_rest_is_there(killed: tuple[Drilled, list[Story]]) -> None:
    service, taken = killed
    file = _newest(service)
    log = _log(file)
    _damage(log, 0.3)
    said = _refuses_to_start(service.data_dir)
    _names_the_way_out(said, file)
    log.rename(service.folder / "aside.wal")
    service.start()
    service.exact(*taken[:10])
    told = story()
    assert service.wire().send(told.request).code == 0
    service.exact(told)


@pytest.mark.parametrize("damage", [_replace, lambda file: _damage(file, 0.0, 200)], ids=["other", "header"])
def test_a_control_file_that_is_none_is_named_and_without_it_sessions_are_made_again(
    killed: tuple[Drilled, list[Story]], damage: Callable[[Path], None]
) -> None:
    service, taken = killed
    file = service.data_dir / "control.sqlite"
    for other in service.data_dir.glob("control.sqlite-*"):
        other.unlink()
    damage(file)
    _names_the_way_out(_refuses_to_start(service.data_dir), file)
    file.unlink()
    service.start()
    service.exact(*taken)


def test_a_control_file_held_by_somebody_else_stalls_nothing(make_service: Callable[..., Drilled]) -> None:
    service = make_service(detectors={"exact_loop": {"mode": "halt"}})
    wire, taken = service.wire(), [story() for _ in range(20)]
    assert wire.send(taken[0].request).code == 0
    service.exact(taken[0])
    with closing(sqlite3.connect(service.data_dir / "control.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert wire.send(taken[1].request).code == 0
        wait_for("it says that it is not ready", lambda: "control store" in service.not_ready())
        assert "database is locked" in service.not_ready()
        for told in taken[2:]:
            assert wire.send(told.request).code == 0
        refused = service.client.post(f"{service.url}/api/v1/sessions/{taken[0].session}/halt", json={})
        assert refused.status_code == 503
        assert "locked" in refused.json()["detail"]
        other.execute("ROLLBACK")
    wait_for("it is ready again", lambda: not service.not_ready())
    service.exact(*taken)
    assert service.post(f"sessions/{taken[0].session}/halt", {})["verb"] == "halt"
    assert "Traceback" not in service.said()
    assert service.said().count("the control store fails") == 1


def test_a_second_service_on_the_same_folder_is_refused(make_service: Callable[..., Drilled]) -> None:
    service, told = make_service(), story()
    said = _refuses_to_start(service.data_dir)
    assert str(service.data_dir) in said
    assert service.wire().send(told.request).code == 0
    service.exact(told)
