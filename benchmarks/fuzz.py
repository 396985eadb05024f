"""Damaged requests through the whole service but its sockets: `python -m benchmarks.fuzz --inputs 200000 --seed 1`.

Each input is one request body for one receiver: a few recorded spans or log records whose fields, values, keys or bytes were
changed, JSON and bytes at random, damaged compression. It is decompressed, decoded, translated, assembled, committed to
DuckDB, and looked at by the sessions and every detector, as in the service; in between gauges and metrics are read, and
every 20,000 inputs some sessions as the API shows them, before and after a restart, before the next store begins.

A crash is what no input may cause: an exception, a commit refused although the disk has room, a line in the log at level
error, a detector that raised, a session that cannot be shown. Exit status 1 where there was one.
"""

import argparse
import json
import logging
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError
from prometheus_client import CollectorRegistry

from benchmarks.mutations import CAPTURES, Input, Mutator
from benchmarks.report import Cell, Table, machine, progress, show
from collector import decode_columns, decode_protobuf
from collector.config import Config
from collector.core import Core
from collector.dialects import DIALECTS
from collector.errors import OvercurrentError
from collector.facade import RunningService
from collector.model import Outcome, Request
from collector.receiver.compression import decompress
from collector.taxonomy import HALT_REASONS
from collector.telemetry import Telemetry
from collector.translate import encode, lay_out, translate
from collector.web.render import finding_json, halt_json, session_json

_GROUP: Final = 32
"""Requests a commit."""
_TICK_EVERY: Final = 64
"""Groups between two looks at the clock, the gauges and the metrics."""
_A_STORE: Final = 20_000
"""Inputs until the service is started anew on an empty store: a history that grows would only make the rest slower."""
_STEP_NS: Final = 1_000_000
_LIMIT: Final = 16 * 2**20
_SHOWN: Final = 200
"""Sessions that are read as the API shows them."""


@dataclass
class Found:
    """What became of the inputs."""

    inputs: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    accepted_items: int = 0
    by_columns: int = 0
    """Requests that decoding by columns took, with the same result as message by message."""
    shown: int = 0
    """Sessions read as the API shows them, each before and after a restart."""
    crashes: list[str] = field(default_factory=list)


class _Errors(logging.Handler):
    def __init__(self, crashed: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._crashed = crashed

    def emit(self, record: logging.LogRecord) -> None:
        why = f": {record.exc_info[1]!r}" if record.exc_info else ""
        self._crashed(f"logged by {record.name}: {record.getMessage()}{why}")


class _AtOnce:
    """Nobody's thread: what would be asked of the ingest thread is done here."""

    def call(self, function: Callable[[], Any]) -> Any:
        future: Future[Any] = Future()
        try:
            future.set_result(function())
        except Exception as error:  # noqa: BLE001 — belongs to the caller
            future.set_exception(error)
        return future


class Harness:
    """A core on disk that takes inputs."""

    def __init__(self, folder: Path, start_ns: int, found: Found) -> None:
        self.found = found
        self._folder = folder
        self._now_ns = start_ns
        self._group: list[Input] = []
        self._groups = 0
        self._translated = False
        """Every other request comes translated."""
        self._core = self._open()

    def _open(self) -> Core:
        config = Config.load(None, {}, {"detectors": {name: {"mode": "halt"} for name in ("exact_loop", "retry_storm")}})
        self._telemetry = Telemetry(
            CollectorRegistry(),
            detectors=tuple(config.detectors),
            halt_reasons=HALT_REASONS,
            dialects=tuple(dialect.name for dialect in DIALECTS),
            agent_types=tuple(config.agent_types),
        )
        return Core(config, self._folder, self._telemetry, clock_ns=lambda: self._now_ns)

    def crash(self, what: str) -> None:
        self.found.crashes.append(what)
        progress(f"crash: {what}")

    def offer(self, one: Input) -> None:
        """Takes one more input; it is processed with the others of its group."""
        self.found.inputs[one.kind] += 1
        self._group.append(one)
        if len(self._group) == _GROUP:
            self.flush()

    def flush(self) -> None:
        """Processes what waits."""
        group, self._group = self._group, []
        requests = [request for one in group if (request := self._request(one)) is not None]
        try:
            outcomes = self._core.process(requests)
        except Exception:  # noqa: BLE001 — this is what is looked for
            self._alone(requests)
        else:
            for request, outcome in zip(requests, outcomes, strict=True):
                self._answered(request, outcome)
        self._groups += 1
        if self._groups % _TICK_EVERY == 0:
            try:
                self._core.tick()
                self._telemetry.render(None)
            except Exception:  # noqa: BLE001
                self.crash(f"tick: {traceback.format_exc(limit=-4)}")

    def _request(self, one: Input) -> Request | None:
        self._now_ns += _STEP_NS
        body = one.body
        try:
            if one.compression is not None:
                body = decompress(body, one.compression, _LIMIT)
        except OvercurrentError as error:
            self.found.refused[f"{type(error).__name__}: {one.compression}"] += 1
            return None
        except Exception:  # noqa: BLE001
            self.crash(f"{one.kind}: {traceback.format_exc(limit=-4)}\n{one.body[:2_000].hex()}")
            return None
        request = Request(signal=one.signal, encoding=one.encoding, body=body, tenant="default", protocol="http", arrival_ns=self._now_ns)
        if one.signal == "traces" and one.encoding == "protobuf":
            self._columns(body)
        self._translated = not self._translated
        return self._elsewhere(request) if self._translated else request

    def _columns(self, body: bytes) -> None:
        """Both ways to decode spans say the same; decoding by columns may leave a request to the other, and only that."""
        try:
            by_columns = decode_columns.traces(body)
        except (ValueError, DecodeError):
            return
        except BaseException:  # noqa: BLE001 — a native library's panic is no Exception
            self.crash(f"columns: {traceback.format_exc(limit=-4)}\n{body[:2_000].hex()}")
            return
        try:
            by_messages = decode_protobuf.SIGNALS["traces"](body)
        except OvercurrentError:
            self.found.refused["taken by columns alone"] += 1
            return
        self.found.by_columns += 1
        if repr(by_columns) != repr(by_messages):  # NaN equals nothing, itself included
            self.crash(f"columns differ from messages:\n{by_columns!r:.1500}\n{by_messages!r:.1500}\n{body[:2_000].hex()}")

    def _elsewhere(self, request: Request) -> Request:
        """The request as another process hands it over once it has translated it."""
        try:
            translation = translate(request)
            lay_out([translation])
            return msgspec.structs.replace(request, translated=encode(translation))
        except OvercurrentError:
            return request
        except Exception:  # noqa: BLE001
            self.crash(f"{request.signal} {request.encoding}: {traceback.format_exc(limit=-6)}\n{request.body[:2_000].hex()}")
            return request

    def _alone(self, requests: list[Request]) -> None:
        """Finds the one of them that was too much."""
        for request in requests:
            try:
                (outcome,) = self._core.process([request])
            except Exception:  # noqa: BLE001
                where = self._folder / f"crash-{len(self.found.crashes)}.{request.signal}.{request.encoding}"
                where.write_bytes(request.body)
                self.crash(f"{request.signal} {request.encoding}, kept in {where}:\n{traceback.format_exc(limit=-6)}")
            else:
                self._answered(request, outcome)

    def _answered(self, request: Request, outcome: Outcome | OvercurrentError) -> None:
        if isinstance(outcome, OvercurrentError):
            if outcome.retryable:
                self.crash(f"{request.signal} {request.encoding}: told to retry: {outcome.message}")
            self.found.refused[f"{type(outcome).__name__}: {_reason(outcome.message)}"] += 1
            return
        self.found.accepted_items += outcome.accepted
        if outcome.rejected:
            self.found.rejected[_reason(outcome.message)] += outcome.rejected

    def show(self) -> None:
        """Reads sessions as the API does."""
        service = RunningService(self._core, _AtOnce())
        sessions, _ = service.sessions(limit=_SHOWN)
        for session in sessions:
            try:
                parts = [
                    session_json(session),
                    *service.steps(session.key),
                    *map(finding_json, service.findings(session=session.key)),
                    *map(halt_json, service.halts(session.key)),
                ]
                json.dumps(parts, allow_nan=False).encode("utf8")
            except Exception:  # noqa: BLE001
                self.crash(f"{session.key!r} cannot be shown: {traceback.format_exc(limit=-4)}")
        self.found.shown += len(sessions)

    def restart(self) -> None:
        """Ends without the care of a stop, and starts on the same files."""
        self._core.store.close()
        self._core.control.close()
        try:
            self._core = self._open()
        except Exception:
            self.crash(f"restart: {traceback.format_exc(limit=-4)}")
            raise

    def close(self) -> None:
        self._core.close()


def _reason(message: str) -> str:
    """The constant part of a message: without numbers, and without what another library says of the place."""
    if message.startswith("the body is not"):
        message = message.partition(":")[0]
    return re.sub(r"\d+", "n", message.partition(" (")[0])


def fuzz(inputs: int, seed: int, folder: Path, *, seconds: float | None = None) -> Found:
    """Runs `inputs` inputs, or as many as fit into `seconds`."""
    mutator, found = Mutator(CAPTURES, seed), Found()
    deadline = time.monotonic() + seconds if seconds is not None else float("inf")
    for first in range(0, inputs, _A_STORE):
        if time.monotonic() < deadline:
            _one_store(mutator, min(_A_STORE, inputs - first), folder / str(first), found, deadline)
            progress(f"{found.inputs.total()} inputs, {len(found.crashes)} crashes, {_peak_mib()} MiB")
    return found


def _one_store(mutator: Mutator, inputs: int, folder: Path, found: Found, deadline: float) -> None:
    harness = Harness(folder, mutator.newest_ns, found)
    errors = _Errors(harness.crash)
    logging.getLogger("collector").addHandler(errors)
    try:
        for _ in range(inputs):
            harness.offer(mutator.input())
            if time.monotonic() > deadline:
                break
        harness.flush()
        harness.show()
        harness.restart()
        harness.show()
        harness.close()
    finally:
        logging.getLogger("collector").removeHandler(errors)
    if not found.crashes:
        shutil.rmtree(folder)


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same inputs")
    parser.add_argument("--seconds", type=float, help="stop after so long, whatever is left")
    parser.add_argument("--keep", type=Path, help="folder of the stores and of inputs that crashed (default: a temporary one)")
    parser.add_argument("--json", action="store_true", help="JSON instead of tables")
    options = parser.parse_args()
    facts, started = machine(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="overcurrent-fuzz-") as folder:
        found = fuzz(options.inputs, options.seed, options.keep or Path(folder), seconds=options.seconds)
    sums: dict[str, Cell] = {
        "inputs": found.inputs.total(),
        "requests refused": found.refused.total(),
        "items taken": found.accepted_items,
        "also by columns": found.by_columns,
        "items rejected": found.rejected.total(),
        "sessions shown": found.shown,
        "crashes": len(found.crashes),
        "peak MiB": _peak_mib(),
        "seconds": round(time.perf_counter() - started),
    }
    counts = {"inputs": found.inputs, "refused": found.refused, "rejected": found.rejected}
    rows: list[dict[str, Cell]] = [{"what": what, "which": name, "n": n} for what, one in counts.items() for name, n in one.most_common(25)]
    tables = [Table("fuzz", f"Damaged requests, seed {options.seed}", [sums], found.crashes[:20]), Table("fuzz_counts", "By kind", rows)]
    show(tables, facts, as_json=options.json)
    sys.exit(bool(found.crashes))


if __name__ == "__main__":
    main()
