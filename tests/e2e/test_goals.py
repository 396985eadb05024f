"""Goals that are missed while every call succeeds: from evaluation results over OTLP to the finding and the alert's gauge."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

from tests.e2e.agent import Agent, Call, exporter
from tests.e2e.programs import Service, wait_for

pytestmark = pytest.mark.slow


@contextmanager
def judge(address: str) -> Iterator[Callable[[Agent, bool], None]]:
    """Somebody in another process who judges sessions by their ids, as the conventions say."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"http://{address}/v1/logs")))
    logger = provider.get_logger("judge")

    def say(agent: Agent, reached: bool) -> None:
        attributes = {
            "gen_ai.evaluation.name": "goal_completion",
            "gen_ai.evaluation.score.label": "pass" if reached else "fail",
            "gen_ai.conversation.id": agent.session_id,
        }
        logger.emit(LogRecord(timestamp=time.time_ns(), event_name="gen_ai.evaluation.result", attributes=attributes))
        provider.force_flush()

    try:
        yield say
    finally:
        provider.shutdown()


def test_missed_goals_are_found_while_calls_succeed(start_service: Callable[..., Service]) -> None:
    service = start_service()
    agents = []
    for number in range(6):
        with Agent(exporter("http", service.http)) as agent:
            agent.call(Call("search_docs", {"query": f"question {number}"}, f"the answer to question {number}"))
            agent.finish()
        agents.append(agent)
    with judge(service.http) as say:
        for agent, reached in zip(itertools.cycle(agents), [True] * 40 + [False] * 40, strict=False):
            say(agent, reached)
        (finding,) = wait_for("the finding", lambda: service.get("findings?detector=semantic_regression")["findings"])
    assert (finding["session_id"], finding["severity"], finding["halt_eligible"]) == (None, "critical", False)
    assert finding["evidence"]["cause"] == "research: goal_completion"
    assert set(finding["evidence"]["sessions"]) <= {agent.session_id for agent in agents}
    assert len(finding["evidence"]["sessions"]) >= 3
    assert service.metric("overcurrent_goals_total", agent_type="research", outcome="missed") == 40
    of = {"detector": "semantic_regression", "severity": "critical", "agent_type": "research", "halt_eligible": "false", "mode": "shadow"}
    wait_for("the gauge", lambda: service.metric("overcurrent_open_findings", **of) == 1)
