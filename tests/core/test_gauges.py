"""What the gauges show of the stores."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from collector.core import Core
from collector.enforcement.action import Answer, Reply
from collector.enforcement.messages import Limits
from collector.model import Verb
from collector.telemetry import Telemetry
from detectors.model import SessionKey

from .services import NOW_NS, armed

URL = "http://127.0.0.1:9/"
SECOND = 10**9


def test_a_message_that_waits_gets_older_until_its_runtime_answers(tmp_path: Path) -> None:
    now = [NOW_NS]
    config = armed(actions={"runtimes": [{"url": URL, "secret": "s"}]})
    running = Core(config, tmp_path, Telemetry(CollectorRegistry()), clock_ns=lambda: now[0])

    def shown() -> tuple[int, float]:
        running.tick()
        return running.snapshot.webhook_outbox, running.snapshot.webhook_outbox_oldest_seconds

    assert shown() == (0, 0)
    for name in ("s", "t"):
        now[0] += 50 * SECOND
        running.halting.request(SessionKey("default", "", name), Verb.HALT, halt_reason="operator", requested_by="ada")
    now[0] += 20 * SECOND
    assert shown() == (2, 70)
    for message in running.control.claim(URL, now_ns=now[0], lease_ns=SECOND, limit=1):
        running.control.finish(message, Answer(reply=Reply.STOPPED), now_ns=now[0], retry_ns=now[0], limits=Limits())
    now[0] += 10 * SECOND
    assert shown() == (1, 30)
    running.close()
