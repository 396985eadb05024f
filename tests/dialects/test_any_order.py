"""Recorded payloads in any order, item by item and twice come to the same sessions and steps."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.model import Request
from detectors.model import StepKind
from tests.core.agents import Run
from tests.dialects.captures import SCENARIOS, name_of, requests, steps

_LEVELS = {"traces": ("resource_spans", "scope_spans", "spans"), "logs": ("resource_logs", "scope_logs", "log_records")}
_KEYS = {"traces": ("resourceSpans", "scopeSpans", "spans"), "logs": ("resourceLogs", "scopeLogs", "logRecords")}


def singles(request: Request) -> list[Request]:
    """A request for each of its spans or log records."""
    if request.encoding == "json":
        return [Request(signal=request.signal, encoding="json", body=body) for body in _of_json(request)]
    kind: Any = ExportTraceServiceRequest if request.signal == "traces" else ExportLogsServiceRequest
    resources, scopes, items = _LEVELS[request.signal]
    found = []
    for resource in getattr(kind.FromString(request.body), resources):
        for scope in getattr(resource, scopes):
            for item in getattr(scope, items):
                one = kind()
                of_resource = getattr(one, resources).add()
                of_resource.resource.CopyFrom(resource.resource)
                of_scope = getattr(of_resource, scopes).add()
                of_scope.scope.CopyFrom(scope.scope)
                getattr(of_scope, items).add().CopyFrom(item)
                found.append(Request(signal=request.signal, encoding="protobuf", body=one.SerializeToString()))
    return found


def _of_json(request: Request) -> list[bytes]:
    resources, scopes, items = _KEYS[request.signal]
    return [
        json.dumps({resources: [{**resource, scopes: [{**scope, items: [item]}]}]}).encode()
        for resource in json.loads(request.body).get(resources, [])
        for scope in resource.get(scopes, [])
        for item in scope.get(items, [])
    ]


def outcome(run: Run) -> Any:
    """Sessions with their sums; steps without what depends on which of two records of one call came first."""
    told = [
        (
            step.kind,
            run.assembler.survivor(step.session),
            step.arguments,
            step.call_id,
            step.error,
            step.input_tokens,
            step.output_tokens,
            step.cached_input_tokens,
            step.reasoning_tokens,
            step.cost_usd,
            step.name if step.kind is StepKind.TOOL else None,
        )
        for step in steps(run)
        if step.kind is not StepKind.AGENT
    ]
    return sorted(run.sums().values()), sorted(map(_nameless(run), told), key=repr)


def _nameless(run: Run) -> Any:
    """Sessions without an id of their own are named after whichever of their traces came first."""
    order: dict[Any, int] = {}
    del run
    return lambda row: (row[0], order.setdefault(row[1], 0), *row[2:])


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_shuffled_and_split_it_comes_to_the_same(folder: Path) -> None:
    expected = outcome(Run().send_each(*requests(folder)))
    items = [one for request in requests(folder) for one in singles(request)]
    random.Random(name_of(folder)).shuffle(items)  # noqa: S311 - repeatable, not secret
    run = Run().send_each(*items)
    assert outcome(run) == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_in_many_orders_and_sent_twice(folder: Path, seed: int) -> None:
    expected = outcome(Run().send_each(*requests(folder)))
    items = [one for request in requests(folder) for one in singles(request)]
    random.Random(seed).shuffle(items)  # noqa: S311 - repeatable, not secret
    run = Run()
    while items:
        run.send(*items[: 1 + seed * 5])
        del items[: 1 + seed * 5]
    assert outcome(run) == expected
    assert outcome(run.send_each(*requests(folder))) == expected
