import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.enforcement.control import ControlStore

from .asking import Ask
from .runtime import Clock, FakeRuntime


@pytest.fixture(autouse=True)
def _no_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runtimes of tests speak no TLS, or set their own: reading the system's authorities takes longer than most tests."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sqlite3"


@pytest.fixture
def control(path: Path) -> Iterator[ControlStore]:
    store = ControlStore(path)
    yield store
    store.close()


@pytest.fixture
def ask(control: ControlStore) -> Ask:
    return Ask(control)


@pytest.fixture
def runtime() -> Iterator[FakeRuntime]:
    with FakeRuntime() as fake:
        yield fake


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time_ns())
