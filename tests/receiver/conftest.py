import subprocess
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from collector.config import Address, Tls, Token
from collector.receiver.admission import Admission, Process
from collector.receiver.grpc import GrpcReceiver
from collector.receiver.http import HttpReceiver
from collector.receiver.serve import serve_asgi
from collector.security import Authority

from .recorder import Counted, Recorder

LOOPBACK = Address("127.0.0.1", 0)
LIMIT = 64 * 1024


class Receivers:
    """Starts receivers in front of one admission."""

    def __init__(self, recorder: Process, telemetry: Counted) -> None:
        self.telemetry = telemetry
        self.admission = Admission(recorder, queue_bytes=1024 * 1024, retry_after_s=0.01, telemetry=telemetry)

    @asynccontextmanager
    async def grpc(self, tokens: Sequence[Token] = (), *, tls: Tls | None = None, limit: int = LIMIT) -> AsyncIterator[int]:
        receiver = GrpcReceiver(
            self.admission,
            address=LOOPBACK,
            max_request_bytes=limit,
            authority=Authority(tokens),
            tls=tls,
            telemetry=self.telemetry,
            now_ns=lambda: 42,
        )
        port = await receiver.start()
        try:
            yield port
        finally:
            await receiver.stop(0)

    @asynccontextmanager
    async def http(
        self, tokens: Sequence[Token] = (), *, tls: Tls | None = None, limit: int = LIMIT, read_timeout_s: float = 60.0
    ) -> AsyncIterator[str]:
        receiver = HttpReceiver(
            self.admission,
            address=LOOPBACK,
            max_request_bytes=limit,
            authority=Authority(tokens),
            telemetry=self.telemetry,
            now_ns=lambda: 42,
            read_timeout_s=read_timeout_s,
        )
        server = await serve_asgi(receiver.app, "127.0.0.1", 0, tls, key="receivers.otlp_http", grace_s=1)
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.port}"
        finally:
            await server.stop()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def telemetry() -> Counted:
    return Counted()


@pytest.fixture
def receivers(recorder: Recorder, telemetry: Counted) -> Iterator[Receivers]:
    made = Receivers(recorder, telemetry)
    made.admission.start()
    yield made
    recorder.gate.set()
    assert made.admission.drain_and_stop(30)
    assert made.admission.depth_bytes == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "overcurrent-ingest"]


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder: Path = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command = ["openssl", "req", "-x509", *new_key, "-keyout", str(key), "-out", str(cert), "-days", "2", *subject]
    subprocess.run(command, check=True, capture_output=True)
    return Tls(cert_file=cert, key_file=key)
