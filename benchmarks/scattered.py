"""Recordings in another order: `python -m benchmarks.scattered RECORDINGS TARGET [--seed 0]`.

Copies every `RECORDINGS/<pair>/<scenario>/` with each span and log record in a request of its own, in random order. What is
made of the copies must be what is made of the originals: conformance over TARGET has the figures of that over RECORDINGS.
"""

import argparse
import json
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_MESSAGES: Final[dict[str, Any]] = {"traces": ExportTraceServiceRequest, "logs": ExportLogsServiceRequest}
_FIELDS: Final = {"traces": ("resource_spans", "scope_spans", "spans"), "logs": ("resource_logs", "scope_logs", "log_records")}
_KEYS: Final = {"traces": ("resourceSpans", "scopeSpans", "spans"), "logs": ("resourceLogs", "scopeLogs", "logRecords")}


def singles(signal: str, encoding: str, body: bytes) -> Iterator[bytes]:
    """A request body for each span or log record of a request, of `encoding` `pb` or `json`."""
    if encoding == "json":
        resources, scopes, items = _KEYS[signal]
        for resource in json.loads(body).get(resources, []):
            for scope in resource.get(scopes, []):
                for item in scope.get(items, []):
                    yield json.dumps({resources: [{**resource, scopes: [{**scope, items: [item]}]}]}).encode()
        return
    message = _MESSAGES[signal]
    resources, scopes, items = _FIELDS[signal]
    for resource in getattr(message.FromString(body), resources):
        for scope in getattr(resource, scopes):
            for item in getattr(scope, items):
                one = message()
                of_resource = getattr(one, resources).add(schema_url=resource.schema_url)
                of_resource.resource.CopyFrom(resource.resource)
                of_scope = getattr(of_resource, scopes).add(schema_url=scope.schema_url)
                of_scope.scope.CopyFrom(scope.scope)
                getattr(of_scope, items).add().CopyFrom(item)
                yield one.SerializeToString()


def scatter(source: Path, target: Path, chance: random.Random) -> int:
    """Copies one scenario, scattered. Returns how many requests there are now."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(source / "facts.json", target)
    found: list[tuple[str, bytes]] = []
    for path in sorted(source.iterdir()):
        parts = path.name.split(".")
        if len(parts) == 3 and parts[1] in _MESSAGES:
            found += [(f"{parts[1]}.{parts[2]}", body) for body in singles(parts[1], parts[2], path.read_bytes())]
    chance.shuffle(found)
    for number, (ending, body) in enumerate(found):
        (target / f"{number:06}.{ending}").write_bytes(body)
    return len(found)


def main() -> None:
    """Scatters all recordings of a folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scattered", description=__doc__)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311 - repeatable, not secret
    folders = sorted(path.parent for path in options.recordings.glob("*/*/facts.json"))
    if not folders:
        sys.exit(f"{parser.prog}: no recordings (folders with a facts.json) in {options.recordings}")
    count = sum(scatter(folder, options.target / folder.relative_to(options.recordings), chance) for folder in folders)
    sys.stdout.write(f"{len(folders)} recordings, {count} requests\n")


if __name__ == "__main__":
    main()
