"""How the service ends."""

import asyncio
import threading
from pathlib import Path

import pytest

from collector import app
from collector.config import Config


def test_what_the_ingest_thread_is_at_work_on_is_not_written_from_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = app.App(Config.load(None, {}, {"storage.data_dir": str(tmp_path), "receivers.translate_processes": 0}))
    monkeypatch.setattr(app, "STOP_S", 0.01)
    flushed: list[str] = []
    monkeypatch.setattr(running.core, "flush", lambda: flushed.append(threading.current_thread().name))
    disk = threading.Event()
    running.admission.start()
    running.admission.call(disk.wait)
    try:
        asyncio.run(running.stop())
    finally:
        disk.set()
    assert flushed == []
