"""Recorded telemetry on disk: single request bodies, Collector file-exporter JSON lines, folders, compressed or not."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import zstandard

from collector.errors import Malformed, NotFound
from collector.model import Encoding, Request, Signal

_SIGNALS: Final[dict[str, Signal]] = {"traces": "traces", "logs": "logs", "metrics": "metrics"}
_ENCODINGS: Final[dict[str, Encoding]] = {"pb": "protobuf", "bin": "protobuf", "protobuf": "protobuf", "json": "json"}
_KEYS: Final[dict[str, Signal]] = {
    "resourceSpans": "traces",
    "resource_spans": "traces",
    "resourceLogs": "logs",
    "resource_logs": "logs",
    "resourceMetrics": "metrics",
    "resource_metrics": "metrics",
}
_LINES: Final = frozenset({"json", "jsonl", "ndjson"})
MAX_BYTES: Final = 2 * 2**30
"""A file above this, decompressed, is refused."""


def requests(path: Path, *, signal: Signal | None = None) -> Iterator[Request]:
    """Yields what `path` holds, in order: of a folder, the files whose names say what they are, in name order.

    Raises NotFound where there is no such path, Malformed where a file is not what it claims to be.
    """
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.is_file() and _named(file) is not None]
        for file in files:
            yield from _file(file, signal)
    elif path.is_file():
        yield from _file(path, signal)
    else:
        raise NotFound(f"{path}: no such file or folder")


def _parts(path: Path) -> list[str]:
    parts = path.name.lower().split(".")[1:]
    return parts[:-1] if parts and parts[-1] in {"gz", "zst"} else parts


def _named(path: Path) -> tuple[Signal | None, Encoding] | None:
    """(signal, encoding) as the name says; signal None for JSON lines; None where the name says nothing of the kind."""
    parts = _parts(path)
    if len(parts) >= 2 and parts[-2] in _SIGNALS and parts[-1] in _ENCODINGS:
        return _SIGNALS[parts[-2]], _ENCODINGS[parts[-1]]
    if parts and parts[-1] in {"jsonl", "ndjson"}:
        return None, "json"
    return None


def _file(path: Path, signal: Signal | None) -> Iterator[Request]:
    named = _named(path)
    parts = _parts(path)
    body = _read(path)
    if named is not None and named[0] is not None:
        yield Request(signal=signal or named[0], encoding=named[1], body=body)
    elif signal is not None and not (parts and parts[-1] in _LINES):
        yield Request(signal=signal, encoding="protobuf", body=body)
    elif parts and parts[-1] in _LINES:
        yield from _lines(path, body)
    else:
        raise Malformed(f"{path}: the name does not say what it holds; rename it to *.traces.pb (or .logs, .json …) or give --signal")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as raw:
            if path.suffix == ".gz":
                with gzip.open(raw) as plain:
                    body = plain.read(MAX_BYTES + 1)
            elif path.suffix == ".zst":
                with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as plain:
                    body = plain.read(MAX_BYTES + 1)
            else:
                body = raw.read(MAX_BYTES + 1)
    except (OSError, EOFError, zstandard.ZstdError) as error:
        raise Malformed(f"{path}: cannot be read: {error}") from error
    if len(body) > MAX_BYTES:
        raise Malformed(f"{path}: larger than {MAX_BYTES} bytes; split it")
    return body


def _lines(path: Path, body: bytes) -> Iterator[Request]:
    """One request a line, or one JSON document over many lines."""
    documents = body.splitlines()
    if documents and not _complete(documents[0]):
        documents = [body]
    for number, line in enumerate(documents, 1):
        if not line.strip():
            continue
        signal = _signal_of(line)
        if signal is None:
            raise Malformed(f"{path}:{number}: not an OTLP request (expected resourceSpans, resourceLogs or resourceMetrics)")
        yield Request(signal=signal, encoding="json", body=line)


def _complete(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _signal_of(line: bytes) -> Signal | None:
    # The key nearly always stands first; only an odd sender's line is parsed for it.
    head = line[:64].decode("utf8", "replace")
    for key, signal in _KEYS.items():
        if f'"{key}"' in head:
            return signal
    try:
        document: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return next((signal for key, signal in _KEYS.items() if isinstance(document, dict) and key in document), None)
