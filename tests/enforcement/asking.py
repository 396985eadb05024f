"""Two sessions, a runtime that nobody serves, and the one who asks something of them."""

from pydantic import SecretStr

from collector.enforcement.action import Runtime
from collector.enforcement.control import ControlStore
from collector.enforcement.rows import Subject
from collector.model import Halt, Verb
from detectors.model import SessionKey

KEY = SessionKey("default", "prod", "s/1")
OTHER = SessionKey("default", "prod", "trace:abc")
RUNTIME = Runtime(url="http://127.0.0.1:9/overcurrent", secret=SecretStr("s"))


class Ask:
    """Asks something of a session, a second after the last time."""

    def __init__(self, control: ControlStore) -> None:
        self._control = control
        self._now_ns = 0

    def __call__(
        self,
        verb: Verb,
        key: SessionKey = KEY,
        *,
        finding: str | None = None,
        subject: Subject | None = None,
        runtimes: tuple[Runtime, ...] = (RUNTIME,),
    ) -> Halt:
        self._now_ns += 1_000_000_000
        return self._control.request_halt(
            key,
            verb,
            halt_reason="operator",
            requested_by="ada",
            finding=finding,
            now_ns=self._now_ns,
            subject=subject,
            runtimes=runtimes,
        )
